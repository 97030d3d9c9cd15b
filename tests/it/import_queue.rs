//! `import-queue`: the queue of another system is taken over, and nobody whom it has called is called again.

mod files;
mod gates;
mod people;
mod safety;

use callops::domain::campaign::Rules;
use callops::domain::slot::Frequency;
use callops::store::Tx;
use serde_json::Value;

use crate::common::Output;
use crate::common::story::{Story, rules};

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
const HEADER: &str =
    "phone_number,customer_name,status,attempts,scheduled_for,created_at,stripe_customer_id,welcome_call_completed";

fn once() -> Rules {
    Rules { frequency: Frequency::Once, ..rules() }
}

/// A story with a campaign that calls everybody once.
async fn welcome(db: crate::common::TestDatabase) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.campaign("welcome", &once()).await;
    story
}

/// A row of the usual columns.
fn row(phone: &str, status: &str, created: &str, customer: &str, called: &str) -> String {
    format!("{phone},Ada,{status},1,2026-11-16 09:00:00,{created},{customer},{called}")
}

fn write(story: &Story, rows: &[String]) -> String {
    story.scratch().write("queue.csv", format!("{HEADER}\n{}\n", rows.join("\n"))).display().to_string()
}

fn take_over(story: &Story, file: &str, more: &[&str]) -> Output {
    let fixed = ["import-queue", file, "--campaign", "acme/welcome", "--format", "json"];
    story.run(&fixed.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The counts in the order rows, enrolled, already enrolled, spent, already spent, left out, duplicate, rejected. They add up.
fn counts(summary: &Value) -> [u64; 8] {
    let names = ["rows", "enrolled", "already_enrolled", "spent", "already_spent", "left_out", "duplicate", "rejected"];
    let counts = names.map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}")));
    assert_eq!(counts[0], counts[1..].iter().sum::<u64>(), "{summary}");
    counts
}

/// Contacts, enrollments, calls, slots, imports.
async fn content(story: &Story) -> [i64; 5] {
    const SQL: &str = "SELECT (SELECT count(*) FROM contacts), (SELECT count(*) FROM enrollments), \
                       (SELECT count(*) FROM calls), (SELECT count(*) FROM slots), (SELECT count(*) FROM imports)";
    let (contacts, enrollments, calls, slots, imports) =
        match &mut story.db().await.read().await.expect("a transaction") {
            Tx::Sqlite(tx) => sqlx::query_as(SQL).fetch_one(&mut **tx).await,
            Tx::Postgres(tx) => sqlx::query_as(SQL).fetch_one(&mut **tx).await,
        }
        .expect("counts");
    [contacts, enrollments, calls, slots, imports]
}

/// The customers whose slots are held.
async fn subjects(story: &Story) -> Vec<String> {
    const SQL: &str = "SELECT subject FROM slots WHERE subject IS NOT NULL ORDER BY subject";
    match &mut story.db().await.read().await.expect("a transaction") {
        Tx::Sqlite(tx) => sqlx::query_scalar(SQL).fetch_all(&mut **tx).await,
        Tx::Postgres(tx) => sqlx::query_scalar(SQL).fetch_all(&mut **tx).await,
    }
    .expect("subjects")
}

/// Runs as cron does for a while; gives the phones that rang.
async fn rung(story: &Story) -> Vec<String> {
    for _ in 0..4 {
        story.process(&[]).await;
        story.wait(chrono::TimeDelta::minutes(10));
        story.collect().await;
    }
    let mut phones: Vec<String> = story.sandbox.rings().into_iter().map(|ring| ring.phone).collect();
    phones.sort_unstable();
    phones
}
