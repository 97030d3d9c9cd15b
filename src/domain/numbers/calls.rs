//! A carrier's records of calls beside the attempts that were made here.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

/// A call that the carrier placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'p> {
    /// The carrier's id of it.
    pub id: &'p str,
    /// Who was called, E.164.
    pub to: &'p str,
    /// The tenant whose number called, where that is known.
    pub tenant: Option<&'p str>,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// An attempt that was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted<'a> {
    /// The attempt.
    pub id: &'a str,
    /// Who was called, E.164.
    pub to: &'a str,
    /// For whom.
    pub tenant: &'a str,
    /// When it was committed to.
    pub at: DateTime<Utc>,
}

/// How long before its commit a call can have begun, by two clocks.
const EARLY: TimeDelta = TimeDelta::minutes(2);
/// How long after its commit a call can have begun: providers queue, and carriers let calls wait.
const LATE: TimeDelta = TimeDelta::minutes(10);
/// One phone that is called twice within this time notices.
pub const REPEATED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// Which attempt each call is of, by the ids of both. A call is of an attempt of the tenant whose number called, if that is
/// known, that was committed to not long before; of several the closest, and each for one other at most. What lies apart
/// is nobody's.
pub fn matched<'p>(placed: &[Placed<'p>], attempted: &[Attempted<'p>]) -> HashMap<&'p str, &'p str> {
    let mut by_phone: HashMap<&str, Vec<&Attempted<'p>>> = HashMap::new();
    for attempt in attempted {
        by_phone.entry(attempt.to).or_default().push(attempt);
    }
    let mut pairs = Vec::new();
    for call in placed {
        for attempt in by_phone.get(call.to).into_iter().flatten() {
            let late = call.started_at - attempt.at;
            let is_its = call.tenant.is_none_or(|tenant| tenant == attempt.tenant);
            if is_its && late >= -EARLY && late <= LATE {
                // A call before its commit takes two clocks that differ; one after it takes nothing.
                pairs.push((late < TimeDelta::zero(), late.abs(), call.id, attempt.id));
            }
        }
    }
    pairs.sort_unstable();
    let (mut calls, mut attempts) = (HashMap::new(), HashSet::new());
    for (_, _, call, attempt) in pairs {
        if !calls.contains_key(call) && attempts.insert(attempt) {
            calls.insert(call, attempt);
        }
    }
    calls
}

/// The calls that followed another one to the same phone within [`REPEATED_WITHIN`], each with the one before.
pub fn repeated<'p>(placed: &[Placed<'p>]) -> Vec<(&'p str, &'p str)> {
    let mut sorted: Vec<&Placed<'p>> = placed.iter().collect();
    sorted.sort_unstable_by_key(|call| (call.to, call.started_at, call.id));
    let pairs = sorted.windows(2).map(|pair| (pair[0], pair[1]));
    let is_soon = |(one, next): &(&Placed<'_>, &Placed<'_>)| {
        one.to == next.to && next.started_at - one.started_at <= REPEATED_WITHIN
    };
    pairs.filter(is_soon).map(|(one, next)| (one.id, next.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn call<'p>(id: &'p str, to: &'p str, minutes: i64) -> Placed<'p> {
        Placed { id, to, tenant: None, started_at: at(minutes) }
    }

    fn attempt<'a>(id: &'a str, to: &'a str, minutes: i64) -> Attempted<'a> {
        Attempted { id, to, tenant: "acme", at: at(minutes) }
    }

    #[test]
    fn each_call_is_of_one_attempt_at_most_and_the_closest_one() {
        let calls = [call("c1", "a", 10), call("c2", "a", 12), call("c3", "b", 10), call("c4", "a", 60)];
        let attempts = [attempt("t1", "a", 9), attempt("t2", "b", 13), attempt("t3", "a", 59), attempt("t4", "c", 10)];
        let matched = matched(&calls, &attempts);
        assert_eq!(matched.get("c1"), Some(&"t1"));
        assert_eq!(matched.get("c2"), None, "the only attempt at the time is taken");
        assert_eq!(matched.get("c3"), None, "it began three minutes before the attempt");
        assert_eq!(matched.get("c4"), Some(&"t3"));
        assert_eq!(super::matched(&[call("c", "a", 10)], &[attempt("t", "a", 0)]).len(), 1, "as late as can be");
        assert_eq!(super::matched(&[call("c", "a", 11)], &[attempt("t", "a", 0)]).len(), 0);
        // The late call of a first attempt is not that of the retry that was committed to a moment after it began.
        let retried = super::matched(&[call("c", "a", 9)], &[attempt("t1", "a", 1), attempt("t2", "a", 10)]);
        assert_eq!(retried.get("c"), Some(&"t1"));
    }

    #[test]
    fn a_call_from_another_tenants_number_is_not_this_ones() {
        let from = |tenant| [Placed { tenant, ..call("c", "a", 1) }];
        assert_eq!(matched(&from(Some("bell")), &[attempt("t", "a", 0)]).len(), 0);
        assert_eq!(matched(&from(Some("acme")), &[attempt("t", "a", 0)]).len(), 1);
        assert_eq!(matched(&from(None), &[attempt("t", "a", 0)]).len(), 1);
    }

    #[test]
    fn calls_that_follow_soon_are_repeated() {
        let calls = [call("c3", "a", 21), call("c1", "a", 0), call("c2", "a", 10), call("x", "b", 5)];
        assert_eq!(repeated(&calls), [("c1", "c2")]);
    }
}
