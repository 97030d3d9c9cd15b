//! One file per subcommand: its arguments beside what it does.

pub mod apply;
pub mod calling;
pub mod check_phone;
pub mod check_window;
pub mod collect_outcomes;
pub mod demo;
pub mod draining;
pub mod enroll;
pub mod import_contacts;
pub mod init;
pub mod lookup;
pub mod migrate;
pub mod process_calls;
pub mod sandbox;
pub mod start_campaign;
pub mod stop_campaign;
pub mod sweep_timeouts;

use std::io;

use serde_json::{Map, Value};

use crate::app::App;

/// Prints what a command did: a sentence to people, an object to programs.
fn tell(app: &App, record: &Map<String, Value>, sentence: &str) -> io::Result<()> {
    if app.printer.is_table() { app.printer.line(sentence) } else { app.printer.record(record) }
}

fn record_of(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(record) => record,
        other => Map::from_iter([("result".to_owned(), other)]),
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
