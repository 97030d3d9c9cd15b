//! `serve`, over real HTTP: the program runs beside the test, on the database of a story.

mod abuse;
mod admin;
mod call_status;
mod cron;
mod doctor;
mod inbox;
mod lost_webhooks;
mod sessions;
pub(crate) mod under_load;
mod vapi;

use std::time::Duration;

use callops::domain::campaign::{AccountSettings, TenantSettings};
use callops::domain::secret::Secret;
use callops::domain::signature::callops::sign;
use callops::domain::signature::vapi::HmacPlan;
use callops::store::attempts::Attempt;
use callops::store::setup::{self, Tenant};
use serde_json::{Value, json};

use crate::common::story::{Story, reqwest_client, rules};
use crate::common::{Output, Running, TestDatabase};

pub(crate) const WEBHOOK_SECRET: &str = "the-operators-webhook-secret";
pub(crate) const CRON_SECRET: &str = "the-cron-secret";
pub(crate) const ACCOUNT_SECRET: &str = "the-accounts-webhook-secret";
pub(crate) const TENANT_SECRET: &str = "the-tenants-webhook-secret";
pub(crate) const OTHER_SECRET: &str = "another-tenants-webhook-secret";

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
pub(crate) const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

/// The variables that the server runs with.
const VARIABLES: &[(&str, &str)] = &[
    ("WEBHOOK_SECRET", WEBHOOK_SECRET),
    ("CRON_SECRET", CRON_SECRET),
    ("ACME_WEBHOOK", ACCOUNT_SECRET),
    ("TENANT_WEBHOOK", TENANT_SECRET),
    ("OTHER_WEBHOOK", OTHER_SECRET),
    ("ACME_TOKEN", "the-token-of-acme"),
    ("OTHER_TOKEN", "the-token-of-other"),
];

/// A server that runs, and a client.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) url: String,
    admin_url: String,
    pub(crate) client: reqwest::Client,
}

impl Serving {
    pub(crate) fn start(story: &Story) -> Self {
        Self::with(story, VARIABLES)
    }

    /// A server with these variables.
    pub(crate) fn with(story: &Story, variables: &[(&str, &str)]) -> Self {
        let args = ["serve", "--listen", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"];
        Self::of(story.spawn_with(variables, &args))
    }

    /// A server whose clock is ahead of the story's: for six minutes to come it takes tokens that are made by the latter.
    pub(crate) fn ahead(story: &Story) -> Self {
        let now = (story.now() + chrono::TimeDelta::minutes(5)).to_rfc3339();
        let args = ["serve", "--listen", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--now", &now];
        Self::of(story.spawn_today(VARIABLES, &args))
    }

    /// A server that goes by the machine's clock.
    fn start_today(story: &Story) -> Self {
        Self::of(story.spawn_today(VARIABLES, &["serve", "--listen", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]))
    }

    fn of(mut running: Running) -> Self {
        let line: Value = serde_json::from_str(&running.stdout_line("admin_url")).expect("JSON");
        let text = |key: &str| line[key].as_str().expect("an address").to_owned();
        Self { url: text("url"), admin_url: text("admin_url"), running, client: reqwest_client() }
    }

    /// Sends an agent's report, signed; yields the status and the answer.
    pub(crate) async fn report(&self, secret: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let signature = sign(&Secret::new(secret), None, body.as_bytes());
        self.post("/api/webhooks/call-status", &[("X-Webhook-Signature", &signature)], body).await
    }

    /// Sends a message as Vapi does, by the shared secret of the account.
    async fn message(&self, message: Value) -> (u16, Value) {
        let body = json!({"message": message}).to_string();
        self.post("/api/vapi/webhook", &[("X-Vapi-Secret", ACCOUNT_SECRET)], body).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let mut request = self.client.post(format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.admin_url)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    pub(crate) fn end(self) -> Output {
        self.running.signal("TERM");
        self.running.wait().exits(143)
    }
}

/// A story with a campaign and these people, whose account and tenant have secrets of their own.
pub(crate) async fn begin(db: TestDatabase, phones: &[&str]) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    let settings = AccountSettings {
        api_key: "env:ACME_KEY".to_owned(),
        api_secret: None,
        client_id: None,
        data_center: None,
        account_sid: None,
        webhook_secret: Some("env:ACME_WEBHOOK".to_owned()),
        previous_webhook_secret: None,
        livemode: None,
        webhook_signature: None,
        base_url: Some(story.sandbox.url()),
    };
    put_account(&story, "acme-vapi", settings.clone()).await;
    let signed = AccountSettings {
        webhook_secret: Some("env:OTHER_WEBHOOK".to_owned()),
        webhook_signature: Some(HmacPlan::default()),
        ..settings
    };
    put_account(&story, "other-vapi", signed).await;
    put_tenant(&story, "acme", "env:TENANT_WEBHOOK").await;
    put_tenant(&story, "other", "env:OTHER_WEBHOOK").await;
    story.campaign("checkup", &rules()).await;
    for phone in phones {
        story.contact(phone, |_| {}, &["checkup"]).await;
    }
    story
}

async fn put_account(story: &Story, name: &str, settings: AccountSettings) {
    let now = story.now();
    let mut account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
    account.name = name.to_owned();
    account.settings = serde_json::to_string(&settings).expect("JSON");
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

async fn put_tenant(story: &Story, name: &str, reference: &str) {
    let now = story.now();
    let settings = TenantSettings { webhook_secret: Some(reference.to_owned()), ..TenantSettings::default() };
    let tenant = Tenant {
        name: name.to_owned(),
        display_name: name.to_owned(),
        region: Some("US".to_owned()),
        timezone: Some("America/New_York".to_owned()),
        settings: serde_json::to_string(&settings).expect("JSON"),
    };
    story.write(async |tx| setup::put_tenant(tx, &tenant, now).await).await;
}

/// The newest attempt to a phone.
pub(crate) async fn attempt_to(story: &Story, phone: &str) -> Attempt {
    let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
    story.attempts(&call).await.pop().expect("an attempt")
}

/// What `show` says of something, as JSON.
fn shown(story: &Story, kind: &str, id: &str) -> Value {
    story.run(&["show", kind, id, "--format", "json"]).success().json()
}

/// All events, oldest first, as `list` shows them.
pub(crate) fn events(story: &Story) -> Vec<Value> {
    let listed = story.run(&["list", "events", "--limit", "100000", "--format", "json"]).success().json();
    let mut events = listed.as_array().expect("a list").clone();
    events.reverse();
    events
}

/// Waits until something is so, which another process brings about.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}");
}
