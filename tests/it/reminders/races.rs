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

    async fn two_calls_of_one_customer_that_wait_leave_each_other_their_slots(db) {
        let story = begin(db).await;
        let reminders = Reminders { max_age_seconds: 86_400, ..Reminders::default() };
        story.campaign("reminders", &callops::domain::campaign::Rules { min_gap_seconds: Some(0), ..reminding(reminders) }).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", CUSTOMER, "2026-12-20", "10"),
        ]);
        sync(&story, false).await;
        story.script(ADA, json!(["customer-did-not-answer", "customer-did-not-answer", "voicemail", "voicemail"])).await;
        story.process(&[]).await;
        settle(&story).await;
        story.sandbox.zoho(json!({"change": [{"invoice": "9002", "set": {"due_date": "2026-11-20"}}]})).expect("a change");
        story.wait(chrono::TimeDelta::minutes(1));
        sync(&story, false).await;
        story.process(&[]).await;
        settle(&story).await;
        assert_eq!((story.calls().await.len(), story.rings()), (2, 2), "one about each");
        // Both are due in one run by now.
        story.wait(chrono::TimeDelta::hours(2));
        for _ in 0..2 {
            story.process(&[]).await;
            settle(&story).await;
        }
        let calls = story.calls().await;
        let statuses: Vec<&str> = calls.iter().map(|call| call.status.as_str()).collect();
        assert_eq!((statuses, story.rings()), (vec!["completed", "completed"], 4), "{calls:?}");
    }

    /// On SQLite one transaction writes at a time, so that there is nothing to overwrite.
    async fn who_is_woken_while_a_check_is_recorded_stays_awake(db) {
        use callops::store::billing::debtors;
        use callops::store::enrollments::{CheckResult, candidate, record_checks};
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-12-20", "10")]);
        sync(&story, false).await;
        let campaign = story.find_campaign("reminders").await;
        let contacts = story.write(async |tx| callops::store::contacts::contacts_by_phones(tx, "acme", &[ADA], false).await).await;
        let id = contacts[0].id.clone();
        let before = story.write(async |tx| candidate(tx, &campaign.id, &id).await).await.expect("a candidate");
        let check = CheckResult {
            enrollment_id: before.enrollment_id.clone(),
            contact_version: before.contact_version,
            reason: "no_invoice",
            next_check_at: None,
        };
        let (now, version) = (story.now(), campaign.rules_version);
        if let callops::store::Db::Postgres(..) = story.db().await {
            let mut waking = story.db().await.begin().await.expect("a transaction");
            debtors::wake(&mut waking, "acme", &[CUSTOMER.to_owned()], now).await.expect("a wake");
            let is_recorded = std::cell::Cell::new(false);
            let checking = async {
                let mut tx = story.db().await.begin().await.expect("a transaction");
                record_checks(&mut tx, std::slice::from_ref(&check), version, now).await.expect("a check");
                tx.commit().await.expect("a commit");
                is_recorded.set(true);
            };
            let committing = async {
                // Once the check waits for the wake, which it does at the latest when it comes to the enrollment.
                let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()
                             AND locktype IN ('transactionid', 'tuple')
                             AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
                let callops::store::Tx::Postgres(tx) = &mut waking else { unreachable!("it is PostgreSQL") };
                while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut **tx).await.expect("a count") == 0
                    && !is_recorded.get()
                {
                    tokio::task::yield_now().await;
                }
                waking.commit().await.expect("a commit");
            };
            tokio::join!(checking, committing);
        } else {
            story.write(async |tx| debtors::wake(tx, "acme", &[CUSTOMER.to_owned()], now).await).await;
            story.write(async |tx| record_checks(tx, std::slice::from_ref(&check), version, now).await).await;
        }
        let after = story.write(async |tx| candidate(tx, &campaign.id, &id).await).await.expect("a candidate");
        assert_eq!(after.next_check_at, Some(now), "{after:?}");
    }
}
