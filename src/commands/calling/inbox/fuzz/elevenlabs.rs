//! A fuzzer of what ElevenLabs may say: it takes what the service is known to say, spoils it, and checks what is read in
//! it. It runs for seconds, and `scripts/fuzz inbox` for longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::commands::calling::inbox::Incoming;
use crate::domain::call_status::is_id;
use crate::domain::dial::{CallReport, DialAnswer, ProviderState};
use crate::domain::event::{EventSource, Scope};
use crate::domain::evidence::Seen;
use crate::domain::outcome::Outcome;
use crate::providers::elevenlabs::{report_of, verdict, webhook};

const SAMPLES: [&str; 6] = [
    include_str!("../../../../../tests/fixtures/elevenlabs/post_call_transcription.json"),
    include_str!("../../../../../tests/fixtures/elevenlabs/post_call_audio.json"),
    include_str!("../../../../../tests/fixtures/elevenlabs/call_initiation_failure-twilio.json"),
    include_str!("../../../../../tests/fixtures/elevenlabs/call_initiation_failure-sip.json"),
    include_str!("../../../../../tests/fixtures/elevenlabs/outbound-call.json"),
    include_str!("../../../../../tests/fixtures/elevenlabs/error-400.json"),
];

const STATUSES: [u16; 16] = [200, 201, 204, 301, 400, 401, 402, 404, 408, 409, 422, 429, 499, 500, 503, 599];

/// A value that may stand where another one was.
fn odd(random: &mut fastrand::Rng) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(1.5),
        json!(""),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("é".repeat(200)),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([null, {}]),
        json!("initiated"),
        json!("in-progress"),
        json!("processing"),
        json!("done"),
        json!("failed"),
        json!("busy"),
        json!("no-answer"),
        json!("sip status: 486: Busy"),
        json!("sip status: 4é"),
        json!("(sip 999)"),
        json!("HTTP 401 error: Unable to create record: Authenticate"),
        json!("HTTP 5"),
        json!("Agent not found"),
        json!("conv_1"),
        json!(1_739_537_297),
        json!("user"),
        json!("post_call_transcription"),
        json!("call_initiation_failure"),
        json!({"type": "voicemail_detection_success"}),
    ];
    values[random.usize(..values.len())].clone()
}

/// The same with something in it otherwise.
fn spoil(value: &mut Value, random: &mut fastrand::Rng) {
    match value {
        Value::Object(object) if !object.is_empty() && random.u8(..8) > 0 => {
            let key = object.keys().nth(random.usize(..object.len())).cloned().unwrap_or_default();
            match random.u8(..8) {
                0 => drop(object.remove(&key)),
                1 => drop(object.insert(key, odd(random))),
                _ => spoil(&mut object[&key], random),
            }
        }
        Value::Array(list) if !list.is_empty() && random.u8(..8) > 0 => {
            let at = random.usize(..list.len());
            match random.u8(..4) {
                0 => drop(list.remove(at)),
                1 => list.push(odd(random)),
                _ => spoil(&mut list[at], random),
            }
        }
        other => *other = odd(random),
    }
}

/// What may come over the wire.
fn make(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(SAMPLES[random.usize(..SAMPLES.len())]).expect("JSON");
    if value.get("callSid").is_some() && random.bool() {
        value["success"] = json!(false);
        value["message"] = odd(random);
    }
    for _ in 0..random.usize(..6) {
        spoil(&mut value, random);
    }
    let mut bytes = value.to_string().into_bytes();
    match random.u8(..20) {
        0 => bytes.truncate(random.usize(..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        _ => {}
    }
    bytes
}

fn check_report(report: &CallReport) {
    let texts = [&report.ended_reason, &report.summary, &report.transcript, &report.to, &report.line, &report.agent];
    assert!(!texts.into_iter().flatten().any(|text| text.contains('\0')), "a text that no database takes: {report:?}");
    assert!(!report.provider_call_id.is_empty() && !report.never_rang, "{report:?}");
    assert_eq!(report.outcome.is_some(), report.state == ProviderState::Ended, "{report:?}");
    assert!(!report.is_complete || report.state == ProviderState::Ended, "{report:?}");
    let cost = report.raw.pointer("/metadata/cost_fiat").and_then(Value::as_f64);
    assert_eq!(report.cost_usd, cost, "dollars are dollars: {report:?}");
    if report.outcome == Some(Outcome::Answered) {
        assert!(report.transcript.as_deref().is_some_and(|text| text.contains("User: ")), "nobody spoke: {report:?}");
    }
    let record = report.record();
    assert!(record.duration_seconds.is_none_or(|seconds| seconds >= 0), "{record:?}");
    let seen = Seen::from_report(report, DateTime::UNIX_EPOCH);
    assert_eq!(seen.is_none(), matches!(report.state, ProviderState::Other(_)), "{report:?}");
}

fn check_verdict(status: u16, body: &[u8]) {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let failed = said["success"] == false;
    match verdict(status, body) {
        DialAnswer::Accepted { provider_call_id, queued, .. } => {
            let is_sound = (200..300).contains(&status) && !failed && !provider_call_id.is_empty() && !queued;
            assert!(is_sound, "{status} {said}");
        }
        DialAnswer::Refused { http_status, .. } => {
            assert_eq!(http_status, Some(status));
            let has_call = said["callSid"].as_str().is_some_and(|id| !id.replace('\0', "").is_empty());
            let is_proof = match status {
                200..=299 => failed && !has_call,
                408 | 409 | 499 => false,
                other => (400..500).contains(&other),
            };
            assert!(is_proof, "{status} {said}");
        }
        DialAnswer::Unknown { reason } => assert!(!reason.is_empty()),
        DialAnswer::Answered { .. } | DialAnswer::Ended { .. } => panic!("it says so later: {status} {said}"),
        DialAnswer::NotSent { .. } => panic!("an answer came: {status} {said}"),
    }
}

/// Reads a body as each of what it may be.
fn check(body: &[u8]) {
    let _ = Incoming::read(EventSource::ElevenLabs, Scope::Everybody, body);
    for status in STATUSES {
        check_verdict(status, body);
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    if let Ok(message) = webhook::read_message(&value) {
        assert!(is_id(&message.kind) && message.call_id.as_deref().is_none_or(is_id), "{message:?}");
        assert!(message.correlation.as_deref().is_none_or(is_id), "{message:?}");
        if let Some(report) = &message.report {
            assert_eq!(report.state, ProviderState::Ended, "only ends are told: {report:?}");
            check_report(report);
        }
    }
    let data = value.get("data").unwrap_or(&value).clone();
    if let Some(report) = report_of(data) {
        check_report(&report);
    }
}

mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn whatever_elevenlabs_may_say_is_read_soundly() {
        let environment = Environment::of_process();
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if let Some(path) = variable("CALLOPS_FUZZ_FILE") {
            check(&std::fs::read(path).expect("a body"));
            return;
        }
        let number = |name| variable(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}")));
        let seed = number("CALLOPS_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("CALLOPS_FUZZ_SEED={seed}");
        let limit = Duration::from_secs(number("CALLOPS_FUZZ_SECONDS").unwrap_or(20));
        let clock = Clock::system();
        let mut bodies: u64 = 0;
        while bodies == 0 || clock.monotonic() < limit {
            let body = make(&mut fastrand::Rng::with_seed(seed.wrapping_add(bodies)));
            bodies += 1;
            if catch_unwind(AssertUnwindSafe(|| check(&body))).is_err() {
                let kept = std::env::temp_dir().join(format!("callops-fuzz-{}.json", seed.wrapping_add(bodies - 1)));
                std::fs::write(&kept, &body).expect("a file");
                panic!("CALLOPS_FUZZ_FILE={} scripts/fuzz inbox reads it again", kept.display());
            }
        }
        println!("{bodies} bodies in {} seconds", limit.as_secs());
    }
}
