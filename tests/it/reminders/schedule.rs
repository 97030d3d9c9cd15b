//! Which offsets are called about, when, and how often.

use callops::domain::reminder::Reminders;
use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::json;

use super::{ADA, CUSTOMER, begin, begin_with, change, customer, invoice, offsets, put_invoices, settle, told};
use crate::common::on_both_databases;
use crate::zoho::sync;

on_both_databases! {
    async fn three_overdue_invoices_are_one_call_and_three_slots(db) {
        let story = begin(db).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-13", "100.10"),
            invoice("9002", CUSTOMER, "2026-11-17", "50"),
            invoice("9003", CUSTOMER, "2026-11-20", "0.90"),
            invoice("9004", CUSTOMER, "2026-12-24", "7"),
        ]);
        story.script(ADA, json!(["voicemail"])).await;
        let done = sync(&story, false).await;
        assert_eq!((done.debtors.enrolled, done.debtors.unreachable), (1, 0));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((counts.get("placed"), exit), (1, Exit::Success));
        assert_eq!(story.rings_of(ADA), 1);
        let call = story.only_call().await;
        assert_eq!(call.slot_key, "2026-11-20/2026-12-20", "the dates of all three");
        for (id, offset) in [("9001", vec![7]), ("9002", vec![3]), ("9003", vec![0]), ("9004", vec![])] {
            assert_eq!(offsets(&story, id).await, offset, "{id}");
        }
        let told = told(&story).await;
        assert_eq!(
            (told["invoice_count"].as_i64(), told["invoice_numbers"].as_str(), told["amount_due"].as_str()),
            (Some(3), Some("INV-9001, INV-9002, INV-9003"), Some("151 USD")),
            "{told}"
        );
        // Whatever else asks for it: another run, an operator, the same day again.
        story.process(&[]).await;
        settle(&story).await;
        story.wait(TimeDelta::hours(5));
        story.process(&[]).await;
        let by_hand = story.run(&["call", ADA, "--campaign", "acme/reminders"]);
        assert_eq!(by_hand.code(), Some(4), "{by_hand}");
        assert!(by_hand.stderr.contains("gate reminder says already_reminded"), "{by_hand}");
        assert_eq!(story.rings(), 1);
    }

    async fn down_for_three_days_is_one_reminder(db) {
        let story = begin_with(db, Reminders { offsets: vec![-1, 0, 1, 2], max_age_seconds: 86_400, ..Reminders::default() }).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-21", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!(["customer-did-not-answer", "voicemail", "voicemail", "voicemail"])).await;
        // Nothing runs from the day before the due date until two days after it.
        story.wait_until("2026-11-23T15:00:00Z");
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), offsets(&story, "9001").await), (1, vec![2]), "the offsets before have lapsed");
        for _ in 0..20 {
            settle(&story).await;
            story.wait(TimeDelta::hours(4));
            sync(&story, false).await;
            story.process(&[]).await;
        }
        assert_eq!(offsets(&story, "9001").await, [2], "no offset is made up for");
    }

    async fn each_offset_has_its_call_on_its_day(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-25", "10")]);
        story.script(ADA, json!(["voicemail", "voicemail", "voicemail", "voicemail", "voicemail"])).await;
        let mut days = Vec::new();
        let mut rang = 0;
        while story.now() < crate::common::story::at("2026-12-10T00:00:00Z") {
            sync(&story, false).await;
            story.process(&[]).await;
            if story.rings_of(ADA) > rang {
                rang = story.rings_of(ADA);
                days.push(story.now().date_naive().to_string());
            }
            settle(&story).await;
            story.wait(TimeDelta::hours(3));
        }
        assert_eq!(days, ["2026-11-22", "2026-11-25", "2026-11-28", "2026-12-02"]);
        assert_eq!(offsets(&story, "9001").await, [-3, 0, 3, 7]);
    }

    async fn a_due_date_that_is_moved_moves_the_reminder(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-12-24", "10")]);
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        story.wait(TimeDelta::minutes(20));
        change(&story, "9001", &json!({"due_date": "2026-11-20"}));
        story.wait(TimeDelta::minutes(1));
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), offsets(&story, "9001").await), (1, vec![0]));
    }

    async fn what_is_left_out_is_counted_by_reason(db) {
        let reminders = Reminders {
            min_balance: "5".parse().expect("a decimal"),
            statuses: vec!["overdue".to_owned()],
            exclude_customers: vec!["460000000000003".to_owned()],
            exclude_invoices: vec!["INV-9004".to_owned()],
            ..Reminders::default()
        };
        let story = begin_with(db, reminders).await;
        let others: Vec<_> = (2..=6).map(|n| customer(&format!("46000000000000{n}"), &format!("(212) 555-011{n}"))).collect();
        story.sandbox.zoho(json!({"customers": others})).expect("customers");
        let mut sent = invoice("9005", "460000000000005", "2026-11-20", "50");
        sent["status"] = json!("sent");
        put_invoices(&story, &[
            invoice("9002", "460000000000002", "2026-11-20", "4.99"),
            invoice("9003", "460000000000003", "2026-11-20", "50"),
            invoice("9004", "460000000000004", "2026-11-20", "50"),
            sent,
            invoice("9006", "460000000000006", "2026-09-01", "50"),
        ]);
        sync(&story, false).await;
        let (counts, _) = story.process(&[]).await;
        for (reason, count) in
            [("below_min_balance", 1), ("invoice_excluded", 2), ("invoice_status", 1), ("no_invoice", 1)]
        {
            assert_eq!(counts.skipped(reason), count, "{reason}: {:?}", counts.record());
        }
        assert_eq!(story.rings(), 0);
        let explained = story.run(&["explain", "--contact", "+12125550112", "--campaign", "acme/reminders", "--format", "json"]);
        let explained = explained.json();
        let gates = explained["campaigns"][0]["gates"].as_array().expect("gates");
        let gate = gates.iter().find(|gate| gate["gate"] == "reminder").expect("the gate");
        assert_eq!(gate["reason"], "below_min_balance");
        assert_eq!(gate["evidence"], "INV-9002 (overdue, to be paid on 2026-11-20): below_min_balance");
    }
}
