//! Claims, commits and evidence in the store: what the states promise whoever asks, in whatever order, at once.

mod claiming;

use std::collections::BTreeSet;
use std::sync::Barrier;

use callops::commands::calling::counts::Counts;
use callops::commands::calling::plan::{self, Search, Source};
use callops::domain::call::{AttemptFacts, AttemptState, CallStatus, Evidence, derive};
use callops::domain::dial::RefusalClass;
use callops::domain::evidence::{Ending, Observation, Seen};
use callops::domain::outcome::Outcome;
use callops::store::attempts::{self, Attempt};
use callops::store::claims::{self, Claim};
use callops::store::{Db, Tx, calls, control, evidence, runs, setup};
use chrono::{DateTime, TimeDelta, Utc};

use crate::common::story::{Story, rules};
use crate::common::{TestDatabase, block_on, on_both_databases};

const ADA: &str = "+12025550101";
/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
const OWNER: &str = "run-1";

fn phone(n: usize) -> String {
    format!("+120255502{n:02}")
}

async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.campaign("checkup", &rules()).await;
    story
}

/// Claims for everybody who is due now, of every campaign, with nothing written.
async fn plans(story: &Story) -> Vec<Claim> {
    let now = story.now();
    let due = story.write(async |tx| setup::campaigns_due(tx, now).await).await;
    let (contexts, _) = story.write(async |tx| plan::contexts(tx, due.clone()).await).await;
    let search = Search { requested_by: "test", dry_run: true, run_interval_seconds: 60 };
    let mut claims = Vec::new();
    for context in contexts {
        let mut source = Source::new(context);
        while let Some(due) = source.next(&story.app, search, &mut Counts::default()).await.expect("a plan") {
            claims.push(due.claim);
        }
    }
    claims
}

async fn claim(story: &Story, claims: &[Claim]) -> claims::Claimed {
    let now = story.now();
    let lease_until = now + TimeDelta::seconds(60);
    story.write(async |tx| claims::claim(tx, "acme-vapi", claims, OWNER, lease_until, now).await).await
}

async fn commit(story: &Story, ids: &[String], owner: &str, now: DateTime<Utc>) -> Vec<String> {
    story.write(async |tx| claims::commit_to_dial(tx, ids, owner, now).await).await
}

/// Claims and commits everybody who is due; yields the attempts, by phone.
async fn placing(story: &Story) -> Vec<String> {
    let claims = plans(story).await;
    let claimed = claim(story, &claims).await;
    assert_eq!(claimed.attempts.len(), claims.len(), "{claimed:?}");
    assert_eq!(commit(story, &claimed.attempts, OWNER, story.now()).await.len(), claims.len());
    claimed.attempts
}

async fn apply(story: &Story, observations: &[Observation]) -> Vec<evidence::Applied> {
    let now = story.now();
    story.write(async |tx| evidence::apply(tx, observations, now).await).await
}

async fn attempt(story: &Story, id: &str) -> Attempt {
    story.write(async |tx| Ok(attempts::attempt(tx, id).await?.expect("an attempt"))).await
}

async fn findings(story: &Story) -> Vec<String> {
    story.write(async |tx| runs::standing_findings(tx).await).await.into_iter().map(|finding| finding.kind).collect()
}

/// Runs a statement on whichever database it is; `$1` is the instant, where one is given.
async fn sql(story: &Story, statement: &'static str, at: Option<DateTime<Utc>>) {
    story
        .write(async |tx| {
            match tx {
                Tx::Sqlite(tx) => {
                    let query = sqlx::query(statement);
                    let query = if let Some(at) = at { query.bind(at) } else { query };
                    query.execute(&mut **tx).await?;
                }
                Tx::Postgres(tx) => {
                    let query = sqlx::query(statement);
                    let query = if let Some(at) = at { query.bind(at) } else { query };
                    query.execute(&mut **tx).await?;
                }
            }
            Ok(())
        })
        .await;
}

async fn count(story: &Story, statement: &'static str) -> i64 {
    story
        .write(async |tx| {
            Ok(match tx {
                Tx::Sqlite(tx) => sqlx::query_scalar(statement).fetch_one(&mut **tx).await?,
                Tx::Postgres(tx) => sqlx::query_scalar(statement).fetch_one(&mut **tx).await?,
            })
        })
        .await
}

fn seen(id: &str, by: Evidence, at: DateTime<Utc>, seen: Seen) -> Observation {
    Observation { attempt_id: id.to_owned(), by, at, seen }
}

fn accepted(id: &str) -> Seen {
    Seen::Accepted { provider_call_id: format!("vapi-{id}"), org_id: Some("org".to_owned()), queued: false }
}

fn live(id: &str, answered_at: Option<DateTime<Utc>>) -> Seen {
    Seen::Live { provider_call_id: Some(format!("vapi-{id}")), org_id: None, queued: false, answered_at }
}

fn ended(id: &str, outcome: Outcome, at: DateTime<Utc>) -> Seen {
    Seen::Ended(Ending { provider_call_id: Some(format!("vapi-{id}")), outcome, ..Ending::timeout(at) })
}

fn unknown() -> Seen {
    Seen::Unknown { reason: "no answer".to_owned() }
}

/// Insists that every call's stored status is what its stored attempts add up to.
async fn statuses_follow(story: &Story) {
    for call in story.calls().await {
        let attempts = story.attempts(&call).await;
        let facts: Vec<AttemptFacts> = attempts
            .iter()
            .map(|a| AttemptFacts { state: a.state, outcome: a.outcome, reason: a.reason.clone() })
            .collect();
        let derived = derive(&facts, call.decision, call.next_attempt_at);
        assert_eq!(
            (call.status, call.outcome, &call.reason),
            (derived.status, derived.outcome, &derived.reason),
            "{attempts:?}"
        );
        let over = matches!(call.status, CallStatus::Completed | CallStatus::Failed | CallStatus::Cancelled);
        assert_eq!(call.ended_at.is_some(), over, "{call:?}");
        assert!(call.next_attempt_at.is_none() || call.status == CallStatus::Scheduled, "{call:?}");
    }
}

/// How far an attempt has come; nothing may lower it.
fn distance(state: AttemptState) -> u8 {
    match state {
        AttemptState::Claimed => 0,
        AttemptState::Placing => 1,
        AttemptState::Unknown => 2,
        AttemptState::Void | AttemptState::Refused | AttemptState::NotSent | AttemptState::Lost => 3,
        AttemptState::Placed => 4,
        AttemptState::Answered => 5,
        AttemptState::Ended => 6,
    }
}

on_both_databases! {
    async fn whatever_is_learned_by_whomever_nothing_goes_back(db) {
        let story = begin(db).await;
        for n in 0..6 {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        let mut random = fastrand::Rng::with_seed(20_261_116);
        // Three attempts each: the first and second are tried again, whatever else is said of them meanwhile.
        for _ in 0..3 {
            let ids = placing(&story).await;
            let now = story.now();
            for _ in 0..25 {
                let batch: Vec<Observation> = (0..random.usize(1..4))
                    .map(|_| {
                        let id = random.choice(&ids).expect("an attempt");
                        let by = *random.choice(Evidence::ALL).expect("a witness");
                        let outcome = *random.choice(&[Outcome::Busy, Outcome::NoAnswer, Outcome::Timeout]).expect("one");
                        let what = match random.u8(0..9) {
                            0 => accepted(id),
                            1 => live(id, None),
                            2 => live(id, Some(now)),
                            3 => ended(id, outcome, now),
                            4 => unknown(),
                            5 => Seen::NotSent { reason: "absent".to_owned() },
                            6 => Seen::Lost { reason: "given up".to_owned() },
                            7 => Seen::Void { reason: "given back".to_owned() },
                            _ => Seen::Ended(Ending::timeout(now)),
                        };
                        seen(id, by, now, what)
                    })
                    .collect();
                let mut before = Vec::new();
                for id in &ids {
                    before.push(attempt(&story, id).await);
                }
                let applied = apply(&story, &batch).await;
                assert_eq!(applied.len(), batch.len());
                for old in before {
                    let new = attempt(&story, &old.id).await;
                    assert!(distance(new.state) >= distance(old.state), "{} became {} by {batch:?}", old.state, new.state);
                    assert!(new.state != AttemptState::Void, "it was committed to: {batch:?}");
                    assert!(old.provider_call_id.is_none() || new.provider_call_id == old.provider_call_id);
                    // Only the answer to our own request knows better than the provider's word, and once.
                    let own_answer = old.evidence == Some(Evidence::Provider) && new.evidence == Some(Evidence::Owner);
                    let is_told = matches!(old.evidence, Some(Evidence::Provider | Evidence::Owner));
                    if old.state == AttemptState::Ended && is_told && !own_answer {
                        assert_eq!((new.outcome, new.evidence), (old.outcome, old.evidence), "{batch:?}");
                    }
                    for said in applied.iter().filter(|applied| applied.attempt_id == new.id) {
                        assert_eq!(said.state, new.state);
                    }
                }
                statuses_follow(&story).await;
            }
            let last: Vec<Observation> =
                ids.iter().map(|id| seen(id, Evidence::Provider, now, ended(id, Outcome::Busy, now))).collect();
            apply(&story, &last).await;
            statuses_follow(&story).await;
            story.wait(TimeDelta::minutes(121));
        }
        assert_eq!(count(&story, "SELECT count(*) FROM attempts WHERE state NOT IN ('ended')").await, 0);
    }

    async fn what_the_provider_says_adds_up_the_same_in_every_order(db) {
        let story = begin(db).await;
        let orders: Vec<[usize; 4]> = (0..256)
            .map(|n| [n % 4, n / 4 % 4, n / 16 % 4, n / 64 % 4])
            .filter(|order| order.iter().collect::<BTreeSet<_>>().len() == 4)
            .collect();
        for n in 0..orders.len() {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
        }
        let ids = placing(&story).await;
        let (now, mut outcomes) = (story.now(), BTreeSet::new());
        for (index, (id, order)) in ids.iter().zip(&orders).enumerate() {
            for (turn, which) in order.iter().enumerate() {
                let what = [
                    seen(id, Evidence::Owner, now, unknown()),
                    seen(id, Evidence::Owner, now, accepted(id)),
                    seen(id, Evidence::Provider, now, live(id, Some(now))),
                    seen(id, Evidence::Provider, now, ended(id, Outcome::Busy, now)),
                ][*which].clone();
                // Some come twice, some together.
                let twice = vec![what; 1 + (index + turn) % 2];
                apply(&story, &twice).await;
                assert!(attempt(&story, id).await.provider_call_id.is_some() || *which == 0, "kept whoever brings it");
            }
            let a = attempt(&story, id).await;
            let call = story.write(async |tx| Ok(calls::call(tx, &a.call_id).await?.expect("a call"))).await;
            assert_eq!(a.provider_call_id, Some(format!("vapi-{id}")));
            outcomes.insert(format!(
                "{} {:?} {:?} rang {} {:?} {:?} {} {:?} {:?}",
                a.state, a.evidence, a.outcome, a.may_have_rung, a.next_poll_at, a.deadline_at, call.status, call.outcome, call.next_attempt_at
            ));
        }
        assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
        assert!(outcomes.first().expect("one").starts_with("ended Some(Provider) Some(Busy) rang true None None scheduled"), "{outcomes:?}");
        statuses_follow(&story).await;
    }

    async fn a_late_answer_cancels_the_pending_retry(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let id = placing(&story).await.remove(0);
        let now = story.now();
        apply(&story, &[seen(&id, Evidence::Operator, now, ended(&id, Outcome::NoAnswer, now))]).await;
        let waiting = story.only_call().await;
        assert_eq!((waiting.status, waiting.next_attempt_at), (CallStatus::Scheduled, Some(now + TimeDelta::hours(2))));
        story.wait(TimeDelta::hours(2));
        let planned = plans(&story).await;
        assert_eq!(planned.len(), 1);

        let applied = apply(&story, &[seen(&id, Evidence::Provider, story.now(), ended(&id, Outcome::Answered, now))]).await;
        assert_eq!((applied[0].moved, applied[0].call_status), (true, CallStatus::Completed));
        let call = story.only_call().await;
        assert_eq!((call.status, call.outcome, call.next_attempt_at), (CallStatus::Completed, Some(Outcome::Answered), None));
        assert!(plans(&story).await.is_empty());
        let late = claim(&story, &planned).await;
        assert!(late.attempts.is_empty(), "a run that planned before it learned: {late:?}");
        assert_eq!(story.attempts(&call).await.len(), 1);
    }

    async fn an_answer_that_comes_while_the_retry_is_claimed_keeps_it_from_being_dialled(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let id = placing(&story).await.remove(0);
        let now = story.now();
        apply(&story, &[seen(&id, Evidence::Operator, now, ended(&id, Outcome::NoAnswer, now))]).await;
        story.wait(TimeDelta::hours(2));
        let retry = claim(&story, &plans(&story).await).await.attempts;
        apply(&story, &[seen(&id, Evidence::Provider, story.now(), ended(&id, Outcome::Answered, now))]).await;
        assert!(commit(&story, &retry, OWNER, story.now()).await.is_empty());
        let void = Seen::Void { reason: "no longer due".to_owned() };
        apply(&story, &[seen(&retry[0], Evidence::Owner, story.now(), void)]).await;
        assert_eq!(story.only_call().await.status, CallStatus::Completed);
        statuses_follow(&story).await;
    }

    async fn an_answer_that_comes_while_the_retry_rings_leaves_it_alone_and_is_the_last_word(db) {
        let story = begin(db).await;
        // Attempt 2 comes to this, before or after attempt 1 turns out to have been answered.
        for (n, (outcome, told_after)) in [Outcome::NoAnswer, Outcome::Busy].into_iter().zip([false, true]).enumerate() {
            story.contact(&phone(n), |_| {}, &["checkup"]).await;
            let first = placing(&story).await.remove(0);
            let now = story.now();
            apply(&story, &[seen(&first, Evidence::Operator, now, ended(&first, Outcome::NoAnswer, now))]).await;
            story.wait(TimeDelta::hours(2));
            let second = placing(&story).await.remove(0);
            let now = story.now();
            apply(&story, &[seen(&second, Evidence::Owner, now, accepted(&second))]).await;
            let reached = seen(&first, Evidence::Provider, now, ended(&first, Outcome::Answered, now));
            let over = seen(&second, Evidence::Provider, now, ended(&second, outcome, now));
            if told_after {
                apply(&story, &[over]).await;
                apply(&story, &[reached]).await;
            } else {
                apply(&story, &[reached]).await;
                let ringing = attempt(&story, &second).await;
                assert_eq!(ringing.state, AttemptState::Placed, "it rings, whatever was said of the first");
                assert!(ringing.next_poll_at.is_some() && ringing.deadline_at.is_some(), "and is looked after");
                apply(&story, &[over]).await;
            }
            let call_id = attempt(&story, &first).await.call_id;
            let call = story.write(async |tx| Ok(calls::call(tx, &call_id).await?.expect("a call"))).await;
            let verdict = (call.status, call.outcome, call.next_attempt_at);
            assert_eq!(verdict, (CallStatus::Completed, Some(Outcome::Answered), None), "told after: {told_after}");
            story.wait(TimeDelta::hours(2));
            assert!(plans(&story).await.is_empty(), "whoever was reached is not called again");
            statuses_follow(&story).await;
        }
    }

    async fn a_lost_attempt_that_turns_out_to_be_live_beside_another_is_a_finding(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let first = placing(&story).await.remove(0);
        let now = story.now();
        apply(&story, &[seen(&first, Evidence::Owner, now, unknown())]).await;
        apply(&story, &[seen(&first, Evidence::Timer, now, Seen::Lost { reason: "a day".to_owned() })]).await;
        story.wait(TimeDelta::hours(24));
        let second = placing(&story).await.remove(0);
        let now = story.now();
        apply(&story, &[seen(&first, Evidence::Provider, now, live(&first, None))]).await;
        let old = attempt(&story, &first).await;
        assert_eq!((old.state, old.provider_call_id), (AttemptState::Lost, Some(format!("vapi-{first}"))));
        assert_eq!(findings(&story).await, ["second_live_call"]);
        assert_eq!(attempt(&story, &second).await.state, AttemptState::Placing);
        statuses_follow(&story).await;
        // Its end is believed at once.
        apply(&story, &[seen(&first, Evidence::Provider, now, ended(&first, Outcome::Answered, now))]).await;
        assert_eq!(attempt(&story, &first).await.state, AttemptState::Ended);
        statuses_follow(&story).await;
    }

    async fn of_two_lost_attempts_found_live_at_once_one_is_live_and_one_a_finding(db) {
        let story = begin(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let mut lost = Vec::new();
        for _ in 0..2 {
            let id = placing(&story).await.remove(0);
            let now = story.now();
            apply(&story, &[seen(&id, Evidence::Timer, now, unknown())]).await;
            apply(&story, &[seen(&id, Evidence::Timer, now, Seen::Lost { reason: "a day".to_owned() })]).await;
            lost.push(id);
            story.wait(TimeDelta::hours(24));
        }
        let now = story.now();
        let both: Vec<Observation> =
            lost.iter().map(|id| seen(id, Evidence::Provider, now, live(id, None))).collect();
        let applied = apply(&story, &both).await;
        let states: Vec<AttemptState> = applied.iter().map(|applied| applied.state).collect();
        assert_eq!(states, [AttemptState::Placed, AttemptState::Lost]);
        assert_eq!(findings(&story).await, ["second_live_call"]);
        statuses_follow(&story).await;
    }
}
