//! A fuzzer of reading webhooks: it spoils described ones, in their bytes and in what they mean, and holds what is read
//! against simple rules. It runs for seconds; `scripts/fuzz inbox` runs it for longer.

mod elevenlabs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Content, Incoming};
use crate::clock::Clock;
use crate::config::Environment;
use crate::domain::call_status::is_id;
use crate::domain::dial::{ProviderMessage, ProviderState};
use crate::domain::event::{EventSource, Scope};
use crate::domain::evidence::Seen;

/// What is spoilt, and whose it is.
const SAMPLES: [(EventSource, &str); 7] = [
    (EventSource::LiveKit, include_str!("../../../../tests/fixtures/livekit/webhook-participant_joined.json")),
    (EventSource::LiveKit, include_str!("../../../../tests/fixtures/livekit/webhook-participant_left.json")),
    (EventSource::LiveKit, include_str!("../../../../tests/fixtures/livekit/webhook-room_started.json")),
    (EventSource::LiveKit, include_str!("../../../../tests/fixtures/livekit/webhook-room_finished.json")),
    (EventSource::Vapi, include_str!("../../../../tests/fixtures/vapi/status-update-ended.json")),
    (EventSource::Vapi, include_str!("../../../../tests/fixtures/vapi/end-of-call-report.json")),
    (EventSource::Vapi, include_str!("../../../../tests/fixtures/vapi/hang.json")),
];
/// Words that mean something somewhere.
const WORDS: [&str; 22] = [
    "",
    "participant_joined",
    "participant_left",
    "participant_connection_aborted",
    "room_finished",
    "USER_REJECTED",
    "USER_UNAVAILABLE",
    "CLIENT_INITIATED",
    "UNKNOWN_REASON",
    "DISCONNECTED",
    "active",
    "hangup",
    "dialing",
    "ended",
    "callee-room",
    "room",
    "agent-1",
    "\u{0}",
    "\u{fffd}\u{202e}",
    "9223372036854775807",
    "-1",
    "1721950044",
];
/// The events that say something of the phone.
const TELLING: [&str; 3] = ["participant_joined", "participant_left", "participant_connection_aborted"];

fn value(random: &mut Rng) -> Value {
    match random.u8(0..8) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..)),
        3 => json!(random.f64() * 1e300),
        4 => json!([WORDS[random.usize(..WORDS.len())]]),
        5 => json!({WORDS[random.usize(..WORDS.len())]: random.u8(..)}),
        6 => json!(WORDS[random.usize(..WORDS.len())].repeat(random.usize(1..300))),
        _ => json!(WORDS[random.usize(..WORDS.len())]),
    }
}

/// Changes one thing somewhere below.
fn change(node: &mut Value, random: &mut Rng) {
    let stop = random.u8(0..4) == 0;
    match node {
        Value::Object(object) if !object.is_empty() && !stop => {
            let key = object.keys().nth(random.usize(..object.len())).cloned().unwrap_or_default();
            match random.u8(0..8) {
                0 => drop(object.remove(&key)),
                1 => {
                    let moved = object.remove(&key).unwrap_or_default();
                    object.insert(WORDS[random.usize(..WORDS.len())].to_owned(), moved);
                }
                _ => change(&mut object[&key], random),
            }
        }
        Value::Array(list) if !list.is_empty() && !stop => {
            let index = random.usize(..list.len());
            change(&mut list[index], random);
        }
        node => *node = value(random),
    }
}

/// A body, spoilt or not.
fn make(random: &mut Rng) -> (EventSource, Vec<u8>) {
    let (source, text) = SAMPLES[random.usize(..SAMPLES.len())];
    let mut body: Value = serde_json::from_str(text).expect("JSON");
    if source == EventSource::LiveKit && random.bool() {
        body["room"]["name"] = json!("room");
        if body.get("participant").is_some() {
            body["participant"]["identity"] = json!("callee-room");
        }
    }
    for _ in 0..random.u8(0..4) {
        change(&mut body, random);
    }
    let mut bytes = body.to_string().into_bytes();
    for _ in 0..random.u8(0..3) {
        let at = random.usize(..=bytes.len());
        match random.u8(0..8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => bytes[at] = random.u8(..),
            _ => {}
        }
    }
    (source, bytes)
}

/// What is wrong with how a body is read; none where all is well.
fn problem(source: EventSource, bytes: &[u8]) -> Option<String> {
    let read = || check(source, bytes);
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        }
    }
}

fn check(source: EventSource, bytes: &[u8]) -> Result<(), String> {
    let Ok(incoming) = Incoming::read(source, Scope::Everybody, bytes) else { return Ok(()) };
    let Content::Provider(message) = &incoming.content else { return Err("a report out of nowhere".to_owned()) };
    let body: Value = serde_json::from_slice(bytes).map_err(|error| format!("read, and no JSON: {error}"))?;
    insist("the kind is text to keep", is_id(&message.kind))?;
    insist(
        "ids are texts to keep",
        [&message.event_id, &message.call_id, &message.correlation].into_iter().flatten().all(|id| is_id(id)),
    )?;
    if let Some(report) = &message.report {
        let texts = [&report.ended_reason, &report.to, &report.line, &report.summary, &report.org_id];
        insist("no text has a NUL", !texts.into_iter().flatten().any(|text| text.contains('\0')))?;
        insist("an outcome is for what is over", report.outcome.is_some() == (report.state == ProviderState::Ended))?;
        let seen = Seen::from_report(report, DateTime::<Utc>::UNIX_EPOCH);
        insist("what is over is an end", !matches!(seen, Some(Seen::Live { .. })) || report.outcome.is_none())?;
    }
    if source == EventSource::LiveKit { check_livekit(message, &body) } else { Ok(()) }
}

fn check_livekit(message: &ProviderMessage, body: &Value) -> Result<(), String> {
    insist("an event has an id", message.event_id.as_deref() == body["id"].as_str())?;
    insist("it is as a whole, or nothing", !message.is_half)?;
    let room = body.pointer("/room/name").and_then(Value::as_str);
    insist("the room is the call", message.call_id.as_deref() == room && message.correlation == message.call_id)?;
    let identity = body.pointer("/participant/identity").and_then(Value::as_str);
    let is_callee = room.is_some_and(|room| identity == Some(&format!("callee-{room}")));
    let tells = is_callee && TELLING.contains(&message.kind.as_str());
    insist("the callee tells, and nobody else", message.report.is_some() == tells)?;
    let Some(report) = &message.report else { return Ok(()) };
    insist("what may have rung did", !report.never_rang)?;
    insist("who left is gone", message.kind == "participant_joined" || report.state == ProviderState::Ended)?;
    insist(
        "it is the attempt's",
        report.correlation.as_deref() == room && report.provider_call_id == message.call_id.clone().unwrap_or_default(),
    )
}

fn insist(rule: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

/// The body without whatever can be left out of it while the same is wrong with it.
fn shortened(source: EventSource, mut bytes: Vec<u8>, found: &str, patience: Duration) -> Vec<u8> {
    let clock = Clock::system();
    let mut piece = bytes.len().div_ceil(2);
    while piece > 0 && clock.monotonic() < patience {
        let mut at = 0;
        while at < bytes.len() && clock.monotonic() < patience {
            let mut shorter = bytes.clone();
            shorter.drain(at..(at + piece).min(bytes.len()));
            if problem(source, &shorter).as_deref() == Some(found) {
                bytes = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    bytes
}

#[test]
fn every_webhook_is_read_by_the_rules_or_refused() {
    let environment = Environment::of_process();
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let number = |name| variable(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}")));
    let seed = number("CALLOPS_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CALLOPS_FUZZ_SEED={seed}");
    let limit = Duration::from_secs(number("CALLOPS_FUZZ_SECONDS").unwrap_or(20));
    let clock = Clock::system();
    let (mut bodies, mut telling) = (0_u64, 0_u64);
    while bodies == 0 || clock.monotonic() < limit {
        let (source, bytes) = make(&mut Rng::with_seed(seed.wrapping_add(bodies)));
        bodies += 1;
        if let Ok(Incoming { content: Content::Provider(message), .. }) =
            Incoming::read(source, Scope::Everybody, &bytes)
        {
            telling += u64::from(message.report.is_some());
        }
        let Some(found) = problem(source, &bytes) else { continue };
        let short = shortened(source, bytes, &found, Duration::from_secs(20));
        panic!("{found}\nbody {bodies} of CALLOPS_FUZZ_SEED={seed}, shortened: {source} {}", short.escape_ascii());
    }
    println!("{bodies} bodies, {telling} of which told something");
    // One that reads nothing finds nothing.
    assert!(bodies < 1000 || telling > bodies / 20, "{telling} of {bodies}");
}

#[test]
fn changes_change_something() {
    let random = &mut Rng::with_seed(1);
    let sound = json!({"a": {"b": [1, "x"]}, "c": Map::new()});
    let changed = (0..100).filter(|_| {
        let mut body = sound.clone();
        change(&mut body, random);
        body != sound
    });
    assert!(changed.count() > 90);
}
