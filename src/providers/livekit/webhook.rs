//! What LiveKit's webhooks say of a call.

use serde_json::{Map, Value};

use super::identity_of;
use super::participant::{left, report_of, seconds};
use crate::domain::call_status::is_id;
use crate::domain::dial::{CallReport, ProviderMessage};

const MAX_TYPE_CHARS: usize = 100;

/// Reads the body of a webhook.
///
/// Only what the callee does says something of the phone. That a room began or ended does not: it is made before anybody
/// is called, and closed where nobody ever was.
///
/// # Errors
/// The field that is missing or wrong, and what it must be.
pub fn read_message(body: &Value) -> Result<ProviderMessage, (&'static str, &'static str)> {
    let body = body.as_object().ok_or(("", "the body must be an object"))?;
    let kind = body.get("event").and_then(Value::as_str);
    let kind = kind.filter(|kind| is_id(kind) && kind.chars().count() <= MAX_TYPE_CHARS);
    let kind = kind.ok_or(("event", "must be the type of the event, as text"))?.to_owned();
    let event_id = body.get("id").and_then(Value::as_str).filter(|id| is_id(id));
    let event_id = event_id.ok_or(("id", "must be the id of the event, as text"))?.to_owned();
    let room = object(body, "room", ("room", "must be an object"))?;
    let participant = object(body, "participant", ("participant", "must be an object"))?;
    let room = match room.and_then(|room| room.get("name")) {
        None | Some(Value::Null) => None,
        Some(name) => {
            Some(name.as_str().filter(|name| is_id(name)).ok_or(("room.name", "must be a name, as text"))?.to_owned())
        }
    };
    let callee = room.as_deref().zip(participant).filter(|(room, participant)| {
        participant.get("identity").and_then(Value::as_str) == Some(identity_of(room).as_str())
    });
    let report = callee.and_then(|(room, participant)| told(&kind, room, participant, body));
    Ok(ProviderMessage {
        stamp: None,
        event_id: Some(event_id),
        kind,
        status: None,
        call_id: room.clone(),
        correlation: room,
        report,
        is_half: false,
    })
}

fn told(kind: &str, room: &str, participant: &Map<String, Value>, body: &Map<String, Value>) -> Option<CallReport> {
    let participant = Value::Object(participant.clone());
    let at = seconds(body.get("createdAt"));
    match kind {
        "participant_joined" => {
            let report = report_of(participant, room)?;
            let answered_at = at.or_else(|| seconds(report.raw.get("joinedAt")));
            Some(CallReport { started_at: answered_at, ..report })
        }
        "participant_left" | "participant_connection_aborted" => {
            Some(CallReport { ended_at: at, ..left(participant, room) })
        }
        _ => None,
    }
}

fn object<'v>(
    body: &'v Map<String, Value>,
    key: &str,
    problem: (&'static str, &'static str),
) -> Result<Option<&'v Map<String, Value>>, (&'static str, &'static str)> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_object().map(Some).ok_or(problem),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::dial::ProviderState;
    use crate::domain::outcome::Outcome;
    use crate::providers::livekit::tests::sample;

    /// A described event, with the callee named as ours are.
    fn event(name: &str) -> Value {
        let mut event = sample(&format!("webhook-{name}"));
        let room = event["room"]["name"].as_str().expect("a room").to_owned();
        if event.get("participant").is_some() {
            event["participant"]["identity"] = json!(identity_of(&room));
        }
        event
    }

    #[test]
    fn the_described_events_are_read() {
        let joined = read_message(&event("participant_joined")).expect("a message");
        assert_eq!((joined.kind.as_str(), joined.event_id.as_deref()), ("participant_joined", Some("EV_xP6Vq3aFv1bb")));
        assert_eq!(joined.correlation.as_deref(), Some("callops-01J9Z3X0ABCD"));
        let report = joined.report.expect("a report");
        assert_eq!(report.state, ProviderState::InProgress);
        assert_eq!(report.started_at.expect("a time").timestamp(), 1_721_950_004);
        let report = read_message(&event("participant_left")).expect("a message").report.expect("a report");
        assert_eq!((report.state.clone(), report.outcome), (ProviderState::Ended, Some(Outcome::Rejected)));
        assert_eq!(report.ended_at.expect("a time").timestamp(), 1_721_950_044);
        for name in ["room_started", "room_finished"] {
            let message = read_message(&event(name)).expect("a message");
            assert_eq!((message.report, message.event_id.is_some()), (None, true), "{name}");
        }
        // As they are, they are about a callee of somebody else's.
        assert_eq!(read_message(&sample("webhook-participant_left")).expect("a message").report, None);
    }

    #[test]
    fn only_the_callee_of_the_room_tells_something() {
        let mut left = event("participant_left");
        for other in ["agent-1", "callee-", "callee-other", ""] {
            left["participant"]["identity"] = json!(other);
            assert_eq!(read_message(&left).expect("a message").report, None, "{other}");
        }
        let mut left = event("participant_left");
        left["event"] = json!("track_published");
        assert_eq!(read_message(&left).expect("a message").report, None);
        // What is empty is left out.
        let bare = json!({"event": "participant_left", "id": "EV_1", "room": {"name": "r"},
            "participant": {"identity": "callee-r"}});
        let report = read_message(&bare).expect("a message").report.expect("a report");
        assert_eq!((report.outcome, report.ended_at), (Some(Outcome::Unknown), None));
    }

    #[test]
    fn what_is_no_event_is_refused_by_the_field() {
        for (body, field) in [
            (json!(null), ""),
            (json!([]), ""),
            (json!({}), "event"),
            (json!({"event": 7, "id": "x"}), "event"),
            (json!({"event": "x".repeat(101), "id": "x"}), "event"),
            (json!({"event": "x"}), "id"),
            (json!({"event": "x", "id": "\u{0}"}), "id"),
            (json!({"event": "x", "id": "x", "room": 7}), "room"),
            (json!({"event": "x", "id": "x", "room": {"name": 7}}), "room.name"),
            (json!({"event": "x", "id": "x", "room": {"name": "a\u{0}"}}), "room.name"),
            (json!({"event": "x", "id": "x", "participant": []}), "participant"),
        ] {
            assert_eq!(read_message(&body).expect_err("no event").0, field, "{body}");
        }
    }
}
