//! A carrier's records of calls beside the attempts that were made here.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

/// A call that the carrier placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The carrier's id of it.
    pub id: String,
    /// Who was called, E.164.
    pub to: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// An attempt that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The attempt.
    pub id: String,
    /// Who was called, E.164.
    pub to: String,
    /// When it was committed to.
    pub at: DateTime<Utc>,
}

/// How long before its commit a call can have begun, by two clocks.
const EARLY: TimeDelta = TimeDelta::minutes(2);
/// How long after its commit a call can have begun: providers queue, and carriers let calls wait.
const LATE: TimeDelta = TimeDelta::minutes(10);
/// One phone that is called twice within this time notices.
pub const REPEATED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// Which attempt each call is of, by the ids of both: those that lie closest together are taken for one another first, and
/// each for one other at most. What lies apart is nobody's.
pub fn matched(placed: &[Placed], attempted: &[Attempted]) -> HashMap<String, String> {
    let mut by_phone: HashMap<&str, Vec<&Attempted>> = HashMap::new();
    for attempt in attempted {
        by_phone.entry(&attempt.to).or_default().push(attempt);
    }
    let mut pairs = Vec::new();
    for call in placed {
        for attempt in by_phone.get(call.to.as_str()).into_iter().flatten() {
            let late = call.started_at - attempt.at;
            if late >= -EARLY && late <= LATE {
                pairs.push((late.abs(), &call.id, &attempt.id));
            }
        }
    }
    pairs.sort();
    let (mut calls, mut attempts) = (HashMap::new(), HashSet::new());
    for (_, call, attempt) in pairs {
        if !calls.contains_key(call) && attempts.insert(attempt) {
            calls.insert(call.clone(), attempt.clone());
        }
    }
    calls
}

/// The calls that followed another one to the same phone within [`REPEATED_WITHIN`], each with the one before.
pub fn repeated(placed: &[Placed]) -> Vec<(&Placed, &Placed)> {
    let mut sorted: Vec<&Placed> = placed.iter().collect();
    sorted.sort_by(|one, other| (&one.to, one.started_at, &one.id).cmp(&(&other.to, other.started_at, &other.id)));
    let pairs = sorted.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(one, next)| one.to == next.to && next.started_at - one.started_at <= REPEATED_WITHIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn call(id: &str, to: &str, minutes: i64) -> Placed {
        Placed { id: id.to_owned(), to: to.to_owned(), started_at: at(minutes) }
    }

    fn attempt(id: &str, to: &str, minutes: i64) -> Attempted {
        Attempted { id: id.to_owned(), to: to.to_owned(), at: at(minutes) }
    }

    #[test]
    fn each_call_is_of_one_attempt_at_most_and_the_closest_one() {
        let calls = [call("c1", "a", 10), call("c2", "a", 12), call("c3", "b", 10), call("c4", "a", 60)];
        let attempts = [attempt("t1", "a", 9), attempt("t2", "b", 13), attempt("t3", "a", 59), attempt("t4", "c", 10)];
        let matched = matched(&calls, &attempts);
        assert_eq!(matched.get("c1").map(String::as_str), Some("t1"));
        assert_eq!(matched.get("c2"), None, "the only attempt at the time is taken");
        assert_eq!(matched.get("c3"), None, "it began three minutes before the attempt");
        assert_eq!(matched.get("c4").map(String::as_str), Some("t3"));
        assert_eq!(super::matched(&[call("c", "a", 10)], &[attempt("t", "a", 0)]).len(), 1, "as late as can be");
        assert_eq!(super::matched(&[call("c", "a", 11)], &[attempt("t", "a", 0)]).len(), 0);
    }

    #[test]
    fn calls_that_follow_soon_are_repeated() {
        let calls = [call("c3", "a", 21), call("c1", "a", 0), call("c2", "a", 10), call("x", "b", 5)];
        let pairs: Vec<(&str, &str)> =
            repeated(&calls).into_iter().map(|(one, next)| (one.id.as_str(), next.id.as_str())).collect();
        assert_eq!(pairs, [("c1", "c2")]);
    }
}
