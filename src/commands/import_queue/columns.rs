//! Which column of a queue is what.

use serde_json::{Map, Value, json};

use crate::commands::import_contacts::list::{ListReader, Record, Source};
use crate::domain::contact_row::{
    ContactRow, Field, Mapping, MappingProblem, RowProblem, RowReader, RowReason, nearest,
};
use crate::domain::phone::Phone;
use crate::domain::queue::{QueueColumns, QueueField, QueueRow};
use crate::error::Failure;
use crate::output::Printer;

/// What the command line says about columns.
#[derive(Debug, Default)]
pub(super) struct Maps {
    queue: Vec<(QueueField, String)>,
    contact: Vec<(Field, String)>,
}

impl Maps {
    /// Reads each `FIELD=COLUMN`.
    pub(super) fn of(options: &[String]) -> anyhow::Result<Self> {
        let mut maps = Self::default();
        for text in options {
            let Some((field, column)) = text.split_once('=') else {
                return Err(Failure::usage(format!("`--map {text}` is not FIELD=COLUMN"))
                    .hint("for example --map status=\"Call state\"")
                    .into());
            };
            if let Some(field) = QueueField::from_name(field) {
                if maps.queue.iter().any(|(other, _)| *other == field) {
                    return Err(Failure::usage(format!("{} is mapped twice", field.name())).into());
                }
                maps.queue.push((field, column.to_owned()));
            } else if let Some(field) = Field::from_name(field) {
                maps.contact.push((field, column.to_owned()));
            } else {
                let names = || {
                    QueueField::ALL.iter().map(|field| field.name()).chain(Field::ALL.iter().map(|field| field.name()))
                };
                let hint = match nearest(names(), field) {
                    Some(name) => format!("did you mean `--map {name}={column}`?"),
                    None => format!("fields: {}", names().collect::<Vec<_>>().join(", ")),
                };
                return Err(Failure::usage(format!("`--map {text}`: there is no field `{field}`")).hint(hint).into());
            }
        }
        Ok(maps)
    }
}

/// Reads the header of a queue that is at its beginning.
///
/// # Errors
/// Usage errors that name the file: nothing in it, a column that is asked for and not there, no column of phones, or none
/// that says who was called.
pub(super) fn of(list: &mut ListReader, source: &Source, maps: &Maps) -> anyhow::Result<(QueueColumns, Mapping)> {
    let name = source.name();
    let usage = |text: String| Failure::usage(format!("{name}: {text}"));
    let header = list.header()?.ok_or_else(|| usage("it has no header and no rows".to_owned()))?;
    let mapping = Mapping::new(&header, &maps.contact).map_err(|problem| {
        let failure = usage(problem.to_string());
        match problem {
            MappingProblem::NoSuchColumn { field, nearest: Some(column), .. } => {
                failure.hint(format!("did you mean `--map {}=\"{column}\"`?", field.name()))
            }
            MappingProblem::NoPhoneColumn { .. } => {
                failure.hint("say which one it is with --map phone=\"COLUMN\"; a queue needs a header")
            }
            _ => failure,
        }
    })?;
    let columns = mapping.columns().to_vec();
    let shown = || columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
    let queue = QueueColumns::new(&columns, &maps.queue).map_err(|(field, column)| {
        let failure =
            usage(format!("there is no column `{column}` for {}; the columns are: {}", field.name(), shown()));
        match nearest(columns.iter().map(String::as_str), &column) {
            Some(column) => failure.hint(format!("did you mean `--map {}=\"{column}\"`?", field.name())),
            None => failure,
        }
    })?;
    if queue.place_of(QueueField::Status).is_none() && queue.place_of(QueueField::Called).is_none() {
        return Err(usage(format!("no column says who was called; the columns are: {}", shown()))
            .hint("say which one it is with --map status=\"COLUMN\" or --map welcome_call_completed=\"COLUMN\"")
            .into());
    }
    let places: Vec<usize> = queue.places().collect();
    Ok((queue, mapping.without(&places)))
}

/// Says how a queue is read.
pub(super) fn say(printer: &Printer, queue: &QueueColumns, mapping: &Mapping, list: &ListReader) {
    let fields: Vec<String> =
        named(queue, mapping).into_iter().map(|(field, column)| format!("{field} = `{column}`")).collect();
    printer.say(format!("columns: {} ({})", fields.join(", "), list.encoding().name()));
    let attributes: Vec<String> = mapping.attributes().iter().map(|(_, name)| format!("`{name}`")).collect();
    if !attributes.is_empty() {
        printer.say(format!("kept as attributes: {}", attributes.join(", ")));
    }
    if queue.place_of(QueueField::CustomerId).is_none() {
        printer.warn("no column of customers: who has two phones counts as two people (--map customer_id=COLUMN)");
    }
}

fn named<'a>(queue: &QueueColumns, mapping: &'a Mapping) -> Vec<(&'static str, &'a str)> {
    let own = QueueField::ALL
        .into_iter()
        .filter_map(|field| Some((field.name(), mapping.columns()[queue.place_of(field)?].as_str())));
    own.chain(mapping.fields().map(|(field, column)| (field.name(), column))).collect()
}

/// Reads the rows of one queue.
pub(super) struct QueueReader {
    pub(super) rows: RowReader,
    pub(super) queue: QueueColumns,
}

impl QueueReader {
    /// Each field with its column, to be kept with the import.
    pub(super) fn columns(&self) -> Map<String, Value> {
        let named = named(&self.queue, self.rows.mapping());
        named.into_iter().map(|(field, column)| (field.to_owned(), json!(column))).collect()
    }

    /// What a record says of the person, and what of the queue where that can be told.
    pub(super) fn read(&self, record: &Record<'_>) -> (Result<ContactRow, RowProblem>, Option<QueueRow>) {
        if let Some(line) = record.unclosed_quote_line {
            let detail = format!("the quote that opens on line {line} is never closed");
            return (Err(RowProblem { reason: RowReason::UnclosedQuote, detail }), None);
        }
        (self.rows.read(record.cells), self.queue.read(record.cells))
    }

    /// The phone of a record of which nothing else needs to be readable.
    pub(super) fn phone_of(&self, record: &Record<'_>) -> Option<Phone> {
        self.rows.phone_of(record.cells)
    }
}
