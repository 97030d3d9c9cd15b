//! Rooms, participants and events as LiveKit writes them: answers in snake case with every field, events in lower camel
//! case without what is empty.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::rooms::Room;
use crate::sandbox::state::{Call, Status};

/// From the last one's leaving to the end of the room.
const DEPARTURE_SECONDS: i64 = 20;

pub(super) fn room(room: &Room, callees: usize) -> Value {
    json!({
        "sid": room.sid,
        "name": room.name,
        "empty_timeout": room.empty_timeout,
        "departure_timeout": room.departure_timeout,
        "max_participants": room.max_participants,
        "creation_time": room.created_at.timestamp().to_string(),
        "creation_time_ms": room.created_at.timestamp_millis().to_string(),
        "turn_password": "",
        "enabled_codecs": [{"mime": "audio/opus", "fmtp_line": ""}, {"mime": "audio/red", "fmtp_line": ""}],
        "metadata": room.metadata,
        "num_participants": callees + room.agents.len(),
        "num_publishers": callees,
        "active_recording": false,
        "version": null,
    })
}

/// The answer to the request for a call.
pub(super) fn taken(call: &Call) -> Value {
    json!({
        "participant_id": sid(call),
        "participant_identity": call.wanted.echo["identity"],
        "room_name": call.wanted.name,
        "sip_call_id": sip_call_id(call),
    })
}

fn sid(call: &Call) -> String {
    format!("PA_{}", &call.id[..8])
}

fn sip_call_id(call: &Call) -> String {
    format!("SCL_{}", &call.id[24..])
}

/// A callee as a listing shows it.
pub(super) fn participant(call: &Call) -> Value {
    let state = if call.status == Status::InProgress { "ACTIVE" } else { "JOINED" };
    let mut participant = whole(&sid(call), &call.wanted.echo["identity"], "SIP", state, call.created_at);
    participant["name"] = call.wanted.echo["name"].clone();
    participant["metadata"] = call.wanted.echo["metadata"].clone();
    participant["is_publisher"] = json!(call.status == Status::InProgress);
    participant["attributes"] = attributes(call);
    participant
}

/// The agents of a room as a listing shows them.
pub(super) fn agents(room: &Room) -> Vec<Value> {
    let agent = |(index, name): (usize, &String)| {
        let mut agent = whole(
            &format!("PA_agent{index}"),
            &json!(format!("agent-{}-{index}", room.sid)),
            "AGENT",
            "ACTIVE",
            room.created_at,
        );
        agent["attributes"] = json!({"lk.agent.name": name});
        agent
    };
    room.agents.iter().enumerate().map(agent).collect()
}

fn whole(sid: &str, identity: &Value, kind: &str, state: &str, joined_at: DateTime<Utc>) -> Value {
    json!({
        "sid": sid,
        "identity": identity,
        "state": state,
        "tracks": [],
        "metadata": "",
        "joined_at": joined_at.timestamp().to_string(),
        "joined_at_ms": joined_at.timestamp_millis().to_string(),
        "name": "",
        "version": 2,
        "permission": {"can_subscribe": true, "can_publish": true, "can_publish_data": true, "hidden": false},
        "region": "",
        "is_publisher": false,
        "kind": kind,
        "attributes": {},
        "disconnect_reason": "UNKNOWN_REASON",
        "kind_details": [],
    })
}

fn attributes(call: &Call) -> Value {
    let status = match call.status {
        Status::Scheduled | Status::Queued => "dialing",
        Status::InProgress => "active",
        // Who is removed with the room keeps what they had.
        Status::Ended if is_ended_by_agent(call) => "active",
        Status::Ended if call.started_at.is_some() => "hangup",
        Status::Ringing | Status::Ended => "ringing",
    };
    let mut attributes = call.wanted.echo["attributes"].clone();
    attributes["sip.callID"] = json!(sip_call_id(call));
    attributes["sip.callStatus"] = json!(status);
    attributes["sip.phoneNumber"] = json!(call.wanted.phone);
    attributes["sip.trunkID"] = json!(call.wanted.line);
    attributes["sip.trunkPhoneNumber"] = call.wanted.echo["sip_number"].clone();
    attributes
}

fn is_ended_by_agent(call: &Call) -> bool {
    call.started_at.is_some() && call.plan.ended_reason.starts_with("assistant-")
}

/// The carrier's status of a call that nobody answered, and its words.
pub(super) fn sip_status(call: &Call) -> (u16, &'static str) {
    let code = match call.plan.ended_reason.as_str() {
        "customer-busy" => 486,
        "customer-did-not-answer" => 480,
        "vonage-rejected" => 603,
        "twilio-reported-customer-misdialed" => 404,
        reason => reason.strip_prefix("sip-").and_then(|code| code.parse().ok()).unwrap_or(503),
    };
    let words = match code {
        404 => "Not Found",
        480 => "Temporarily Unavailable",
        486 => "Busy here",
        603 => "Decline",
        _ => "Failed",
    };
    (code, words)
}

fn disconnect_reason(call: &Call) -> &'static str {
    if call.started_at.is_some() {
        return if is_ended_by_agent(call) { "ROOM_DELETED" } else { "CLIENT_INITIATED" };
    }
    match sip_status(call).0 {
        404 | 408 | 410 | 480 | 487 | 604 => "USER_UNAVAILABLE",
        401 | 403 | 407 | 486 | 488 | 600 | 603 | 607 | 608 => "USER_REJECTED",
        _ => "SIP_TRUNK_FAILURE",
    }
}

/// What is told of a room that was just made.
pub(super) fn room_started(room: &Room, now: DateTime<Utc>) -> Vec<Value> {
    let told = json!({
        "sid": room.sid, "name": room.name, "emptyTimeout": room.empty_timeout, "metadata": room.metadata,
        "departureTimeout": room.departure_timeout, "creationTime": room.created_at.timestamp().to_string(),
    });
    let mut events = vec![event("room_started", now, &told, None)];
    events.extend(agents(room).iter().map(|agent| event("participant_joined", now, &told, Some(agent))));
    events
}

/// What is told of a call that just got to where it is, and when: nobody is told that it rings.
pub(in crate::sandbox) fn messages(call: &Call, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, Value)> {
    let room = json!({"sid": "RM_of_the_call", "name": call.wanted.name});
    let mut callee = participant(call);
    match call.status {
        Status::InProgress => vec![(now, event("participant_joined", now, &room, Some(&callee)))],
        Status::Ended => {
            callee["state"] = json!("DISCONNECTED");
            callee["disconnect_reason"] = json!(disconnect_reason(call));
            let finished_at = now + TimeDelta::seconds(DEPARTURE_SECONDS);
            vec![
                (now, event("participant_left", now, &room, Some(&callee))),
                (finished_at, event("room_finished", finished_at, &room, None)),
            ]
        }
        _ => Vec::new(),
    }
}

/// An event without its id.
fn event(kind: &str, at: DateTime<Utc>, room: &Value, participant: Option<&Value>) -> Value {
    let mut event = json!({"event": kind, "room": told(room), "createdAt": at.timestamp().to_string()});
    if let Some(participant) = participant {
        event["participant"] = told(participant);
    }
    event
}

/// In lower camel case, without what is empty. The keys of attributes are nobody's names.
fn told(value: &Value) -> Value {
    let Some(object) = value.as_object() else { return value.clone() };
    let mut told = Map::new();
    for (key, value) in object {
        let is_empty = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty() || text == "UNKNOWN_REASON",
            Value::Number(number) => number.as_u64() == Some(0),
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Bool(true) => false,
        };
        if !is_empty {
            let value = if key == "attributes" { value.clone() } else { self::told(value) };
            told.insert(camel(key), value);
        }
    }
    Value::Object(told)
}

/// A name in lower camel case, from one in snake case.
pub(super) fn camel(name: &str) -> String {
    let mut camel = String::new();
    let mut raise = false;
    for c in name.chars() {
        match c {
            '_' => raise = true,
            c if raise => {
                camel.push(c.to_ascii_uppercase());
                raise = false;
            }
            c => camel.push(c),
        }
    }
    camel
}
