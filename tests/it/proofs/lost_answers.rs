//! Answers that are lost, late, cut or garbage, and providers that ask for patience.

use callops::domain::call::AttemptState;
use callops::domain::outcome::Outcome;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::stage::ordinary;
use super::{say, size};
use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

const CONTROL: &str = "+12025550100";
const BEGINS: &str = "2026-11-16T15:00:00Z";

/// These people are due, and the organisation is known by a call of half an hour ago.
async fn due(story: &Story, people: &[String]) {
    // One attempt each: whoever rings twice was rung by mistake.
    let mut rules = rules();
    rules.retry.on = vec![Outcome::Busy];
    story.campaign("checkup", &rules).await;
    story.contact(CONTROL, |_| {}, &["checkup"]).await;
    story.script(CONTROL, json!(["customer-ended-call"])).await;
    story.process(&[]).await;
    story.wait(TimeDelta::minutes(30));
    story.collect().await;
    story.people(people, "checkup").await;
    for phone in people {
        story.script(phone, json!(["customer-ended-call", "customer-ended-call"])).await;
    }
}

/// Every minute what cron does, for so many minutes.
async fn minutes(story: &Story, minutes: i64) {
    for _ in 0..minutes {
        story.process(&[]).await;
        story.collect().await;
        story.wait(TimeDelta::minutes(1));
    }
}

/// Everybody rang once, and nothing is left unclear.
async fn everybody_rang_once(story: &Story, people: &[String], what: &str) {
    let rings = story.sandbox.rings();
    for phone in people {
        let count = rings.iter().filter(|ring| ring.phone == *phone).count();
        assert_eq!(count, 1, "{phone} with {what}");
    }
    for call in story.calls().await {
        for attempt in story.attempts(&call).await {
            let settled = !attempt.state.is_live() && attempt.state != AttemptState::Lost;
            assert!(settled, "{what}: {attempt:?}");
        }
    }
}

on_both_databases! {
    async fn calls_whose_answers_are_lost(db) {
        let (people, percents, lags) = (size(60, 1000), [10, 50, 100], [0, 5, 60]);
        let people = ordinary(people);
        let backend = db.backend();
        // The short form takes each share and each lag once.
        for (n, percent) in percents.into_iter().enumerate() {
            for (_, lag) in lags.into_iter().enumerate().filter(|(m, _)| size(*m == n, true)) {
                let story = Story::begin(crate::common::TestDatabase::new(backend), BEGINS).await;
                due(&story, &people).await;
                story.fault(json!([
                    {"kind": "accept_and_drop", "match": {"percent": percent}},
                    {"kind": "list_lag", "seconds": lag},
                ]));
                minutes(&story, 45).await;
                everybody_rang_once(&story, &people, &format!("{percent} % dropped and listed {lag} s late")).await;
            }
        }
        drop(db);
        say(&format!("{} people, with {percents:?} % of the answers dropped", people.len()));
    }

    async fn answers_that_say_nothing(db) {
        let people = ordinary(size(12, 200));
        let backend = db.backend();
        for fault in ["delay_answer", "cut_body", "no_id", "broken_json"] {
            let story = Story::begin(crate::common::TestDatabase::new(backend), BEGINS).await;
            due(&story, &people).await;
            // Longer than the client waits.
            story.fault(json!({"kind": fault, "ms": 2500, "match": {"every": 2}}));
            minutes(&story, 45).await;
            everybody_rang_once(&story, &people, fault).await;
        }
        drop(db);
    }

    /// Retry-After in seconds, as a date, absent, and absurd: until then the account is not asked for a call.
    async fn a_provider_that_asks_for_patience(db) {
        let people = ordinary(6);
        let backend = db.backend();
        for (retry_after, patience) in [("90", 90), ("date+120", 120), ("absent", 1), ("absurd", 1800)] {
            let story = Story::begin(crate::common::TestDatabase::new(backend), BEGINS).await;
            due(&story, &people).await;
            let begins = story.now();
            story.fault(json!({"kind": "too_many_requests", "retry_after": retry_after, "times": 1}));
            // One at a time, so that the refusal is known before anybody else is asked for.
            for _ in 0..300 {
                story.process(&["--concurrency", "1"]).await;
                story.wait(TimeDelta::seconds(15));
                if story.rings() > people.len() {
                    break;
                }
            }
            let asked: Vec<DateTime<Utc>> = story
                .requests()
                .await
                .iter()
                .filter(|request| request["method"] == "POST" && request["path"] == "/call")
                .map(|request| request["at"].as_str().expect("a time").parse().expect("a time"))
                .filter(|at| *at >= begins)
                .collect();
            assert_eq!(asked.len(), people.len() + 1, "{retry_after}: {asked:?}");
            let waited = asked.iter().find(|at| **at > asked[0]).map(|at| *at - asked[0]);
            // Whoever was committed before the refusal was known may still have been asked for.
            let at_once = asked.iter().filter(|at| **at == asked[0]).count();
            assert!(at_once <= 2, "{retry_after}: {asked:?}");
            assert!(
                waited.is_some_and(|waited| waited >= TimeDelta::seconds(patience) && waited <= TimeDelta::minutes(61)),
                "{retry_after}: asked again after {waited:?}: {asked:?}"
            );
            for phone in &people {
                assert_eq!(story.rings_of(phone), 1, "{retry_after}");
            }
        }
        drop(db);
    }
}

impl Story {
    /// Every request that the sandbox saw.
    #[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
    async fn requests(&self) -> Vec<Value> {
        let url = format!("{}/_sandbox/requests", self.sandbox.url());
        reqwest::Client::new().get(url).send().await.expect("an answer").json().await.expect("JSON")
    }
}
