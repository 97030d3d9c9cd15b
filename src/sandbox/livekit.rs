//! The endpoints of LiveKit: Twirp methods, each by `POST`.
//!
//! A key of the sandbox is an API key and its secret in one. A request that waits until the call is answered gets its answer
//! at once: the phone neither rings nor is let ring for any time, since the sandbox's clock may stand still until the
//! answer is there. Where a script keeps it ringing, the answer is that the server waited for long enough.

mod contract;
pub(super) mod record;
mod rooms;

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::post;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::contract::{Malformed, field, list, parse_call, parse_room, text};
pub(super) use self::rooms::Rooms;
use super::exchange::{Dialect, Incoming, Refusal};
use super::faults::{Fault, Picked};
use super::reply::Reply;
use super::state::{Status, Taking};
use super::{Inner, Sandbox};
use crate::domain::secret::Secret;
use crate::domain::signature::jwt;

/// The method that has a phone ring.
const RINGS: &str = "/twirp/livekit.SIP/CreateSIPParticipant";

pub(super) fn routes() -> Router<Sandbox> {
    Router::new().route("/twirp/{service}/{method}", post(method))
}

/// How it reads one request, at this moment, and says no.
struct LiveKit {
    now: DateTime<Utc>,
    /// What the token must allow.
    needs: Option<Needed>,
}

/// A grant.
#[derive(Clone, Debug)]
struct Needed {
    kind: &'static str,
    key: &'static str,
    room: Option<String>,
}

impl Dialect for LiveKit {
    fn organisation(&self, headers: &HeaderMap, keys: &HashMap<String, String>) -> Option<String> {
        let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let key = jwt::issuer(token)?;
        let org = keys.get(&key)?;
        let claims = jwt::verify("authorization", &key, &Secret::new(key.as_str()), token, self.now).ok()?;
        if let Some(needs) = &self.needs {
            let grants = claims.get(needs.kind)?;
            grants.get(needs.key).and_then(Value::as_bool).filter(|granted| *granted)?;
            if let Some(room) = &needs.room {
                grants.get("room").and_then(Value::as_str).filter(|granted| granted == room)?;
            }
        }
        Some(org.clone())
    }

    fn phone<'b>(&self, body: &'b Value) -> Option<&'b str> {
        field(body, "sip_call_to").and_then(Value::as_str)
    }

    fn kind(&self, path: &str) -> String {
        path.to_owned()
    }

    fn places(&self, _: &Method, path: &str) -> bool {
        path == RINGS
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Stranger => error(401, "unauthenticated", "permissions denied"),
            Refusal::Unavailable => error(503, "unavailable", "twirp error unknown: no response from servers"),
            Refusal::Failure(status) => {
                let code = match status {
                    400 => "malformed",
                    408 => "deadline_exceeded",
                    409 => "aborted",
                    412 => "failed_precondition",
                    429 => "resource_exhausted",
                    501 => "unimplemented",
                    503 => "unavailable",
                    _ => "internal",
                };
                error(status, code, "the sandbox fails as told")
            }
            Refusal::TooManyRequests => error(429, "resource_exhausted", "rate limit exceeded"),
            Refusal::NoCredits => error(403, "permission_denied", "the project is over its limits"),
            Refusal::Number => error(400, "invalid_argument", "sip_call_to is no phone number"),
            Refusal::Agent => error(404, "not_found", "requested sip trunk does not exist"),
            Refusal::Concurrency => error(429, "resource_exhausted", "concurrent sip call limit exceeded"),
        }
    }

    fn id_key(&self) -> &'static str {
        "sip_call_id"
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!({"code": code, "msg": message}))
}

fn no_route(path: &str) -> Reply {
    let mut body = json!({"code": "bad_route", "msg": format!("no handler for path {path:?}")});
    body["meta"] = json!({"twirp_invalid_route": format!("POST {path}")});
    Reply::json(404, body)
}

impl From<Malformed> for Reply {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Json => error(400, "malformed", "the json request could not be decoded"),
            Malformed::Argument(message) => error(400, "invalid_argument", &message),
        }
    }
}

async fn method(
    State(sandbox): State<Sandbox>,
    Path((service, name)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let grant = |kind, key| Some(Needed { kind, key, room: None });
    let which = format!("{service}/{name}");
    let needs = match which.as_str() {
        "livekit.RoomService/CreateRoom" => grant("video", "roomCreate"),
        "livekit.RoomService/ListRooms" => grant("video", "roomList"),
        "livekit.RoomService/ListParticipants" => {
            Some(Needed { kind: "video", key: "roomAdmin", room: Some(text(&body, "room").unwrap_or_default()) })
        }
        "livekit.SIP/CreateSIPParticipant" => grant("sip", "call"),
        "livekit.SIP/ListSIPOutboundTrunk" => grant("sip", "admin"),
        _ => None,
    };
    let dialect = LiveKit { now: sandbox.lock().now(), needs };
    let incoming = Incoming { method: &method, uri: &uri, headers: &headers, body: &bytes };
    let act = |inner: &mut Inner, org: &str, picked: &Picked| {
        if !body.is_object() {
            return Err(Malformed::Json.into());
        }
        match which.as_str() {
            "livekit.RoomService/CreateRoom" => create_room(inner, org, &body),
            "livekit.RoomService/ListRooms" => list_rooms(inner, org, &body),
            "livekit.RoomService/ListParticipants" => Ok(list_participants(inner, org, &body)),
            "livekit.SIP/CreateSIPParticipant" => create_participant(inner, org, &body, picked),
            "livekit.SIP/ListSIPOutboundTrunk" => list_trunks(&body),
            _ => Err(no_route(uri.path())),
        }
    };
    sandbox.handle(&dialect, incoming, act).await
}

fn create_room(inner: &mut Inner, org: &str, body: &Value) -> Result<Reply, Reply> {
    let wanted = parse_room(body)?;
    let now = inner.now();
    let is_new = !inner.rooms.is_open(org, &wanted.name, &inner.calls, now);
    let room = inner.rooms.open(org, wanted, is_new, now);
    if is_new && inner.calls.tells {
        for event in record::room_started(room, now) {
            inner.calls.say(org, now, event);
        }
    }
    let calls = inner.calls.in_room(org, &room.name, now).len();
    Ok(Reply::json(200, record::room(room, calls)))
}

fn list_rooms(inner: &mut Inner, org: &str, body: &Value) -> Result<Reply, Reply> {
    let names = list(body, "names")?;
    let now = inner.now();
    let rooms: Vec<Value> = inner
        .rooms
        .of(org)
        .filter(|room| names.is_empty() || names.contains(&room.name))
        .filter(|room| inner.rooms.is_open(org, &room.name, &inner.calls, now))
        .map(|room| record::room(room, inner.calls.in_room(org, &room.name, now).len()))
        .collect();
    Ok(Reply::json(200, json!({"rooms": rooms})))
}

fn list_participants(inner: &Inner, org: &str, body: &Value) -> Reply {
    let name = text(body, "room").unwrap_or_default();
    let now = inner.now();
    let mut people: Vec<Value> = inner.calls.in_room(org, &name, now).into_iter().map(record::participant).collect();
    if inner.rooms.is_open(org, &name, &inner.calls, now) {
        people.extend(inner.rooms.of(org).filter(|room| room.name == name).flat_map(record::agents));
    }
    Reply::json(200, json!({"participants": people}))
}

fn create_participant(inner: &mut Inner, org: &str, body: &Value, picked: &Picked) -> Result<Reply, Reply> {
    let dialect = LiveKit { now: inner.now(), needs: None };
    let (room, wanted) = parse_call(body)?;
    let waits = wanted.at_once;
    let now = inner.now();
    if matches!(picked.fault, Some(Fault::OverConcurrency(..))) || inner.calls.free(org) == 0 {
        return Err(dialect.refuse(Refusal::Concurrency));
    }
    // A room that is not there is made, without an agent.
    if !inner.rooms.is_open(org, &room.name, &inner.calls, now) {
        inner.rooms.open(org, room, true, now);
    }
    let id = inner.calls.take(org, wanted, Taking::Ring, picked.lag, now);
    inner.calls.advance(now);
    let Some(call) = inner.calls.taken(&id) else { return Err(error(500, "internal", "the call went away")) };
    let is_answered = call.started_at.is_some();
    Ok(match call.status {
        _ if is_answered || !waits => Reply::json(200, record::taken(call)),
        Status::Ended => {
            let (code, words) = record::sip_status(call);
            let (status, twirp) = contract::twirp_of(code);
            let message = format!("sip status {code}: {words}");
            let mut body = json!({"code": twirp, "msg": message});
            body["meta"] = json!({"sip_status_code": code.to_string(), "sip_status": words});
            Reply::json(status, body)
        }
        _ => error(408, "deadline_exceeded", "context deadline exceeded"),
    })
}

/// Every trunk is there.
fn list_trunks(body: &Value) -> Result<Reply, Reply> {
    let items: Vec<Value> = list(body, "trunk_ids")?
        .into_iter()
        .map(|id| json!({"sip_trunk_id": id, "name": "", "address": "sip.example.com", "numbers": ["+15005550001"]}))
        .collect();
    Ok(Reply::json(200, json!({"items": items})))
}
