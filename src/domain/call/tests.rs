//! What may move, and what attempts add up to.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn fact(state: AttemptState, outcome: Option<Outcome>) -> AttemptFacts {
    AttemptFacts { state, outcome, reason: Some(format!("{state}")) }
}

/// All that an attempt can look like: outcomes belong to what ended or was refused.
fn facts() -> Vec<AttemptFacts> {
    let mut all = Vec::new();
    for state in AttemptState::ALL {
        match state {
            AttemptState::Ended => all.extend(Outcome::ALL.map(|outcome| fact(*state, Some(outcome)))),
            AttemptState::Refused => {
                all.extend([Outcome::InvalidNumber, Outcome::AccountError].map(|o| fact(*state, Some(o))));
                all.push(fact(*state, None));
            }
            _ => all.push(fact(*state, None)),
        }
    }
    all
}

fn any_state() -> impl Strategy<Value = AttemptState> {
    prop::sample::select(AttemptState::ALL)
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    prop::sample::select(Evidence::ALL)
}

fn any_fact() -> impl Strategy<Value = AttemptFacts> {
    prop::sample::select(facts())
}

fn any_decision() -> impl Strategy<Value = Option<Decision>> {
    prop::option::of(prop::sample::select(Decision::ALL))
}

const NEXT: &str = "2026-11-20T14:00:00Z";

#[test]
fn every_word_reads_back() {
    for state in AttemptState::ALL {
        assert_eq!(state.as_str().parse(), Ok(*state));
    }
    for status in CallStatus::ALL {
        assert_eq!(status.as_str().parse(), Ok(*status));
    }
    assert_eq!("Placed".parse::<AttemptState>().unwrap_err().to_string(), "\"Placed\" is no attempt state");
}

/// The whole table of moves by provable sight: what a provider's word may do to every state.
#[test]
fn a_providers_word_moves_everything_that_may_have_rung_and_nothing_else() {
    use AttemptState as S;
    let moves = |from: S| -> Vec<S> {
        S::ALL.iter().copied().filter(|to| may_move(from, Some(Evidence::Owner), *to, Evidence::Provider)).collect()
    };
    assert_eq!(moves(S::Claimed), [S::Void]);
    assert_eq!(moves(S::Void), []);
    assert_eq!(moves(S::Placing), [S::Placed, S::Answered, S::Ended, S::Refused, S::NotSent, S::Unknown, S::Lost]);
    assert_eq!(moves(S::Unknown), [S::Placed, S::Answered, S::Ended, S::Refused, S::NotSent, S::Lost]);
    for verdict in [S::Refused, S::NotSent, S::Lost] {
        assert_eq!(moves(verdict), [S::Placed, S::Answered, S::Ended], "{verdict}");
    }
    assert_eq!(moves(S::Placed), [S::Answered, S::Ended]);
    assert_eq!(moves(S::Answered), [S::Ended]);
    assert_eq!(moves(S::Ended), []);
}

#[test]
fn only_its_owner_commits_a_claim_and_anybody_gives_it_back() {
    for by in Evidence::ALL {
        let may_place = may_move(AttemptState::Claimed, None, AttemptState::Placing, *by);
        assert_eq!(may_place, *by == Evidence::Owner, "{by}");
        assert!(may_move(AttemptState::Claimed, None, AttemptState::Void, *by), "{by}");
    }
}

#[test]
fn time_alone_says_three_things() {
    use AttemptState as S;
    let mut by_time = Vec::new();
    for from in S::ALL {
        for to in S::ALL {
            if may_move(*from, None, *to, Evidence::Timer) {
                by_time.push((*from, *to));
            }
        }
    }
    assert_eq!(
        by_time,
        [
            (S::Claimed, S::Void),
            (S::Placing, S::Unknown),
            (S::Placed, S::Ended),
            (S::Answered, S::Ended),
            (S::Unknown, S::Lost),
        ]
    );
}

#[test]
fn an_end_is_replaced_by_better_evidence_only() {
    use Evidence as E;
    for established in E::ALL {
        for by in E::ALL {
            let better = matches!(established, E::Timer | E::Operator) && matches!(by, E::Owner | E::Provider);
            let may = may_move(AttemptState::Ended, Some(*established), AttemptState::Ended, *by);
            assert_eq!(may, better, "{established} then {by}");
        }
    }
}

proptest! {
    /// Whatever is said by whomever in whatever order: attempts go forward.
    #[test]
    fn attempts_never_go_back(
        said in prop::collection::vec((any_state(), any_evidence()), 0..40)
    ) {
        let (mut state, mut established) = (AttemptState::Claimed, None);
        let mut was_placing = false;
        for (to, by) in said {
            if !may_move(state, established, to, by) {
                continue;
            }
            if to == AttemptState::Placing {
                prop_assert_eq!((state, by), (AttemptState::Claimed, Evidence::Owner));
                was_placing = true;
            }
            if to == AttemptState::Void {
                prop_assert_eq!(state, AttemptState::Claimed);
            } else {
                prop_assert!(was_placing, "{state} became {to} without a commit");
            }
            if state == to {
                // Only the evidence behind an end gets better.
                prop_assert_eq!(state, AttemptState::Ended);
                prop_assert!(matches!(established, Some(Evidence::Timer | Evidence::Operator)));
                prop_assert!(matches!(by, Evidence::Owner | Evidence::Provider));
            } else {
                prop_assert!(to.rank() > state.rank(), "{state} became {to}");
            }
            // What time or an operator says never replaces what somebody saw to be over.
            if matches!(by, Evidence::Timer | Evidence::Operator) {
                prop_assert!(!matches!(
                    state,
                    AttemptState::Ended | AttemptState::Refused | AttemptState::NotSent | AttemptState::Lost | AttemptState::Void
                ));
            }
            (state, established) = (to, Some(by));
        }
        if state == AttemptState::Void {
            prop_assert!(!was_placing);
        }
    }

    /// A verdict of time or of an operator gives way to sight of the call.
    #[test]
    fn sight_replaces_verdicts(by in any_evidence(), to in any_state()) {
        let sight = [AttemptState::Placed, AttemptState::Answered, AttemptState::Ended].contains(&to);
        for verdict in [AttemptState::Unknown, AttemptState::Lost, AttemptState::NotSent, AttemptState::Refused] {
            for established in [Evidence::Timer, Evidence::Operator] {
                if sight && matches!(by, Evidence::Owner | Evidence::Provider) {
                    prop_assert!(may_move(verdict, Some(established), to, by), "{verdict} by {established} to {to}");
                }
            }
        }
    }
}

/// A name; attempts, decision and the next attempt; then status, outcome and reason.
type Row = (
    &'static str,
    Vec<AttemptFacts>,
    Option<Decision>,
    Option<DateTime<Utc>>,
    CallStatus,
    Option<Outcome>,
    Option<&'static str>,
);

#[test]
fn a_calls_status_is_what_its_attempts_add_up_to() {
    use AttemptState as S;
    use CallStatus as C;
    use Decision as D;
    use Outcome as O;
    let next = Some(at(NEXT));
    let ended = |outcome| fact(S::Ended, Some(outcome));
    let plain = |state| fact(state, None);
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        ("claimed", vec![plain(S::Claimed)], None, None, C::Scheduled, None, None),
        ("given back", vec![plain(S::Void)], None, next, C::Scheduled, None, None),
        ("given back for good", vec![plain(S::Void)], None, None, C::Failed, None, Some("nothing left to do")),
        ("no attempt yet", vec![], None, next, C::Scheduled, None, None),
        ("being sent", vec![plain(S::Placing)], None, None, C::Calling, None, None),
        ("unknown", vec![plain(S::Unknown)], None, None, C::Calling, None, None),
        ("unknown, cancelled", vec![plain(S::Unknown)], Some(D::Cancelled), None, C::Calling, None, None),
        ("placed", vec![plain(S::Placed)], None, None, C::Calling, None, None),
        ("answered", vec![plain(S::Answered)], None, None, C::InProgress, None, None),
        ("answered beside a second dial", vec![plain(S::Answered), plain(S::Placed)], None, None, C::InProgress, None, None),
        ("talked", vec![ended(O::Answered)], None, None, C::Completed, Some(O::Answered), Some("ended")),
        ("talked, then cancelled", vec![ended(O::Answered)], Some(D::Cancelled), None, C::Completed, Some(O::Answered), Some("ended")),
        ("talked, whatever was due", vec![ended(O::Answered), plain(S::Claimed)], None, next, C::Completed, Some(O::Answered), Some("ended")),
        ("talked late, after a busy one", vec![ended(O::Answered), ended(O::Busy)], None, next, C::Completed, Some(O::Answered), Some("ended")),
        ("voicemail", vec![ended(O::Voicemail)], None, None, C::Completed, Some(O::Voicemail), Some("ended")),
        ("voicemail to be tried again", vec![ended(O::Voicemail)], None, next, C::Scheduled, None, None),
        ("voicemail, then busy", vec![ended(O::Voicemail), ended(O::Busy)], None, None, C::Completed, Some(O::Voicemail), Some("ended")),
        ("busy", vec![ended(O::Busy)], None, None, C::Failed, Some(O::Busy), Some("ended")),
        ("busy, again later", vec![ended(O::Busy)], None, next, C::Scheduled, None, None),
        ("busy, claimed again", vec![ended(O::Busy), plain(S::Claimed)], None, None, C::Scheduled, None, None),
        ("busy, given back", vec![ended(O::Busy), plain(S::Void)], None, None, C::Failed, Some(O::Busy), Some("ended")),
        ("busy, cancelled", vec![ended(O::Busy)], Some(D::Cancelled), None, C::Cancelled, None, Some("cancelled")),
        ("busy, too late", vec![ended(O::Busy)], Some(D::SlotExpired), None, C::Failed, Some(O::Busy), Some("slot_expired")),
        ("called elsewhere", vec![], Some(D::CalledElsewhere), None, C::Completed, None, Some("called_elsewhere")),
        ("never dialled, too late", vec![plain(S::Void)], Some(D::SlotExpired), None, C::Failed, None, Some("slot_expired")),
        ("timeout", vec![ended(O::Timeout)], None, None, C::Failed, Some(O::Timeout), Some("ended")),
        ("lost", vec![plain(S::Lost)], None, None, C::Failed, None, Some("lost")),
        ("refused number", vec![fact(S::Refused, Some(O::InvalidNumber))], None, None, C::Failed, Some(O::InvalidNumber), Some("refused")),
        ("refused account, again later", vec![fact(S::Refused, Some(O::AccountError))], None, next, C::Scheduled, None, None),
        ("not sent, again later", vec![plain(S::NotSent)], None, next, C::Scheduled, None, None),
        ("cancelled before anything", vec![plain(S::Void)], Some(D::Cancelled), None, C::Cancelled, None, Some("cancelled")),
    ];
    for (what, attempts, decision, next_attempt_at, status, outcome, reason) in table {
        let derived = derive(&attempts, decision, next_attempt_at);
        assert_eq!(derived.status, status, "{what}");
        assert_eq!(derived.outcome, outcome, "{what}");
        assert_eq!(derived.reason.as_deref(), reason, "{what}");
    }
}

proptest! {
    #[test]
    fn a_status_follows_from_facts_alone(
        attempts in prop::collection::vec(any_fact(), 0..4),
        decision in any_decision(),
        is_due in any::<bool>(),
    ) {
        use AttemptState as S;
        let next = is_due.then(|| at(NEXT));
        let derived = derive(&attempts, decision, next);
        prop_assert_eq!(&derived, &derive(&attempts, decision, next));

        let rings = |a: &AttemptFacts| matches!(a.state, S::Placing | S::Placed | S::Answered | S::Unknown);
        let may_ring = attempts.iter().any(rings);
        let is_claimed = attempts.iter().any(|a| a.state == S::Claimed);
        let reached = attempts.iter().any(|a| a.outcome == Some(Outcome::Answered));
        let over = matches!(derived.status, CallStatus::Completed | CallStatus::Failed | CallStatus::Cancelled);
        prop_assert_eq!(may_ring, matches!(derived.status, CallStatus::Calling | CallStatus::InProgress));
        if !may_ring {
            prop_assert_eq!(
                derived.status == CallStatus::Scheduled,
                !reached && decision.is_none() && (is_due || is_claimed),
                "scheduled if and only if something waits"
            );
            if reached {
                prop_assert_eq!(derived.status, CallStatus::Completed);
                prop_assert_eq!(derived.outcome, Some(Outcome::Answered));
            }
            if !is_due && !is_claimed {
                prop_assert!(over, "nothing is live and nothing is due: {derived:?}");
            }
            if decision == Some(Decision::Cancelled) && !reached {
                prop_assert_eq!(derived.status, CallStatus::Cancelled);
            }
        }
        // Only what is over has an outcome, and whatever failed or was cancelled says why.
        prop_assert!(over || (derived.outcome.is_none() && derived.reason.is_none()));
        if matches!(derived.status, CallStatus::Failed | CallStatus::Cancelled) {
            prop_assert!(derived.reason.is_some());
        }
    }

    /// Whether somebody was reached does not depend on which attempt did it.
    #[test]
    fn the_order_of_attempts_does_not_decide_whether_somebody_was_reached(
        (attempts, shuffled) in prop::collection::vec(any_fact(), 1..4)
            .prop_flat_map(|attempts| (Just(attempts.clone()), Just(attempts).prop_shuffle())),
        decision in any_decision(),
    ) {
        let reached = |attempts: &[AttemptFacts]| {
            let derived = derive(attempts, decision, None);
            derived.outcome == Some(Outcome::Answered)
        };
        prop_assert_eq!(reached(&attempts), reached(&shuffled));
    }
}
