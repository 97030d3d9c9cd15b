//! An outcome and a timer's verdict at the same instant: the truth wins, whoever comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callops::domain::call::{AttemptState, CallStatus, Evidence};
use callops::domain::evidence::{Ending, Observation, Seen};
use callops::domain::outcome::Outcome;
use callops::store::evidence;
use chrono::TimeDelta;
use serde_json::json;
use tokio::sync::Barrier;

use super::stage::{Wait, ordinary};
use super::{say, size};
use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

/// Tells how each phone's call ended as soon as it rings, until this many have rung.
///
/// # Panics
/// When the run is over before they have.
async fn tell_at_once(story: &Story, rings: usize, is_over: &AtomicBool) {
    // A connection of its own, as a webhook has.
    let db = story.app.connect(1, false).await.expect("the database");
    let mut told = 0;
    let wait = Wait::begin();
    while told < rings {
        // Asked first: what rang before the end is in the ledger afterwards.
        let is_over = is_over.load(Ordering::SeqCst);
        let ledger = story.sandbox.rings();
        let now = story.now();
        let observations: Vec<Observation> = ledger[told..]
            .iter()
            .map(|ring| Observation {
                attempt_id: ring.name.clone().expect("a name"),
                by: Evidence::Provider,
                at: now,
                seen: Seen::Ended(Ending {
                    provider_call_id: Some(ring.id.clone()),
                    outcome: Outcome::Answered,
                    reason: None,
                    ..Ending::timeout(now)
                }),
            })
            .collect();
        told = ledger.len();
        let applied = db.write(async |tx| evidence::apply(tx, &observations, now).await).await.expect("recorded");
        assert!(applied.iter().all(|applied| applied.moved), "{applied:?}");
        assert!(told >= rings || wait.has_hope(is_over), "{told} of {rings} phones rang; the run is over: {is_over}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    db.close().await;
}

on_both_databases! {
    /// The answers to the requests come later than the ends of the calls, or are lost.
    async fn an_end_that_is_known_before_the_answer_to_the_request(db) {
        let people = ordinary(size(20, 200));
        let story = Story::begin(db, "2026-11-16T15:00:00Z").await;
        story.campaign("checkup", &rules()).await;
        story.people(&people, "checkup").await;
        story.fault(json!([
            {"kind": "delay_answer", "ms": 700, "match": {"every": 2}},
            // Longer than the client waits.
            {"kind": "delay_answer", "ms": 3000, "match": {"every": 5}},
        ]));
        let is_over = AtomicBool::new(false);
        let run = async {
            let ended = story.process(&[]).await;
            is_over.store(true, Ordering::SeqCst);
            ended
        };
        let (_, ()) = tokio::join!(run, tell_at_once(&story, people.len(), &is_over));
        for call in story.calls().await {
            let attempts = story.attempts(&call).await;
            assert_eq!(attempts.len(), 1, "{attempts:?}");
            assert_eq!((attempts[0].state, attempts[0].outcome), (AttemptState::Ended, Some(Outcome::Answered)));
            assert_eq!((call.status, attempts[0].evidence), (CallStatus::Completed, Some(Evidence::Provider)));
            assert!(attempts[0].provider_call_id.is_some(), "{attempts:?}");
        }
        story.sandbox.clear_faults();
        for _ in 0..5 {
            story.wait(TimeDelta::minutes(40));
            story.process(&[]).await;
        }
        assert_eq!(story.rings(), people.len(), "nobody is rung again");
        say(&format!("{} ends were known before the answers to their requests", people.len()));
    }

    async fn an_outcome_and_a_timeout_at_the_same_instant(db) {
        let races = size(40, 1000);
        let story = Arc::new(Story::begin(db, "2026-11-16T15:00:00Z").await);
        let mut rules = rules();
        // The worst case: a timeout is retried at once.
        rules.retry.on = vec![Outcome::Timeout, Outcome::NoAnswer];
        rules.retry.after_seconds = 1;
        story.campaign("checkup", &rules).await;
        let phones = ordinary(races);
        story.people(&phones, "checkup").await;
        for phone in &phones {
            story.script(phone, json!([{"ended_reason": "customer-ended-call", "stuck": "ringing"}])).await;
        }
        story.process(&["--limit", &races.to_string()]).await;
        assert_eq!(story.rings(), races);
        story.wait(TimeDelta::minutes(11));
        let mut attempts = Vec::new();
        for call in story.calls().await {
            attempts.push(story.attempts(&call).await.remove(0));
        }
        let mut truth_first = 0;
        for (n, attempt) in attempts.iter().enumerate() {
            let now = story.now();
            let answered = Ending { outcome: Outcome::Answered, reason: None, ..Ending::timeout(now) };
            let seen = |by, ending: Ending| Observation {
                attempt_id: attempt.id.clone(), by, at: now, seen: Seen::Ended(ending)
            };
            let barrier = Arc::new(Barrier::new(2));
            let tell = |observation: Observation| {
                let (story, barrier) = (Arc::clone(&story), Arc::clone(&barrier));
                async move {
                    // A connection each, so that nothing but the database decides who comes first.
                    let db = story.app.connect(1, false).await.expect("the database");
                    barrier.wait().await;
                    let applied = db
                        .write(async |tx| evidence::apply(tx, std::slice::from_ref(&observation), now).await)
                        .await
                        .expect("the observation is recorded");
                    db.close().await;
                    applied[0].moved
                }
            };
            let truth = tell(seen(Evidence::Provider, answered));
            let timer = tell(seen(Evidence::Timer, Ending::timeout(now)));
            let (told, timed_out) = if n % 2 == 0 {
                tokio::join!(truth, timer)
            } else {
                let (timer, truth) = tokio::join!(timer, truth);
                (truth, timer)
            };
            assert!(told, "the truth changes whatever the timer said");
            truth_first += usize::from(!timed_out);
        }
        for call in story.calls().await {
            let attempts = story.attempts(&call).await;
            assert_eq!(attempts.len(), 1, "{attempts:?}");
            assert_eq!((attempts[0].state, attempts[0].outcome), (AttemptState::Ended, Some(Outcome::Answered)));
            assert_eq!((call.status, attempts[0].evidence), (CallStatus::Completed, Some(Evidence::Provider)));
        }
        // Nobody who was reached is rung again.
        for _ in 0..5 {
            story.wait(TimeDelta::minutes(1));
            story.process(&[]).await;
        }
        assert_eq!(story.rings(), races);
        say(&format!("{races} races, the truth came first in {truth_first}"));
    }
}
