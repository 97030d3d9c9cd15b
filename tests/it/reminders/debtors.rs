//! Whom to call about a customer's invoices, and who cannot be called.

use chrono::TimeDelta;
use serde_json::json;

use super::{ADA, CUSTOMER, begin, customer, invoice, last_reason, offsets, put_invoices, reminding, settle};
use crate::common::on_both_databases;
use crate::zoho::sync;

on_both_databases! {
    async fn customers_without_a_phone_are_counted_and_listed(db) {
        let story = begin(db).await;
        let mute = json!({"contact_id": "460000000000002", "contact_name": "Mute & Sons"});
        story.sandbox.zoho(json!({"customers": [mute, customer("460000000000003", "call my wife")]})).expect("customers");
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", "460000000000002", "2026-11-20", "10"),
            invoice("9003", "460000000000003", "2026-11-20", "10"),
        ]);
        let done = sync(&story, false).await;
        assert_eq!((done.debtors.enrolled, done.debtors.unreachable), (1, 2));
        let listed = story.run(&["list", "debtors", "--status", "no_phone", "--format", "json"]).json();
        let listed = listed.as_array().expect("rows").clone();
        let names: Vec<&str> = listed.iter().filter_map(|row| row["customer"].as_str()).collect();
        assert_eq!(names, ["Customer 460000000000003", "Mute & Sons"]);
        assert!(listed[0]["problem"].as_str().is_some_and(|text| text.starts_with("\"call my wife\": ")), "{listed:?}");
        assert_eq!(listed[1]["problem"], "it has no phone");
        story.process(&[]).await;
        assert_eq!(story.rings(), 1);
        settle(&story).await;

        // A phone that turns up is called.
        story.wait(TimeDelta::minutes(10));
        story.sandbox.zoho(json!({"change": [{"customer": "460000000000002", "set": {"mobile": "+1 212 555 0112"}}]})).expect("a change");
        story.wait(TimeDelta::minutes(1));
        let done = sync(&story, false).await;
        assert_eq!((done.debtors.enrolled, done.debtors.unreachable), (1, 1));
        story.process(&[]).await;
        assert_eq!(story.rings_of("+12125550112"), 1);
    }

    async fn a_phone_that_changes_takes_the_reminders_along_and_no_second_call(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!(["voicemail"])).await;
        story.process(&[]).await;
        settle(&story).await;
        story.sandbox.zoho(json!({"change": [{"customer": CUSTOMER, "set": {"phone": "212 555 0119"}}]})).expect("a change");
        story.wait(TimeDelta::minutes(1));
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((story.rings(), offsets(&story, "9001").await), (1, vec![0]), "the slot is the invoice's");
        assert_eq!(last_reason(&story, ADA).await.as_deref(), Some("no_invoice"));
        story.wait_until("2026-11-23T15:00:00Z");
        sync(&story, false).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of("+12125550119")), (1, 1));
    }

    async fn two_customers_with_one_phone_are_one_call(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"customers": [customer("460000000000002", "1-212-555-0111")]})).expect("a customer");
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", "460000000000002", "2026-11-20", "10"),
        ]);
        sync(&story, false).await;
        story.process(&[]).await;
        story.process(&[]).await;
        assert_eq!((story.rings(), offsets(&story, "9001").await, offsets(&story, "9002").await), (1, vec![0], vec![0]));
    }

    async fn whoever_was_withdrawn_stays_so(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        let withdrawn = story.run(&["withdraw", ADA, "--campaign", "acme/reminders"]);
        assert_eq!(withdrawn.code(), Some(0), "{withdrawn}");
        put_invoices(&story, &[invoice("9002", CUSTOMER, "2026-11-20", "10")]);
        story.wait(TimeDelta::minutes(1));
        let done = sync(&story, false).await;
        assert_eq!(done.debtors.enrolled, 0);
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
    }

    async fn a_campaign_that_is_started_after_the_books_were_read_has_its_debtors(db) {
        let story = crate::zoho::begin(db).await;
        story.sandbox.zoho(json!({"customers": [customer(CUSTOMER, "(212) 555-0111")]})).expect("a customer");
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        assert_eq!(sync(&story, false).await.debtors.enrolled, 0, "nobody reminds");
        story.campaign("reminders", &reminding(callops::domain::reminder::Reminders::default())).await;
        let started = story.run(&["start-campaign", "acme/reminders"]);
        assert_eq!(started.code(), Some(0), "{started}");
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1);
    }
}
