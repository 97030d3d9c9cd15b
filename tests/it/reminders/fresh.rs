//! What is known of an invoice is not too old when somebody is called about it.

use callops::domain::billing::BillingSettings;
use callops::domain::reminder::Reminders;
use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::json;

use super::{
    ADA, CUSTOMER, begin, begin_with, change, customer, invoice, last_reason, offsets, put_invoices, settle, told,
};
use crate::common::on_both_databases;
use crate::zoho::{billing, check_ledger, put_tenant, requests, sync};

on_both_databases! {
    async fn who_paid_between_reading_and_calling_is_not_called(db) {
        let story = begin(db).await;
        for (n, id) in [(2, "460000000000002"), (3, "460000000000003"), (4, "460000000000004"), (5, "460000000000005")] {
            let customer = customer(id, &format!("(212) 555-011{n}"));
            story.sandbox.zoho(json!({"customers": [customer]})).expect("a customer");
            put_invoices(&story, &[invoice(&format!("900{n}"), id, "2026-11-20", "10")]);
        }
        sync(&story, false).await;
        // Longer ago than the half hour for which what was read is believed.
        story.wait(TimeDelta::minutes(40));
        change(&story, "9002", &json!({"status": "paid", "balance": 0}));
        change(&story, "9003", &json!({"status": "void", "balance": 0}));
        story.sandbox.zoho(json!({"delete_invoices": ["9004"]})).expect("a deletion");
        let before = requests(&story);
        let (counts, exit) = story.process(&[]).await;
        assert_eq!(exit, Exit::Success, "{:?}", counts.record());
        assert_eq!((counts.get("placed"), counts.get("invoices_read")), (1, 4), "{:?}", counts.record());
        assert_eq!(requests(&story) - before, 4, "each invoice once");
        for (reason, count) in [("invoice_paid", 1), ("invoice_void", 1), ("invoice_deleted", 1)] {
            assert_eq!(counts.skipped(reason), count, "{reason}: {:?}", counts.record());
        }
        let rings: Vec<String> = story.sandbox.rings().iter().map(|ring| ring.phone.clone()).collect();
        assert_eq!(rings, ["+12125550115"]);
        // The next run says why of each, and asks nobody again.
        let before = requests(&story);
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        assert_eq!(last_reason(&story, "+12125550112").await.as_deref(), Some("invoice_paid"));
        assert_eq!(requests(&story), before);
        check_ledger(&story).await;
    }

    async fn one_of_two_that_was_paid_is_not_named(db) {
        let story = begin(db).await;
        put_invoices(&story, &[
            invoice("9001", CUSTOMER, "2026-11-20", "10"),
            invoice("9002", CUSTOMER, "2026-11-20", "20"),
        ]);
        sync(&story, false).await;
        story.wait(TimeDelta::minutes(40));
        change(&story, "9001", &json!({"status": "paid", "balance": 0}));
        change(&story, "9002", &json!({"status": "partially_paid", "balance": 5.5}));
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("placed"), 1, "{:?}", counts.record());
        let told = told(&story).await;
        assert_eq!((told["invoice_numbers"].as_str(), told["amount_due"].as_str()), (Some("INV-9002"), Some("5.50 USD")));
        assert_eq!((offsets(&story, "9001").await, offsets(&story, "9002").await), (vec![], vec![0]));
    }

    async fn a_retry_is_not_dialled_about_what_was_paid_since(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.script(ADA, json!(["customer-did-not-answer"])).await;
        story.process(&[]).await;
        settle(&story).await;
        assert_eq!(story.only_call().await.status.as_str(), "scheduled");
        change(&story, "9001", &json!({"status": "paid", "balance": 0}));
        story.wait(TimeDelta::hours(1));
        let (counts, _) = story.process(&[]).await;
        assert!(counts.skipped("invoice_paid") >= 1 && story.rings() == 1, "{:?}", counts.record());
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        assert_eq!(story.only_call().await.status.as_str(), "cancelled");
        assert_eq!(story.rings(), 1);
    }

    async fn what_was_read_a_moment_ago_is_not_asked_for_again(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.wait(TimeDelta::hours(1));
        // Nothing changed, and that is as good as reading the invoice.
        sync(&story, false).await;
        let before = requests(&story);
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.get("placed"), counts.get("invoices_read"), requests(&story)), (1, 0, before));
    }

    async fn nobody_is_called_about_what_cannot_be_read(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        story.wait(TimeDelta::minutes(40));
        story.fault(json!({"kind": "server_error", "times": 20, "match": {"method": "GET", "path": "/books/v3/invoices/9001"}}));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((counts.skipped("invoice_not_fresh"), exit, story.rings()), (1, Exit::Unreachable, 0), "{:?}", counts.record());
        let problems: Vec<&str> = counts.problems().collect();
        assert!(problems.iter().any(|problem| problem.starts_with("an invoice of acme cannot be read, and nobody is called about it")), "{problems:?}");
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(15));
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.get("placed"), story.rings_of(ADA)), (1, 1), "{:?}", counts.record());
    }

    async fn reading_before_a_call_leaves_requests_for_keeping_up(db) {
        let story = begin_with(db, Reminders { max_age_seconds: 60, ..Reminders::default() }).await;
        put_tenant(&story, "acme", BillingSettings { requests_per_day: Some(10), ..billing() }).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        while requests(&story) < 9 {
            story.wait(TimeDelta::minutes(15));
            sync(&story, false).await;
        }
        story.wait(TimeDelta::minutes(5));
        let before = requests(&story);
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.skipped("invoice_not_fresh"), requests(&story) - before, story.rings()), (1, 0, 0));
        check_ledger(&story).await;
    }

    async fn a_claim_of_somebody_who_pays_meanwhile_does_not_ring(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        let attempt = story.claim_first("frozen").await;
        story.wait(TimeDelta::seconds(20));
        change(&story, "9001", &json!({"status": "paid", "balance": 0}));
        story.wait(TimeDelta::seconds(1));
        sync(&story, false).await;
        let now = story.now();
        let ids = [attempt.clone()];
        let placed = story.write(async |tx| callops::store::claims::commit_to_dial(tx, &ids, "frozen", now).await).await;
        assert_eq!(placed, Vec::<String>::new());
    }

    async fn one_invoice_that_cannot_be_read_keeps_nobody_else_from_being_called(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        // Enrolled later, and so looked at after the one that cannot be read.
        story.wait(TimeDelta::minutes(5));
        let other = customer("460000000000002", "(212) 555-0112");
        story.sandbox.zoho(json!({"customers": [other]})).expect("a customer");
        put_invoices(&story, &[invoice("9002", "460000000000002", "2026-11-20", "10")]);
        story.wait(TimeDelta::minutes(1));
        sync(&story, false).await;
        story.wait(TimeDelta::minutes(40));
        story.fault(json!({"kind": "server_error", "times": 50, "match": {"method": "GET", "path": "/books/v3/invoices/9001"}}));
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.skipped("invoice_not_fresh"), counts.get("placed")), (1, 1), "{:?}", counts.record());
        assert_eq!((story.rings_of(ADA), story.rings_of("+12125550112")), (0, 1));
    }

    async fn what_is_there_and_was_not_read_is_not_believed_as_it_was(db) {
        let story = begin(db).await;
        put_invoices(&story, &[invoice("9001", CUSTOMER, "2026-11-20", "10")]);
        sync(&story, false).await;
        let now = story.now();
        let unread = ["9001".to_owned()];
        story.write(async |tx| callops::store::billing::invoices::put_unread(tx, "acme", &unread, now).await).await;
        story.wait(TimeDelta::minutes(1));
        change(&story, "9001", &json!({"status": "paid", "balance": 0}));
        // A minute after reading all changes.
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.get("invoices_read"), story.rings()), (1, 0), "{:?}", counts.record());
        assert!(counts.skipped("invoice_paid") >= 1, "{:?}", counts.record());
    }
}
