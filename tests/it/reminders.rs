//! Calls about unpaid invoices. What there is to pay is asked of the stand-in for Zoho Books, who was called of the one
//! for Vapi.

mod answers;
mod apply;
mod caps;
mod debtors;
mod fresh;
mod races;
mod schedule;

use callops::domain::campaign::Rules;
use callops::domain::evidence::RetryPolicy;
use callops::domain::outcome::Outcome;
use callops::domain::reminder::Reminders;
use callops::store::billing::reminders::{self, Reminder};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::common::TestDatabase;
use crate::common::story::{Story, reqwest_client, rules};
use crate::zoho;

/// Of the customer `ada`, in whose zone it is New York's time.
const ADA: &str = "+12125550111";
/// The customer's id.
const CUSTOMER: &str = "460000000000001";

/// A story that begins on Friday, 2026-11-20, at 10:00 in New York, with a campaign `reminders` from 09:00 to 17:00.
async fn begin(db: TestDatabase) -> Story {
    begin_with(db, Reminders::default()).await
}

async fn begin_with(db: TestDatabase, reminders: Reminders) -> Story {
    let story = zoho::begin(db).await;
    story.campaign("reminders", &reminding(reminders)).await;
    story.sandbox.zoho(json!({"customers": [customer(CUSTOMER, "(212) 555-0111")]})).expect("a customer");
    story
}

fn reminding(reminders: Reminders) -> Rules {
    let retry =
        RetryPolicy { on: vec![Outcome::NoAnswer, Outcome::Busy], after_seconds: 3600, ..RetryPolicy::default() };
    Rules { retry, reminders: Some(Box::new(reminders)), ..rules() }
}

fn customer(id: &str, phone: &str) -> Value {
    json!({"contact_id": id, "contact_name": format!("Customer {id}"), "first_name": "Ada", "phone": phone})
}

fn invoice(id: &str, customer_id: &str, due_date: &str, balance: &str) -> Value {
    let balance: Value = serde_json::from_str(balance).expect("a number");
    json!({
        "invoice_id": id, "customer_id": customer_id, "invoice_number": format!("INV-{id}"), "status": "overdue",
        "date": "2026-10-01", "due_date": due_date, "total": balance, "balance": balance,
    })
}

fn put_invoices(story: &Story, invoices: &[Value]) {
    story.sandbox.zoho(json!({"invoices": invoices})).expect("invoices");
}

/// Changes an invoice at Zoho.
fn change(story: &Story, id: &str, set: &Value) {
    story.sandbox.zoho(json!({"change": [{"invoice": id, "set": set}]})).expect("a change");
}

async fn calls_about(story: &Story, invoice_id: &str) -> Vec<Reminder> {
    story.write(async |tx| reminders::of_invoice(tx, "acme", invoice_id).await).await
}

/// The offsets that an invoice was called about, in their order.
async fn offsets(story: &Story, invoice_id: &str) -> Vec<i64> {
    let calls = calls_about(story, invoice_id).await;
    calls.iter().filter_map(|call| Reminders::offset_of(&call.key)).collect()
}

/// What the newest request for a call told the agent.
async fn told(story: &Story) -> Value {
    let url = format!("{}/_sandbox/requests", story.sandbox.url());
    let answer: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
    let requests = answer.as_array().or_else(|| answer["requests"].as_array()).expect("requests").clone();
    let dial = requests.iter().rev().find(|one| one["method"] == "POST" && one["path"] == "/call").expect("a dial");
    let body = match &dial["body"] {
        Value::String(text) => serde_json::from_str(text).expect("JSON"),
        body => body.clone(),
    };
    body["assistantOverrides"]["variableValues"].clone()
}

/// Lets calls end and learns what became of them.
async fn settle(story: &Story) {
    for _ in 0..3 {
        story.wait(TimeDelta::minutes(5));
        story.collect().await;
    }
}

/// What the gates said when the contact was looked at last.
async fn last_reason(story: &Story, phone: &str) -> Option<String> {
    let campaign = story.find_campaign("reminders").await;
    story
        .write(async |tx| {
            let contacts = callops::store::contacts::contacts_by_phones(tx, "acme", &[phone], false).await?;
            let Some(contact) = contacts.first() else { return Ok(None) };
            let candidate = callops::store::enrollments::candidate(tx, &campaign.id, &contact.id).await?;
            Ok(candidate.and_then(|candidate| candidate.last_reason))
        })
        .await
}

/// Delivers an agent's report as a verified webhook would.
async fn tell(story: &Story, report: &Value) {
    use callops::commands::calling::inbox::{Incoming, receive};
    use callops::domain::event::{EventSource, Scope};
    let payload = report.to_string();
    let incoming = Incoming::read(EventSource::CallStatus, Scope::Everybody, payload.as_bytes()).expect("a report");
    receive(&story.app, &incoming).await.expect("stored");
}
