//! Welcome calls: who paid is called once, and nobody else is, whatever becomes of the events on the way.
//!
//! Who rang is asked of the stand-in, never of callops' own tables.

mod apply;
mod listed;
mod payments;
mod phones;
mod queue;
mod story;
mod sync;
mod webhooks;

use callops::commands::calling::inbox::{Incoming, Receipt, receive};
use callops::domain::campaign::{AccountSettings, Rules, TenantSettings, ZonePolicy};
use callops::domain::event::{EventSource, Scope};
use callops::domain::slot::Frequency;
use callops::domain::welcome::WelcomeSettings;
use callops::store::setup::{self, Account, Tenant};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::common::TestDatabase;
use crate::common::story::{Story, at, reqwest_client, rules};
use crate::sandbox_stripe::schema::check_requests;

/// When these stories begin: a Monday, 08:00 in New York.
const NOW: &str = "2026-11-16T13:00:00Z";
/// Customers that were made before are not welcomed.
const SINCE: &str = "2026-11-01T00:00:00Z";
const SECRET: &str = "whsec_acme";
const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

fn welcome() -> WelcomeSettings {
    WelcomeSettings {
        account: "acme-stripe".to_owned(),
        campaign: "welcome".to_owned(),
        welcome_since: at(SINCE),
        trialing: false,
        timezone_key: None,
        preferred_time_key: None,
    }
}

fn welcome_rules() -> Rules {
    Rules { frequency: Frequency::Once, zone_policy: ZonePolicy::Callee, ..rules() }
}

fn account() -> AccountSettings {
    AccountSettings {
        api_key: "env:ACME_KEY".to_owned(),
        webhook_secret: Some("env:ACME_STRIPE_WEBHOOK".to_owned()),
        livemode: Some(false),
        ..AccountSettings::default()
    }
}

/// A story with an account at Stripe, whose customers the tenant `acme` welcomes by the campaign `welcome`.
async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, NOW).await;
    put_account(&story, "acme-stripe", account()).await;
    story.campaign("welcome", &welcome_rules()).await;
    put_tenant(&story, welcome()).await;
    story
        .sandbox
        .stripe(json!({"accounts": [{"key": "sandbox-key", "webhook_secret": SECRET, "livemode": false}]}))
        .expect("an account");
    story
}

async fn put_account(story: &Story, name: &str, settings: AccountSettings) {
    let settings = AccountSettings { base_url: Some(story.sandbox.url()), ..settings };
    let account = Account {
        name: name.to_owned(),
        provider: "stripe".to_owned(),
        settings: serde_json::to_string(&settings).expect("JSON"),
        max_concurrency: 10,
        calls_per_minute: None,
        org_id: None,
        held_until: None,
        held_reason: None,
        refusals: 0,
    };
    let now = story.now();
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

async fn put_tenant(story: &Story, welcome: WelcomeSettings) {
    let settings = TenantSettings { welcome: Some(Box::new(welcome)), ..TenantSettings::default() };
    let tenant = Tenant {
        name: "acme".to_owned(),
        display_name: "Acme Dental".to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: serde_json::to_string(&settings).expect("JSON"),
    };
    let now = story.now();
    story.write(async |tx| setup::put_tenant(tx, &tenant, now).await).await;
}

/// A customer of the stand-in's, made now; `known` is by Stripe's own names.
#[expect(clippy::needless_pass_by_value, reason = "it is written where it is given")]
fn customer(story: &Story, id: &str, known: Value) {
    let mut customer = json!({"id": id, "created": story.now().timestamp()});
    for (key, value) in known.as_object().expect("an object") {
        customer[key] = value.clone();
    }
    story.sandbox.stripe(json!({"customers": [customer]})).expect("a customer");
}

/// Something happens at the stand-in, a second later than what happened before. Yields the event as its API shows it.
async fn happen(story: &Story, usual: Value) -> Value {
    story.wait(TimeDelta::seconds(1));
    story.sandbox.stripe(json!({"usual": usual})).expect("an event");
    events_there(story).await.into_iter().next().expect("an event")
}

/// The same, of a customer, told by a webhook.
async fn told(story: &Story, kind: &str, customer: &str) -> Receipt {
    let event = happen(story, json!({"kind": kind, "customer": customer})).await;
    deliver(story, &event).await
}

/// The stand-in's events, the newest first.
async fn events_there(story: &Story) -> Vec<Value> {
    let url = format!("{}/v1/events?limit=100", story.sandbox.url());
    let answer: Value = reqwest_client()
        .get(url)
        .bearer_auth("sandbox-key")
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

fn incoming(event: &Value) -> Incoming {
    let scope = Scope::Of(vec!["acme-stripe".to_owned()]);
    Incoming::read(EventSource::Stripe, scope, event.to_string().as_bytes()).expect("an event")
}

/// What a verified webhook comes to.
async fn deliver(story: &Story, event: &Value) -> Receipt {
    receive(&story.app, &incoming(event)).await.expect("it is stored")
}

/// All customers that are known, by id: `list welcomes` as JSON.
fn welcomes(story: &Story) -> Vec<Value> {
    let listed = story.run(&["list", "welcomes", "--limit", "100000", "--format", "json"]).success().json();
    listed.as_array().expect("a list").clone()
}

fn welcome_of(story: &Story, customer: &str) -> Value {
    let all = welcomes(story);
    all.iter().find(|one| one["customer"] == customer).unwrap_or_else(|| panic!("{customer}: {all:?}")).clone()
}

fn state_of(story: &Story, customer: &str) -> String {
    welcome_of(story, customer)["status"].as_str().expect("a state").to_owned()
}

/// Cron's runs from now until a moment, one each so many minutes.
async fn run_until(story: &Story, moment: &str, every: i64) {
    let end: DateTime<Utc> = at(moment);
    while story.now() < end {
        story.wait(TimeDelta::minutes(every).min(end - story.now()));
        story.process(&[]).await;
        story.collect().await;
    }
}

/// Insists that every request to Stripe was as its reference has it.
async fn check_asked(story: &Story) {
    let url = format!("{}/_sandbox/requests", story.sandbox.url());
    let noted: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
    let requests = noted.as_array().or_else(|| noted["requests"].as_array()).expect("requests");
    check_requests(requests);
}

/// How often Stripe was asked.
async fn asked(story: &Story) -> usize {
    story.request_paths().await.iter().filter(|path| path.starts_with("/v1/customers")).count()
}
