//! What ElevenLabs' post-call webhooks say of a call.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::conversation::{correlation_of, outcome_of_sip, outcome_of_words, report_of};
use crate::domain::call_status::is_id;
use crate::domain::dial::{CallReport, ProviderMessage, ProviderState};
use crate::domain::outcome::Outcome;
use crate::providers::http::text;

/// The message that holds the record of a conversation.
const TRANSCRIPTION: &str = "post_call_transcription";
/// The message that says that nobody picked up. None comes where a machine did.
const INITIATION_FAILURE: &str = "call_initiation_failure";
/// The message that holds the sound of a conversation, and nothing that is kept.
pub const AUDIO: &str = "post_call_audio";
const MAX_TYPE_CHARS: usize = 100;

/// Reads the body of a post-call webhook.
///
/// # Errors
/// The field that is missing or wrong, and what it must be.
pub fn read_message(body: &Value) -> Result<ProviderMessage, (&'static str, &'static str)> {
    let kind = body.get("type").and_then(Value::as_str);
    let kind = kind.filter(|kind| is_id(kind) && kind.chars().count() <= MAX_TYPE_CHARS);
    let kind = kind.ok_or(("type", "must be the type of the message, as text"))?.to_owned();
    let nothing = json!({});
    let data = match body.get("data") {
        None | Some(Value::Null) => &nothing,
        Some(data @ Value::Object(_)) => data,
        Some(_) => return Err(("data", "must be an object")),
    };
    let call_id = match data.get("conversation_id") {
        None | Some(Value::Null) => None,
        Some(id) => {
            let id = id.as_str().filter(|id| is_id(id));
            Some(id.ok_or(("data.conversation_id", "must be an id, as text"))?.to_owned())
        }
    };
    let occurred_at = body.get("event_timestamp").and_then(Value::as_i64);
    let report = match (kind.as_str(), &call_id) {
        (TRANSCRIPTION, Some(_)) => {
            let mut record = data.clone();
            // It is sent of conversations that are over and analysed; older ones do not say so.
            if text(data, "/status").is_none() {
                record["status"] = json!("done");
            }
            report_of(record).filter(|report| report.state == ProviderState::Ended)
        }
        (INITIATION_FAILURE, Some(id)) => Some(failure(id, data, occurred_at)),
        _ => None,
    };
    Ok(ProviderMessage {
        event_id: None,
        kind,
        status: None,
        stamp: occurred_at.map(|at| at.to_string()),
        call_id,
        correlation: correlation_of(data).filter(|name| is_id(name)),
        report,
        is_half: false,
    })
}

/// What a call came to that nobody picked up. There is no conversation, and so nothing to wait for.
fn failure(id: &str, data: &Value, occurred_at: Option<i64>) -> CallReport {
    let word = text(data, "/failure_reason").unwrap_or_default();
    let carrier = text(data, "/metadata/body/error_reason");
    let outcome = match outcome_of_words(&word.to_lowercase()) {
        Outcome::Unknown => outcome_of_carrier(data, carrier.as_deref()),
        outcome => outcome,
    };
    CallReport {
        provider_call_id: id.to_owned(),
        org_id: None,
        correlation: correlation_of(data),
        to: text(data, "/metadata/body/to_number").or_else(|| text(data, "/metadata/body/To")),
        line: None,
        agent: text(data, "/agent_id"),
        state: ProviderState::Ended,
        // The word alone says nothing then.
        ended_reason: Some(word).filter(|word| !word.is_empty() && word != "unknown").or(carrier).or_else(|| {
            let status = text(data, "/metadata/body/CallStatus");
            Some(status.unwrap_or_else(|| INITIATION_FAILURE.to_owned()))
        }),
        outcome: Some(outcome),
        never_rang: false,
        created_at: None,
        started_at: None,
        ended_at: occurred_at.filter(|at| *at > 0).and_then(|at| DateTime::<Utc>::from_timestamp(at, 0)),
        cost_usd: None,
        summary: None,
        transcript: None,
        analysis: None,
        is_complete: true,
        raw: data.clone(),
    }
}

/// What the carrier says beside a failure without a known reason.
fn outcome_of_carrier(data: &Value, reason: Option<&str>) -> Outcome {
    let status = ["/metadata/body/sip_status_code", "/metadata/body/SipResponseCode"].iter().find_map(|pointer| {
        let value = data.pointer(pointer)?;
        value.as_u64().and_then(|code| u16::try_from(code).ok()).or_else(|| value.as_str()?.parse().ok())
    });
    match status.filter(|status| (300..700).contains(status)) {
        Some(status) => outcome_of_sip(status),
        None => reason.map_or(Outcome::Unknown, |reason| outcome_of_words(&reason.to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation's examples: see `tests/fixtures/elevenlabs/SOURCES.md`.
    fn sample(name: &str) -> Value {
        let path = format!("{}/tests/fixtures/elevenlabs/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect("JSON")
    }

    #[test]
    fn the_documented_messages_are_read() {
        let message = read_message(&sample("post_call_transcription")).expect("a message");
        assert_eq!((message.call_id.as_deref(), message.correlation.as_deref()), (Some("abc"), Some("user123")));
        assert_eq!(message.stamp.as_deref(), Some("1739537297"));
        let report = message.report.expect("a report");
        assert_eq!((report.outcome, report.cost_usd), (Some(Outcome::Answered), None));
        assert_eq!(report.record().duration_seconds, Some(22));
        assert!(report.transcript.is_some_and(|text| text.starts_with("Agent: Hey there angelo")));
        assert!(report.summary.is_some_and(|text| text.starts_with("The conversation begins")));

        for name in ["call_initiation_failure-twilio", "call_initiation_failure-sip"] {
            let message = read_message(&sample(name)).expect("a message");
            assert_eq!((message.kind.as_str(), message.call_id.as_deref()), (INITIATION_FAILURE, Some("abc")));
            let report = message.report.expect("a report");
            assert_eq!((report.outcome, report.ended_reason.as_deref()), (Some(Outcome::Busy), Some("busy")));
            assert_eq!(report.ended_at, DateTime::from_timestamp(1_759_931_652, 0));
            assert!(report.is_complete && report.to.is_some());
        }
        let message = read_message(&sample("post_call_audio")).expect("a message");
        assert_eq!((message.kind.as_str(), message.report), (AUDIO, None));
    }

    #[test]
    fn a_failure_has_the_reason_that_somebody_knows() {
        let of = |data: Value| {
            let mut data = data;
            data["conversation_id"] = json!("c");
            let body = json!({"type": INITIATION_FAILURE, "event_timestamp": 1, "data": data});
            let report = read_message(&body).expect("a message").report.expect("a report");
            (report.outcome.expect("an end"), report.ended_reason.expect("a reason"))
        };
        let sip = |code: Value| {
            json!({"failure_reason": "unknown", "metadata": {"type": "sip", "body":
            {"sip_status_code": code, "error_reason": "INVITE failed"}}})
        };
        assert_eq!(of(json!({"failure_reason": "no-answer"})), (Outcome::NoAnswer, "no-answer".to_owned()));
        assert_eq!(of(sip(json!(404))), (Outcome::InvalidNumber, "INVITE failed".to_owned()));
        assert_eq!(of(sip(json!("603"))).0, Outcome::Rejected);
        assert_eq!(of(sip(json!({}))).0, Outcome::Unknown);
        let twilio = json!({"failure_reason": "unknown", "metadata": {"body": {"CallStatus": "failed"}}});
        assert_eq!(of(twilio), (Outcome::Unknown, "failed".to_owned()));
        assert_eq!(of(json!({"failure_reason": "asleep"})), (Outcome::Unknown, "asleep".to_owned()));
        assert_eq!(of(json!({})), (Outcome::Unknown, INITIATION_FAILURE.to_owned()));
    }

    #[test]
    fn other_messages_and_other_states_tell_nothing() {
        for body in [
            json!({"type": "post_call_transcription_otel", "data": {"conversation_id": "c"}}),
            json!({"type": "post_call_transcription", "data": {"conversation_id": "c", "status": "dreaming"}}),
            json!({"type": "post_call_transcription", "data": {}}),
            json!({"type": "post_call_transcription"}),
            json!({"type": "call_initiation_failure", "data": null}),
        ] {
            assert_eq!(read_message(&body).expect("a message").report, None, "{body}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_by_the_field() {
        for (body, field) in [
            (json!(null), "type"),
            (json!([]), "type"),
            (json!({}), "type"),
            (json!({"type": 7}), "type"),
            (json!({"type": "x".repeat(101)}), "type"),
            (json!({"type": "x", "data": []}), "data"),
            (json!({"type": "x", "data": {"conversation_id": 7}}), "data.conversation_id"),
            (json!({"type": "x", "data": {"conversation_id": "\u{0}"}}), "data.conversation_id"),
        ] {
            assert_eq!(read_message(&body).expect_err("no message").0, field, "{body}");
        }
    }
}
