//! What became of every row.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What became of one row. Every row has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// A contact was made.
    Created,
    /// A contact was there, and the row changed something about it.
    Updated,
    /// A contact was there, and the row says nothing new.
    Unchanged,
    /// A contact was there, and was to be left alone.
    Skipped,
    /// An earlier row of the list has the same number.
    Duplicate,
    /// The row cannot be used.
    Rejected,
}

impl Verdict {
    /// Every verdict, in the order of the summary.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Updated, Self::Unchanged, Self::Skipped, Self::Duplicate, Self::Rejected];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
        }
    }
}

/// Counts of verdicts that add up to the rows read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    rows_read: u64,
    counts: BTreeMap<Verdict, u64>,
    reasons: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts a row that was read.
    pub fn read(&mut self) {
        self.rows_read += 1;
    }

    /// Counts what became of a row; `reason` for those that were rejected.
    pub fn settle(&mut self, verdict: Verdict, reason: Option<&'static str>) {
        *self.counts.entry(verdict).or_default() += 1;
        if let Some(reason) = reason {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// How many rows were read.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// How many rows ended so.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.counts.get(&verdict).copied().unwrap_or(0)
    }

    /// Rejected rows by reason, the most frequent first.
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        let mut reasons: Vec<_> = self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons
    }

    /// Stops the program rather than let an import be committed of which a row is unaccounted for.
    ///
    /// # Panics
    /// When verdicts do not add up to the rows read, or reasons to the rows rejected: a defect of the importer.
    pub fn assert_adds_up(&self) {
        let settled: u64 = self.counts.values().sum();
        assert_eq!(settled, self.rows_read, "every row read must have one verdict: {self:?}");
        let reasons: u64 = self.reasons.values().sum();
        assert_eq!(reasons, self.of(Verdict::Rejected), "every rejected row must have one reason: {self:?}");
    }

    /// The counts as an object: `rows`, then each verdict.
    pub fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("rows".to_owned(), self.rows_read.into());
        for verdict in Verdict::ALL {
            object.insert(verdict.as_str().to_owned(), self.of(verdict).into());
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_or_the_program_stops() {
        let mut tally = Tally::default();
        for verdict in Verdict::ALL {
            tally.read();
            tally.settle(verdict, (verdict == Verdict::Rejected).then_some("no_phone"));
        }
        tally.assert_adds_up();
        assert_eq!(tally.to_object()["rows"], 6);
        tally.read();
        assert!(std::panic::catch_unwind(|| tally.assert_adds_up()).is_err());
    }
}
