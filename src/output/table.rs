//! Rows of named values, the one shape that every listing is printed from.

use std::borrow::Borrow;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, TableStyle};
use csv::QuoteStyle;
use serde_json::{Map, Value};

use crate::domain::csv_cell::escape;

/// One value of a row. Text and numbers print bare, null prints as nothing, lists and objects as compact JSON.
pub type Cell = Value;

/// Rows under named columns. Column names are the keys in JSON and the header in CSV, so they are an API.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// No rows yet, under these columns.
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per column.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each row as an object.
    pub fn objects(&self) -> impl Iterator<Item = Map<String, Value>> + '_ {
        self.rows.iter().map(|row| self.columns.iter().map(|c| (*c).to_owned()).zip(row.iter().cloned()).collect())
    }

    /// A table for people; columns are squeezed to `width` characters when it is given.
    pub fn write_table(&self, out: &mut dyn Write, width: Option<u16>) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = plain_table(width);
        table.set_header(self.columns.iter().map(|c| c.replace('_', " ")));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| printable(&text(cell))));
        }
        write_trimmed(out, &table)
    }

    /// CSV with a header, quoted as RFC 4180 has it; see [`write_csv`].
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        write_csv(out, &self.columns, self.rows.iter())
    }
}

/// Writes CSV in which no text that comes from others can be a formula.
pub(super) fn write_csv(
    out: &mut dyn Write,
    header: &[impl AsRef<str>],
    rows: impl Iterator<Item: IntoIterator<Item: Borrow<Value>>>,
) -> io::Result<()> {
    // Some readers take whichever sign stands most often in the header, outside quotes, for what parts cells.
    let is_misleading = header.iter().any(|name| name.as_ref().contains([';', '\t', '|']));
    let quotes = if is_misleading { QuoteStyle::Always } else { QuoteStyle::Necessary };
    let mut csv = csv::WriterBuilder::new().quote_style(quotes).from_writer(&mut *out);
    csv.write_record(header.iter().map(|name| escape(name.as_ref()).into_owned()))?;
    csv.flush()?;
    drop(csv);
    let mut csv = csv::Writer::from_writer(out);
    for row in rows {
        csv.write_record(row.into_iter().map(|cell| csv_text(cell.borrow())))?;
    }
    csv.flush()
}

fn csv_text(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text).into_owned(),
        other => text(other),
    }
}

/// An object as two columns, for people.
pub(super) fn write_record(out: &mut dyn Write, record: &Map<String, Value>, width: Option<u16>) -> io::Result<()> {
    let mut table = plain_table(width);
    for (key, value) in record {
        table.add_row([key.replace('_', " "), printable(&text(value))]);
    }
    write_trimmed(out, &table)
}

fn plain_table(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::default());
    table.load_style(comfy_table::presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

fn write_trimmed(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Text that cannot steer a terminal: control characters but line ends are shown as what they are.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
