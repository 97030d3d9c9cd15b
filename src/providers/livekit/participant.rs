//! What a participant's record says of the call. Answers write it in snake case with every field, webhooks in lower camel
//! case without what is empty.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::text;
use crate::domain::dial::{CallReport, ProviderState};
use crate::domain::outcome::Outcome;

/// Why a call is over that was picked up, or of which no more is told: only its agent knows what came of it.
const OVER: &str = "Call over - no agent response";
/// The reason that says nothing.
const NO_REASON: &str = "UNKNOWN_REASON";

/// The callee's record in a room; none of somebody that has no name.
pub(super) fn report_of(raw: Value, room: &str) -> Option<CallReport> {
    text(&raw, "identity")?;
    let status = attribute(&raw, "sip.callStatus").unwrap_or_default();
    let gone = raw.get("state").and_then(Value::as_str) == Some("DISCONNECTED") || reason_of(&raw).is_some();
    let state = match status.as_str() {
        _ if gone => ProviderState::Ended,
        "hangup" => ProviderState::Ended,
        // While its keys are pressed for the extension, somebody has picked up.
        "active" | "automation" => ProviderState::InProgress,
        // Whoever is there is being called, or was reached; only that is sure.
        _ => ProviderState::Ringing,
    };
    Some(report(raw, room, state))
}

/// The same of a callee who is said to have left.
pub(super) fn left(raw: Value, room: &str) -> CallReport {
    report(raw, room, ProviderState::Ended)
}

fn report(raw: Value, room: &str, state: ProviderState) -> CallReport {
    let is_over = state == ProviderState::Ended;
    let reason = reason_of(&raw);
    let outcome = outcome_of(reason.as_deref(), attribute(&raw, "sip.callStatus").as_deref());
    let known = reason.filter(|_| outcome != Outcome::Unknown);
    CallReport {
        provider_call_id: room.to_owned(),
        org_id: None,
        correlation: Some(room.to_owned()),
        to: attribute(&raw, "sip.phoneNumber"),
        line: attribute(&raw, "sip.trunkID"),
        agent: None,
        state,
        // One text for all that is unknown, so that it is the same whichever of several messages comes first.
        ended_reason: is_over.then(|| known.unwrap_or_else(|| OVER.to_owned())),
        outcome: is_over.then_some(outcome),
        never_rang: false,
        created_at: None,
        started_at: None,
        ended_at: None,
        cost_usd: None,
        summary: None,
        transcript: None,
        analysis: None,
        // There is no record of a call that is over but this.
        is_complete: is_over,
        raw,
    }
}

/// What came of a call whose callee left. Whether it was a person who picked up, only the agent can say.
fn outcome_of(reason: Option<&str>, status: Option<&str>) -> Outcome {
    let rang_only = matches!(status, Some("dialing" | "ringing"));
    match reason {
        Some("USER_UNAVAILABLE") => Outcome::NoAnswer,
        // Of a busy line, too. It is not tried again, unless the answer to our own request knows better.
        Some("USER_REJECTED") => Outcome::Rejected,
        Some("SIP_TRUNK_FAILURE" | "MEDIA_FAILURE" | "CONNECTION_TIMEOUT" | "AGENT_ERROR" | "JOIN_FAILURE") => {
            Outcome::ProviderError
        }
        Some("ROOM_DELETED" | "ROOM_CLOSED" | "PARTICIPANT_REMOVED" | "CLIENT_INITIATED") if rang_only => {
            Outcome::Cancelled
        }
        _ => Outcome::Unknown,
    }
}

fn reason_of(raw: &Value) -> Option<String> {
    let reason = text(raw, "disconnectReason").or_else(|| text(raw, "disconnect_reason"));
    reason.filter(|reason| reason != NO_REASON)
}

fn attribute(raw: &Value, name: &str) -> Option<String> {
    text(raw.get("attributes")?, name)
}

/// When something was, in whole seconds since 1970: a number, or a text of digits.
pub(super) fn seconds(value: Option<&Value>) -> Option<DateTime<Utc>> {
    let seconds = match value? {
        Value::String(digits) => digits.parse().ok()?,
        number => number.as_i64()?,
    };
    DateTime::from_timestamp(seconds, 0).filter(|_| seconds > 0)
}
