//! How commands that act say what they did.

use std::io;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::app::App;

/// Prints what a command did: a sentence to people, an object to programs.
pub(super) fn tell(app: &App, record: &Map<String, Value>, sentence: &str) -> io::Result<()> {
    if app.printer.is_table() { app.printer.line(sentence) } else { app.printer.record(record) }
}

/// An object of results.
pub(super) fn record_of(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(record) => record,
        other => Map::from_iter([("result".to_owned(), other)]),
    }
}

/// A number of things.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// An instant as all commands show it: UTC, to the second.
pub(super) fn instant(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.to_rfc3339_opts(SecondsFormat::Secs, true)))
}

/// Stored JSON as a value; as text, should it be none.
pub(super) fn json_text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
}
