//! Which of its things a listing shows.

use chrono::{DateTime, Utc};

use super::state::Service;

/// Which calls a listing shows.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) service: Service,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) assistant: Option<String>,
    pub(super) line: Option<String>,
    pub(super) created: Between,
    pub(super) updated: Between,
    pub(super) limit: usize,
}

/// A range of time; ends are exclusive or inclusive by their name.
#[derive(Debug, Default)]
pub(super) struct Between {
    pub(super) gt: Option<DateTime<Utc>>,
    pub(super) ge: Option<DateTime<Utc>>,
    pub(super) lt: Option<DateTime<Utc>>,
    pub(super) le: Option<DateTime<Utc>>,
}

impl Between {
    pub(super) fn holds(&self, at: DateTime<Utc>) -> bool {
        self.gt.is_none_or(|gt| at > gt)
            && self.ge.is_none_or(|ge| at >= ge)
            && self.lt.is_none_or(|lt| at < lt)
            && self.le.is_none_or(|le| at <= le)
    }
}
