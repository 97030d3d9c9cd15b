//! ElevenLabs' record of a conversation, read leniently: everything but the id may be absent, and words may be new.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::domain::dial::{CallReport, ProviderState};
use crate::domain::outcome::Outcome;
use crate::providers::http::text;

/// A record of a call; none when it has no id.
pub fn report_of(raw: Value) -> Option<CallReport> {
    let status = text(&raw, "/status").unwrap_or_default();
    let state = match status.as_str() {
        "initiated" => ProviderState::Announced,
        "in-progress" => ProviderState::InProgress,
        "processing" | "done" | "failed" => ProviderState::Ended,
        other => ProviderState::Other(other.to_owned()),
    };
    let is_over = state == ProviderState::Ended;
    let is_final = matches!(status.as_str(), "done" | "failed");
    let outcome = is_over.then(|| outcome_of(&raw, is_final));
    let seconds = |pointer| raw.pointer(pointer).and_then(Value::as_i64);
    let time = |pointer| seconds(pointer).filter(|at| *at > 0).and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
    let created_at = time("/metadata/start_time_unix_secs");
    let picked_up =
        state == ProviderState::InProgress || matches!(outcome, Some(Outcome::Answered | Outcome::Voicemail));
    let began_at = time("/metadata/accepted_time_unix_secs").or(created_at);
    let started_at = began_at.filter(|_| picked_up);
    let length = seconds("/metadata/call_duration_secs").filter(|length| *length >= 0).and_then(TimeDelta::try_seconds);
    let ended_at = began_at.zip(length).filter(|_| is_over).and_then(|(at, length)| at.checked_add_signed(length));
    let analysis = raw.get("analysis").filter(|analysis| analysis.is_object());
    Some(CallReport {
        provider_call_id: text(&raw, "/conversation_id")?,
        org_id: None,
        correlation: correlation_of(&raw),
        to: text(&raw, "/metadata/phone_call/external_number"),
        line: text(&raw, "/metadata/phone_call/phone_number_id"),
        agent: text(&raw, "/agent_id"),
        ended_reason: if is_over { reason_of(&raw) } else { None },
        outcome,
        never_rang: false,
        state,
        created_at,
        started_at,
        ended_at,
        // `cost` beside it counts credits.
        cost_usd: raw.pointer("/metadata/cost_fiat").and_then(Value::as_f64),
        summary: text(&raw, "/analysis/transcript_summary"),
        transcript: transcript_of(&raw),
        analysis: analysis.map(Value::to_string),
        is_complete: is_final,
        raw,
    })
}

/// What the service extracted of a conversation, by its analysis: the value of each field that its agent collects.
pub fn extracted(analysis: &Value) -> Map<String, Value> {
    let results = analysis.get("data_collection_results").and_then(Value::as_object);
    let value = |(field, result): (&String, &Value)| Some((field.clone(), result.get("value")?.clone()));
    results.into_iter().flatten().filter_map(value).collect()
}

/// The name that a call was given when it was placed.
pub(super) fn correlation_of(raw: &Value) -> Option<String> {
    text(raw, "/user_id").or_else(|| text(raw, "/conversation_initiation_client_data/user_id"))
}

/// Why it ended, in the provider's words.
fn reason_of(raw: &Value) -> Option<String> {
    let code =
        || raw.pointer("/metadata/error/code").filter(|code| !code.is_null()).map(|code| format!("error {code}"));
    text(raw, "/metadata/termination_reason").or_else(|| text(raw, "/metadata/error/reason")).or_else(code)
}

/// What came of a call that is over. A conversation in which nobody but the agent said a word reached nobody; where the
/// record does not say why, it stays unknown, so that it is not tried again: somebody may have picked up in silence.
fn outcome_of(raw: &Value, is_final: bool) -> Outcome {
    let reason = reason_of(raw).unwrap_or_default().to_lowercase();
    let turns = || raw.get("transcript").and_then(Value::as_array).into_iter().flatten();
    let found_machine = turns().any(|turn| {
        let results = turn.get("tool_results").and_then(Value::as_array).into_iter().flatten();
        results
            .filter_map(|result| text(result, "/result/result_type"))
            .any(|kind| kind == "voicemail_detection_success")
    });
    if found_machine || reason.contains("voicemail") || reason.contains("answering machine") {
        // A machine's greeting is written down as words of the callee.
        return Outcome::Voicemail;
    }
    if turns().any(|turn| text(turn, "/role").as_deref() == Some("user") && said(turn).is_some()) {
        return Outcome::Answered;
    }
    let seconds = |pointer| raw.pointer(pointer).and_then(Value::as_i64).is_some_and(|seconds| seconds > 0);
    let was_accepted = seconds("/metadata/accepted_time_unix_secs") || seconds("/metadata/call_duration_secs");
    if was_accepted || turns().any(|turn| said(turn).is_some()) || !is_final {
        // Somebody may have picked up in silence; and what was said may be written down only later.
        return Outcome::Unknown;
    }
    match outcome_of_words(&reason) {
        // There is a conversation: the trunk may have refused after the phone rang.
        Outcome::AccountError => Outcome::ProviderError,
        outcome => outcome,
    }
}

/// The outcome that a failure's words stand for, in lower case.
pub(super) fn outcome_of_words(words: &str) -> Outcome {
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if let Some(outcome) = sip_status(words).map(outcome_of_sip) {
        outcome
    } else if says(&["no-answer", "no answer", "not answer", "unanswered", "ringing timeout"]) {
        Outcome::NoAnswer
    } else if words == "busy" || says(&["user busy", "line busy", "line is busy", "callee busy", "busy here"]) {
        Outcome::Busy
    } else if says(&["declined", "rejected"]) {
        Outcome::Rejected
    } else if says(&["not a valid phone number", "invalid phone number", "invalid number"]) {
        Outcome::InvalidNumber
    } else {
        Outcome::Unknown
    }
}

/// What a SIP status means for the call that it ended.
pub(super) fn outcome_of_sip(status: u16) -> Outcome {
    match status {
        // The trunk refused credentials or credit, before it passed the call on.
        401 | 402 | 407 => Outcome::AccountError,
        404 | 410 | 484 | 604 => Outcome::InvalidNumber,
        408 | 480 | 487 => Outcome::NoAnswer,
        486 | 600 => Outcome::Busy,
        403 | 603 | 607 | 608 => Outcome::Rejected,
        _ => Outcome::ProviderError,
    }
}

/// The status in words such as `sip status: 486: Busy here`, in lower case.
pub(super) fn sip_status(words: &str) -> Option<u16> {
    let (_, rest) = words.split_once("sip status: ").or_else(|| words.split_once("(sip "))?;
    rest.get(..3)?.parse().ok().filter(|status| (300..700).contains(status))
}

/// What was said, a line for each turn.
fn transcript_of(raw: &Value) -> Option<String> {
    let mut transcript = String::new();
    for turn in raw.get("transcript").and_then(Value::as_array).into_iter().flatten() {
        let Some(said) = said(turn) else { continue };
        let who = match text(turn, "/role").as_deref() {
            Some("user") => "User".to_owned(),
            Some("agent") => "Agent".to_owned(),
            other => other.unwrap_or("?").to_owned(),
        };
        for piece in [who.as_str(), ": ", &said, "\n"] {
            transcript.push_str(piece);
        }
    }
    Some(transcript).filter(|transcript| !transcript.is_empty())
}

fn said(turn: &Value) -> Option<String> {
    text(turn, "/message").map(|message| message.trim().to_owned()).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(status: &str, metadata: &Value, transcript: &Value) -> CallReport {
        let raw = json!({"conversation_id": "c", "agent_id": "a", "status": status, "metadata": metadata,
            "transcript": transcript});
        report_of(raw).expect("a record")
    }

    fn outcome(status: &str, metadata: &Value, transcript: &Value) -> Outcome {
        record(status, metadata, transcript).outcome.expect("it is over")
    }

    #[test]
    fn a_talk_has_its_times_its_words_and_its_price() {
        let raw = json!({
            "conversation_id": "conv_1", "agent_id": "agent_1", "status": "done", "user_id": "01JD",
            "metadata": {
                "start_time_unix_secs": 1_739_537_297, "accepted_time_unix_secs": 1_739_537_305,
                "call_duration_secs": 22, "cost": 296, "cost_fiat": 0.07,
                "termination_reason": "Call ended by remote party",
                "phone_call": {"type": "twilio", "external_number": "+14155550100", "phone_number_id": "phnum_1"},
            },
            "transcript": [
                {"role": "agent", "message": "Hello?", "time_in_call_secs": 0},
                {"role": "agent", "message": null, "time_in_call_secs": 1},
                {"role": "user", "message": " Yes. ", "time_in_call_secs": 2},
            ],
            "analysis": {"call_successful": "success", "transcript_summary": "They spoke."},
        });
        let report = report_of(raw).expect("a record");
        assert_eq!((report.state.clone(), report.outcome), (ProviderState::Ended, Some(Outcome::Answered)));
        assert_eq!(report.transcript.as_deref(), Some("Agent: Hello?\nUser: Yes.\n"));
        assert_eq!((report.cost_usd, report.summary.as_deref()), (Some(0.07), Some("They spoke.")));
        assert_eq!(report.correlation.as_deref(), Some("01JD"));
        assert_eq!((report.to.as_deref(), report.line.as_deref()), (Some("+14155550100"), Some("phnum_1")));
        assert_eq!(report.ended_reason.as_deref(), Some("Call ended by remote party"));
        assert!(report.is_complete && !report.never_rang && report.analysis.is_some());
        assert_eq!(report.record().duration_seconds, Some(22));
        assert_eq!(report.started_at, DateTime::from_timestamp(1_739_537_305, 0));
    }

    #[test]
    fn each_status_says_how_far_a_call_is() {
        for (status, state, is_complete) in [
            ("initiated", ProviderState::Announced, false),
            ("in-progress", ProviderState::InProgress, false),
            ("processing", ProviderState::Ended, false),
            ("done", ProviderState::Ended, true),
            ("failed", ProviderState::Ended, true),
            ("dreaming", ProviderState::Other("dreaming".to_owned()), false),
            ("", ProviderState::Other(String::new()), false),
        ] {
            let report = record(status, &json!({}), &json!([]));
            assert_eq!((report.state, report.is_complete), (state, is_complete), "{status}");
        }
        assert!(report_of(json!({"status": "done"})).is_none());
    }

    #[test]
    fn what_was_collected_is_extracted() {
        let results = json!({"name": {"value": "Ada", "rationale": "she said so"}, "day": {"value": null}, "x": 7});
        let extracted = extracted(&json!({"data_collection_results": results}));
        assert_eq!(json!(extracted), json!({"name": "Ada", "day": null}));
        assert!(super::extracted(&json!({"data_collection_results": []})).is_empty());
        assert!(super::extracted(&Value::Null).is_empty());
    }

    #[test]
    fn credits_are_no_dollars() {
        for (metadata, cost) in [
            (json!({"cost": 296}), None),
            (json!({"cost": 296, "cost_fiat": null}), None),
            (json!({"cost_fiat": 0}), Some(0.0)),
        ] {
            assert_eq!(record("done", &metadata, &json!([])).cost_usd, cost);
        }
    }

    #[test]
    fn nobody_is_reached_who_said_no_word() {
        let agent = json!([{"role": "agent", "message": "Hello?"}]);
        let both = json!([{"role": "agent", "message": "Hello?"}, {"role": "user", "message": "Yes"}]);
        let blank = json!([{"role": "user", "message": " "}, {"role": "user", "message": null}]);
        for (status, metadata, transcript, expected) in [
            ("done", json!({}), both.clone(), Outcome::Answered),
            ("failed", json!({"error": {"code": 1002, "reason": "LLM failed"}}), both.clone(), Outcome::Answered),
            ("processing", json!({}), both.clone(), Outcome::Answered),
            ("processing", json!({}), agent.clone(), Outcome::Unknown),
            ("processing", json!({"termination_reason": "no-answer"}), json!([]), Outcome::Unknown),
            ("done", json!({}), agent.clone(), Outcome::Unknown),
            ("done", json!({}), blank, Outcome::Unknown),
            ("done", json!({}), json!("gone"), Outcome::Unknown),
            ("done", json!({"termination_reason": "Voicemail detected"}), both, Outcome::Voicemail),
            ("failed", json!({"error": {"code": 1, "reason": "busy"}}), json!([]), Outcome::Busy),
            ("failed", json!({"error": {"code": 1, "reason": "No answer"}}), json!([]), Outcome::NoAnswer),
            (
                "failed",
                json!({"error": {"code": 1, "reason": "sip status: 404: Not Found"}}),
                json!([]),
                Outcome::InvalidNumber,
            ),
            ("failed", json!({"termination_reason": "Call was declined"}), json!([]), Outcome::Rejected),
            ("failed", json!({"error": {"code": 1008}}), json!([]), Outcome::Unknown),
            ("failed", json!({"termination_reason": "Exceeded quota"}), json!([]), Outcome::Unknown),
            ("failed", json!({"error": {"code": 1, "reason": "system busy"}}), agent, Outcome::Unknown),
        ] {
            assert_eq!(outcome(status, &metadata, &transcript), expected, "{status} {metadata}");
        }
        let machine = json!([{"role": "agent", "tool_results": [{"tool_name": "voicemail_detection",
            "result": {"result_type": "voicemail_detection_success"}}]}, {"role": "user", "message": "Leave a message"}]);
        assert_eq!(outcome("done", &json!({}), &machine), Outcome::Voicemail);
    }

    #[test]
    fn absurd_times_are_no_times() {
        for metadata in [
            json!({"start_time_unix_secs": i64::MAX, "call_duration_secs": 1}),
            json!({"start_time_unix_secs": 1_739_537_297, "call_duration_secs": i64::MAX}),
            json!({"start_time_unix_secs": 0, "call_duration_secs": -1}),
            json!({"start_time_unix_secs": "now", "call_duration_secs": {}}),
            json!([]),
        ] {
            let report = record("done", &metadata, &json!([{"role": "user", "message": "Yes"}]));
            assert_eq!(report.ended_at, None, "{report:?}");
        }
    }

    #[test]
    fn a_sip_status_is_read_out_of_words() {
        assert_eq!(sip_status("invite failed: sip status: 486: busy here (sip 486)"), Some(486));
        assert_eq!(sip_status("busy (sip 600)"), Some(600));
        for none in ["", "sip status: ", "sip status: é", "sip status: 999", "sip status: 20", "sip 486"] {
            assert_eq!(sip_status(none), None, "{none}");
        }
    }
}
