//! What is stored, listed, shown, and applied once more.

use callops::domain::call::AttemptState;
use callops::store::Tx;
use serde_json::json;

use super::{ADA, Serving, WEBHOOK_SECRET, attempt_to, begin, events, shown};
use crate::common::on_both_databases;
use crate::common::story::Story;

async fn sql(story: &Story, statement: &'static str) {
    story
        .write(async |tx| {
            match tx {
                Tx::Sqlite(tx) => sqlx::query(statement).execute(&mut **tx).await.map(|_| ())?,
                Tx::Postgres(tx) => sqlx::query(statement).execute(&mut **tx).await.map(|_| ())?,
            }
            Ok(())
        })
        .await;
}

on_both_databases! {
    async fn an_event_that_cannot_be_applied_is_answered_kept_and_applied_later(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        sql(&story, "ALTER TABLE campaigns RENAME TO campaigns_away").await;
        let body = json!({"reminder_id": attempt.id, "event_type": "call_completed"});
        let (status, answer) = serving.report(WEBHOOK_SECRET, &body).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(false)), "{answer}");
        assert_eq!(answer["reason"], "it is stored, and will be applied later");
        sql(&story, "ALTER TABLE campaigns_away RENAME TO campaigns").await;
        let id = answer["event_id"].as_str().expect("an id");
        let event = shown(&story, "event", id);
        assert_eq!((&event["status"], &event["tries"]), (&json!("pending"), &json!(1)), "{event}");
        assert!(event["reason"].as_str().is_some_and(|reason| reason.contains("campaigns")), "{event}");
        assert_eq!(event["payload"], body, "as it came");
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Placed);

        let replayed = story.run(&["replay-events", "--pending", "--format", "json"]).success().json();
        assert_eq!(replayed, json!({"replayed": 1, "applied": 1, "ignored": 0, "failed": 0}));
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Ended);
        assert_eq!(shown(&story, "event", id)["status"], "applied");
        for _ in 0..2 {
            let replayed = story.run(&["replay-events", "--format", "json"]).success().json();
            assert_eq!(replayed, json!({"replayed": 1, "applied": 0, "ignored": 1, "failed": 0}));
            assert_eq!(shown(&story, "event", id)["status"], "applied", "it was, and stays so");
        }
    }

    async fn what_waits_is_applied_by_a_sweep_and_by_a_collection(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        for (event_type, sweeps) in [("call_answered", true), ("call_completed", false)] {
            sql(&story, "ALTER TABLE campaigns RENAME TO campaigns_away").await;
            let (_, answer) = serving.report(WEBHOOK_SECRET, &json!({"reminder_id": attempt.id, "event_type": event_type})).await;
            assert_eq!(answer["applied"], false, "{answer}");
            sql(&story, "ALTER TABLE campaigns_away RENAME TO campaigns").await;
            let (counts, _) = if sweeps { story.sweep().await } else { story.collect().await };
            assert_eq!(counts.get("events_applied"), 1);
        }
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Ended);
        let (counts, _) = story.sweep().await;
        assert!(counts.is_idle(), "{counts:?}");
    }

    async fn events_are_listed_by_state_time_and_whom_they_are_about(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": attempt.id, "event_type": "call_answered"})).await;
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": "unknown", "event_type": "call_answered"})).await;
        assert_eq!(events(&story).iter().map(|event| event["named"].clone()).collect::<Vec<_>>(), [json!(attempt.id), json!("unknown")]);
        for (filter, expected) in [
            (vec!["--status", "unmatched"], 1),
            (vec!["--status", "applied"], 1),
            (vec!["--status", "pending"], 0),
            (vec!["--phone", ADA], 1),
            (vec!["--tenant", "acme"], 1),
            (vec!["--tenant", "other"], 0),
            (vec!["--campaign", "acme/checkup"], 1),
            (vec!["--since", "1h"], 2),
            (vec!["--since", "2026-11-17T00:00:00Z"], 0),
        ] {
            let args: Vec<&str> = ["list", "events", "--format", "json"].into_iter().chain(filter.iter().copied()).collect();
            let found = story.run(&args).success().json();
            assert_eq!(found.as_array().map(Vec::len), Some(expected), "{filter:?} {found}");
        }
        story.run(&["list", "events", "--status", "lost"]).exits(2);
        story.run(&["show", "event", "01JD5Q3G7V9M2C8K4R6T0W1XYZ"]).exits(2);
        story.run(&["replay-events", "--pending", "--unmatched"]).exits(2);
        let replayed = story.run(&["replay-events", "--unmatched", "--since", "1h", "--format", "json"]).success().json();
        assert_eq!(replayed["replayed"], 1);
    }
}
