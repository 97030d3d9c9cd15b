//! The endpoints of Vapi.

mod contract;
pub(super) mod record;

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use self::contract::{parse_create, parse_filter, parse_line_filter, refuse_query};
use super::exchange::{Dialect, Incoming, Refusal};
use super::faults::{Fault, Over, Picked};
use super::lines::VapiLine;
use super::reply::Reply;
use super::state::Taking;
use super::{Inner, Sandbox, twilio};

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/call", get(list).post(create))
        .route("/call/{id}", get(read).delete(erase).patch(rename))
        .route("/assistant/{id}", get(assistant))
        .route("/phone-number", get(phone_numbers))
        .route("/phone-number/{id}", get(phone_number))
}

/// How Vapi reads requests and says no.
struct Vapi;

impl Dialect for Vapi {
    fn organisation(&self, headers: &HeaderMap, keys: &HashMap<String, String>) -> Option<String> {
        keys.get(headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?).cloned()
    }

    fn phone<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body.pointer("/customer/number").and_then(Value::as_str)
    }

    fn kind(&self, path: &str) -> String {
        match path.rsplit_once('/') {
            Some(("", _)) | None => path.to_owned(),
            Some((kind, _)) => format!("{kind}/{{id}}"),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Stranger => Reply::error(401, &json!("Invalid Key. Hot tip, you may be using the public key.")),
            Refusal::Unavailable => Reply::error(503, &json!("Service Unavailable")),
            Refusal::Failure(status) => Reply::error(status, &json!("the sandbox fails as told")),
            Refusal::TooManyRequests => Reply::error(429, &json!("Rate limit exceeded")),
            Refusal::NoCredits => Reply::error(402, &json!("Insufficient credits")),
            Refusal::Number => {
                Reply::error(400, &json!(["customer.number must be a valid phone number in the E.164 format."]))
            }
            Refusal::Agent => Reply::error(404, &json!("Couldn't Get Assistant. It does not exist.")),
            Refusal::Concurrency => {
                let over = "Over Concurrency Limit";
                Reply::json(400, json!({"message": over, "error": over, "statusCode": 400}))
            }
        }
    }

    fn id_key(&self) -> &'static str {
        "id"
    }
}

fn not_found(id: &str) -> Reply {
    Reply::error(404, &json!(format!("Call with id {id} not found")))
}

async fn create(
    State(sandbox): State<Sandbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let act = |inner: &mut Inner, org: &str, picked: &Picked| {
        let wanted = parse_create(&bytes).map_err(|errors| Reply::error(400, &json!(errors)))?;
        let now = inner.now();
        let (over, wait) = match picked.fault {
            Some(Fault::OverConcurrency(over, wait)) => (Some(over), Some(wait)),
            _ if inner.calls.free(org) == 0 => (Some(inner.over), None),
            _ => (None, None),
        };
        let taking = match (over, wait) {
            (None, _) => Taking::Ring,
            (Some(Over::QueuedBlocked), None) => Taking::Wait,
            (Some(Over::QueuedBlocked), Some(wait)) => Taking::WaitAtLeast(wait),
            (Some(Over::Ended), _) => Taking::End,
            (Some(Over::Http400), _) => return Err(Vapi.refuse(Refusal::Concurrency)),
        };
        let id = inner.calls.take(org, wanted, taking, picked.lag, now);
        let mut record =
            inner.calls.taken(&id).map_or(Value::Null, |call| record::record(call, inner.calls.analysis_seconds, now));
        record["subscriptionLimits"] = json!({
            "concurrencyBlocked": matches!(taking, Taking::Wait | Taking::WaitAtLeast(_)),
            "concurrencyLimit": inner.calls.limit(org),
            "remainingConcurrentCalls": inner.calls.free(org),
        });
        Ok(Reply::json(201, record))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

async fn list(
    State(sandbox): State<Sandbox>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        let filter = parse_filter(query).map_err(|errors| Reply::error(400, &json!(errors)))?;
        let now = inner.now();
        let calls = inner
            .calls
            .list(org, &filter, now)
            .into_iter()
            .map(|call| record::record(call, inner.calls.analysis_seconds, now))
            .collect();
        Ok(Reply::json(200, Value::Array(calls)))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

async fn read(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        let now = inner.now();
        let call = inner.calls.get(org, &id, now).ok_or_else(|| not_found(&id))?;
        Ok(Reply::json(200, record::record(call, inner.calls.analysis_seconds, now)))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

async fn erase(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        if serde_json::from_slice::<Value>(&bytes).is_ok_and(|body| body.get("ids").is_some()) {
            return Err(Reply::error(400, &json!("the sandbox deletes no batches")));
        }
        let now = inner.now();
        let analysis_seconds = inner.calls.analysis_seconds;
        let call = inner.calls.delete(org, &id, now).ok_or_else(|| not_found(&id))?;
        Ok(Reply::json(200, record::record(call, analysis_seconds, now)))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

async fn rename(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let name = body.get("name").and_then(Value::as_str).filter(|name| name.chars().count() <= 40);
        let alone = body.as_object().is_some_and(|body| body.len() == 1);
        let Some(name) = name.filter(|_| alone) else {
            return Err(Reply::error(400, &json!(["only name can be changed, to at most 40 characters"])));
        };
        let now = inner.now();
        let analysis_seconds = inner.calls.analysis_seconds;
        let call = inner.calls.rename(org, &id, Some(name.to_owned()), now).ok_or_else(|| not_found(&id))?;
        Ok(Reply::json(200, record::record(call, analysis_seconds, now)))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

/// Every assistant exists, and tells whom the sandbox tells.
async fn assistant(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        refuse_query(&query).map_err(|errors| Reply::error(400, &json!(errors)))?;
        let mut record = saved(&id, org);
        if let Some(webhook) = &inner.outbox.webhook {
            record["server"] = json!({"url": webhook.url});
            record["serverMessages"] = json!(["status-update", "end-of-call-report"]);
        }
        Ok(Reply::json(200, record))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

/// The lines that somebody named, the newest first.
async fn phone_numbers(
    State(sandbox): State<Sandbox>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        let filter = parse_line_filter(query).map_err(|errors| Reply::error(400, &json!(errors)))?;
        let lines = inner.lines.vapi.iter().enumerate().rev().map(|(at, line)| (added_at(at), line));
        let shown = lines
            .filter(|(at, _)| filter.created.holds(*at) && filter.updated.holds(*at))
            .take(filter.limit)
            .map(|(at, named)| line(named, at, org));
        Ok(Reply::json(200, shown.collect()))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

/// Each a second after the one before, so that a listing can be read page by page.
fn added_at(position: usize) -> DateTime<Utc> {
    let seconds = i64::try_from(position).unwrap_or(i64::MAX);
    // 2026-01-01T00:00:00Z
    DateTime::from_timestamp(1_767_225_600_i64.saturating_add(seconds), 0).unwrap_or_default()
}

fn line(line: &VapiLine, added_at: DateTime<Utc>, org: &str) -> Value {
    let mut record = saved(&line.id, org);
    for key in ["createdAt", "updatedAt"] {
        record[key] = json!(added_at.to_rfc3339_opts(SecondsFormat::Millis, true));
    }
    record["provider"] = json!("twilio");
    record["status"] = json!("active");
    record["number"] = json!(line.number);
    record["twilioAccountSid"] = json!(twilio::MAIN);
    record
}

/// Every line exists.
async fn phone_number(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, org: &str, _: &Picked| {
        refuse_query(&query).map_err(|errors| Reply::error(400, &json!(errors)))?;
        if let Some(at) = inner.lines.vapi.iter().position(|line| line.id == id) {
            return Ok(Reply::json(200, line(&inner.lines.vapi[at], added_at(at), org)));
        }
        let mut record = saved(&id, org);
        record["provider"] = json!("vapi");
        record["status"] = json!("active");
        Ok(Reply::json(200, record))
    };
    sandbox.handle(&Vapi, incoming, act).await
}

/// What everything that is saved at the service has.
fn saved(id: &str, org: &str) -> Value {
    json!({"id": id, "orgId": org, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z"})
}
