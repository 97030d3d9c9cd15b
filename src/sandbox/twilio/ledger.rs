//! What was bought, changed and given back: the judge of tests.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug, Serialize)]
pub(super) struct Purchase {
    pub(super) at: DateTime<Utc>,
    pub(super) account: String,
    pub(super) sid: String,
    pub(super) phone: String,
    pub(super) friendly_name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Update {
    pub(super) at: DateTime<Utc>,
    pub(super) account: String,
    pub(super) sid: String,
    pub(super) phone: String,
    /// What was set, by the keys of the record.
    pub(super) set: Value,
}

/// What became of a wish to release a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Released,
    /// It was not there, or not any more.
    Gone,
    Nothing,
}

#[derive(Debug, Serialize)]
pub(super) struct Delete {
    pub(super) at: DateTime<Utc>,
    pub(super) account: String,
    pub(super) sid: String,
    /// None of a number that nobody ever had.
    pub(super) phone: Option<String>,
    pub(super) status: Done,
}

/// Nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    purchases: Vec<Purchase>,
    deletes: Vec<Delete>,
    updates: Vec<Update>,
    at_once: usize,
    most_at_once: usize,
}

impl Ledger {
    pub(super) fn bought(&mut self, purchase: Purchase) {
        self.purchases.push(purchase);
    }

    pub(super) fn updated(&mut self, update: Update) {
        self.updates.push(update);
    }

    /// Enters what was asked, before it is known what comes of it.
    pub(super) fn asked(&mut self, delete: Delete) -> usize {
        self.deletes.push(delete);
        self.deletes.len() - 1
    }

    /// Enters what came of it.
    pub(super) fn done(&mut self, asked: Option<usize>, done: Done) {
        if let Some(delete) = asked.and_then(|index| self.deletes.get_mut(index)) {
            delete.status = done;
        }
    }

    pub(super) fn begins(&mut self) {
        self.at_once += 1;
        self.most_at_once = self.most_at_once.max(self.at_once);
    }

    pub(super) fn ends(&mut self) {
        self.at_once = self.at_once.saturating_sub(1);
    }

    pub(super) fn to_json(&self, numbers: usize) -> Value {
        json!({
            "purchases": self.purchases, "deletes": self.deletes, "updates": self.updates, "numbers": numbers,
            "most_at_once": self.most_at_once,
        })
    }
}
