//! The endpoints of Stripe that are read, and the events that it tells.
//!
//! Events of the future wait: what is given with a time of creation to come is listed and sent when that time is there. What
//! an event is about can be read from the moment when the event was given. Where the service's two modes would each keep to
//! themselves, everything of an account is listed, whatever its mode: whoever reads must look.

mod contract;
mod given;
mod mailbox;
mod usual;

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::any;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::contract::{Wrong, invalid, parse_listing};
pub(super) use self::mailbox::send;
use self::mailbox::{Letter, Mailbox, Secrets};
use self::usual::Shape;
use super::Sandbox;
use super::exchange::{Dialect, Incoming, Refusal};
use super::query::Query;
use super::reply::Reply;

/// For how long an event can be read.
const KEPT_SECONDS: i64 = 30 * 24 * 3600;

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v1/events", any(ask))
        .route("/v1/events/{id}", any(ask))
        .route("/v1/customers/{id}", any(ask))
        .route("/v1/subscriptions/{id}", any(ask))
        .route("/v1/invoices/{id}", any(ask))
        .route("/v1/checkout/sessions/{id}", any(ask))
}

/// How Stripe reads requests and says no.
struct Dialogue {
    /// The secret key that the request shows, if it is an account's.
    account: Option<usize>,
    /// The key that it shows, hidden but for its end.
    shown: String,
}

impl Dialect for Dialogue {
    fn organisation(&self, _: &HeaderMap, _: &HashMap<String, String>) -> Option<String> {
        self.account.map(|_| self.shown.clone())
    }

    fn phone<'b>(&self, _: &'b Value) -> Option<&'b str> {
        None
    }

    /// Nothing here rings, so that a fault must name the method or the path.
    fn places(&self, _: &Method, _: &str) -> bool {
        false
    }

    fn kind(&self, path: &str) -> String {
        let is_id = |part: &str| part.contains('_');
        path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Stranger | Refusal::Failure(401) if self.shown.is_empty() => {
                error(401, "invalid_request_error", None, "You did not provide an API key.")
            }
            Refusal::Stranger | Refusal::Failure(401) => {
                error(401, "invalid_request_error", None, &format!("Invalid API Key provided: {}", self.shown))
            }
            Refusal::Unavailable => error(503, "api_error", None, "The service is not available."),
            Refusal::TooManyRequests | Refusal::Concurrency | Refusal::Failure(429) => {
                error(429, "invalid_request_error", Some("rate_limit"), "Request rate limit exceeded.")
            }
            Refusal::Failure(status @ 400..=499) => {
                error(status, "invalid_request_error", None, "The sandbox fails as told.")
            }
            Refusal::Failure(status) => error(status, "api_error", None, "An unknown error occurred"),
            Refusal::NoCredits => error(402, "card_error", None, "The sandbox fails as told."),
            Refusal::Number | Refusal::Agent => missing("object", "", 404, "id").into(),
        }
    }

    fn id_key(&self) -> &'static str {
        "id"
    }

    fn refuse_by_code(&self, status: u16, code: &str) -> Reply {
        let kind = if status < 500 { "invalid_request_error" } else { "api_error" };
        error(status, kind, Some(code), "The sandbox refuses as told.")
    }
}

fn error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Reply {
    Wrong { status, kind: kind.to_owned(), code: code.map(str::to_owned), message: message.to_owned(), param: None }
        .into()
}

fn missing(what: &str, id: &str, status: u16, param: &str) -> Wrong {
    invalid(status, "resource_missing", format!("No such {what}: '{id}'"), param)
}

/// Whose events and objects they are.
#[derive(Clone, Debug)]
struct Account {
    key: String,
    livemode: bool,
    secrets: Secrets,
}

#[derive(Debug)]
struct Event {
    account: usize,
    created: i64,
    value: Value,
}

/// Everything that is known of the service's accounts.
#[derive(Debug)]
pub(super) struct Stripe {
    accounts: Vec<Account>,
    /// What events were about, by account and id: the state of the last of them.
    objects: HashMap<(usize, String), Value>,
    /// In the order in which they were given.
    events: Vec<Event>,
    mailbox: Mailbox,
    shape: Shape,
    random: fastrand::Rng,
}

impl Stripe {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            accounts: Vec::new(),
            objects: HashMap::new(),
            events: Vec::new(),
            mailbox: Mailbox::new(seed),
            shape: Shape::default(),
            random: fastrand::Rng::with_seed(seed ^ 0xe7e7),
        }
    }

    pub(super) fn ledger(&self, now: DateTime<Utc>) -> Value {
        let mut ledger = self.mailbox.to_json(now);
        ledger["events"] = json!(self.events.len());
        ledger["objects"] = json!(self.objects.len());
        ledger
    }

    fn caller(&self, headers: &HeaderMap) -> Dialogue {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = shown.and_then(|shown| shown.strip_prefix("Bearer ")).unwrap_or_default();
        let account = self.accounts.iter().position(|account| account.key == key);
        let end = key.char_indices().rev().nth(3).map_or("", |(index, _)| &key[index..]);
        let begin = if key.len() > 12 { key.get(..8).unwrap_or_default() } else { "" };
        Dialogue { account, shown: if key.is_empty() { String::new() } else { format!("{begin}****{end}") } }
    }

    fn answer(&self, method: &Method, uri: &Uri, account: usize, now: DateTime<Utc>) -> Result<Reply, Reply> {
        let unknown = || {
            let message = format!("Unrecognized request URL ({method}: {}).", uri.path());
            error(404, "invalid_request_error", None, &message)
        };
        if method != Method::GET {
            return Err(unknown());
        }
        let query = Query::of(uri);
        let parts: Vec<&str> = uri.path().strip_prefix("/v1/").unwrap_or_default().split('/').collect();
        let (what, object, id) = match parts[..] {
            ["events"] => return self.list(account, &query, now).map_err(Reply::from),
            ["events", id] => ("event", "event", id),
            ["customers", id] => ("customer", "customer", id),
            ["subscriptions", id] => ("subscription", "subscription", id),
            ["invoices", id] => ("invoice", "invoice", id),
            ["checkout", "sessions", id] => ("checkout.session", "checkout.session", id),
            _ => return Err(unknown()),
        };
        if let Some(name) = query.names().next() {
            return Err(contract::unknown_parameter(name).into());
        }
        if what == "event" {
            let event = self.kept(account, now).find(|event| event.value["id"] == id);
            let event = event.ok_or_else(|| missing(what, id, 404, "id"))?;
            return Ok(Reply::json(200, self.shown(event)));
        }
        let found = self.objects.get(&(account, id.to_owned())).filter(|found| found["object"] == object);
        found.cloned().map(|found| Reply::json(200, found)).ok_or_else(|| missing(what, id, 404, "id").into())
    }

    /// What can be read of an account's events.
    fn kept(&self, account: usize, now: DateTime<Utc>) -> impl Iterator<Item = &Event> {
        let now = now.timestamp();
        let is_kept = move |event: &&Event| {
            event.account == account && event.created <= now && event.created > now - KEPT_SECONDS
        };
        self.events.iter().filter(is_kept)
    }

    fn shown(&self, event: &Event) -> Value {
        let mut value = event.value.clone();
        let id = value["id"].as_str().unwrap_or_default();
        value["pending_webhooks"] = json!(i32::from(self.mailbox.is_pending(id)));
        value
    }

    fn list(&self, account: usize, query: &Query, now: DateTime<Utc>) -> Result<Reply, Wrong> {
        let listing = parse_listing(query)?;
        let mut events: Vec<&Event> = self.kept(account, now).collect();
        // The newest first; of those of one second, the one that was given last.
        events.reverse();
        events.sort_by_key(|event| std::cmp::Reverse(event.created));
        let position = |id: &str, param| {
            let found = events.iter().position(|event| event.value["id"] == id);
            found.ok_or_else(|| missing("event", id, 400, param))
        };
        let (begin, end) = match (&listing.starting_after, &listing.ending_before) {
            (Some(id), _) => (position(id, "starting_after")? + 1, events.len()),
            (None, Some(id)) => (0, position(id, "ending_before")?),
            (None, None) => (0, events.len()),
        };
        let kind = |event: &Event| event.value["type"].as_str().unwrap_or_default().to_owned();
        let shown: Vec<&Event> =
            events[begin..end].iter().copied().filter(|event| listing.holds(&kind(event), event.created)).collect();
        let has_more = shown.len() > listing.limit;
        // Those before another are the ones next to it.
        let skip = if listing.ending_before.is_some() { shown.len().saturating_sub(listing.limit) } else { 0 };
        let data: Vec<Value> =
            shown.into_iter().skip(skip).take(listing.limit).map(|event| self.shown(event)).collect();
        Ok(Reply::json(200, json!({"object": "list", "data": data, "has_more": has_more, "url": "/v1/events"})))
    }

    /// Keeps an event, and has it sent when it is time.
    fn happen(&mut self, account: usize, event: Value, now: DateTime<Utc>) {
        let created = event["created"].as_i64().unwrap_or_default();
        let object = &event["data"]["object"];
        if let Some(id) = object["id"].as_str() {
            self.objects.insert((account, id.to_owned()), object.clone());
        }
        let due = DateTime::from_timestamp(created, 0).map_or(now, |at| at.max(now));
        self.mailbox.push(&Letter::new(account, &event), due);
        self.events.push(Event { account, created, value: event });
    }
}

async fn ask(State(sandbox): State<Sandbox>, method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response {
    let dialect = sandbox.lock().stripe.caller(&headers);
    let account = dialect.account.unwrap_or_default();
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    sandbox.handle(&dialect, incoming, |inner, _, _| inner.stripe.answer(&method, &uri, account, inner.now())).await
}
