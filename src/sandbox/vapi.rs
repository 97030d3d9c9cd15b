//! The endpoints of Vapi.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::contract::{parse_create, parse_filter, refuse_query};
use super::faults::{Fault, Over, Picked};
use super::reply::{Manner, Reply};
use super::state::Taking;
use super::{Inner, Sandbox};

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/call", get(list).post(create))
        .route("/call/{id}", get(read).delete(erase).patch(rename))
        .route("/assistant/{id}", get(assistant))
        .route("/phone-number/{id}", get(phone_number))
}

/// A request that came in, as far as everything that can go wrong needs to know it.
struct Incoming<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Sandbox {
    /// Notes the request, checks the key, lets faults that keep it from being carried out happen, and else carries it
    /// out; faults of the answer come last.
    async fn handle(
        &self,
        incoming: Incoming<'_>,
        act: impl FnOnce(&mut Inner, &str, &Picked) -> Result<Reply, Reply>,
    ) -> Response {
        let (reply, latency, noted) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let now = inner.now();
            inner.advance(now);
            let org = incoming.key().and_then(|key| inner.keys.get(key)).cloned();
            let body = (!incoming.body.is_empty()).then(|| {
                serde_json::from_slice(incoming.body)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(incoming.body).into_owned()))
            });
            let phone = body.as_ref().and_then(|body| body.pointer("/customer/number")).and_then(Value::as_str);
            let picked = inner.faults.pick(incoming.method.as_str(), incoming.uri.path(), phone);
            let noted = inner.requests.note(now, incoming.method, incoming.uri, org.as_deref(), body, &picked);
            let reply = match (org, &picked.fault) {
                (None, _) | (_, Some(Fault::Unauthorized)) => {
                    Reply::error(401, &json!("Invalid Key. Hot tip, you may be using the public key."))
                }
                (Some(org), fault) => match fault.as_ref().and_then(|fault| refusal(fault, now)) {
                    Some(refusal) => refusal,
                    None => {
                        act(inner, &org, &picked).map_or_else(|refused| refused, |reply| spoil(reply, fault.as_ref()))
                    }
                },
            };
            // Whoever is told by webhook may hear of the call before the answer to the request.
            inner.advance(now);
            (reply, inner.latency, noted)
        };
        let delay = latency + reply.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.lock().requests.answered(noted, reply.status_seen());
        reply.into_response()
    }
}

impl<'a> Incoming<'a> {
    fn key(&self) -> Option<&'a str> {
        self.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

/// What the client gets when the fault keeps the request from being carried out.
fn refusal(fault: &Fault, now: DateTime<Utc>) -> Option<Reply> {
    Some(match fault {
        Fault::RefuseAndDrop => Reply::hang_up(),
        Fault::SlowRefuse(delay) => Reply::error(503, &json!("Service Unavailable")).after(*delay),
        Fault::TooManyRequests(retry_after) => {
            Reply::error(429, &json!("Rate limit exceeded")).retry_after(retry_after.header(now))
        }
        Fault::ServerError { status, rings: false } => Reply::error(*status, &json!("the sandbox fails as told")),
        Fault::PaymentRequired => Reply::error(402, &json!("Insufficient credits")),
        Fault::NumberInvalid => {
            Reply::error(400, &json!(["customer.number must be a valid phone number in the E.164 format."]))
        }
        Fault::AssistantMissing => Reply::error(404, &json!("Couldn't Get Assistant. It does not exist.")),
        Fault::OverConcurrency(Over::Http400, _) => over_limit(),
        _ => return None,
    })
}

/// What the client gets of the answer to a request that was carried out.
fn spoil(reply: Reply, fault: Option<&Fault>) -> Reply {
    match fault {
        Some(Fault::AcceptAndDrop) => Reply::hang_up(),
        Some(Fault::DelayAnswer(delay)) => reply.after(*delay),
        Some(Fault::ServerError { status, rings: true }) => Reply::error(*status, &json!("the sandbox fails as told")),
        Some(Fault::BrokenJson) => reply.with(Manner::Garbage),
        Some(Fault::CutBody) => reply.with(Manner::Cut),
        Some(Fault::NoId) => reply.without("id"),
        _ => reply,
    }
}

fn over_limit() -> Reply {
    let body = json!({"message": "Over Concurrency Limit", "error": "Over Concurrency Limit", "statusCode": 400});
    Reply::json(400, body)
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
            (Some(Over::Http400), _) => return Err(over_limit()),
        };
        let id = inner.calls.take(org, wanted, taking, picked.lag, now);
        let mut record = inner.calls.taken(&id, now);
        record["subscriptionLimits"] = json!({
            "concurrencyBlocked": matches!(taking, Taking::Wait | Taking::WaitAtLeast(_)),
            "concurrencyLimit": inner.calls.limit(org),
            "remainingConcurrentCalls": inner.calls.free(org),
        });
        Ok(Reply::json(201, record))
    };
    sandbox.handle(incoming, act).await
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
        Ok(Reply::json(200, Value::Array(inner.calls.list(org, &filter, now))))
    };
    sandbox.handle(incoming, act).await
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
        inner.calls.get(org, &id, now).map(|record| Reply::json(200, record)).ok_or_else(|| not_found(&id))
    };
    sandbox.handle(incoming, act).await
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
        inner.calls.delete(org, &id, now).map(|record| Reply::json(200, record)).ok_or_else(|| not_found(&id))
    };
    sandbox.handle(incoming, act).await
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
        let renamed = inner.calls.rename(org, &id, Some(name.to_owned()), now);
        renamed.map(|record| Reply::json(200, record)).ok_or_else(|| not_found(&id))
    };
    sandbox.handle(incoming, act).await
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
    sandbox.handle(incoming, act).await
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
    let act = |_: &mut Inner, org: &str, _: &Picked| {
        refuse_query(&query).map_err(|errors| Reply::error(400, &json!(errors)))?;
        let mut record = saved(&id, org);
        record["provider"] = json!("vapi");
        record["status"] = json!("active");
        Ok(Reply::json(200, record))
    };
    sandbox.handle(incoming, act).await
}

/// What everything that is saved at the service has.
fn saved(id: &str, org: &str) -> Value {
    json!({"id": id, "orgId": org, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z"})
}
