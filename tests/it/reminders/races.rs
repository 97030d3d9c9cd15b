//! Several at once, and processes that are killed.

use serde_json::json;

use super::{ADA, CUSTOMER, begin, customer, invoice, offsets, put_invoices, reminding, settle};
use crate::common::on_both_databases;
use crate::zoho::sync;
use callops::domain::reminder::Reminders;

on_both_databases! {
    async fn runs_at_once_call_each_customer_once(db) {
        let story = begin(db).await;
        let customers: Vec<_> =
            (0..20).map(|n| customer(&format!("4600000000001{n:02}"), &format!("(212) 555-01{n:02}"))).collect();
        let invoices: Vec<_> = (0..60)
            .map(|n| invoice(&format!("91{n:02}"), &format!("4600000000001{:02}", n % 20), "2026-11-20", "10"))
            .collect();
        story.sandbox.zoho(json!({"customers": customers})).expect("customers");
        put_invoices(&story, &invoices);
        sync(&story, false).await;
        // Two campaigns of one purpose, and four processes.
        let now = story.now();
        story.campaign_for("again", "reminders", &reminding(Reminders::default())).await;
        assert_eq!(story.run(&["start-campaign", "acme/again"]).code(), Some(0));
        let runs: Vec<_> = (0..4).map(|_| story.spawn(&["process-calls"])).collect();
        for run in runs {
            let output = run.wait();
            assert_eq!(output.code(), Some(0), "{output}");
        }
        assert_eq!((story.now(), story.rings()), (now, 20));
        for n in 0..60 {
            assert_eq!(offsets(&story, &format!("91{n:02}")).await, [0], "{n}");
        }
    }

    async fn a_run_killed_at_any_point_leaves_no_second_call(db) {
        let story = begin(db).await;
        for n in 0..6 {
            let id = format!("46000000000020{n}");
            story.sandbox.zoho(json!({"customers": [customer(&id, &format!("(212) 555-013{n}"))]})).expect("a customer");
            // Over with one attempt.
            story.script(&format!("+1212555013{n}"), json!(["voicemail"])).await;
            put_invoices(&story, &[invoice(&format!("92{n}1"), &id, "2026-11-20", "10"), invoice(&format!("92{n}2"), &id, "2026-11-13", "10")]);
        }
        sync(&story, false).await;
        // Too old to be believed, so that reading is among the points.
        story.wait(chrono::TimeDelta::minutes(40));
        let mut finished = false;
        for n in 1..60 {
            let kill = n.to_string();
            let output = story.spawn_with(&[("CALLOPS_FAIL_AT", &kill)], &["process-calls", "--limit", "1"]).wait();
            if output.code().is_some() {
                finished = true;
                break;
            }
            story.wait(chrono::TimeDelta::minutes(5));
            story.sweep().await;
        }
        assert!(finished, "there are more points than were tried");
        for _ in 0..12 {
            story.wait(chrono::TimeDelta::minutes(10));
            story.sweep().await;
            story.process(&[]).await;
        }
        for n in 0..6 {
            let rings = story.rings_of(&format!("+1212555013{n}"));
            assert!(rings <= 1, "customer {n} was called {rings} times");
            for id in [format!("92{n}1"), format!("92{n}2")] {
                assert_eq!(offsets(&story, &id).await.len(), 1, "{id}");
            }
        }
    }

    async fn a_call_that_was_corrected_to_another_phone_goes_on(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!(["customer-did-not-answer"])).await;
        story.process(&[]).await;
        settle(&story).await;
        let contacts = story.write(async |tx| callops::store::contacts::contacts_by_phones(tx, "acme", &[ADA], false).await).await;
        story.correct_phone(&contacts[0], "+12125550129").await;
        story.wait(chrono::TimeDelta::hours(1));
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of("+12125550129")), (1, 1));
        assert_eq!(offsets(&story, "9001").await, [0], "by the same call");
    }
}
