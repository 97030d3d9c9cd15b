//! What became of every row.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::entries::Reason;

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
    /// In the order of [`Verdict::ALL`].
    counts: [u64; Verdict::ALL.len()],
    reasons: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts a row and what became of it, with the reason of a rejected one.
    pub(super) fn count(&mut self, verdict: Verdict, reason: Option<Reason>) {
        self.rows_read += 1;
        self.counts[verdict as usize] += 1;
        if let Some(Reason::Rejected(code)) = reason {
            *self.reasons.entry(code).or_default() += 1;
        }
    }

    /// How many rows were read.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// How many rows ended so.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.counts[verdict as usize]
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
    /// When verdicts do not add up to the records of the list, or reasons to the rows rejected: a defect of the importer.
    pub fn assert_adds_up(&self, records: u64) {
        let settled: u64 = self.counts.iter().sum();
        assert_eq!((settled, self.rows_read), (records, records), "every row read must have one verdict: {self:?}");
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
            tally.count(verdict, (verdict == Verdict::Rejected).then_some(Reason::Rejected("no_phone")));
        }
        tally.assert_adds_up(6);
        assert!(std::panic::catch_unwind(|| tally.assert_adds_up(7)).is_err());
        assert_eq!((&tally.to_object()["rows"], &tally.to_object()["skipped"]), (&6.into(), &1.into()));
        tally.count(Verdict::Rejected, None);
        assert!(std::panic::catch_unwind(|| tally.assert_adds_up(7)).is_err());
    }
}
