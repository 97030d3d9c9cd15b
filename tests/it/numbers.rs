//! Phone numbers: bought once, found when there are too many, and never released while in use.
//!
//! What was bought and what was told to go is asked of the stand-in's ledger, never of callops' own tables.

mod onboarding;
mod provision;
mod reconcile;
mod release;
pub(crate) mod schema;
mod story;

use std::time::Duration;

use callops::domain::campaign::{AccountSettings, TenantSettings};
use callops::domain::numbers::NumberSettings;
use callops::store::setup::{self, Account, Tenant};
use serde_json::{Value, json};

use crate::common::story::{Story, reqwest_client};
use crate::common::{Condition, Output, Running, TestDatabase};

/// The main account of the stand-in.
pub(crate) const MAIN: &str = "AC0000000000000000000000000000005a";
/// When these stories begin.
const NOW: &str = "2026-11-26T15:00:00Z";
const VOICE: &str = "https://voice.acme.example/twilio";
const STATUS: &str = "https://voice.acme.example/twilio/status";

/// What a tenant that is told apart by its numbers' name says of them.
fn named(friendly_name: &str) -> NumberSettings {
    NumberSettings {
        account: "acme-twilio".to_owned(),
        friendly_name: Some(friendly_name.to_owned()),
        voice_url: Some(VOICE.to_owned()),
        status_callback: Some(STATUS.to_owned()),
        monthly_cost: Some("5.00".parse().expect("a sum")),
        ..NumberSettings::default()
    }
}

/// A story with an account at Twilio and a tenant `acme` whose numbers are called Acme Dental.
async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, NOW).await;
    put_account(&story, "acme-twilio", "env:ACME_KEY").await;
    put_tenant(&story, "acme", named("Acme Dental")).await;
    story
}

async fn put_account(story: &Story, name: &str, api_key: &str) {
    let settings = AccountSettings {
        api_key: api_key.to_owned(),
        account_sid: Some(MAIN.to_owned()),
        base_url: Some(story.sandbox.url()),
        ..AccountSettings::default()
    };
    put_settings(story, name, &settings).await;
}

async fn put_settings(story: &Story, name: &str, settings: &AccountSettings) {
    let account = Account {
        name: name.to_owned(),
        provider: "twilio".to_owned(),
        settings: serde_json::to_string(settings).expect("JSON"),
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

async fn put_tenant(story: &Story, name: &str, numbers: NumberSettings) {
    let settings = TenantSettings {
        api_token: Some(format!("env:{}_TOKEN", name.to_uppercase())),
        numbers: Some(Box::new(numbers)),
        ..TenantSettings::default()
    };
    let tenant = Tenant {
        name: name.to_owned(),
        display_name: name.to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: serde_json::to_string(&settings).expect("JSON"),
    };
    let now = story.now();
    story.write(async |tx| setup::put_tenant(tx, &tenant, now).await).await;
}

/// The SID of a number that a test names by its number.
fn sid(n: u32) -> String {
    format!("PN{n:032x}")
}

/// A number of Acme's, bought `n` minutes after three.
fn number(n: u32) -> Value {
    json!({"account": MAIN, "sid": sid(n), "phone": format!("+1802555010{n}"), "friendly_name": "Acme Dental",
        "voice_url": VOICE, "status_callback": STATUS, "bought_at": format!("2026-11-20T15:0{n}:00Z")})
}

/// Numbers of nobody's, so that few of Acme's are no great share of the account's.
fn strangers(count: u32) -> Vec<Value> {
    let stranger = |n| {
        json!({"account": MAIN, "sid": sid(100 + n), "phone": format!("+1415555{:04}", 1000 + n),
            "friendly_name": format!("Somebody {n}"), "bought_at": "2026-01-01T00:00:00Z"})
    };
    (1..=count).map(stranger).collect()
}

/// The numbers that the stand-in holds for the main account: SID and friendly name.
async fn at_twilio(story: &Story) -> Vec<(String, String)> {
    let url = format!("{}/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json?PageSize=1000", story.sandbox.url());
    let answer = reqwest_client().get(url).basic_auth(MAIN, Some("sandbox-key")).send().await.expect("an answer");
    let page: Value = answer.json().await.expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let numbers = page["incoming_phone_numbers"].as_array().expect("numbers");
    let mut found: Vec<_> = numbers.iter().map(|one| (text(&one["sid"]), text(&one["friendly_name"]))).collect();
    found.sort();
    found
}

/// What the stand-in was asked, as it notes it.
async fn requests(story: &Story) -> Vec<Value> {
    let url = format!("{}/_sandbox/requests", story.sandbox.url());
    let answer: Value = reqwest_client().get(url).send().await.expect("an answer").json().await.expect("JSON");
    answer.as_array().or_else(|| answer["requests"].as_array()).expect("requests").clone()
}

/// Insists that what was asked of Twilio is as its own description has it, and that so much was.
async fn check_requests(story: &Story, least: usize) {
    let requests = requests(story).await;
    let asked = requests.iter().filter(|one| one["path"].as_str().is_some_and(|path| path.starts_with("/2010-04-01/")));
    let count = asked.count();
    assert!(count >= least, "{count} requests");
    schema::check_requests(&requests);
}

/// The SIDs that a DELETE was sent for, in their order.
fn deleted(story: &Story) -> Vec<String> {
    let ledger = story.sandbox.twilio_ledger();
    let deletes = ledger["deletes"].as_array().expect("deletes");
    deletes.iter().map(|one| one["sid"].as_str().expect("a SID").to_owned()).collect()
}

/// The numbers that were bought, in their order.
fn bought(story: &Story) -> Vec<String> {
    let ledger = story.sandbox.twilio_ledger();
    let purchases = ledger["purchases"].as_array().expect("purchases");
    purchases.iter().map(|one| one["phone"].as_str().expect("a phone").to_owned()).collect()
}

/// What `list numbers` shows of a tenant.
fn listed(story: &Story, tenant: &str) -> Vec<Value> {
    let output = story.run(&["list", "numbers", "--tenant", tenant, "--format", "json"]).success();
    output.json().as_array().expect("rows").clone()
}

/// The actions of the audit log about a number, oldest first.
fn audited(story: &Story, sid: &str) -> Vec<String> {
    let shown = story.run(&["show", "number", sid, "--format", "json"]).success().json();
    let mut actions: Vec<String> = shown["audit"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|entry| entry["action"].as_str().expect("an action").to_owned())
        .collect();
    actions.reverse();
    actions
}

/// Runs the binary with a fail point armed.
fn kill_at(story: &Story, n: u64, log: &str, args: &[&str]) -> Output {
    let n = n.to_string();
    story.spawn_with(&[("CALLOPS_FAIL_AT", &n), ("CALLOPS_FAIL_LOG", log)], args).wait()
}

/// Starts a command that is stopped at the first of these points that it passes, found by playing it on a story of its own.
async fn stopped_at(story: &Story, name: &str, before: usize, trial: Story, args: &[&str]) -> Running {
    let log = trial.scratch().path().join("names").display().to_string();
    trial.spawn_with(&[("CALLOPS_FAIL_LOG", &log)], args).wait();
    let passed = std::fs::read_to_string(&log).expect("the points");
    let n = passed.lines().position(|point| point == name).expect("the point") + 1 - before;
    let n = n.to_string();
    let mut running = story.spawn_with(&[("CALLOPS_FAIL_AT", &n), ("CALLOPS_FAIL_DO", "stop")], args);
    while running.condition() != Condition::Stopped {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running
}

/// Waits longer than a request may after it was committed to, by the machine's own clock: a process that is stopped has no
/// other.
async fn too_late_to_send() {
    tokio::time::sleep(Duration::from_millis(5200)).await;
}

/// Starts so many of the same command at once, and yields how each ended.
fn at_once(story: &Story, count: usize, args: &[&str]) -> Vec<Output> {
    let running: Vec<Running> = (0..count).map(|_| story.spawn(args)).collect();
    running.into_iter().map(Running::wait).collect()
}
