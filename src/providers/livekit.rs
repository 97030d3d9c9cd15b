//! LiveKit: a room for each attempt, an agent in it, and a participant who is reached by phone.

mod answer;
mod participant;
mod token;
pub mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use self::answer::{judge, room_refused};
use self::participant::report_of;
use self::token::Grant;
use super::http::{Answer, Http, LastLook, NoAnswer, ReadError, chain, exchange, read};
use crate::domain::agent::AgentReport;
use crate::domain::dial::{CallReport, DialAnswer, DialRequest, DialResult, RefusalClass};
use crate::domain::numbers::VoiceNumber;
use crate::domain::secret::Secret;

/// How long a phone rings where the campaign does not say.
const USUAL_RINGING_SECONDS: u64 = 30;
/// The longest that a campaign may let it ring.
const LONGEST_RINGING_SECONDS: u64 = 80;
/// How much longer than the ringing the answer may take; the service's own libraries say at least two seconds.
const ANSWER_WITHIN_SECONDS: u64 = 5;
/// So long after its phone rang for the last time a room that the callee never came to is closed, and its agent sent
/// home. Closed before, it would have whoever picks up hear nothing.
const EMPTY_ROOM_SECONDS: u64 = 60;
const MAX_EXTENSION_CHARS: usize = 32;

/// A client of one project.
#[derive(Clone)]
pub struct LiveKit {
    http: Http,
    key: Arc<str>,
    secret: Secret,
    base_url: String,
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

impl fmt::Debug for LiveKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveKit").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// How long a dial may be under way at most, from its commit: a request for the room, which has the usual time, and
/// one that lasts for as long as the phone rings.
pub fn longest_dial(request_timeout: Duration) -> Duration {
    request_timeout + Duration::from_secs(LONGEST_RINGING_SECONDS + ANSWER_WITHIN_SECONDS)
}

impl LiveKit {
    /// A client that sends to `base_url` (the project's address, with `wss://` or `https://`, or a sandbox), with tokens
    /// signed by this key's secret at the moment that `now` tells.
    pub fn new(
        http: Http,
        key: &str,
        secret: Secret,
        base_url: &str,
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
    ) -> Self {
        Self { http, key: key.into(), secret, base_url: over_http(base_url), now: Arc::new(now) }
    }

    /// Makes the room of a call and has its phone called, exactly once, unless the last look forbids it. The last look
    /// is taken before the second request, which is the one that rings.
    ///
    /// The answer to that comes when the call is answered or over. The service keeps no record of either, so it is
    /// the only sure news of a busy line or of nobody at home.
    pub async fn place_if(&self, request: &DialRequest, last_look: &LastLook) -> DialResult {
        let settled = |answer| DialResult { answer, provider_date: None };
        let body = match participant_body(request) {
            Ok(body) => body,
            Err((class, reason)) => {
                return settled(DialAnswer::Refused { class, reason, http_status: None, retry_after: None });
            }
        };
        let (room, ringing) = (request.attempt_id.as_str(), ringing_seconds(&request.agent));
        // The same room again is the same room, so that this one request may be lost without harm.
        let made = match self.send("RoomService/CreateRoom", &Grant::MakeRooms, &room_body(request)) {
            Ok(request) => exchange(request).await,
            Err(error) => return settled(DialAnswer::NotSent { reason: chain(&error) }),
        };
        match made {
            Ok(answer) if (200..300).contains(&answer.status) => {}
            Ok(answer) => return DialResult { provider_date: answer.date, answer: room_refused(&answer) },
            Err(NoAnswer::NotConnected { reason }) => return settled(DialAnswer::NotSent { reason }),
            Err(NoAnswer::Lost { reason, date, .. }) => {
                let reason = format!("nobody was called, as the room was not confirmed: {reason}");
                return DialResult { answer: DialAnswer::NotSent { reason }, provider_date: date };
            }
        }
        let request = match self.request("SIP/CreateSIPParticipant", &Grant::Call) {
            Ok(request) => request
                // Cloud drops a second request with this id. Nothing relies on that: it is sent once.
                .header("x-livekit-request-id", room)
                .timeout(Duration::from_secs(ringing + ANSWER_WITHIN_SECONDS))
                .body(last_look.body(body.to_string())),
            Err(error) => return settled(DialAnswer::NotSent { reason: chain(&error) }),
        };
        let result = exchange(request).await;
        if let Some(reason) = last_look.withheld() {
            return settled(DialAnswer::NotSent { reason: reason.to_owned() });
        }
        match result {
            Ok(answer) => DialResult { provider_date: answer.date, answer: judge(&answer, room) },
            Err(NoAnswer::NotConnected { reason }) => settled(DialAnswer::NotSent { reason }),
            Err(NoAnswer::Lost { reason, date, .. }) => {
                DialResult { answer: DialAnswer::Unknown { reason }, provider_date: date }
            }
        }
    }

    /// The callee's part in the room of a call, while it is there. None says nothing: the call may be over, not begun,
    /// or never placed.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn get(&self, room: &str) -> Result<Option<CallReport>, ReadError> {
        let body = json!({"room": room});
        let request = self.send("RoomService/ListParticipants", &Grant::LookInto(room.to_owned()), &body);
        let answer = match read(request.map_err(|error| unbuilt(&error))?).await {
            Err(ReadError::NotFound { .. }) => return Ok(None),
            answer => answer?,
        };
        let list = list_of(&answer, "participants")?;
        let identity = identity_of(room);
        let callee = list.into_iter().find(|one| one.get("identity").and_then(Value::as_str) == Some(&identity));
        Ok(callee.and_then(|callee| report_of(callee, room)))
    }

    /// Asks something harmless; yields the service's clock.
    ///
    /// # Errors
    /// When the key is refused or there is no usable answer.
    pub async fn probe(&self) -> Result<Option<DateTime<Utc>>, ReadError> {
        // Rooms of ours have longer names, so that the answer is short however many there are.
        let request = self.send("RoomService/ListRooms", &Grant::ListRooms, &json!({"names": ["callops"]}));
        let answer = read(request.map_err(|error| unbuilt(&error))?).await?;
        list_of(&answer, "rooms")?;
        Ok(answer.date)
    }

    /// What the service has of the trunk that a campaign calls by. It has no list of agents.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn trunk(&self, sip_trunk_id: &str) -> Result<AgentReport, ReadError> {
        let body = json!({"trunk_ids": [sip_trunk_id]});
        let request = self.send("SIP/ListSIPOutboundTrunk", &Grant::ListTrunks, &body);
        let answer = match read(request.map_err(|error| unbuilt(&error))?).await {
            Err(ReadError::NotFound { .. }) => return Ok(AgentReport::Missing("sip_trunk_id")),
            answer => answer?,
        };
        let items = list_of(&answer, "items")?;
        let is_there = items.iter().any(|item| item.get("sip_trunk_id").and_then(Value::as_str) == Some(sip_trunk_id));
        Ok(if is_there {
            AgentReport::Present { webhook_url: None, tells_ends: true }
        } else {
            AgentReport::Missing("sip_trunk_id")
        })
    }

    /// Every number of the project's outbound trunks, each with its trunk.
    ///
    /// # Errors
    /// When the answer is no list, or there is none.
    pub async fn numbers(&self) -> Result<Vec<VoiceNumber>, ReadError> {
        let request = self.send("SIP/ListSIPOutboundTrunk", &Grant::ListTrunks, &json!({}));
        let items = list_of(&read(request.map_err(|error| unbuilt(&error))?).await?, "items")?;
        let of_trunk = |item: &Value| -> Vec<VoiceNumber> {
            let id = item.get("sip_trunk_id").and_then(Value::as_str).unwrap_or_default();
            let numbers = item.get("numbers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            numbers.map(|phone| VoiceNumber { id: id.to_owned(), phone: phone.to_owned() }).collect()
        };
        Ok(items.iter().flat_map(of_trunk).collect())
    }

    fn send(&self, method: &str, grant: &Grant, body: &Value) -> Result<RequestBuilder, reqwest::Error> {
        Ok(self.request(method, grant)?.body(body.to_string()))
    }

    /// A request without its body yet.
    fn request(&self, method: &str, grant: &Grant) -> Result<RequestBuilder, reqwest::Error> {
        let client = self.http.client(&self.base_url)?;
        let token = token::of(&self.key, &self.secret, grant, (self.now)());
        Ok(client
            .post(format!("{}/twirp/livekit.{method}", self.base_url))
            .header(CONTENT_TYPE, "application/json")
            .bearer_auth(token.expose()))
    }
}

/// An address for requests: projects are named by that of their web sockets.
fn over_http(base_url: &str) -> String {
    let url = base_url.trim_end_matches('/');
    match (url.strip_prefix("wss://"), url.strip_prefix("ws://")) {
        (Some(rest), _) => format!("https://{rest}"),
        (_, Some(rest)) => format!("http://{rest}"),
        _ => url.to_owned(),
    }
}

/// Who the callee is in a room.
fn identity_of(room: &str) -> String {
    format!("callee-{room}")
}

fn ringing_seconds(agent: &Value) -> u64 {
    let given = agent.get("ringing_timeout").and_then(Value::as_u64);
    given.map_or(USUAL_RINGING_SECONDS, |seconds| seconds.clamp(1, LONGEST_RINGING_SECONDS))
}

/// What the agent is told: by whose id to report, and whom it speaks with.
fn metadata(request: &DialRequest) -> String {
    json!({
        "attempt_id": request.attempt_id,
        "phone": request.to,
        "customer_name": request.customer_name,
        "variables": request.variables,
    })
    .to_string()
}

/// The request for the room. It has the agent come at once, so that nobody picks up to silence.
fn room_body(request: &DialRequest) -> Value {
    json!({
        "name": request.attempt_id,
        "empty_timeout": ringing_seconds(&request.agent) + EMPTY_ROOM_SECONDS,
        "metadata": json!({"attempt_id": request.attempt_id}).to_string(),
        "agents": [{"agent_name": text(&request.agent, "agent_name").unwrap_or_default(), "metadata": metadata(request)}],
    })
}

/// The request for the call; an error says whose fault it is that there can be none.
fn participant_body(request: &DialRequest) -> Result<Value, (RefusalClass, String)> {
    let agent = |key: &str| {
        let missing = || (RefusalClass::Campaign, format!("the campaign's livekit agent has no `{key}`"));
        text(&request.agent, key).ok_or_else(missing)
    };
    agent("agent_name")?;
    let id = &request.attempt_id;
    let mut body = json!({
        "sip_trunk_id": agent("sip_trunk_id")?,
        "sip_call_to": request.to,
        "room_name": id,
        "participant_identity": identity_of(id),
        "participant_metadata": metadata(request),
        "participant_attributes": {"callops.attempt_id": id},
        "ringing_timeout": format!("{}s", ringing_seconds(&request.agent)),
        "wait_until_answered": true,
    });
    if let Some(number) = text(&request.agent, "sip_number") {
        body["sip_number"] = number.into();
    }
    if let Some(name) = request.customer_name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        body["participant_name"] = name.into();
    }
    if let Some(extension) = request.extension.as_deref().filter(|extension| !extension.is_empty()) {
        let is_dialled = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
        if extension.len() > MAX_EXTENSION_CHARS || !extension.chars().all(is_dialled) {
            // Cut short it would reach somebody else.
            return Err((RefusalClass::Number, format!("the extension `{extension}` cannot be dialled")));
        }
        // Each `w` waits for half a second: whoever picks up must hear the first digit.
        body["dtmf"] = format!("ww{extension}").into();
    }
    Ok(body)
}

fn list_of(answer: &Answer, key: &str) -> Result<Vec<Value>, ReadError> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body.get(key) {
        Some(Value::Array(list)) => Ok(list.clone()),
        // A server may leave out what is empty.
        None | Some(Value::Null) if body.is_object() => Ok(Vec::new()),
        _ => Err(ReadError::Broken { status: answer.status, body: answer.excerpt() }),
    }
}

fn unbuilt(error: &reqwest::Error) -> ReadError {
    ReadError::Unreachable { status: None, reason: chain(error) }
}

fn text(value: &Value, key: &str) -> Option<String> {
    // PostgreSQL keeps no NUL in a text.
    value.get(key).and_then(Value::as_str).map(|text| text.replace('\0', "")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
