//! Runs that end in the middle, and runs that meet.

use std::time::Duration;

use callops::domain::billing::BillingSettings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    Since, begin, billing, check_equal, check_ledger, large, put_tenant, requests, run_sync, spawn, sync, truth,
    try_sync,
};
use crate::common::story::Story;
use crate::common::{Output, Running, on_both_databases};

/// Longer than the lease of who was killed.
const LATER: TimeDelta = TimeDelta::minutes(6);

/// Books whose limits the machine's own time cannot reach: the sandbox's stands still while the binary runs.
async fn begin_unhurried(db: crate::common::TestDatabase, given: Value) -> Story {
    let story = begin(db).await;
    let plenty = BillingSettings { requests_per_minute: Some(5000), requests_per_day: Some(100_000), ..billing() };
    put_tenant(&story, "acme", plenty).await;
    story.sandbox.zoho(json!({"settings": {"per_minute": 5000, "per_day": 100_000}})).expect("settings");
    story.sandbox.zoho(given).expect("books");
    story
}

fn kill_at(story: &Story, n: usize, log: &str) -> Output {
    let n = n.to_string();
    story.spawn_with(&[("CALLOPS_FAIL_AT", &n), ("CALLOPS_FAIL_LOG", log)], &["sync-zoho", "--full"]).wait()
}

on_both_databases! {
    async fn killed_anywhere_the_next_run_goes_on(db) {
        let story = begin_unhurried(db, json!({"many": {"customers": 210, "invoices": 420, "today": "2027-06-01"}})).await;
        let log = story.scratch().path().join("points").display().to_string();
        let (mut killed, mut n) = (0, 1);
        loop {
            let id = truth(&story, "invoices").into_keys().nth(n).expect("an invoice");
            let change = json!([{"invoice": id, "set": {"reminders_sent": n}}]);
            story.sandbox.zoho(json!({"change": change})).expect("a change");
            let output = kill_at(&story, n, &log);
            story.wait(LATER);
            if output.code() == Some(0) {
                break;
            }
            killed += 1;
            n += 5;
        }
        assert!(killed >= 15, "{killed} points");
        let points = std::fs::read_to_string(&log).expect("a log");
        for point in ["store.begin", "store.commit", "store.committed", "zoho.asked"] {
            assert!(points.lines().any(|line| line == point), "{point}");
        }
        sync(&story, false).await;
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    async fn killed_in_the_middle_of_large_books_it_goes_on_there(db) {
        let mut given = large(&json!({}));
        given["many"]["today"] = json!("2027-06-01");
        let story = begin_unhurried(db, given).await;
        let mut running = spawn(&story, &[]);
        while requests(&story) < 70 {
            assert!(!running.is_over(), "it ended too soon");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.kill();
        running.wait();
        let before = requests(&story);
        // Who comes too soon leaves the books to whom they are lent.
        let early = run_sync(&story, &[]).success().to_string();
        assert!(early.contains("another run reads these books"), "{early}");
        story.wait(LATER);
        let gone: Vec<String> = truth(&story, "invoices").into_keys().take(30).collect();
        story.sandbox.zoho(json!({"delete_invoices": gone})).expect("deletions");
        run_sync(&story, &[]).success();
        let again = requests(&story) - before;
        assert!(again < 80, "{again} requests for what was left of 126");
        // Whatever the pages that were read before showed.
        story.wait(TimeDelta::days(1));
        run_sync(&story, &[]).success();
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    async fn two_runs_at_once_read_nothing_twice(db) {
        let story = begin_unhurried(db, json!({"many": {"customers": 900, "invoices": 4000, "today": "2027-06-01"}})).await;
        let running: Vec<Running> = (0..3).map(|_| spawn(&story, &["--format", "json"])).collect();
        let outputs: Vec<Value> = running.into_iter().map(|one| one.wait().success().json()).collect();
        let synced: Vec<&Value> = outputs.iter().filter(|rows| rows[0]["full"] == true).collect();
        assert_eq!(synced.len(), 1, "{outputs:?}");
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    /// A page that does not come loses nothing, and what was not read to its end counts as not read.
    async fn a_page_that_fails_loses_nothing(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 30, "invoices": 900}})).expect("books");
        sync(&story, false).await;
        let ids: Vec<String> = truth(&story, "invoices").into_keys().take(500).collect();
        let change: Vec<Value> = ids.iter().map(|id| json!({"invoice": id, "set": {"reminders_sent": 9}})).collect();
        story.wait(TimeDelta::hours(1));
        story.sandbox.zoho(json!({"change": change})).expect("changes");
        // The first page is stored, and the second one cannot be read. The change is past the overlap.
        story.wait(TimeDelta::minutes(30));
        story.fault(json!({"kind": "broken_json", "match": {"method": "GET", "path": "/books/v3/invoices", "nth": 2}}));
        let (_, result) = try_sync(&story.app, "acme", false).await;
        result.expect_err("a broken page");
        story.sandbox.clear_faults();
        for kind in ["broken_json", "cut_body", "server_error"] {
            story.fault(json!({"kind": kind, "times": 20, "match": {"method": "GET", "path": "/books/v3/invoices"}}));
            let (done, result) = try_sync(&story.app, "acme", false).await;
            let error = result.expect_err(kind);
            assert_eq!(callops::error::classify(&error), callops::error::Exit::Unreachable, "{kind}: {error:#}");
            assert_eq!(done.deleted, 0, "{kind}");
            story.sandbox.clear_faults();
        }
        story.wait(TimeDelta::hours(2));
        let done = sync(&story, false).await;
        assert_eq!((done.invoices, done.full), (300, false), "200 were stored before");
        check_equal(&story, "acme", Since::Changes).await;
        // A complete pass that breaks off deletes nothing.
        story.fault(json!({"kind": "server_error", "match": {"method": "GET", "path": "/books/v3/invoices", "every": 2}, "times": 50}));
        let (done, result) = try_sync(&story.app, "acme", true).await;
        story.sandbox.clear_faults();
        assert_eq!(done.deleted, 0, "{result:?}");
        sync(&story, true).await;
        check_equal(&story, "acme", Since::Full).await;
    }
}
