//! The sandbox's own endpoints: time, faults, scripts and the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::faults::Over;
use super::query::Query;
use super::reply::Reply;
use super::{Inner, Organisation, Sandbox, Webhook};

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/_sandbox/clock", get(clock).post(set_clock))
        .route("/_sandbox/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/_sandbox/script", post(script).delete(clear_script))
        .route("/_sandbox/settings", post(settings))
        .route("/_sandbox/webhook", get(webhook).post(set_webhook).delete(clear_webhook))
        .route("/_sandbox/calls", get(calls))
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/twilio", get(twilio).post(give_twilio))
        .route("/_sandbox/zoho", get(zoho).post(give_zoho))
        .route("/_sandbox/stripe", get(stripe).post(give_stripe))
}

/// What may change while it runs; what is not given stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    latency_ms: Option<u64>,
    pace: Option<f64>,
    /// How long after its end a call has a cost, a transcript and an analysis.
    analysis_seconds: Option<f64>,
    over_concurrency: Option<Over>,
    /// Whether ElevenLabs' record of a call that nobody picked up says so, or stays as it was when it was dialled.
    tells_unanswered: Option<bool>,
    /// Lines by organisation.
    concurrency: Option<BTreeMap<String, usize>>,
    /// Keys to add.
    organisations: Option<Vec<Organisation>>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

impl Sandbox {
    fn control(&self, act: impl FnOnce(&mut Inner) -> Result<Value, String>) -> Response {
        let mut inner = self.lock();
        let now = inner.now();
        inner.advance(now);
        match act(&mut inner) {
            Ok(body) => Reply::json(200, body).into_response(),
            Err(error) => Reply::error(400, &json!(error)).into_response(),
        }
    }
}

async fn clock(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.clock.to_json()))
}

async fn set_clock(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.clock.change(&parse(&body)?)?;
        let now = inner.now();
        inner.advance(now);
        Ok(inner.clock.to_json())
    })
}

async fn faults(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.faults.to_json()))
}

async fn add_faults(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.faults.add(parse(&body)?)?;
        Ok(inner.faults.to_json())
    })
}

async fn clear_faults(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| {
        inner.faults.clear();
        Ok(json!([]))
    })
}

async fn script(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.calls.plans.script(parse(&body)?);
        Ok(json!({}))
    })
}

async fn clear_script(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| {
        inner.calls.plans.clear();
        Ok(json!({}))
    })
}

async fn settings(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        let settings: Settings = parse(&body)?;
        if settings.pace.is_some_and(|pace| super::seconds(pace).is_none()) {
            return Err("`pace` is a factor from 0".to_owned());
        }
        if settings.analysis_seconds.is_some_and(|wait| super::seconds(wait).is_none()) {
            return Err("`analysis_seconds` is a length of time from 0".to_owned());
        }
        let now = inner.now();
        inner.calls.analysis_seconds = settings.analysis_seconds.unwrap_or(inner.calls.analysis_seconds);
        inner.calls.tells_unanswered = settings.tells_unanswered.unwrap_or(inner.calls.tells_unanswered);
        inner.latency = settings.latency_ms.map_or(inner.latency, Duration::from_millis);
        inner.calls.plans.pace = settings.pace.unwrap_or(inner.calls.plans.pace);
        inner.over = settings.over_concurrency.unwrap_or(inner.over);
        for organisation in settings.organisations.unwrap_or_default() {
            inner.add(organisation, now);
        }
        for (org, limit) in settings.concurrency.unwrap_or_default() {
            inner.calls.set_limit(&org, limit, now);
        }
        Ok(json!({}))
    })
}

async fn webhook(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.outbox.to_json(inner.now())))
}

async fn set_webhook(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        let webhook: Webhook = parse(&body)?;
        webhook.check()?;
        inner.outbox.webhook = Some(webhook);
        Ok(inner.outbox.to_json(inner.now()))
    })
}

async fn clear_webhook(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| {
        inner.outbox.webhook = None;
        Ok(inner.outbox.to_json(inner.now()))
    })
}

async fn calls(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| {
        let mut report = inner.calls.ledger.to_json();
        report["requests"] = inner.requests.counts();
        report["agents_started"] = inner.rooms.agents_started();
        Ok(report)
    })
}

async fn twilio(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.carrier.ledger()))
}

async fn give_twilio(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.give_twilio(parse(&body)?)?;
        Ok(json!({}))
    })
}

async fn zoho(State(sandbox): State<Sandbox>, uri: Uri) -> Response {
    sandbox.control(|inner| match Query::of(&uri).get("records") {
        Some(kind) => inner.books.all(kind, inner.now()),
        None => Ok(inner.books.ledger()),
    })
}

async fn give_zoho(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.give_zoho(parse(&body)?)?;
        Ok(json!({}))
    })
}

async fn stripe(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.stripe.ledger(inner.now())))
}

async fn give_stripe(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    sandbox.control(|inner| {
        inner.give_stripe(parse(&body)?)?;
        Ok(json!({}))
    })
}

async fn requests(State(sandbox): State<Sandbox>) -> Response {
    sandbox.control(|inner| Ok(inner.requests.to_json()))
}
