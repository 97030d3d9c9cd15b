//! Webhooks are lost, come twice, late and in any order, or never: in the end the same is known.

use std::collections::BTreeMap;

use callops::domain::campaign::Rules;
use callops::domain::conversation::ConversationStatus;
use callops::domain::evidence::RetryPolicy;
use callops::sandbox::Webhook;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ACCOUNT_SECRET, Serving, begin, until};
use crate::common::story::{Story, reqwest_client, rules};
use crate::common::{TestDatabase, block_on, on_both_databases};

const PEOPLE: usize = 60;

/// A campaign with people whose calls come to whatever the sandbox draws, tried twice where nobody answers.
async fn campaign(db: TestDatabase) -> Story {
    let story = begin(db, &[]).await;
    let retry = RetryPolicy { after_seconds: 600, max_attempts: 2, ..RetryPolicy::default() };
    story.campaign("checkup", &Rules { retry, ..rules() }).await;
    let phones: Vec<String> = (0..PEOPLE).map(|n| format!("+12025550{:03}", n + 100)).collect();
    story.people(&phones, "checkup").await;
    // The provider has a cost, a transcript and an analysis some time after the end.
    story.control("settings", json!({"analysis_seconds": 20})).await;
    story
}

/// Waits until the sandbox has told all that is due, and was answered.
async fn told(story: &Story) {
    let url = format!("{}/_sandbox/webhook", story.sandbox.url());
    until("told", async || {
        let outbox: Value = reqwest_client().get(&url).send().await.expect("an answer").json().await.expect("JSON");
        let number = |key: &str| outbox[key].as_u64().expect("a number");
        number("due") == 0 && number("sent") + number("waiting") == number("queued")
    })
    .await;
}

/// What cron does for so many minutes, with the webhooks of each minute arriving before it.
async fn minutes(story: &Story, minutes: i64) {
    for _ in 0..minutes {
        story.wait(TimeDelta::minutes(1));
        told(story).await;
        story.process(&["--concurrency", "200"]).await;
        story.sweep().await;
        story.collect().await;
    }
}

/// All that is known in the end, by phone: of each attempt and its conversation, and of the call.
async fn known(story: &Story) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for call in story.calls().await {
        let mut attempts = Vec::new();
        for attempt in story.attempts(&call).await {
            let conversation = story.conversation(&attempt.id).await.unwrap_or_else(|| panic!("{attempt:?}"));
            assert_eq!(conversation.status, ConversationStatus::Completed, "{conversation:?}");
            assert_eq!(attempt.ended_at, conversation.ended_at);
            attempts.push(json!({
                "state": attempt.state.as_str(), "outcome": attempt.outcome, "reason": attempt.reason,
                "evidence": attempt.evidence.map(callops::domain::call::Evidence::as_str),
                "may_have_rung": attempt.may_have_rung, "cost_usd": conversation.cost_usd,
                "duration_seconds": conversation.duration_seconds, "summary": conversation.summary,
                "transcript": conversation.transcript, "analysis": conversation.analysis,
                "error": conversation.last_error,
            }));
        }
        let end = json!({"attempts": attempts, "status": call.status.as_str(), "outcome": call.outcome, "reason": call.reason});
        known.insert(call.phone.clone(), end);
    }
    assert_eq!(known.len(), PEOPLE);
    assert!(story.sandbox.rings().len() > PEOPLE, "some were tried again");
    known
}

/// What is known in the end when this share of the webhooks is lost, doubled and delayed; none: nobody sends any.
async fn end_with_webhooks(db: TestDatabase, percent: Option<f64>) -> BTreeMap<String, Value> {
    let story = campaign(db).await;
    let serving = Serving::start(&story);
    if let Some(percent) = percent {
        let webhook = Webhook {
            lose_percent: percent,
            double_percent: percent,
            delay_percent: percent,
            delay_seconds: 300.0,
            ..Webhook::new(format!("{}/api/vapi/webhook", serving.url), ACCOUNT_SECRET)
        };
        story.sandbox.set_webhook(Some(webhook)).expect("a webhook");
    }
    story.process(&["--concurrency", "200"]).await;
    minutes(&story, 40).await;
    let events = super::events(&story);
    assert_eq!(events.is_empty(), percent.is_none());
    assert!(events.iter().all(|event| event["status"] == "applied" || event["status"] == "ignored"), "{events:?}");
    known(&story).await
}

on_both_databases! {
    async fn two_collections_learn_everything_without_any_webhook(db) {
        let story = campaign(db).await;
        story.process(&["--concurrency", "200"]).await;
        assert_eq!(story.rings(), PEOPLE);
        // Until the last one is over, and analysed.
        story.wait(TimeDelta::minutes(5));
        let mut completed = 0;
        for _ in 0..2 {
            completed += story.collect().await.0.get("conversations_completed");
            story.wait(TimeDelta::minutes(1));
        }
        assert_eq!(completed, PEOPLE as u64);
        for call in story.calls().await {
            let attempt = story.attempts(&call).await.remove(0);
            let conversation = story.conversation(&attempt.id).await.expect("a conversation");
            assert!(attempt.outcome.is_some() && conversation.cost_usd.is_some(), "{attempt:?} {conversation:?}");
            assert_eq!(conversation.status, ConversationStatus::Completed);
            assert_eq!(
                conversation.transcript.is_some(),
                attempt.outcome == Some(callops::domain::outcome::Outcome::Answered),
                "{attempt:?} {conversation:?}"
            );
        }
    }

    fn faulty_webhooks_lead_to_what_none_and_perfect_ones_lead_to(db) {
        let databases = [(None, db.copy()), (Some(0.0), db.copy()), (Some(30.0), db)];
        let ends = block_on(async move || {
            let mut ends = Vec::new();
            for (percent, db) in databases {
                ends.push(Box::pin(end_with_webhooks(db, percent)).await);
            }
            ends
        });
        for other in &ends[1..] {
            for (phone, end) in &ends[0] {
                assert_eq!(end, &other[phone], "{phone}");
            }
        }
    }
}
