//! The endpoints of ElevenLabs.

mod contract;
pub(super) mod record;

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use self::contract::{Wrong, parse_create, parse_listing};
use super::exchange::{Dialect, Incoming, Refusal};
use super::faults::{Fault, Picked};
use super::reply::Reply;
use super::state::Taking;
use super::{Inner, Sandbox};

/// The id of the one webhook of every workspace.
const WEBHOOK_ID: &str = "wh_sandbox";

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v1/convai/twilio/outbound-call", post(create))
        .route("/v1/convai/sip-trunk/outbound-call", post(create))
        .route("/v1/convai/conversations", get(list))
        .route("/v1/convai/conversations/{id}", get(read))
        .route("/v1/convai/agents/{id}", get(agent))
        .route("/v1/convai/phone-numbers", get(phone_numbers))
        .route("/v1/convai/phone-numbers/{id}", get(phone_number))
        .route("/v1/convai/settings", get(settings))
        .route("/v1/workspace/webhooks", get(webhooks))
}

/// How ElevenLabs reads requests and says no.
struct ElevenLabs;

impl Dialect for ElevenLabs {
    fn organisation(&self, headers: &HeaderMap, keys: &HashMap<String, String>) -> Option<String> {
        keys.get(headers.get("xi-api-key")?.to_str().ok()?).cloned()
    }

    fn phone<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body.get("to_number").and_then(Value::as_str)
    }

    fn kind(&self, path: &str) -> String {
        let mut parts: Vec<&str> = path.split('/').collect();
        if let ["", "v1", "convai", "conversations" | "agents" | "phone-numbers", id] = &mut parts[..] {
            *id = "{id}";
        }
        parts.join("/")
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Stranger => error(401, "authentication_error", "invalid_api_key", "Invalid API key"),
            Refusal::Unavailable => error(503, "service_unavailable", "maintenance", "Service unavailable"),
            Refusal::Failure(status) => error(status, "internal_error", "internal_error", "the sandbox fails as told"),
            Refusal::TooManyRequests => error(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded"),
            Refusal::NoCredits => error(402, "payment_required", "insufficient_credits", "Insufficient credits"),
            Refusal::Number => wrong(&[Wrong::new(&["body", "to_number"], "value_error", "Value is no phone number")]),
            Refusal::Agent => error(404, "not_found", "agent_not_found", "Agent not found"),
            Refusal::Concurrency => {
                error(429, "rate_limit_error", "concurrent_limit_exceeded", "Too many concurrent requests")
            }
        }
    }

    fn id_key(&self) -> &'static str {
        "conversation_id"
    }

    fn refuse_by_code(&self, status: u16, code: &str) -> Reply {
        if code.starts_with("legacy:") {
            let status_word = code.trim_start_matches("legacy:");
            return Reply::json(status, json!({"detail": {"status": status_word, "message": "the sandbox refuses"}}));
        }
        error(status, "error", code, "the sandbox refuses as told")
    }

    fn say_failed(&self, message: &str) -> Reply {
        Reply::json(200, json!({"success": false, "message": message, "conversation_id": null, "callSid": null}))
    }
}

fn error(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    let detail = json!({"type": kind, "code": code, "message": message, "status": code, "request_id": "sandbox"});
    Reply::json(status, json!({"detail": detail}))
}

fn wrong(errors: &[Wrong]) -> Reply {
    Reply::json(422, json!({"detail": errors.iter().map(Wrong::to_json).collect::<Vec<_>>()}))
}

fn not_found(what: &str, id: &str) -> Reply {
    error(404, "not_found", &format!("{what}_not_found"), &format!("{what} with id {id} not found"))
}

async fn create(
    State(sandbox): State<Sandbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let by_trunk = uri.path().contains("sip-trunk");
    let act = |inner: &mut Inner, org: &str, picked: &Picked| {
        let wanted = parse_create(&bytes, by_trunk).map_err(|errors| wrong(&errors))?;
        // There is no queue: a call that finds no line is refused.
        if matches!(picked.fault, Some(Fault::OverConcurrency(..))) || inner.calls.free(org) == 0 {
            return Err(ElevenLabs.refuse(Refusal::Concurrency));
        }
        let now = inner.now();
        let id = inner.calls.take(org, wanted, Taking::Ring, picked.lag, now);
        let carriers = if by_trunk { "sip_call_id" } else { "callSid" };
        Ok(Reply::json(
            200,
            json!({
                "success": true, "message": "Call initiated successfully", "conversation_id": id,
                carriers: record::call_sid(&id),
            }),
        ))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
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
        let listing = parse_listing(query).map_err(|errors| wrong(&errors))?;
        let now = inner.now();
        let mut calls = inner.calls.list(org, &listing.filter, now);
        if let Some(cursor) = &listing.cursor {
            let Some(at) = calls.iter().position(|call| call.id == *cursor) else {
                return Err(error(400, "invalid_request", "invalid_cursor", "Invalid cursor"));
            };
            calls.drain(..=at);
        }
        let has_more = calls.len() > listing.page_size;
        calls.truncate(listing.page_size);
        let next_cursor = calls.last().filter(|_| has_more).map(|call| call.id.clone());
        let conversations: Vec<Value> =
            calls.into_iter().map(|call| record::summary(call, &inner.calls, now)).collect();
        Ok(Reply::json(200, json!({"conversations": conversations, "next_cursor": next_cursor, "has_more": has_more})))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
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
        let call = inner.calls.get(org, &id, now).ok_or_else(|| not_found("conversation", &id))?;
        Ok(Reply::json(200, record::of(call, &inner.calls, now)))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}

/// Every agent exists, but for those whose id says otherwise.
async fn agent(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |_: &mut Inner, _: &str, _: &Picked| {
        if id.starts_with("missing") {
            return Err(not_found("agent", &id));
        }
        Ok(Reply::json(200, json!({"agent_id": id, "name": id, "platform_settings": {}})))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}

/// The lines that somebody named, which are numbers of Twilio's.
async fn phone_numbers(
    State(sandbox): State<Sandbox>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, _: &str, _: &Picked| {
        // Nobody is assigned to any.
        let is_shown = query.iter().all(|(key, value)| match key.as_str() {
            "provider" => value == "twilio",
            "agent_id" | "branch_id" => false,
            _ => true,
        });
        let lines = inner.lines.elevenlabs.iter().filter(|_| is_shown);
        Ok(Reply::json(200, lines.map(|named| line(&named.phone_number_id, &named.phone_number)).collect()))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}

fn line(id: &str, phone: &str) -> Value {
    json!({
        "phone_number_id": id, "phone_number": phone, "label": id, "provider": "twilio", "supports_inbound": true,
        "supports_outbound": true, "assigned_agent": null,
    })
}

/// Every line exists, but for those whose id says otherwise.
async fn phone_number(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, _: &str, _: &Picked| {
        if id.starts_with("missing") {
            return Err(not_found("phone_number", &id));
        }
        let named = inner.lines.elevenlabs.iter().find(|named| named.phone_number_id == id);
        Ok(Reply::json(200, line(&id, named.map_or("+14155550000", |named| &named.phone_number))))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}

/// The workspace tells whom the sandbox tells.
async fn settings(State(sandbox): State<Sandbox>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, _: &str, _: &Picked| {
        let id = inner.outbox.webhook.as_ref().map(|_| WEBHOOK_ID);
        let events = ["transcript", "call_initiation_failure"];
        Ok(Reply::json(200, json!({"webhooks": {"post_call_webhook_id": id, "events": events}})))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}

async fn webhooks(State(sandbox): State<Sandbox>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &[] };
    let act = |inner: &mut Inner, _: &str, _: &Picked| {
        let webhooks: Vec<Value> = inner
            .outbox
            .webhook
            .iter()
            .map(|webhook| {
                json!({
                    "name": "sandbox", "webhook_id": WEBHOOK_ID, "webhook_url": webhook.url, "is_disabled": false,
                    "is_auto_disabled": false, "created_at_unix": 1_760_000_000, "auth_type": "hmac",
                })
            })
            .collect();
        Ok(Reply::json(200, json!({"webhooks": webhooks})))
    };
    sandbox.handle(&ElevenLabs, incoming, act).await
}
