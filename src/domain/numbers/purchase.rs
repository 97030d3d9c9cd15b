//! When a purchase of which nobody heard counts as not made.
//!
//! It is settled by looking: the number bears a name that no other has. Nothing is asked for again before two looks at a
//! distance found nothing. Should the first request be carried out after that, the same number is asked for first, and one
//! number can be had only once.

use chrono::{DateTime, TimeDelta, Utc};

/// From the end of a request to the first look that counts.
pub const SETTLE_SECONDS: i64 = 120;
/// From the first look that counts to the second.
pub const BETWEEN_SECONDS: i64 = 60;

/// What follows from a look that did not find the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It proves nothing yet; look again then.
    TooEarly(DateTime<Utc>),
    /// It counts as the first; look again then.
    Counts(DateTime<Utc>),
    /// Nothing was bought.
    Proven,
}

/// What a look at `now` proves that did not find the number; `first_seen_at` is when a look that counts did not find it.
pub fn absence(request_ended_at: DateTime<Utc>, first_seen_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Absence {
    let (settled, between) = (TimeDelta::seconds(SETTLE_SECONDS), TimeDelta::seconds(BETWEEN_SECONDS));
    match first_seen_at {
        _ if now - request_ended_at < settled => Absence::TooEarly(request_ended_at + settled),
        None => Absence::Counts(now + between),
        Some(first) if now - first < between => Absence::TooEarly(first + between),
        Some(_) => Absence::Proven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_at_a_distance_prove_it_and_nothing_less() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        for (first, now, expected) in [
            (None, 0, Absence::TooEarly(at(120))),
            (None, 119, Absence::TooEarly(at(120))),
            (None, 120, Absence::Counts(at(180))),
            (Some(at(120)), 179, Absence::TooEarly(at(180))),
            (Some(at(120)), 180, Absence::Proven),
            // A clock that was set back proves nothing.
            (Some(at(120)), -5, Absence::TooEarly(at(120))),
        ] {
            assert_eq!(absence(at(0), first, at(now)), expected, "{first:?} {now}");
        }
    }
}
