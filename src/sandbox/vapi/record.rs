//! Vapi's record of a call, and what it tells by webhook.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::sandbox::seconds;
use crate::sandbox::state::Call;

/// What a message about the end of a call says beside the call, and not in it.
const TOLD_BESIDE_THE_CALL: [&str; 6] = ["endedReason", "startedAt", "endedAt", "cost", "analysis", "artifact"];

/// What is told of a call that just got to where it is, and when.
pub(in crate::sandbox) fn messages(
    call: &Call,
    analysis_seconds: f64,
    now: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, Value)> {
    let analysed_at = now + seconds(analysis_seconds).unwrap_or(TimeDelta::zero());
    let whole = record(call, analysis_seconds, analysed_at);
    let mut told = whole.clone();
    if let Some(told) = told.as_object_mut() {
        told.retain(|key, _| !TOLD_BESIDE_THE_CALL.contains(&key.as_str()));
    }
    let mut update = json!({
        "type": "status-update", "timestamp": now.timestamp_millis(), "status": whole["status"], "call": told,
    });
    let Some(reason) = whole.get("endedReason") else { return vec![(now, json!({"message": update}))] };
    update["endedReason"] = reason.clone();
    let mut report = json!({"type": "end-of-call-report", "timestamp": analysed_at.timestamp_millis(), "call": told});
    for key in TOLD_BESIDE_THE_CALL {
        if let Some(value) = whole.get(key) {
            report[key] = value.clone();
        }
    }
    vec![(now, json!({"message": update})), (analysed_at, json!({"message": report}))]
}

/// The record of a call as it is at `now`: what is known of its end comes so many seconds after it.
pub(super) fn record(call: &Call, analysis_seconds: f64, now: DateTime<Utc>) -> Value {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut record = json!({
        "id": call.id,
        "orgId": call.org,
        "type": "outboundPhoneCall",
        "status": call.status.as_str(),
        "createdAt": time(call.created_at),
        "updatedAt": time(call.updated_at),
        "phoneCallProvider": "twilio",
        "phoneCallTransport": "pstn",
        "cost": 0,
    });
    if let Some(echo) = call.wanted.echo.as_object() {
        for (key, value) in echo {
            record[key] = value.clone();
        }
    }
    if let Some(at) = call.started_at {
        record["startedAt"] = json!(time(at));
    }
    if let (Some(ended_at), Some(reason)) = (call.ended_at, &call.ended_reason) {
        record["endedAt"] = json!(time(ended_at));
        record["endedReason"] = json!(reason);
        let Some(started_at) = call.started_at else { return record };
        if seconds(analysis_seconds).is_some_and(|wait| now < ended_at + wait) {
            // What was said so far.
            if let Some((first, _)) = call.plan.transcript.as_deref().and_then(|text| text.split_once('\n')) {
                record["artifact"] = json!({"transcript": first});
            }
            return record;
        }
        record["cost"] = json!(cost_usd(started_at, ended_at));
        record["analysis"] = match &call.plan.summary {
            Some(summary) => json!({"summary": summary, "successEvaluation": "true"}),
            None => json!({}),
        };
        if let Some(extracted) = &call.plan.extracted {
            record["analysis"]["structuredData"] = json!(extracted);
        }
        if let Some(transcript) = &call.plan.transcript {
            record["artifact"] = json!({"transcript": transcript});
        }
    }
    record
}

/// Five cents and a tenth of a cent a second, in whole cents: sums are the same on every machine.
fn cost_usd(started_at: DateTime<Utc>, ended_at: DateTime<Utc>) -> f64 {
    let cents = 5 + (ended_at - started_at).num_seconds() / 10;
    f64::from(i32::try_from(cents).unwrap_or(i32::MAX)) / 100.0
}
