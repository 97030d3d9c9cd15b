//! When a provider's silence about a call proves that it was never placed.

use chrono::{DateTime, TimeDelta, Utc};

/// How far around the time of sending the provider is read: its clock and ours may differ.
const MARGIN_SECONDS: i64 = 3600;
/// The first reading that counts comes this long after the request ended: a provider may list a call late.
const SETTLE_SECONDS: i64 = 15 * 60;
/// The second reading that counts comes this long after the first, by the provider's clock.
const BETWEEN_SECONDS: i64 = 5 * 60;
/// How often an unknown attempt is looked for before its first reading can count.
const LOOK_SECONDS: i64 = 60;
/// The longest time between two looks for an unknown attempt whose absence nothing proves.
const MAX_LOOK_SECONDS: i64 = 3600;
/// The longest time between two questions about a call that goes on.
const MAX_POLL_SECONDS: i64 = 600;
/// The first time between two questions.
const POLL_SECONDS: i64 = 30;

/// What is known of an unknown attempt's absence so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// When its request was over.
    pub request_ended_at: DateTime<Utc>,
    /// How many readings that count did not show it.
    pub absences: i64,
    /// The provider's clock at the first of them.
    pub first_seen_at: Option<DateTime<Utc>>,
}

/// One reading of the provider that did not show the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one condition of the proof")]
pub struct Reading {
    /// Every page was read to its end.
    pub is_complete: bool,
    /// The provider's clock.
    pub provider_date: Option<DateTime<Utc>>,
    /// It is the organisation that the attempt was sent to.
    pub same_organisation: bool,
    /// Every call that is known to be in the range was shown.
    pub shows_control: bool,
    /// A call to the same phone from the same line, without our name, was shown.
    pub shows_stranger: bool,
}

/// What to do about an unknown attempt after a reading that did not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was never placed.
    ProvenAbsent,
    /// Ask again later.
    Wait {
        /// The reading counts towards the proof; the provider's clock.
        counts_as_absent: Option<DateTime<Utc>>,
        /// Earlier readings no longer count.
        forget: bool,
        /// When to ask again.
        ask_again_at: DateTime<Utc>,
    },
}

/// The range of the provider's records in which calls sent from `first` to `last` must show.
pub fn range(first: DateTime<Utc>, last: DateTime<Utc>, timeout: TimeDelta) -> (DateTime<Utc>, DateTime<Utc>) {
    let margin = TimeDelta::seconds(MARGIN_SECONDS);
    (first - margin, last + timeout + margin)
}

/// What follows from one reading: absence is proven by two that count, the first at least 15 minutes after the
/// request ended, the second at least 5 minutes later by the provider's own clock. A reading counts when it is
/// complete, of the same organisation, shows every call known to be there, and no call that could be the attempt.
pub fn step(absence: &Absence, reading: &Reading, now: DateTime<Utc>) -> Step {
    let settled_at = absence.request_ended_at + TimeDelta::seconds(SETTLE_SECONDS);
    let wait = |counts_as_absent, forget, ask_again_at| Step::Wait { counts_as_absent, forget, ask_again_at };
    let between = TimeDelta::seconds(BETWEEN_SECONDS);
    if reading.shows_stranger {
        return wait(None, true, now + between);
    }
    if now < settled_at {
        let elapsed = (now - absence.request_ended_at).max(TimeDelta::seconds(LOOK_SECONDS));
        return wait(None, false, settled_at.min(now + elapsed));
    }
    let counts = reading.is_complete && reading.same_organisation && reading.shows_control;
    let (Some(date), true) = (reading.provider_date, counts) else {
        return wait(None, false, now + between);
    };
    match absence.first_seen_at {
        Some(first) if absence.absences > 0 && date - first >= between => Step::ProvenAbsent,
        Some(first) if absence.absences > 0 => {
            wait(None, false, now + (between - (date - first)).max(TimeDelta::seconds(1)))
        }
        _ => wait(Some(date), false, now + between),
    }
}

/// When to look again for an attempt whose absence nothing proves: soon after it was sent, then less and less often, for
/// as long as it is unknown.
pub fn look_again_at(request_ended_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let (shortest, longest) = (TimeDelta::seconds(LOOK_SECONDS), TimeDelta::seconds(MAX_LOOK_SECONDS));
    now + (now - request_ended_at).clamp(shortest, longest)
}

/// How long to wait before asking again about a call that goes on, after it was asked about `polls` times.
pub fn poll_after(polls: i64) -> TimeDelta {
    let doublings = u32::try_from(polls.clamp(0, 5)).unwrap_or(0);
    TimeDelta::seconds((POLL_SECONDS << doublings).min(MAX_POLL_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Reading = Reading {
        is_complete: true,
        provider_date: None,
        same_organisation: true,
        shows_control: true,
        shows_stranger: false,
    };

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn fresh() -> Absence {
        Absence { request_ended_at: at(0), absences: 0, first_seen_at: None }
    }

    fn seen_at(minutes: i64) -> Reading {
        Reading { provider_date: Some(at(minutes)), ..GOOD }
    }

    #[test]
    fn two_good_readings_far_enough_apart_prove_absence() {
        let Step::Wait { counts_as_absent: None, forget: false, .. } = step(&fresh(), &seen_at(14), at(14)) else {
            panic!("too early to count")
        };
        let Step::Wait { counts_as_absent: Some(first), .. } = step(&fresh(), &seen_at(15), at(15)) else {
            panic!("the first reading counts")
        };
        let once = Absence { absences: 1, first_seen_at: Some(first), ..fresh() };
        assert!(matches!(step(&once, &seen_at(19), at(25)), Step::Wait { .. }), "the provider's clock decides");
        assert_eq!(step(&once, &seen_at(20), at(20)), Step::ProvenAbsent);
    }

    #[test]
    fn a_reading_that_lacks_any_condition_proves_nothing() {
        let once = Absence { absences: 1, first_seen_at: Some(at(15)), ..fresh() };
        let good = seen_at(60);
        assert_eq!(step(&once, &good, at(60)), Step::ProvenAbsent);
        for bad in [
            Reading { is_complete: false, ..good },
            Reading { provider_date: None, ..good },
            Reading { same_organisation: false, ..good },
            Reading { shows_control: false, ..good },
            Reading { shows_stranger: true, ..good },
        ] {
            assert!(matches!(step(&once, &bad, at(60)), Step::Wait { counts_as_absent: None, .. }), "{bad:?}");
        }
    }

    #[test]
    fn a_stranger_takes_back_what_was_counted() {
        let once = Absence { absences: 1, first_seen_at: Some(at(15)), ..fresh() };
        let reading = Reading { shows_stranger: true, ..seen_at(30) };
        assert!(matches!(step(&once, &reading, at(30)), Step::Wait { forget: true, .. }));
    }

    #[test]
    fn the_next_question_is_always_later() {
        for minutes in [0, 1, 5, 14, 15, 16, 600] {
            for absence in [fresh(), Absence { absences: 1, first_seen_at: Some(at(15)), ..fresh() }] {
                if let Step::Wait { ask_again_at, .. } = step(&absence, &seen_at(minutes), at(minutes)) {
                    assert!(ask_again_at > at(minutes), "{minutes} {absence:?}");
                }
            }
        }
        for minutes in [-5, 0, 1, 5, 59, 61, 600] {
            let again = look_again_at(at(0), at(minutes));
            assert!(again > at(minutes) && again <= at(minutes) + TimeDelta::hours(1), "{minutes}");
        }
        assert_eq!(poll_after(0), TimeDelta::seconds(30));
        assert_eq!(poll_after(100), TimeDelta::seconds(600));
    }
}
