//! What customers answer, and what that does to their reminders.

use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    ADA, CUSTOMER, begin_with, calls_about, change, invoice, last_reason, offsets, put_invoices, settle, tell,
};
use crate::common::TestDatabase;
use crate::common::on_both_databases;
use crate::common::story::Story;
use crate::zoho::{requests, sync};
use callops::domain::reminder::Reminders;

/// Two invoices of Ada's, about which she is called and says `answer`, as the agent's analysis has it.
async fn answered(db: TestDatabase, answer: &str) -> Story {
    let reminders = Reminders {
        answer_field: Some("payment".to_owned()),
        // So that the answer alone decides.
        rest_days: 0,
        max_age_seconds: 86_400,
        ..Reminders::default()
    };
    let story = begin_with(db, reminders).await;
    put_invoices(
        &story,
        &[invoice("9001", CUSTOMER, "2026-11-20", "10"), invoice("9002", CUSTOMER, "2026-11-17", "20")],
    );
    sync(&story, false).await;
    let talk = json!({"ended_reason": "customer-ended-call", "ring_seconds": 5, "talk_seconds": 30, "extracted": {"payment": answer}});
    story.script(ADA, json!([talk, "voicemail", "voicemail", "voicemail", "voicemail"])).await;
    story.process(&[]).await;
    settle(&story).await;
    assert_eq!(story.rings_of(ADA), 1);
    story
}

/// The dates, by UTC, on which Ada's phone rang after the first call, until three weeks later.
async fn dates_after(story: &Story) -> Vec<String> {
    let mut dates = Vec::new();
    let mut rang = story.rings_of(ADA);
    let end = story.now() + TimeDelta::days(21);
    while story.now() < end {
        story.wait(TimeDelta::hours(3));
        sync(story, false).await;
        story.process(&[]).await;
        if story.rings_of(ADA) > rang {
            rang = story.rings_of(ADA);
            dates.push(story.now().date_naive().to_string());
        }
        settle(story).await;
    }
    dates
}

fn shown(story: &Story, id: &str) -> Value {
    story.run(&["show", "invoice", id, "--format", "json"]).json()
}

on_both_databases! {
    async fn who_will_pay_today_is_left_alone_for_three_days(db) {
        let story = answered(db, "Will pay today").await;
        let shown = shown(&story, "9001");
        assert_eq!((&shown["paused"], &shown["reminders"][0]["answer"]), (&json!("will_pay_today"), &json!("will_pay_today")), "{shown}");
        assert_eq!(offsets(&story, "9002").await, [3], "of both invoices");
        // On the 23rd 9001 has its offset of three days again, and on the 24th 9002 that of seven.
        assert_eq!(dates_after(&story).await, ["2026-11-23", "2026-11-24", "2026-11-27"]);
    }

    async fn what_is_said_to_be_paid_is_read_and_left_alone(db) {
        let story = answered(db, "already_paid").await;
        // The collection that learned of the answer read both.
        assert_eq!(shown(&story, "9001")["paused"], "already_paid");
        let seen = |id: &str| shown(&story, id)["seen_at"].as_str().expect("a time").to_owned();
        assert!(seen("9001").as_str() > "2026-11-20T15:01" && seen("9002").as_str() > "2026-11-20T15:01");
        let before = requests(&story);
        story.collect().await;
        assert_eq!(requests(&story), before, "once is enough");
        // One of them was paid, as it turns out; the other is called about again when the pause is over.
        change(&story, "9001", &json!({"status": "paid", "balance": 0}));
        assert_eq!(dates_after(&story).await, ["2026-11-24"]);
        assert_eq!(offsets(&story, "9001").await, [0]);
        assert_eq!(offsets(&story, "9002").await, [3, 7]);
    }

    async fn a_dispute_stops_reminders_and_opens_a_ticket(db) {
        let story = answered(db, "dispute").await;
        let tickets = story.run(&["list", "tickets", "--format", "json"]).json();
        assert_eq!(tickets.as_array().map(Vec::len), Some(1), "{tickets}");
        let fields = tickets[0]["fields"].to_string();
        assert!(fields.contains("INV-9002, INV-9001") && fields.contains("dispute"), "{tickets}");
        assert_eq!(dates_after(&story).await, Vec::<String>::new());
        assert_eq!(last_reason(&story, ADA).await.as_deref(), Some("invoice_disputed"));
        // Until somebody settles it.
        story.wait_until("2026-12-14T15:00:00Z");
        sync(&story, false).await;
        let resumed = story.run(&["resume", "--tenant", "acme", "--invoice", "INV-9002", "--format", "json"]);
        assert_eq!((resumed.code(), resumed.json()["was"].as_str()), (Some(0), Some("dispute")), "{resumed}");
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), offsets(&story, "9002").await), (2, vec![3, 7]));
        assert_eq!(offsets(&story, "9001").await, [0]);
    }

    async fn who_does_not_answer_is_called_again(db) {
        let story = begin_with(db, Reminders::default()).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!(["customer-did-not-answer", "customer-did-not-answer", "customer-did-not-answer"])).await;
        story.process(&[]).await;
        for attempts in 1..=3 {
            assert_eq!(story.rings_of(ADA), attempts);
            settle(&story).await;
            story.wait(TimeDelta::minutes(50));
            sync(&story, false).await;
            story.process(&[]).await;
        }
        assert_eq!(story.rings_of(ADA), 3, "as often as the retry policy allows");
        let calls = calls_about(&story, "9001").await;
        assert_eq!((calls.len(), calls[0].status.as_str()), (1, "failed"));
    }

    async fn the_agents_own_report_counts_as_well(db) {
        let story = begin_with(db, Reminders { rest_days: 0, ..Reminders::default() }).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!([{"ended_reason": "customer-ended-call", "ring_seconds": 2, "talk_seconds": 600}])).await;
        story.process(&[]).await;
        let call = story.only_call().await;
        let attempt = story.attempts(&call).await.remove(0);
        story.wait(TimeDelta::minutes(1));
        let report = json!({
            "reminder_id": attempt.id, "event_type": "call_completed",
            "outcome": {"connected": true, "duration": 30, "customer_response": "dispute", "notes": "never ordered it"},
        });
        tell(&story, &report).await;
        let shown = shown(&story, "9001");
        assert_eq!((&shown["paused"], &shown["pause_note"]), (&json!("dispute"), &json!("never ordered it")), "{shown}");
        // The same again, and a milder word later, change nothing.
        tell(&story, &report).await;
        let milder = json!({
            "reminder_id": attempt.id, "event_type": "call_failed", "reason": "hung up",
            "outcome": {"connected": true, "duration": 30, "customer_response": "will_pay_today"},
        });
        tell(&story, &milder).await;
        assert_eq!(self::shown(&story, "9001")["paused"], "dispute");
        let tickets = story.run(&["list", "tickets", "--format", "json"]).json();
        assert_eq!(tickets.as_array().map(Vec::len), Some(1), "{tickets}");
    }

    async fn an_operator_pauses_one_invoice_and_goes_on(db) {
        let story = begin_with(db, Reminders { max_age_seconds: 86_400, ..Reminders::default() }).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", CUSTOMER, "2026-11-20", "20"),
        ]);
        story.script(ADA, json!(["voicemail", "voicemail"])).await;
        sync(&story, false).await;
        let paused = story.run(&["pause", "--tenant", "acme", "--invoice", "INV-9001", "--reason", "being looked into"]);
        assert_eq!(paused.code(), Some(0), "{paused}");
        story.wait(TimeDelta::minutes(1));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((counts.get("placed"), exit), (1, Exit::Success));
        assert_eq!((offsets(&story, "9001").await, offsets(&story, "9002").await), (vec![], vec![0]));
        for (args, code) in [
            (vec!["pause", "--tenant", "acme", "--invoice", "INV-1"], 2),
            (vec!["pause", "--invoice", "INV-9001"], 2),
            (vec!["resume", "--tenant", "acme", "--invoice", "INV-9001"], 0),
            (vec!["resume", "--tenant", "acme", "--invoice", "INV-9001"], 0),
        ] {
            let output = story.run(&args);
            assert_eq!(output.code(), Some(code), "{args:?}: {output}");
        }
        settle(&story).await;
        story.wait(TimeDelta::hours(5));
        story.process(&[]).await;
        assert_eq!(offsets(&story, "9001").await, [0]);
    }

    async fn a_dispute_outlasts_the_pause_of_an_operator(db) {
        let story = begin_with(db, Reminders { rest_days: 0, max_age_seconds: 86_400, ..Reminders::default() }).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!([{"ended_reason": "customer-ended-call", "ring_seconds": 2, "talk_seconds": 600}])).await;
        story.process(&[]).await;
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        assert_eq!(story.run(&["pause", "--tenant", "acme", "--invoice", "INV-9001"]).code(), Some(0));
        let report = json!({
            "reminder_id": attempt.id, "event_type": "call_completed",
            "outcome": {"connected": true, "duration": 30, "customer_response": "dispute"},
        });
        tell(&story, &report).await;
        assert_eq!(shown(&story, "9001")["paused"], "dispute");
        assert_eq!(story.run(&["pause", "--tenant", "acme", "--invoice", "INV-9001"]).code(), Some(0));
        assert_eq!(shown(&story, "9001")["paused"], "dispute", "and the other way round");
    }

    async fn an_answer_is_about_the_invoices_that_its_attempt_named(db) {
        let story = begin_with(db, Reminders { answer_field: Some("payment".to_owned()), ..Reminders::default() }).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", CUSTOMER, "2026-11-20", "20"),
        ]);
        sync(&story, false).await;
        let talk = json!({"ended_reason": "customer-ended-call", "ring_seconds": 5, "talk_seconds": 30, "extracted": {"payment": "dispute"}});
        story.script(ADA, json!(["customer-did-not-answer", talk])).await;
        story.process(&[]).await;
        settle(&story).await;
        // The retry names one of them only, since the other is looked into.
        assert_eq!(story.run(&["pause", "--tenant", "acme", "--invoice", "INV-9002"]).code(), Some(0));
        story.wait(TimeDelta::hours(1));
        sync(&story, false).await;
        story.process(&[]).await;
        settle(&story).await;
        assert_eq!((story.rings_of(ADA), story.calls().await.len()), (2, 1));
        assert_eq!((&shown(&story, "9001")["paused"], &shown(&story, "9002")["paused"]), (&json!("dispute"), &json!("operator")));
        let tickets = story.run(&["list", "tickets", "--format", "json"]).json();
        assert!(!tickets.to_string().contains("INV-9002"), "{tickets}");
    }
}
