//! How commands that act say what they did.

use std::io;

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
