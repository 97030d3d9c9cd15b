//! Server messages: what the stand-in tells by webhook, and what goes wrong on the way.
//!
//! Like the service, it sends each message once and minds no answer. Messages say no more than the service's do: there is
//! no id and no number, and nothing promises an order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::delivery::{self, check_percents, check_url};
use super::state::{Message, Service, new_id};
use super::{Sandbox, TICK};
use crate::domain::secret::Secret;
use crate::domain::signature::livekit;

/// How long a receiver may take, as the service has it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that are under way at once.
const MOST_UNDER_WAY: usize = 64;

/// Where messages go, how they show who sends them, and in how many of a hundred something goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// An `http://` address on this machine.
    pub url: String,
    /// The secret that is shown, or signed with.
    #[serde(skip_serializing)]
    pub secret: String,
    /// How it is shown.
    #[serde(default)]
    pub auth: Auth,
    /// Never sent.
    #[serde(default)]
    pub lose_percent: f64,
    /// Sent twice.
    #[serde(default)]
    pub double_percent: f64,
    /// Sent up to `delay_seconds` of the sandbox's clock later, and so out of order.
    #[serde(default)]
    pub delay_percent: f64,
    /// The longest delay.
    #[serde(default = "usual_delay")]
    pub delay_seconds: f64,
    /// Followed by a message about a call that nobody placed.
    #[serde(default)]
    pub unknown_percent: f64,
}

fn usual_delay() -> f64 {
    60.0
}

/// How a message shows who sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// The secret in `X-Vapi-Secret`.
    #[default]
    Secret,
    /// `Authorization: Bearer SECRET`.
    Bearer,
    /// HMAC-SHA256 of `TIMESTAMP.BODY` in `x-signature`, in hexadecimal digits, with `x-timestamp` in seconds.
    Hmac,
    /// The same in `ElevenLabs-Signature: t=TIMESTAMP,v0=DIGITS`, which that service's messages are always shown by.
    #[serde(skip)]
    ElevenLabs,
}

impl Webhook {
    /// One without faults.
    pub fn new(url: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secret: secret.into(),
            auth: Auth::default(),
            lose_percent: 0.0,
            double_percent: 0.0,
            delay_percent: 0.0,
            delay_seconds: usual_delay(),
            unknown_percent: 0.0,
        }
    }

    /// # Errors
    /// Naming what cannot be.
    pub(super) fn check(&self) -> Result<(), String> {
        check_url(&self.url)?;
        check_percents(&[self.lose_percent, self.double_percent, self.delay_percent, self.unknown_percent])?;
        super::seconds(self.delay_seconds).map(drop).ok_or_else(|| "`delay_seconds` is no length of time".to_owned())
    }
}

/// A message that is ready to be sent. LiveKit signs with the organisation's own key, whatever the secret.
#[derive(Debug)]
struct Envelope {
    key: Option<Secret>,
    /// ElevenLabs shows who sends it in its own way.
    auth: Option<Auth>,
    body: String,
}

/// Messages that are yet to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) webhook: Option<Webhook>,
    /// By when they are due, and in which order they came.
    waiting: BTreeMap<(DateTime<Utc>, u64), Envelope>,
    random: fastrand::Rng,
    queued: u64,
    lost: u64,
    sent: u64,
    refused: u64,
    wake: Arc<Notify>,
}

impl Outbox {
    pub(super) fn new(webhook: Option<Webhook>, seed: u64) -> Self {
        Self {
            webhook,
            waiting: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed ^ 0x3eb_00c5),
            queued: 0,
            lost: 0,
            sent: 0,
            refused: 0,
            wake: Arc::default(),
        }
    }

    pub(super) fn to_json(&self, now: DateTime<Utc>) -> Value {
        let is_due = |(due, _): &&(DateTime<Utc>, u64)| *due <= now;
        json!({
            "webhook": self.webhook, "queued": self.queued, "lost": self.lost, "sent": self.sent,
            "refused": self.refused, "waiting": self.waiting.len(), "due": self.waiting.keys().filter(is_due).count(),
        })
    }

    /// Takes a message about something that happened at `at`; nobody is told where nobody listens.
    pub(super) fn push(&mut self, at: DateTime<Utc>, message: &Message, key: Option<&String>) {
        let Some(webhook) = self.webhook.clone() else { return };
        let key = key.filter(|_| message.service == Service::LiveKit).map(|key| Secret::new(key.as_str()));
        let auth = (message.service == Service::ElevenLabs).then_some(Auth::ElevenLabs);
        let sealed = |body: &Value| Envelope { key: key.clone(), auth, body: body.to_string() };
        let copies = if self.happens(webhook.double_percent) { 2 } else { 1 };
        for _ in 0..copies {
            if self.happens(webhook.lose_percent) {
                self.lost += 1;
            } else {
                self.enqueue(at, &webhook, sealed(&message.body));
            }
        }
        if self.happens(webhook.unknown_percent) {
            let other = of_nobody(message, &new_id(&mut self.random));
            self.enqueue(at, &webhook, sealed(&other));
        }
        self.wake.notify_one();
    }

    fn happens(&mut self, percent: f64) -> bool {
        self.random.f64() * 100.0 < percent
    }

    fn enqueue(&mut self, at: DateTime<Utc>, webhook: &Webhook, envelope: Envelope) {
        let delayed = self.happens(webhook.delay_percent);
        let delay = if delayed { self.random.f64() * webhook.delay_seconds } else { 0.0 };
        let due = at + super::seconds(delay).unwrap_or(TimeDelta::zero());
        self.queued += 1;
        self.waiting.insert((due, self.queued), envelope);
    }

    fn next(&mut self, now: DateTime<Utc>) -> Option<(Webhook, Envelope)> {
        let webhook = self.webhook.clone()?;
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        Some((webhook, first.remove()))
    }
}

/// The same message about a call that nobody placed.
fn of_nobody(message: &Message, id: &str) -> Value {
    let mut other = message.body.clone();
    match message.service {
        Service::Vapi => {
            other["message"]["call"]["id"] = json!(id);
            other["message"]["call"]["name"] = Value::Null;
        }
        Service::ElevenLabs => {
            let data = &mut other["data"];
            data["conversation_id"] = json!(id);
            data["user_id"] = Value::Null;
            data.as_object_mut().map(|data| data.remove("conversation_initiation_client_data"));
        }
        Service::LiveKit => {
            if other.get("participant").is_some() {
                other["participant"]["identity"] = json!(format!("callee-{id}"));
            }
            other["id"] = json!(format!("EV_{id}"));
            other["room"]["name"] = json!(id);
        }
    }
    other
}

/// Sends what is due, for as long as the sandbox runs.
pub(super) async fn send(sandbox: Sandbox) {
    let wake = Arc::clone(&sandbox.lock().outbox.wake);
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < MOST_UNDER_WAY {
            let next = {
                let mut inner = sandbox.lock();
                let now = inner.now();
                inner.outbox.next(now).map(|message| (message, now))
            };
            let Some(((webhook, envelope), now)) = next else { break };
            let sandbox = sandbox.clone();
            under_way.spawn(async move {
                let status = tokio::time::timeout(ANSWER_TIMEOUT, post(&webhook, envelope, now)).await.ok().flatten();
                let mut inner = sandbox.lock();
                inner.outbox.sent += 1;
                inner.outbox.refused += u64::from(!status.is_some_and(|status| (200..300).contains(&status)));
            });
        }
        tokio::select! {
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// The status of the answer; none where none came.
async fn post(webhook: &Webhook, Envelope { key, auth, body }: Envelope, now: DateTime<Utc>) -> Option<u16> {
    let kind = if key.is_some() { "application/webhook+json" } else { "application/json" };
    let secret = webhook.secret.as_str();
    let headers = match auth.unwrap_or(webhook.auth) {
        _ if let Some(key) = &key => {
            vec![("authorization", livekit::sign(key.expose(), key, body.as_bytes(), now).expose().to_owned())]
        }
        Auth::Secret => vec![("x-vapi-secret", secret.to_owned())],
        Auth::Bearer => vec![("authorization", format!("Bearer {secret}"))],
        Auth::Hmac | Auth::ElevenLabs => {
            let timestamp = now.timestamp();
            let signature = signature(secret, timestamp, &body);
            if auth == Some(Auth::ElevenLabs) {
                vec![("elevenlabs-signature", format!("t={timestamp},v0={signature}"))]
            } else {
                vec![("x-timestamp", timestamp.to_string()), ("x-signature", signature)]
            }
        }
    };
    delivery::post(&webhook.url, kind, &headers, body).await
}

/// HMAC-SHA256 of `TIMESTAMP.BODY` in hexadecimal digits, which three of the services sign by.
pub(super) fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{timestamp}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
