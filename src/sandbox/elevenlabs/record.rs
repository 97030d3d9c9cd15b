//! ElevenLabs' record of a conversation, and what it tells by webhook.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::sandbox::seconds;
use crate::sandbox::state::{Call, Calls, Status};

/// How a call ended, in words of this service.
struct End {
    status: &'static str,
    termination: String,
    /// Why nobody picked up.
    failure: Option<&'static str>,
    is_machine: bool,
}

/// What is told of a call that just got to where it is, and when: only ends are told.
pub(in crate::sandbox) fn messages(
    call: &Call,
    analysis_seconds: f64,
    now: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, Value)> {
    if call.status != Status::Ended {
        return Vec::new();
    }
    if let Some(failure) = end_of(call).failure {
        let status = if failure == "unknown" { "failed" } else { failure };
        let body = json!({"CallSid": call_sid(&call.id), "CallStatus": status, "To": call.wanted.phone});
        let data = json!({
            "agent_id": call.wanted.assistant, "conversation_id": call.id, "failure_reason": failure,
            "metadata": {"type": "twilio", "body": body},
        });
        return vec![(now, message("call_initiation_failure", now, &data))];
    }
    let analysed_at = now + seconds(analysis_seconds).unwrap_or(TimeDelta::zero());
    let data = record(call, analysis_seconds, true, analysed_at);
    vec![(analysed_at, message("post_call_transcription", analysed_at, &data))]
}

fn message(kind: &str, at: DateTime<Utc>, data: &Value) -> Value {
    json!({"type": kind, "event_timestamp": at.timestamp(), "data": data})
}

/// The carrier's id of a call.
pub(super) fn call_sid(id: &str) -> String {
    id.replacen("conv_", "CA", 1)
}

fn end_of(call: &Call) -> End {
    let reason = call.ended_reason.as_deref().unwrap_or_default();
    let picked_up = call.started_at.is_some();
    let end = |status, termination: &str, failure| End {
        status,
        termination: termination.to_owned(),
        failure,
        is_machine: false,
    };
    match reason {
        "customer-ended-call" => end("done", "Call ended by remote party", None),
        "assistant-ended-call" => end("done", "end_call tool was called.", None),
        "voicemail" => End { is_machine: true, ..end("done", "voicemail_detection tool was called.", None) },
        "customer-busy" => end("failed", "", Some("busy")),
        "customer-did-not-answer" => end("failed", "", Some("no-answer")),
        other if picked_up => end("done", other, None),
        _ => end("failed", "", Some("unknown")),
    }
}

/// How a call stands in the listing.
fn status_of(call: &Call, analysis_seconds: f64, tells_unanswered: bool, now: DateTime<Utc>) -> &'static str {
    match call.status {
        Status::Scheduled | Status::Queued | Status::Ringing => "initiated",
        Status::InProgress => "in-progress",
        Status::Ended => {
            let end = end_of(call);
            if end.failure.is_some() {
                return if tells_unanswered { end.status } else { "initiated" };
            }
            let analysed_at = call.ended_at.zip(seconds(analysis_seconds)).map(|(at, wait)| at + wait);
            if analysed_at.is_some_and(|at| now < at) { "processing" } else { end.status }
        }
    }
}

/// The whole record, as it is at `now`.
pub(super) fn of(call: &Call, calls: &Calls, now: DateTime<Utc>) -> Value {
    record(call, calls.analysis_seconds, calls.tells_unanswered, now)
}

fn record(call: &Call, analysis_seconds: f64, tells_unanswered: bool, now: DateTime<Utc>) -> Value {
    let status = status_of(call, analysis_seconds, tells_unanswered, now);
    let end = (call.status == Status::Ended).then(|| end_of(call));
    let is_final = matches!(status, "done" | "failed");
    let length = call.started_at.zip(call.ended_at).map_or(0, |(from, to)| (to - from).num_seconds());
    let client_data = call.wanted.echo["client_data"].clone();
    let carrier = if call.wanted.echo["by_trunk"] == true { "sip_trunking" } else { "twilio" };
    let failure = end.as_ref().and_then(|end| end.failure).filter(|_| is_final);
    let cost = is_final.then(|| call.started_at.map(|_| cost_usd(length))).flatten();
    json!({
        "agent_id": call.wanted.assistant,
        "conversation_id": call.id,
        "status": status,
        "user_id": call.wanted.name,
        "transcript": if is_final { transcript(call, end.as_ref().is_some_and(|end| end.is_machine)) } else { json!([]) },
        "metadata": {
            "start_time_unix_secs": call.created_at.timestamp(),
            "accepted_time_unix_secs": call.started_at.map(|at| at.timestamp()),
            "call_duration_secs": length,
            "cost": cost.map(|cost| (cost * 4000.0).round()),
            "cost_fiat": cost,
            "phone_call": {
                "type": carrier, "direction": "outbound", "phone_number_id": call.wanted.line,
                "agent_number": "+14155550000", "external_number": call.wanted.phone, "call_sid": call_sid(&call.id),
                "stream_sid": "MZ1",
            },
            "termination_reason": end.as_ref().map_or("", |end| end.termination.as_str()),
            "error": failure.map(|reason| json!({"code": 1011, "reason": reason})),
            "conversation_initiation_source": if carrier == "twilio" { "twilio" } else { "sip_trunk" },
        },
        "analysis": if status == "done" { analysis(call) } else { Value::Null },
        "conversation_initiation_client_data": client_data,
        "has_audio": length > 0, "has_user_audio": length > 0, "has_response_audio": length > 0,
        "has_auxiliary_audio": false,
    })
}

/// One line of a listing. It does not say whose name the conversation bears.
pub(super) fn summary(call: &Call, calls: &Calls, now: DateTime<Utc>) -> Value {
    let whole = of(call, calls, now);
    json!({
        "agent_id": whole["agent_id"], "conversation_id": whole["conversation_id"], "status": whole["status"],
        "start_time_unix_secs": whole["metadata"]["start_time_unix_secs"],
        "call_duration_secs": whole["metadata"]["call_duration_secs"],
        "message_count": whole["transcript"].as_array().map_or(0, Vec::len),
        "call_successful": if whole["status"] == "done" { "success" } else { "unknown" },
        "direction": "outbound",
    })
}

fn analysis(call: &Call) -> Value {
    let summary = call.plan.summary.as_deref().unwrap_or("Nobody spoke.");
    let collected = call.plan.extracted.iter().flatten().map(|(field, value)| {
        (field.clone(), json!({"data_collection_id": field, "value": value, "rationale": "It was said."}))
    });
    json!({"call_successful": "success", "transcript_summary": summary, "evaluation_criteria_results": {},
        "data_collection_results": collected.collect::<Map<String, Value>>()})
}

/// The turns of a conversation, from its text.
fn transcript(call: &Call, is_machine: bool) -> Value {
    if is_machine {
        return json!([
            {"role": "user", "message": "Leave a message after the tone.", "time_in_call_secs": 0},
            {"role": "agent", "message": null, "time_in_call_secs": 3, "tool_results": [{
                "request_id": "r", "tool_name": "voicemail_detection", "result_value": "", "is_error": false,
                "tool_has_been_called": true, "type": "system",
                "result": {"result_type": "voicemail_detection_success", "status": "success"},
            }]},
        ]);
    }
    let lines = call.plan.transcript.as_deref().unwrap_or_default().lines().filter_map(|line| line.split_once(": "));
    let turn = |(at, (who, said)): (usize, (&str, &str))| {
        let role = if who == "User" { "user" } else { "agent" };
        json!({"role": role, "message": said, "time_in_call_secs": at * 4})
    };
    Value::Array(lines.enumerate().map(turn).collect())
}

/// Five cents and a tenth of a cent a second, in whole cents: sums are the same on every machine.
fn cost_usd(length: i64) -> f64 {
    f64::from(i32::try_from(5 + length / 10).unwrap_or(i32::MAX)) / 100.0
}
