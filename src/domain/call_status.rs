//! What an agent reports of its own call: the body of the `call-status` webhook.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::{UnknownWord, words};
use super::conversation::Record;
use super::evidence::{Ending, Seen};
use super::outcome::Outcome;

/// The longest id that is taken. Ours have 26 characters.
const MAX_ID_CHARS: usize = 200;
/// The longest reason and notes that are taken.
const MAX_TEXT_CHARS: usize = 10_000;
/// No conversation is longer.
const MAX_DURATION_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// Somebody picked up.
    Answered,
    /// The call failed, and is not tried again.
    Failed,
    /// The call is over.
    Completed,
}

words!(EventType, "event type", {
    Answered => "call_answered", Failed => "call_failed", Completed => "call_completed",
});

/// What the callee said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CustomerResponse {
    /// They will pay today.
    WillPayToday,
    /// They have paid.
    AlreadyPaid,
    /// They do not agree that they owe it.
    Dispute,
    /// Nobody spoke.
    NoAnswer,
}

words!(CustomerResponse, "customer response", {
    WillPayToday => "will_pay_today", AlreadyPaid => "already_paid", Dispute => "dispute", NoAnswer => "no_answer",
});

/// What came of the conversation, in the agent's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Whether somebody was on the line.
    pub connected: bool,
    /// Length in seconds.
    pub duration: f64,
    /// What the callee said.
    pub customer_response: CustomerResponse,
    /// What else there is to know.
    pub notes: Option<String>,
}

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub struct CallStatusEvent {
    /// The attempt, or the call, that it is about.
    pub reminder_id: String,
    /// What happened.
    pub event_type: EventType,
    /// Why.
    pub reason: Option<String>,
    /// What came of it.
    pub outcome: Option<Conversation>,
}

/// What is wrong with one field of a body. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// The field, such as `outcome.connected`.
    pub field: String,
    /// What it must be.
    pub problem: String,
}

/// A conversation as it is kept beside its attempt. The names are an API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether somebody was on the line.
    pub connected: bool,
    /// Length in seconds.
    pub duration: f64,
    /// What the callee said.
    pub customer_response: String,
    /// What else there is to know.
    pub notes: Option<String>,
    /// When it was reported.
    pub reported_at: DateTime<Utc>,
    /// By which event.
    pub event_type: String,
}

impl Report {
    /// Whether this one takes the place of another, in whatever order they came: that of the event that says most.
    pub fn outranks(&self, other: &Self) -> bool {
        let rank = |report: &Self| report.event_type.parse::<EventType>().ok();
        rank(self) > rank(other)
    }
}

impl CallStatusEvent {
    /// Reads a body, naming every field that is missing or wrong.
    ///
    /// # Errors
    /// What is wrong, field by field.
    pub fn read(body: &Value) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let Some(body) = body.as_object() else {
            return Err(vec![problem("", "the body must be an object")]);
        };
        let reminder_id = required(body, "", "reminder_id", &mut problems).and_then(|value| {
            let id = value.as_str().filter(|id| is_id(id));
            noted(id, || problem("reminder_id", "must be the id of an attempt or a call, as text"), &mut problems)
        });
        let event_type = word::<EventType>(body, "", "event_type", EventType::ALL, &mut problems);
        let reason = optional_text(body, "", "reason", &mut problems);
        let outcome = match body.get("outcome") {
            None | Some(Value::Null) => None,
            Some(Value::Object(outcome)) => read_conversation(outcome, &mut problems),
            Some(_) => {
                problems.push(problem("outcome", "must be an object"));
                None
            }
        };
        match (reminder_id, event_type) {
            (Some(id), Some(event_type)) if problems.is_empty() => {
                Ok(Self { reminder_id: id.to_owned(), event_type, reason, outcome })
            }
            _ => Err(problems),
        }
    }

    /// What it shows of the attempt.
    pub fn seen(&self, at: DateTime<Utc>) -> Seen {
        let (outcome, reason) = match self.event_type {
            EventType::Answered => {
                return Seen::Live { provider_call_id: None, org_id: None, queued: false, answered_at: Some(at) };
            }
            EventType::Completed => (self.completed_as(), self.reason.clone()),
            // The agent's last word on the call. Its reasons are free text, and none of them is tried again.
            EventType::Failed => {
                (Outcome::AgentFailed, Some(self.reason.clone().unwrap_or_else(|| "no reason given".to_owned())))
            }
        };
        let duration = self.outcome.as_ref().map(|conversation| conversation.duration);
        let record = Record { duration_seconds: duration.map(whole_seconds), ..Record::default() };
        Seen::Ended(Ending { outcome, reason, record, ..Ending::timeout(at) })
    }

    fn completed_as(&self) -> Outcome {
        match &self.outcome {
            Some(Conversation { customer_response: CustomerResponse::NoAnswer, .. }) => Outcome::NoAnswer,
            _ => Outcome::Answered,
        }
    }

    /// What is kept of the conversation, if it says something of it.
    pub fn report(&self, at: DateTime<Utc>) -> Option<Report> {
        let conversation = self.outcome.as_ref()?;
        Some(Report {
            connected: conversation.connected,
            duration: conversation.duration,
            customer_response: conversation.customer_response.as_str().to_owned(),
            notes: conversation.notes.clone(),
            reported_at: at,
            event_type: self.event_type.as_str().to_owned(),
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is checked to be within a week")]
fn whole_seconds(seconds: f64) -> i64 {
    seconds.round() as i64
}

fn read_conversation(outcome: &Map<String, Value>, problems: &mut Vec<FieldProblem>) -> Option<Conversation> {
    let connected = required(outcome, "outcome.", "connected", problems)
        .and_then(|value| noted(value.as_bool(), || problem("outcome.connected", "must be true or false"), problems));
    let duration = required(outcome, "outcome.", "duration", problems).and_then(|value| {
        let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_DURATION_SECONDS).contains(seconds));
        noted(seconds, || problem("outcome.duration", "must be a number of seconds, from 0 to a week"), problems)
    });
    let response = word::<CustomerResponse>(outcome, "outcome.", "customer_response", CustomerResponse::ALL, problems);
    let notes = optional_text(outcome, "outcome.", "notes", problems);
    Some(Conversation { connected: connected?, duration: duration?, customer_response: response?, notes })
}

fn problem(field: &str, problem: &str) -> FieldProblem {
    FieldProblem { field: field.to_owned(), problem: problem.to_owned() }
}

fn noted<T>(value: Option<T>, otherwise: impl FnOnce() -> FieldProblem, problems: &mut Vec<FieldProblem>) -> Option<T> {
    if value.is_none() {
        problems.push(otherwise());
    }
    value
}

fn required<'v>(
    object: &'v Map<String, Value>,
    path: &str,
    name: &str,
    problems: &mut Vec<FieldProblem>,
) -> Option<&'v Value> {
    noted(object.get(name), || problem(&format!("{path}{name}"), "is missing"), problems)
}

fn word<T: FromStr + fmt::Display>(
    object: &Map<String, Value>,
    path: &str,
    name: &str,
    known: &[T],
    problems: &mut Vec<FieldProblem>,
) -> Option<T> {
    let value = required(object, path, name, problems)?;
    let word = value.as_str().and_then(|text| text.parse().ok());
    let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    noted(word, || problem(&format!("{path}{name}"), &format!("must be one of {known}")), problems)
}

fn optional_text(
    object: &Map<String, Value>,
    path: &str,
    name: &str,
    problems: &mut Vec<FieldProblem>,
) -> Option<String> {
    match object.get(name) {
        None | Some(Value::Null) => None,
        Some(value) => {
            // PostgreSQL keeps no NUL in a text.
            let text = value.as_str().filter(|text| text.chars().count() <= MAX_TEXT_CHARS && !text.contains('\0'));
            let rule = format!("must be text of at most {MAX_TEXT_CHARS} characters");
            noted(text, || problem(&format!("{path}{name}"), &rule), problems).map(str::to_owned)
        }
    }
}

/// Whether a text can be an id that somebody gave a thing.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_ID_CHARS && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: impl Into<Value>) -> Vec<String> {
        let problems = CallStatusEvent::read(&body.into()).expect_err("it is wrong");
        for problem in &problems {
            assert!(!problem.problem.is_empty() && !format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
        problems.into_iter().map(|problem| problem.field).collect()
    }

    fn whole() -> Value {
        json!({
            "reminder_id": "01JD5Q3G7V9M2C8K4R6T0W1XYZ", "event_type": "call_completed", "reason": "done",
            "outcome": {"connected": true, "duration": 42.4, "customer_response": "dispute", "notes": "n"}, "more": 1,
        })
    }

    #[test]
    fn a_whole_body_is_read() {
        let event = CallStatusEvent::read(&whole()).expect("it is whole");
        assert_eq!((event.event_type, event.reason.as_deref()), (EventType::Completed, Some("done")));
        let conversation = event.outcome.clone().expect("an outcome");
        assert_eq!(conversation.customer_response, CustomerResponse::Dispute);
        let Seen::Ended(ending) = event.seen(DateTime::UNIX_EPOCH) else { panic!("an end") };
        assert_eq!((ending.outcome, ending.record.duration_seconds), (Outcome::Answered, Some(42)));
        assert_eq!(event.report(DateTime::UNIX_EPOCH).expect("a report").notes.as_deref(), Some("n"));
        let short = json!({"reminder_id": "x", "event_type": "call_failed", "reason": null, "outcome": null});
        let Seen::Ended(ending) = CallStatusEvent::read(&short).expect("whole").seen(DateTime::UNIX_EPOCH) else {
            panic!("an end")
        };
        assert_eq!((ending.outcome, ending.reason.as_deref()), (Outcome::AgentFailed, Some("no reason given")));
    }

    #[test]
    fn every_missing_or_wrong_field_is_named() {
        assert_eq!(fields(json!({})), ["reminder_id", "event_type"]);
        assert_eq!(fields(json!([])), [""]);
        assert_eq!(fields(json!("hunter2")), [""]);
        for field in ["reminder_id", "event_type", "reason", "outcome"] {
            let mut body = whole();
            body[field] = json!(7);
            assert_eq!(fields(body), [field]);
        }
        for field in ["connected", "duration", "customer_response", "notes"] {
            let mut body = whole();
            body["outcome"][field] = json!(["hunter2"]);
            assert_eq!(fields(body.clone()), [format!("outcome.{field}")]);
            body["outcome"].as_object_mut().expect("an object").remove(field);
            let expected = if field == "notes" { vec![] } else { vec![format!("outcome.{field}")] };
            let found: Vec<String> = match CallStatusEvent::read(&body) {
                Ok(_) => vec![],
                Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
            };
            assert_eq!(found, expected);
        }
        assert_eq!(
            fields(json!({"reminder_id": "", "event_type": "hunter2", "reason": "\u{0}", "outcome": {}})),
            [
                "reminder_id",
                "event_type",
                "reason",
                "outcome.connected",
                "outcome.duration",
                "outcome.customer_response"
            ]
        );
        for duration in [json!(-1), json!(1e300), json!("7"), json!(null)] {
            let mut body = whole();
            body["outcome"]["duration"] = duration;
            assert_eq!(fields(body), ["outcome.duration"]);
        }
    }

    #[test]
    fn the_report_that_counts_is_the_same_in_every_order() {
        let report = |event: EventType| Report {
            connected: true,
            duration: 1.0,
            customer_response: "dispute".to_owned(),
            notes: None,
            reported_at: DateTime::UNIX_EPOCH,
            event_type: event.to_string(),
        };
        let [answered, failed, completed] = [EventType::Answered, EventType::Failed, EventType::Completed].map(report);
        assert!(completed.outranks(&failed) && failed.outranks(&answered) && !answered.outranks(&completed));
        assert!(!completed.outranks(&completed));
    }
}
