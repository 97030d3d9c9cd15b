//! An outcome and a timer's verdict at the same instant: the truth wins, whoever comes first.

use std::sync::Arc;

use callops::domain::call::{AttemptState, CallStatus, Evidence};
use callops::domain::evidence::{Ending, Observation, Seen};
use callops::domain::outcome::Outcome;
use callops::store::evidence;
use chrono::TimeDelta;
use serde_json::json;
use tokio::sync::Barrier;

use super::stage::ordinary;
use super::{say, size};
use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

on_both_databases! {
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
