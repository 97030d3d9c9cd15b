//! What follows from what was learned.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-11-20T14:00:00Z")
}

fn observed(by: Evidence, seen: Seen) -> Observation {
    Observation { attempt_id: "a".to_owned(), by, at: now(), seen }
}

fn ended(outcome: Outcome, never_rang: bool) -> Seen {
    Seen::Ended(Ending {
        provider_call_id: Some("call-1".to_owned()),
        outcome,
        never_rang,
        reason: None,
        ended_at: now() - TimeDelta::minutes(3),
        record: Record::default(),
    })
}

fn refused(class: RefusalClass, retry_at: Option<DateTime<Utc>>) -> Seen {
    Seen::Refused { class, reason: "no".to_owned(), retry_at }
}

fn next(by: Evidence, seen: Seen, rang: usize) -> Option<DateTime<Utc>> {
    next_attempt_at(&RetryPolicy::default(), &observed(by, seen), rang, now())
}

#[test]
fn only_listed_outcomes_are_tried_again_two_hours_after_their_end() {
    for outcome in Outcome::ALL {
        let listed = matches!(outcome, Outcome::NoAnswer | Outcome::Busy | Outcome::Timeout);
        let expected = if listed {
            Some(at("2026-11-20T15:57:00Z"))
        } else if outcome == Outcome::AccountError {
            // Our own fault: nobody was called, and the call waits for a while.
            Some(at("2026-11-20T14:05:00Z"))
        } else {
            None
        };
        assert_eq!(next(Evidence::Provider, ended(outcome, false), 1), expected, "{outcome}");
    }
}

#[test]
fn a_timeout_is_tried_again_only_when_somebody_saw_the_call_to_be_over() {
    assert_eq!(next(Evidence::Timer, Seen::Ended(Ending::timeout(now())), 1), None);
    for by in [Evidence::Provider, Evidence::Owner, Evidence::Operator] {
        assert!(next(by, Seen::Ended(Ending::timeout(now())), 1).is_some(), "{by}");
    }
}

#[test]
fn the_budget_counts_attempts_that_may_have_rung() {
    for (rang, again) in [(1, true), (2, true), (3, false), (4, false)] {
        assert_eq!(next(Evidence::Provider, ended(Outcome::Busy, false), rang).is_some(), again, "{rang}");
        // What provably did not ring costs nothing.
        assert!(next(Evidence::Owner, Seen::NotSent { reason: String::new() }, rang).is_some());
        assert!(next(Evidence::Provider, ended(Outcome::Cancelled, true), rang).is_some());
    }
}

#[test]
fn a_refusal_waits_for_what_has_to_change() {
    let later = at("2026-11-20T14:20:00Z");
    assert_eq!(next(Evidence::Owner, refused(RefusalClass::Number, Some(later)), 0), None, "this number is no number");
    for class in [RefusalClass::Account, RefusalClass::Campaign, RefusalClass::Capacity] {
        assert_eq!(next(Evidence::Owner, refused(class, Some(later)), 0), Some(later), "{class}");
        assert_eq!(next(Evidence::Owner, refused(class, None), 0), Some(at("2026-11-20T14:00:30Z")), "{class}");
    }
}

#[test]
fn what_is_not_over_is_not_tried_again() {
    let live = |answered_at| Seen::Live {
        provider_call_id: Some("call-1".to_owned()),
        org_id: None,
        queued: false,
        answered_at,
    };
    let accepted = Seen::Accepted { provider_call_id: "call-1".to_owned(), org_id: None, queued: false };
    for seen in [
        accepted,
        live(None),
        live(Some(now())),
        Seen::Unknown { reason: String::new() },
        Seen::Lost { reason: String::new() },
    ] {
        assert_eq!(next(Evidence::Provider, seen.clone(), 1), None, "{seen:?}");
        assert!(seen.may_have_rung(), "{seen:?}");
    }
    assert_eq!(next(Evidence::Owner, Seen::Void { reason: String::new() }, 0), Some(now()));
}

fn report(state: ProviderState) -> CallReport {
    CallReport {
        provider_call_id: "call-1".to_owned(),
        org_id: Some("org".to_owned()),
        correlation: None,
        to: None,
        line: None,
        agent: None,
        state,
        ended_reason: Some("customer-busy".to_owned()),
        outcome: Some(Outcome::Busy),
        never_rang: false,
        created_at: None,
        started_at: Some(at("2026-11-20T13:50:00Z")),
        ended_at: Some(at("2026-11-20T13:51:30Z")),
        cost_usd: None,
        summary: None,
        transcript: None,
        analysis: None,
        is_complete: true,
        raw: json!({}),
    }
}

#[test]
fn a_record_says_where_its_call_stands() {
    use AttemptState as S;
    for (state, expected) in [
        (ProviderState::Missing, None),
        (ProviderState::Other("teleported".to_owned()), None),
        (ProviderState::Scheduled, Some(S::Placed)),
        (ProviderState::Queued, Some(S::Placed)),
        (ProviderState::Ringing, Some(S::Placed)),
        (ProviderState::InProgress, Some(S::Answered)),
        (ProviderState::Ended, Some(S::Ended)),
    ] {
        let seen = Seen::from_report(&report(state.clone()), now());
        assert_eq!(seen.as_ref().map(Seen::state), expected, "{state:?}");
        if let Some(Seen::Live { queued, .. }) = seen {
            assert_eq!(queued, state == ProviderState::Scheduled);
        }
    }
    let Some(Seen::Ended(ending)) = Seen::from_report(&report(ProviderState::Ended), now()) else { panic!("ended") };
    assert_eq!((ending.record.duration_seconds, ending.ended_at), (Some(90), at("2026-11-20T13:51:30Z")));
    let silent = CallReport { outcome: None, ended_at: None, started_at: None, ..report(ProviderState::Ended) };
    let Some(Seen::Ended(ending)) = Seen::from_report(&silent, now()) else { panic!("ended") };
    assert_eq!((ending.outcome, ending.ended_at), (Outcome::Unknown, now()), "an unknown reason is never retried");
}

#[test]
fn an_answer_says_when_to_come_back() {
    let answer = DialAnswer::Refused {
        class: RefusalClass::Capacity,
        reason: "slow down".to_owned(),
        http_status: Some(429),
        retry_after: Some(std::time::Duration::from_secs(90)),
    };
    let seen = Seen::from_dial(DialResult { answer, provider_date: None }, now());
    assert_eq!(
        seen,
        Seen::Refused {
            class: RefusalClass::Capacity,
            reason: "slow down".to_owned(),
            retry_at: Some(at("2026-11-20T14:01:30Z")),
        }
    );
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    (prop::collection::vec(prop::sample::select(Outcome::ALL.to_vec()), 0..5), 0_i64..100_000, 0_i64..5)
        .prop_map(|(on, after_seconds, max_attempts)| RetryPolicy { on, after_seconds, max_attempts })
}

proptest! {
    #[test]
    fn nothing_that_may_have_rung_is_tried_again_beyond_list_proof_and_budget(
        policy in any_policy(),
        outcome in prop::sample::select(Outcome::ALL.to_vec()),
        never_rang in any::<bool>(),
        by in prop::sample::select(Evidence::ALL),
        rang in 0_usize..6,
    ) {
        let observation = observed(by, ended(outcome, never_rang));
        let next = next_attempt_at(&policy, &observation, rang, now());
        if observation.seen.may_have_rung() && next.is_some() {
            prop_assert!(policy.on.contains(&outcome));
            prop_assert!(i64::try_from(rang).unwrap() < policy.max_attempts);
            prop_assert!(outcome != Outcome::Timeout || by != Evidence::Timer);
            prop_assert_eq!(next, Some(now() - TimeDelta::minutes(3) + TimeDelta::seconds(policy.after_seconds)));
        }
        if !observation.seen.may_have_rung() {
            prop_assert!(next.is_some(), "what never rang is still to be called");
        }
    }
}

#[test]
fn of_two_ends_the_same_one_counts_in_either_order() {
    for first in Outcome::ALL {
        for second in Outcome::ALL {
            let after = |known, told| if says_more(told, Some(known)) { told } else { known };
            let decisive = [Outcome::Answered, Outcome::AgentFailed, Outcome::Unknown];
            let settled = decisive.contains(&first) || decisive.contains(&second);
            if settled {
                assert_eq!(after(first, second), after(second, first), "{first} {second}");
            } else {
                assert_eq!(after(first, second), first, "the first of two that contradict each other stays");
            }
        }
        assert!(!says_more(first, Some(first)));
    }
}
