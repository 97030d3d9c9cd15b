//! Events on their way: signed when they are sent, and sent again until somebody takes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::domain::signature::stripe::SIGNATURE_HEADER;
use crate::sandbox::delivery::{self, check_percents, check_url};
use crate::sandbox::webhooks::signature;
use crate::sandbox::{Sandbox, TICK, seconds};

/// How long a receiver may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that are under way at once.
const MOST_UNDER_WAY: usize = 64;
/// When a live event is sent again, in minutes after the attempt before: for about three days, ever more slowly.
const LIVE_RETRIES: &[i64] = &[5, 30, 120, 300, 600, 720, 720, 720, 720];
/// When a test event is: three times within a few hours.
const TEST_RETRIES: &[i64] = &[10, 60, 180];

/// Where an account's events go, and in how many of a hundred something goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    url: String,
    /// The key of the account; the first account's where nobody says.
    pub(super) account: Option<String>,
    /// Never sent, and not sent again.
    #[serde(default)]
    lose_percent: f64,
    /// Sent twice.
    #[serde(default)]
    double_percent: f64,
    /// Sent up to `delay_seconds` of the sandbox's clock later.
    #[serde(default)]
    delay_percent: f64,
    #[serde(default = "usual_delay")]
    delay_seconds: f64,
    /// What is due at the same time goes in any order.
    #[serde(default)]
    reorder: bool,
}

fn usual_delay() -> f64 {
    60.0
}

impl Hook {
    /// # Errors
    /// Naming what cannot be.
    pub(super) fn check(&self) -> Result<(), String> {
        check_url(&self.url)?;
        check_percents(&[self.lose_percent, self.double_percent, self.delay_percent])?;
        seconds(self.delay_seconds).map(drop).ok_or_else(|| "`delay_seconds` is no length of time".to_owned())
    }
}

/// What an account signs with.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    pub(super) current: String,
    /// Signs, too, while the secret is rolled.
    pub(super) previous: Option<String>,
}

impl Secrets {
    /// The header of a body that is sent now.
    fn sign(&self, body: &str, now: DateTime<Utc>) -> String {
        let timestamp = now.timestamp();
        // The old one comes first: whoever looks at one alone does not find the new one.
        let secrets = self.previous.iter().chain([&self.current]);
        let signed = secrets.map(|secret| format!(",v1={}", signature(secret, timestamp, body)));
        format!("t={timestamp}{}", signed.collect::<String>())
    }
}

/// An event that waits to be sent to an account's hook.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) account: usize,
    pub(super) event: String,
    pub(super) kind: String,
    pub(super) livemode: bool,
    pub(super) body: Arc<str>,
    /// How often it was sent before.
    attempts: usize,
}

impl Letter {
    pub(super) fn new(account: usize, event: &Value) -> Self {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        // As the service writes it; no two programs write the same JSON the same way.
        let body = serde_json::to_string_pretty(event).unwrap_or_default();
        Self {
            account,
            event: text("id"),
            kind: text("type"),
            livemode: event["livemode"] == true,
            body: body.into(),
            attempts: 0,
        }
    }

    fn retries_in(&self) -> Option<TimeDelta> {
        let retries = if self.livemode { LIVE_RETRIES } else { TEST_RETRIES };
        retries.get(self.attempts - 1).map(|minutes| TimeDelta::minutes(*minutes))
    }
}

/// An attempt, written before anything is sent.
#[derive(Debug, Serialize)]
struct Delivery {
    at: DateTime<Utc>,
    event: String,
    #[serde(rename = "type")]
    kind: String,
    attempt: usize,
    /// None while it is not answered, and for ever when it is not.
    status: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    /// By the account.
    pub(super) hooks: BTreeMap<usize, Hook>,
    /// By when they are due, and in which order they go then.
    waiting: BTreeMap<(DateTime<Utc>, u64, u64), Letter>,
    deliveries: Vec<Delivery>,
    random: fastrand::Rng,
    queued: u64,
    lost: u64,
    accepted: u64,
    refused: u64,
    given_up: u64,
    wake: Arc<Notify>,
}

impl Mailbox {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hooks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deliveries: Vec::new(),
            random: fastrand::Rng::with_seed(seed ^ 0x57_21be),
            queued: 0,
            lost: 0,
            accepted: 0,
            refused: 0,
            given_up: 0,
            wake: Arc::default(),
        }
    }

    /// Takes what is to be sent at `due`; nobody is told where nobody listens.
    pub(super) fn push(&mut self, letter: &Letter, due: DateTime<Utc>) {
        let Some(hook) = self.hooks.get(&letter.account).cloned() else { return };
        let copies = if self.happens(hook.double_percent) { 2 } else { 1 };
        for _ in 0..copies {
            if self.happens(hook.lose_percent) {
                self.lost += 1;
                continue;
            }
            let is_late = self.happens(hook.delay_percent);
            let delay = if is_late { self.random.f64() * hook.delay_seconds } else { 0.0 };
            self.enqueue(letter.clone(), due + seconds(delay).unwrap_or_default(), hook.reorder);
        }
        self.wake.notify_one();
    }

    fn happens(&mut self, percent: f64) -> bool {
        self.random.f64() * 100.0 < percent
    }

    fn enqueue(&mut self, letter: Letter, due: DateTime<Utc>, reorder: bool) {
        self.queued += 1;
        let order = if reorder { self.random.u64(..) } else { 0 };
        self.waiting.insert((due, order, self.queued), letter);
    }

    /// The next that is due, and the index of its attempt.
    fn next(&mut self, now: DateTime<Utc>) -> Option<(Letter, usize)> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let mut letter = first.remove();
        letter.attempts += 1;
        self.deliveries.push(Delivery {
            at: now,
            event: letter.event.clone(),
            kind: letter.kind.clone(),
            attempt: letter.attempts,
            status: None,
        });
        Some((letter, self.deliveries.len() - 1))
    }

    fn answered(&mut self, letter: Letter, delivery: usize, status: Option<u16>, now: DateTime<Utc>) {
        if let Some(delivery) = self.deliveries.get_mut(delivery) {
            delivery.status = status;
        }
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.accepted += 1;
            return;
        }
        self.refused += 1;
        match letter.retries_in() {
            Some(wait) => self.enqueue(letter, now + wait, false),
            None => self.given_up += 1,
        }
    }

    pub(super) fn is_pending(&self, event: &str) -> bool {
        self.waiting.values().any(|letter| letter.event == event)
    }

    pub(super) fn to_json(&self, now: DateTime<Utc>) -> Value {
        let due = self.waiting.keys().filter(|(due, ..)| *due <= now).count();
        json!({
            "deliveries": self.deliveries, "sent": self.deliveries.len(), "accepted": self.accepted,
            "refused": self.refused, "lost": self.lost, "given_up": self.given_up, "waiting": self.waiting.len(),
            "due": due,
        })
    }
}

/// Sends what is due, for as long as the sandbox runs.
pub(in crate::sandbox) async fn send(sandbox: Sandbox) {
    let wake = Arc::clone(&sandbox.lock().stripe.mailbox.wake);
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < MOST_UNDER_WAY {
            let next = {
                let mut inner = sandbox.lock();
                let now = inner.now();
                let stripe = &mut inner.stripe;
                stripe.mailbox.next(now).and_then(|(letter, delivery)| {
                    let url = stripe.mailbox.hooks.get(&letter.account)?.url.clone();
                    let header = stripe.accounts.get(letter.account)?.secrets.sign(&letter.body, now);
                    Some((letter, delivery, url, header))
                })
            };
            let Some((letter, delivery, url, header)) = next else { break };
            let sandbox = sandbox.clone();
            under_way.spawn(async move {
                let headers = [(SIGNATURE_HEADER, header)];
                let sent = delivery::post(&url, "application/json; charset=utf-8", &headers, letter.body.to_string());
                let status = tokio::time::timeout(ANSWER_TIMEOUT, sent).await.ok().flatten();
                let mut inner = sandbox.lock();
                let now = inner.now();
                inner.stripe.mailbox.answered(letter, delivery, status, now);
            });
        }
        tokio::select! {
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_published_one() {
        let cases: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/signatures/stripe.json")).unwrap();
        let list = cases["cases"].as_array().unwrap();
        let case = list.iter().find(|case| case["name"] == "valid header and signature").unwrap();
        let text = |key: &str| case[key].as_str().unwrap();
        let secrets = Secrets { current: text("secret").to_owned(), previous: None };
        let now = DateTime::from_timestamp(case["now"].as_i64().unwrap(), 0).unwrap();
        assert_eq!(secrets.sign(text("payload"), now), text("header"));
    }
}
