//! One place that writes to stdout and stderr.

use std::borrow::Borrow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::table::{self, Rows};
use crate::error::{classify, hints, message};

/// How results are written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// CSV with a header line.
    Csv,
}

/// Writes data to stdout and talk to stderr.
#[derive(Clone, Debug)]
pub struct Printer {
    format: Format,
    quiet: bool,
    captured: Option<Captured>,
}

/// What a printer wrote in place of stdout.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// All of it so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Printer {
    /// A printer for this format; `quiet` silences all talk but errors.
    pub fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet, captured: None }
    }

    /// A printer whose stdout is kept in memory and that says nothing: for a command that runs another one.
    pub fn captured(format: Format) -> (Self, Captured) {
        let captured = Captured::default();
        (Self { format, quiet: true, captured: Some(captured.clone()) }, captured)
    }

    fn out(&self) -> Box<dyn Write> {
        match &self.captured {
            Some(captured) => Box::new(captured.clone()),
            None => Box::new(io::BufWriter::new(io::stdout().lock())),
        }
    }

    /// Whether nothing but errors is said on stderr.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The width of the terminal on stdout; none when it is a pipe or a file, where lines are not squeezed.
    fn width(&self) -> Option<u16> {
        if self.captured.is_some() || !io::stdout().is_terminal() {
            return None;
        }
        // Some terminals do not say how wide they are, and none is so narrow that a column could have one letter.
        comfy_table::Table::new().width().filter(|width| *width >= 40)
    }

    /// The chosen format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether results go to people rather than to programs.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Writes a listing. As a table, no rows are said on stderr, so that stdout stays empty.
    ///
    /// # Errors
    /// When stdout cannot be written, for example because the reader closed the pipe.
    pub fn rows(&self, rows: &Rows) -> io::Result<()> {
        let mut out = self.out();
        match self.format {
            Format::Table if rows.is_empty() => self.say("nothing to show"),
            Format::Table => rows.write_table(&mut out, self.width())?,
            Format::Json => {
                let list: Vec<Value> = rows.objects().map(Value::Object).collect();
                serde_json::to_writer_pretty(&mut out, &list).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Jsonl => {
                for object in rows.objects() {
                    serde_json::to_writer(&mut out, &object).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
            }
            Format::Csv => rows.write_csv(&mut out)?,
        }
        out.flush()
    }

    /// Writes one result: an object in JSON, a line of keys and a line of values in CSV, two columns as a table.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn record(&self, record: &Map<String, Value>) -> io::Result<()> {
        let mut out = self.out();
        match self.format {
            Format::Table => table::write_record(&mut out, record, self.width())?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, record).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Jsonl => {
                serde_json::to_writer(&mut out, record).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Csv => {
                let header: Vec<&String> = record.keys().collect();
                table::write_csv(&mut out, &header, std::iter::once(record.values()))?;
            }
        }
        out.flush()
    }

    /// Writes CSV, whatever format was chosen, of rows as they come: for a result that has more columns as CSV.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn csv(
        &self,
        header: &[impl AsRef<str>],
        rows: impl Iterator<Item: IntoIterator<Item: Borrow<Value>>>,
    ) -> io::Result<()> {
        let mut out = self.out();
        table::write_csv(&mut out, header, rows)?;
        out.flush()
    }

    /// Writes a line of data to stdout as it is.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn line(&self, line: impl AsRef<str>) -> io::Result<()> {
        let mut out = self.out();
        writeln!(out, "{}", line.as_ref())?;
        out.flush()
    }

    /// Says something to a person, on stderr, unless quiet. A stderr that cannot be written is not an error.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", table::printable(line.as_ref()));
        }
    }

    /// Says something that should be looked at, on stderr, unless quiet.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.say(format!("warning: {}", line.as_ref()));
    }

    /// Reports an error on stderr: one object under the JSON formats, else a message, its causes and hints.
    pub fn error(&self, error: &anyhow::Error) {
        let mut err = io::stderr().lock();
        let message = message(error);
        let hints = hints(error);
        let _ = match self.format {
            Format::Json | Format::Jsonl => {
                let kind = classify(error).kind();
                writeln!(err, "{}", json!({"error": {"kind": kind, "message": message, "hints": hints}}))
            }
            Format::Table | Format::Csv => {
                let mut text = format!("error: {message}\n");
                for hint in hints {
                    text.push_str("hint: ");
                    text.push_str(&hint);
                    text.push('\n');
                }
                err.write_all(table::printable(&text).as_bytes())
            }
        };
    }

    /// A progress bar on stderr, drawn only on a terminal and only when not quiet; `total` is unknown when `None`, and
    /// then things are counted. Of a known total the share is shown: what is counted otherwise belongs into the message.
    pub fn progress(&self, total: Option<u64>, what: &'static str) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() {
            "{bar:30} {percent}%, {eta} left: {msg}"
        } else {
            "{msg} {spinner} {human_pos} {per_sec}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
