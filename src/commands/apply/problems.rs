//! Everything that is wrong with the files, told at once.

use std::fmt;

use crate::config::{Located, Section};
use crate::error::{Exit, Failure, classify, hints};

/// What is wrong so far. Reading goes on with nothing in place of a bad value.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Failure>);

impl Problems {
    /// Adds one.
    pub(super) fn add(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    /// The value, or nothing and a problem more.
    pub(super) fn take<T>(&mut self, result: anyhow::Result<Option<T>>) -> Option<T> {
        result.unwrap_or_else(|error| {
            let failure = Failure::new(classify(&error), format!("{error:#}"));
            self.add(hints(&error).into_iter().fold(failure, Failure::hint));
            None
        })
    }

    /// The value turned into something stricter, or nothing and a problem more.
    pub(super) fn convert<T, U, E: fmt::Display>(
        &mut self,
        located: Option<Located<'_, T>>,
        convert: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        match located?.try_map(convert) {
            Ok(located) => Some(located.value),
            Err(failure) => {
                self.add(failure);
                None
            }
        }
    }

    /// Adds one for each key of a table that is not known.
    pub(super) fn unknown(&mut self, section: &Section<'_>, known: &[&str]) {
        self.0.extend(section.unknown(known));
    }

    /// Nothing when nothing is wrong.
    ///
    /// # Errors
    /// Exit 6: the one problem with its hints, or all of them, a line each.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let mut problems = self.0;
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.remove(0)),
            count => {
                let mut message = format!("{count} problems, so nothing was changed:");
                for problem in &problems {
                    message.push_str("\n  ");
                    message.push_str(&problem.to_string());
                    for hint in problem.hints() {
                        message.push_str(" (");
                        message.push_str(hint);
                        message.push(')');
                    }
                }
                Err(Failure::new(Exit::Configuration, message))
            }
        }
    }
}
