//! What Vapi's server messages say of a call.

use serde_json::{Map, Value};

use super::report_of;
use crate::domain::call_status::is_id;
use crate::domain::dial::{CallReport, ProviderMessage, ProviderState};
use crate::providers::http::text;

/// The types that say where a call stands.
const TELLING: [&str; 2] = ["status-update", "end-of-call-report"];
const MAX_TYPE_CHARS: usize = 100;

/// Reads the body of a server message.
///
/// # Errors
/// The field that is missing or wrong, and what it must be.
pub fn read_message(body: &Value) -> Result<ProviderMessage, (&'static str, &'static str)> {
    let message = body.get("message").and_then(Value::as_object).ok_or(("message", "must be an object"))?;
    let kind = message.get("type").and_then(Value::as_str);
    let kind = kind.filter(|kind| is_id(kind) && kind.chars().count() <= MAX_TYPE_CHARS);
    let kind = kind.ok_or(("message.type", "must be the type of the message, as text"))?.to_owned();
    let status = match message.get("status") {
        None | Some(Value::Null) => None,
        Some(status) => {
            let status = status.as_str().filter(|status| is_id(status));
            Some(status.ok_or(("message.status", "must be text"))?.to_owned())
        }
    };
    let empty = Map::new();
    let call = match message.get("call") {
        None | Some(Value::Null) => &empty,
        Some(call) => call.as_object().ok_or(("message.call", "must be an object"))?,
    };
    let call_id = match call.get("id") {
        None | Some(Value::Null) => None,
        Some(id) => {
            Some(id.as_str().filter(|id| is_id(id)).ok_or(("message.call.id", "must be an id, as text"))?.to_owned())
        }
    };
    let record = Value::Object(record_of(&kind, call, message));
    let correlation = super::correlation_of(&record).filter(|name| is_id(name));
    let report = if TELLING.contains(&kind.as_str()) { report_of(record) } else { None };
    // That it is over without a word on why is half of the truth.
    let is_half = report.as_ref().is_some_and(|report| report.state == ProviderState::Ended && lacks_reason(report));
    Ok(ProviderMessage { event_id: None, kind, status, stamp: None, call_id, correlation, report, is_half })
}

/// The record of the call as a read of it would show it: what stands beside the call in a message belongs to it.
fn record_of(kind: &str, call: &Map<String, Value>, message: &Map<String, Value>) -> Map<String, Value> {
    let mut record = call.clone();
    for key in
        ["status", "endedReason", "startedAt", "endedAt", "cost", "analysis", "artifact", "summary", "transcript"]
    {
        if let Some(value) = message.get(key).filter(|value| !value.is_null()) {
            record.insert(key.to_owned(), value.clone());
        }
    }
    if kind == "end-of-call-report" {
        record.insert("status".to_owned(), Value::String("ended".to_owned()));
    }
    record
}

/// Whether the report is of a call that is over without a word on why.
fn lacks_reason(report: &CallReport) -> bool {
    text(&report.raw, "/endedReason").is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::outcome::Outcome;

    /// From the documentation's examples (github.com/VapiAI/skills, MIT, and github.com/VapiAI/docs).
    fn sample(name: &str) -> Value {
        let path = format!("{}/tests/fixtures/vapi/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect("JSON")
    }

    #[test]
    fn the_documented_messages_are_read() {
        let message = read_message(&sample("end-of-call-report")).expect("a message");
        let report = message.report.expect("a report");
        assert_eq!((message.kind.as_str(), message.call_id.as_deref()), ("end-of-call-report", Some("call-uuid")));
        assert_eq!((report.state, report.outcome), (ProviderState::Ended, Some(Outcome::Answered)));
        assert_eq!(
            (report.cost_usd, report.summary.as_deref()),
            (Some(0.15), Some("AI-generated summary of the call"))
        );
        assert_eq!((report.ended_at.expect("an end") - report.started_at.expect("a start")).num_seconds(), 180);

        let report = read_message(&sample("end-of-call-report-minimal")).expect("a message").report.expect("a report");
        assert_eq!((report.outcome, report.state), (Some(Outcome::Answered), ProviderState::Ended));

        let message = read_message(&sample("status-update")).expect("a message");
        assert_eq!(message.status.as_deref(), Some("in-progress"));
        assert_eq!(message.report.expect("a report").state, ProviderState::InProgress);
        let ended = read_message(&sample("status-update-ended")).expect("a message");
        assert!(ended.is_half && ended.report.expect("a report").state == ProviderState::Ended);
        let hang = read_message(&sample("hang")).expect("a message");
        assert_eq!((hang.kind.as_str(), hang.report), ("hang", None));
    }

    #[test]
    fn a_call_is_known_by_its_name_too() {
        let body = json!({"message": {"type": "status-update", "status": "ended", "endedReason": "customer-busy",
            "call": {"id": "c", "name": "01JD"}}});
        let message = read_message(&body).expect("a message");
        assert_eq!(message.correlation.as_deref(), Some("01JD"));
        assert_eq!(message.report.expect("a report").outcome, Some(Outcome::Busy));
        let body = json!({"message": {"type": "hang", "call": {"customer": {"externalId": "01JD"}}}});
        assert_eq!(read_message(&body).expect("a message").correlation.as_deref(), Some("01JD"));
    }

    #[test]
    fn what_is_no_message_is_refused_by_the_field() {
        for (body, field) in [
            (json!(null), "message"),
            (json!([]), "message"),
            (json!({"message": "x"}), "message"),
            (json!({"message": {}}), "message.type"),
            (json!({"message": {"type": 7}}), "message.type"),
            (json!({"message": {"type": "x".repeat(101)}}), "message.type"),
            (json!({"message": {"type": "x", "status": 7}}), "message.status"),
            (json!({"message": {"type": "x", "call": []}}), "message.call"),
            (json!({"message": {"type": "x", "call": {"id": 7}}}), "message.call.id"),
            (json!({"message": {"type": "x", "call": {"id": "\u{0}"}}}), "message.call.id"),
            (json!({"message": {"type": "x", "call": {"id": "x".repeat(201)}}}), "message.call.id"),
        ] {
            assert_eq!(read_message(&body).expect_err("no message").0, field, "{body}");
        }
    }

    #[test]
    fn no_text_that_a_database_refuses_gets_through() {
        let body = json!({"message": {"type": "end-of-call-report", "endedReason": "customer\u{0}-busy",
            "analysis": {"summary": "a\u{0}b"}, "call": {"id": "c", "orgId": "o\u{0}"}}});
        let report = read_message(&body).expect("a message").report.expect("a report");
        let texts = [report.ended_reason, report.summary, report.org_id];
        assert!(texts.iter().flatten().count() == 3 && !format!("{texts:?}").contains("\\0"), "{texts:?}");
    }
}
