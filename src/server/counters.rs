//! How many requests were answered how.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// Counts since the server began.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Counters {
    /// Counts an answer of a route.
    pub(super) fn count(&self, route: &'static str, status: u16) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
    }

    /// The counts, in the format of `OpenMetrics`.
    pub(super) fn write(&self, text: &mut String) {
        text.push_str("# HELP callops_requests Answers by route and status.\n# TYPE callops_requests counter\n");
        for ((route, status), count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(text, "callops_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
    }
}
