//! Everything, what changed, and what was deleted.

use std::collections::BTreeSet;

use callops::domain::billing::BillingSettings;
use callops::store::Tx;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Since, begin, billing, check_equal, check_ledger, large, put_tenant, requests, sync, truth};
use crate::common::on_both_databases;
use crate::common::story::Story;

/// The ids of the first few records.
fn first_ids(story: &Story, kind: &str, skip: usize, count: usize) -> Vec<String> {
    truth(story, kind).into_keys().skip(skip).take(count).collect()
}

on_both_databases! {
    async fn large_books_are_kept_as_they_are(db) {
        let story = begin(db).await;
        story.sandbox.zoho(large(&json!({}))).expect("books");
        let began_at = story.now();
        let done = sync(&story, false).await;
        assert_eq!((done.customers, done.invoices, done.full), (truth(&story, "customers").len() as u64, 20_000, true));
        assert_eq!(done.contact_persons, 50, "some customers have invoices that are due");
        assert_eq!(done.requests, requests(&story));
        assert!(story.now() - began_at >= TimeDelta::seconds(60), "a minute has a hundred requests");
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;

        // What changed, of either kind, and what is new.
        story.wait(TimeDelta::minutes(15));
        let customers: Vec<String> = truth(&story, "customers").into_keys().collect();
        let all = truth(&story, "invoices");
        let invoices: Vec<&String> = all.keys().collect();
        let paid = invoices[100..330].iter().map(|id| json!({"invoice": id, "set": {"status": "paid", "balance": 0}}));
        let renamed =
            customers[40..47].iter().map(|id| json!({"customer": id, "set": {"contact_name": format!("Renamed {id}"), "phone": "1"}}));
        let change: Vec<Value> = paid.chain(renamed).collect();
        story.sandbox.zoho(json!({"change": change, "customers": [{"contact_name": "New & Co"}]})).expect("changes");
        story.wait(TimeDelta::minutes(1));
        let before = requests(&story);
        let done = sync(&story, false).await;
        // Those that the pages show besides may differ as well: what they owe, and whose they are.
        assert!(done.customers >= 8 && done.invoices >= 230, "{done:?}");
        assert!(done.customers < 208 && done.invoices < 400 && !done.full, "{done:?}");
        let lists = requests(&story) - before - done.contact_persons;
        assert!(lists <= 6, "{lists} requests for what changed, and for what was changed just before");
        check_equal(&story, "acme", Since::Changes).await;

        // Nothing is listed of what is deleted, so that only reading everything tells.
        story.wait(TimeDelta::minutes(15));
        let busy: BTreeSet<&str> = all.values().filter_map(|one| one["customer_id"].as_str()).collect();
        let idle: Vec<&String> = customers.iter().filter(|id| !busy.contains(id.as_str())).take(4).collect();
        assert!(!idle.is_empty(), "who has invoices cannot be deleted");
        story.sandbox.zoho(json!({"delete_invoices": invoices[9000..9060], "delete_customers": idle})).expect("deletions");
        let done = sync(&story, false).await;
        assert_eq!((done.deleted, done.full), (0, false));
        let done = sync(&story, true).await;
        assert_eq!((done.deleted, done.full), (60 + idle.len() as u64, true));
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }

    /// Without that, PostgreSQL plans by guesses until a minute after the first sync.
    async fn what_was_read_is_known_to_the_planner(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 30, "invoices": 250}})).expect("books");
        sync(&story, false).await;
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = $1::text::regclass";
        for (table, rows) in [("callops.billing_customers", 30_i64), ("callops.billing_invoices", 250)] {
            let known = story
                .write(async |tx| match tx {
                    Tx::Sqlite(_) => Ok(rows),
                    Tx::Postgres(tx) => Ok(sqlx::query_scalar(sql).bind(table).fetch_one(&mut **tx).await?),
                })
                .await;
            assert_eq!(known, rows, "{table}");
        }
    }

    async fn everything_is_read_again_after_a_day(db) {
        let story = begin(db).await;
        story.sandbox.zoho(json!({"many": {"customers": 30, "invoices": 250}, "settings": {"page_context": "array"}}))
            .expect("books");
        assert!(sync(&story, false).await.full);
        let id = first_ids(&story, "invoices", 10, 1);
        story.sandbox.zoho(json!({"delete_invoices": id})).expect("a deletion");
        story.wait(TimeDelta::hours(23));
        let done = sync(&story, false).await;
        assert_eq!((done.full, done.deleted), (false, 0));
        story.wait(TimeDelta::hours(1));
        let done = sync(&story, false).await;
        assert_eq!((done.full, done.deleted), (true, 1));
        check_equal(&story, "acme", Since::Full).await;

        // Who asks for another organisation's books gets these alone.
        let other = json!({"organizations": [{"id": "20", "name": "Other", "refresh_token": "sandbox-key",
            "client_id": "1000.CLIENT", "client_secret": "other-key"}]});
        story.sandbox.zoho(other).expect("an organisation");
        let elsewhere = BillingSettings { organization_id: "20".to_owned(), ..billing() };
        put_tenant(&story, "acme", elsewhere).await;
        let done = sync(&story, false).await;
        assert_eq!((done.full, done.customers, done.invoices), (true, 0, 0));
        let left = story.run(&["list", "invoices", "--format", "json"]).success().json();
        assert_eq!(left, json!([]));
    }

    async fn persons_are_asked_for_where_they_are_needed_and_once(db) {
        let story = begin(db).await;
        let customer = |id: u32| json!({"contact_id": id.to_string(), "contact_name": format!("Customer {id}"),
            "contact_persons": [{"first_name": "Ada", "phone": "+1-802-555-0100", "is_primary_contact": true}]});
        let invoice = |id: u32, customer: u32, due: &str, status: &str| json!({"invoice_id": id.to_string(),
            "customer_id": customer.to_string(), "due_date": due, "status": status, "total": 10.5});
        story.sandbox.zoho(json!({
            "customers": [customer(1), customer(2), customer(3), customer(4)],
            "invoices": [invoice(11, 1, "2026-11-19", "overdue"), invoice(12, 2, "2026-11-23", "sent"),
                invoice(13, 3, "2026-11-24", "sent"), invoice(14, 4, "2026-11-01", "paid")],
        })).expect("books");
        let asked = |story: &Story| {
            let shown = story.run(&["list", "customers", "--format", "json"]).success().json();
            let rows = shown.as_array().expect("rows").clone();
            rows.iter().filter(|row| row["persons"] == json!(1)).map(|row| row["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(sync(&story, false).await.contact_persons, 2);
        assert_eq!(asked(&story), [json!("1"), json!("2")]);
        story.wait(TimeDelta::minutes(15));
        assert_eq!(sync(&story, false).await.contact_persons, 0, "they are remembered");
        story.sandbox.zoho(json!({"change": [{"customer": "2", "set": {"contact_persons": [
            {"first_name": "Bo", "is_primary_contact": true}, {"first_name": "Cy"}]}}]})).expect("a change");
        story.wait(TimeDelta::minutes(15));
        assert_eq!(sync(&story, false).await.contact_persons, 1);
        check_equal(&story, "acme", Since::Full).await;
        check_ledger(&story).await;
    }
}
