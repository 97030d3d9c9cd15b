//! What a run did, counted by reason.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::Exit;

/// Counts of one run, and how it should end.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// What was done, by name.
    done: BTreeMap<&'static str, u64>,
    /// Why people were not called, by reason.
    not_called: BTreeMap<&'static str, u64>,
    /// What went wrong, in sentences, in the order in which it was met.
    problems: Vec<(Exit, String)>,
}

impl Counts {
    /// Counts something done.
    pub fn add(&mut self, what: &'static str, how_many: u64) {
        if how_many > 0 {
            *self.done.entry(what).or_default() += how_many;
        }
    }

    /// How often something was done.
    pub fn get(&self, what: &str) -> u64 {
        self.done.get(what).copied().unwrap_or(0)
    }

    /// Counts somebody who was not called.
    pub fn skip(&mut self, reason: &'static str) {
        *self.not_called.entry(reason).or_default() += 1;
    }

    /// How many were not called for this reason.
    pub fn skipped(&self, reason: &str) -> u64 {
        self.not_called.get(reason).copied().unwrap_or(0)
    }

    /// Notes a problem; each sentence once.
    pub fn problem(&mut self, exit: Exit, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.problems.iter().any(|(_, known)| *known == sentence) {
            self.problems.push((exit, sentence));
        }
    }

    /// The problems, for people.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|(_, sentence)| sentence.as_str())
    }

    /// Takes another run's counts in.
    pub fn merge(&mut self, other: Self) {
        for (what, count) in other.done {
            *self.done.entry(what).or_default() += count;
        }
        for (reason, count) in other.not_called {
            *self.not_called.entry(reason).or_default() += count;
        }
        for (exit, sentence) in other.problems {
            self.problem(exit, sentence);
        }
    }

    /// Whether nothing was done, nobody was looked at and nothing went wrong.
    pub fn is_idle(&self) -> bool {
        self.done.is_empty() && self.not_called.is_empty() && self.problems.is_empty()
    }

    /// How the process should end, as far as these counts go.
    pub fn exit(&self) -> Exit {
        self.problems.iter().fold(Exit::Success, |exit, (other, _)| exit.or(*other))
    }

    /// As one object: what was done, `not_called` by reason, `problems` as sentences.
    pub fn record(&self) -> Map<String, Value> {
        let mut record = Map::new();
        for (what, count) in &self.done {
            record.insert((*what).to_owned(), json!(count));
        }
        if !self.not_called.is_empty() {
            record.insert("not_called".to_owned(), json!(self.not_called));
        }
        if !self.problems.is_empty() {
            record.insert("problems".to_owned(), json!(self.problems().collect::<Vec<_>>()));
        }
        record
    }

    /// As rows of a name and a number, for people.
    pub fn lines(&self) -> Vec<(String, u64)> {
        let done = self.done.iter().map(|(what, count)| (what.replace('_', " "), *count));
        let skipped =
            self.not_called.iter().map(|(why, count)| (format!("not called: {}", why.replace('_', " ")), *count));
        done.chain(skipped).collect()
    }
}
