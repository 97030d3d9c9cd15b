//! `import-contacts`: real lists, bad lists, and every row accounted for.

mod accounting;
mod corrections;
mod encodings;
mod failures;
mod lists;
mod policies;
mod properties;
mod rejects;
mod sources;
mod undo;
mod zones;

use std::collections::HashMap;
use std::path::PathBuf;

use callops::domain::phone::Phone;
use callops::store::contacts::{Contact, Filter};
use callops::store::setup::{Account, Campaign, Tenant};
use callops::store::{self, Db, contacts, setup};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::common::{Callops, Output, Scratch, TestDatabase, on_both_databases};

fn example(file: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file).display().to_string()
}

fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().expect("an instant")
}

async fn open(database: &TestDatabase) -> Db {
    let options = store::Options {
        url: database.url().to_owned(),
        schema: "callops".to_owned(),
        max_connections: 2,
        statement_cache: true,
        create: false,
    };
    Db::connect(&options).await.expect("the database opens")
}

/// A tenant `acme` in the United States with a campaign `checkup`.
async fn set_up(database: &TestDatabase) -> Db {
    let db = open(database).await;
    let tenant = Tenant {
        name: "acme".to_owned(),
        display_name: "Acme Dental".to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: "{}".to_owned(),
    };
    let account = Account {
        name: "acme-vapi".to_owned(),
        provider: "vapi".to_owned(),
        settings: json!({"api_key": "env:KEY"}).to_string(),
        max_concurrency: 10,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let rules = json!({
        "frequency": "daily",
        "schedule": {"window": "09:00-17:00"},
        "zone_policy": "callee",
        "agent": {},
        "retry": callops::domain::evidence::RetryPolicy::default(),
        "look_back_seconds": 900,
        "answer_timeout_seconds": 600,
        "call_timeout_seconds": 3600
    });
    let campaign = Campaign {
        id: "01JD0000000000000000000000".to_owned(),
        tenant: "acme".to_owned(),
        name: "checkup".to_owned(),
        purpose: "checkup".to_owned(),
        account: "acme-vapi".to_owned(),
        active: false,
        priority: 0,
        rules: rules.to_string(),
        rules_version: 1,
        next_open_at: None,
        last_served_at: DateTime::UNIX_EPOCH,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let mut tx = db.begin().await.expect("a transaction");
    setup::put_account(&mut tx, &account, now()).await.expect("an account");
    setup::put_tenant(&mut tx, &tenant, now()).await.expect("a tenant");
    setup::put_campaign(&mut tx, &campaign, now()).await.expect("a campaign");
    tx.commit().await.expect("a commit");
    db
}

async fn stored(db: &Db) -> Vec<Contact> {
    let mut tx = db.read().await.expect("a transaction");
    contacts::contacts(&mut tx, &Filter { limit: 10_000, ..Filter::default() }).await.expect("contacts")
}

async fn contact(db: &Db, phone: &str) -> Contact {
    stored(db).await.into_iter().find(|contact| contact.phone == phone).unwrap_or_else(|| panic!("no {phone}"))
}

fn all_imports() -> store::listing::Filter {
    store::listing::Filter { limit: 10, ..store::listing::Filter::default() }
}

async fn enrolled(db: &Db) -> usize {
    let mut tx = db.read().await.expect("a transaction");
    let filter =
        Filter { campaign_id: Some("01JD0000000000000000000000".to_owned()), limit: 10_000, ..Filter::default() };
    contacts::contacts(&mut tx, &filter).await.expect("contacts").len()
}

/// The counts of a summary, in the order rows, created, updated, unchanged, skipped, duplicate, rejected. They add up.
fn counts(summary: &Value) -> [u64; 7] {
    let names = ["rows", "created", "updated", "unchanged", "skipped", "duplicate", "rejected"];
    let counts = names.map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}")));
    assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{summary}");
    counts
}

fn import<'a>(database: &TestDatabase, args: impl IntoIterator<Item = &'a str>) -> Output {
    let fixed = ["import-contacts", "--tenant", "acme", "--format", "json"];
    database.callops().run(fixed.into_iter().chain(args))
}

fn read_csv(text: &str) -> Vec<HashMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("a row")).collect()
}

/// Checks a list with no database; gives the summary's counts and the whole output.
fn check(list: &[u8], args: &[&str]) -> (Option<[u64; 7]>, Output) {
    let scratch = Scratch::new();
    let path = scratch.write("list.csv", list).display().to_string();
    let fixed = ["--format=json", "import-contacts", &path, "--dry-run"];
    let output = Callops::new(&scratch).run(fixed.into_iter().chain(args.iter().copied()));
    let summary = matches!(output.code(), Some(0 | 4)).then(|| counts(&output.json()));
    (summary, output)
}
