//! A PostgreSQL that belongs to one test, which may bring it down.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A server started by `scripts/own-postgres`. It lets its clients commit without waiting for the disk, and a crash then
/// takes the commit back: only clients that insist on durable commits get them, as callops does. It is gone when this is
/// dropped, or when the test is killed, which ends the script's input.
#[derive(Debug)]
pub(crate) struct OwnPostgres {
    script: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl OwnPostgres {
    /// A server that runs.
    pub(crate) fn new() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/own-postgres");
        let mut script = Command::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {script}: {error}"));
        let orders = script.stdin.take();
        let answers = BufReader::new(script.stdout.take().expect("a pipe"));
        let mut server = Self { script, orders, answers, url: String::new() };
        server.url = server.answer();
        server
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts off every session and stops, as a crash does.
    pub(crate) fn stop(&mut self) {
        self.order("stop");
    }

    /// Recovers and lets clients in again.
    pub(crate) fn start(&mut self) {
        self.order("start");
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("a pipe");
        writeln!(orders, "{order}").expect("the script takes orders");
        assert_eq!(self.answer(), order, "the script says on stderr what went wrong");
    }

    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the script's output can be read");
        assert!(!answer.is_empty(), "scripts/own-postgres ended; it says on stderr what went wrong");
        answer.trim_end().to_owned()
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.script.wait();
    }
}
