//! Limits by the minute, by the day and at once: kept by ourselves, and heeded where somebody else spent them.

use callops::domain::billing::BillingSettings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    Since, another_app, begin, billing, check_equal, check_ledger, meter, put_tenant, requests, run_sync, spawn, sync,
    try_sync,
};
use crate::common::{Running, on_both_databases};

fn coded(code: u32, path: &str, nth: u32, times: u32) -> Value {
    json!({"kind": "coded", "code": code.to_string(), "status": 429, "times": times,
        "match": {"method": "GET", "path": path, "nth": nth}})
}

on_both_databases! {
    async fn who_gets_429_waits_and_goes_on(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 450, "invoices": 900}})).expect("books");
        story.fault(coded(44, "/books/v3/invoices", 2, 1));
        story.fault(coded(1070, "/books/v3/contacts", 2, 1));
        let began_at = story.now();
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
        assert!(story.now() - began_at >= TimeDelta::seconds(60), "code 44 is over in a minute");
        // Who is told so again and again does not go on for ever.
        story.sandbox.clear_faults();
        story.fault(json!({"kind": "coded", "code": "44", "status": 429, "match": {"method": "GET", "path": "/books/v3/invoices"}}));
        let before = requests(&story);
        let (_, result) = try_sync(&story.app, "acme", false).await;
        let error = result.expect_err("no answer");
        assert_eq!(callops::error::classify(&error), callops::error::Exit::Unreachable, "{error:#}");
        assert!(requests(&story) - before <= 5);
        story.sandbox.clear_faults();
        sync(&story, false).await;
        check_ledger(&story).await;
    }

    async fn who_is_told_to_wait_for_long_comes_back_later(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 5, "invoices": 9}})).expect("books");
        story.fault(json!({"kind": "too_many_requests", "retry_after": "1800", "times": 1,
            "match": {"method": "GET", "path": "/books/v3/invoices"}}));
        let began_at = story.now();
        let (_, result) = try_sync(&story.app, "acme", false).await;
        result.expect_err("nobody waits for half an hour");
        let before = requests(&story);
        let told = run_sync(&story, &[]).exits(7).to_string();
        assert!(told.contains("wants no request before 2026-11-20 15:30:00 UTC"), "{told}");
        assert_eq!((requests(&story), story.now()), (before, began_at));
        story.wait(TimeDelta::minutes(30));
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    async fn a_day_that_others_spent_is_over_until_tomorrow(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 30, "invoices": 900}})).expect("books");
        story.fault(coded(45, "/books/v3/invoices", 3, 1));
        let told = run_sync(&story, &[]).exits(7).to_string();
        assert!(told.contains("has no requests left today; there are new ones at 2026-11-21 00:00 UTC"), "{told}");
        let before = requests(&story);
        run_sync(&story, &[]).exits(7);
        assert_eq!(requests(&story), before, "nothing is asked any more");
        story.wait(TimeDelta::hours(9));
        let done = sync(&story, false).await;
        assert!(done.full && done.invoices < 900, "{} were stored yesterday", 900 - done.invoices);
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    async fn a_day_of_our_own_is_spent_and_no_more(db) {
        let story = begin(db).await;
        let customers = |count: u32| (1..=count).map(|id| json!({"contact_id": id.to_string(), "contact_name": format!("C {id}")}));
        let invoices = |count: u32| (1..=count).map(|id| json!({"invoice_id": (1000 + id).to_string(), "customer_id": id.to_string(),
            "due_date": "2026-11-01", "status": "overdue", "total": 1}));
        story.sandbox.zoho(json!({"customers": customers(60).collect::<Vec<_>>(), "invoices": invoices(60).collect::<Vec<_>>(),
            "settings": {"per_day": 20}})).expect("books");
        put_tenant(&story, "acme", BillingSettings { requests_per_day: Some(20), ..billing() }).await;
        let done = sync(&story, false).await;
        assert_eq!((done.contact_persons, done.requests_today), (13, 15), "details leave a quarter to lists");
        for _ in 0..2 {
            story.wait(TimeDelta::minutes(15));
            assert_eq!(sync(&story, false).await.contact_persons, 0);
        }
        let (done, result) = try_sync(&story.app, "acme", false).await;
        assert!(result.is_err(), "{done:?}");
        assert_eq!(meter(&story)["requests"], 20);
        let shown = run_sync(&story, &["--format", "json"]).exits(7).to_string();
        assert!(shown.contains("no requests left today"), "{shown}");
        story.wait(TimeDelta::hours(10));
        assert_eq!(sync(&story, false).await.contact_persons, 13);
        check_ledger(&story).await;
        check_equal(&story, "acme", Since::Full).await;
    }

    /// Two tenants with the books of one organisation share its minutes, whoever asks.
    async fn two_at_once_share_one_organisations_minutes(db) {
        let url = db.url().to_owned();
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 900, "invoices": 3000}, "settings": {"per_minute": 12}}))
            .expect("books");
        let narrow = || BillingSettings { requests_per_minute: Some(12), ..billing() };
        put_tenant(&story, "acme", narrow()).await;
        put_tenant(&story, "beta", narrow()).await;
        let other = another_app(&story, &url);
        let (one, two) =
            futures_util::future::join(try_sync(&story.app, "acme", false), try_sync(&other, "beta", false)).await;
        one.1.expect("a sync");
        two.1.expect("a sync");
        other.close().await;
        check_equal(&story, "acme", Since::Full).await;
        check_equal(&story, "beta", Since::Full).await;
        check_ledger(&story).await;
        assert_eq!(meter(&story)["most_in_a_minute"], 12);
    }

    /// And its turns: three processes with three tenants, of which one asks at a time.
    async fn three_processes_take_turns(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 300, "invoices": 900, "today": "2027-06-01"},
            "settings": {"per_minute": 5000, "at_once": 1}})).expect("books");
        let tenants = ["acme", "beta", "gamma"];
        for tenant in tenants {
            let turns = BillingSettings {
                requests_per_minute: Some(5000), requests_at_once: Some(1), ..billing()
            };
            put_tenant(&story, tenant, turns).await;
        }
        // What takes no time is never two at once.
        story.fault(json!({"kind": "delay_answer", "ms": 20, "match": {"method": "GET", "path": "/books/v3/"}}));
        let running: Vec<Running> = tenants.iter().map(|tenant| spawn(&story, &["--tenant", tenant])).collect();
        for one in running {
            one.wait().success();
        }
        for tenant in tenants {
            check_equal(&story, tenant, Since::Full).await;
        }
        check_ledger(&story).await;
        assert_eq!(meter(&story)["most_at_once"], 1);
    }
}
