//! Reading requests as protobuf's JSON is read: names in snake or lower camel case, and what is not known dropped.

use serde_json::{Value, json};

use super::record::camel;
use super::rooms::Wanted as Room;
use crate::sandbox::state::{Service, Wanted};

/// Why a request cannot be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Json,
    Argument(String),
}

fn argument(message: &str) -> Malformed {
    Malformed::Argument(message.to_owned())
}

/// A field by its name in snake case, however it is written.
pub(super) fn field<'v>(body: &'v Value, name: &str) -> Option<&'v Value> {
    body.get(name).or_else(|| body.get(camel(name))).filter(|value| !value.is_null())
}

/// A text; what is empty is as if absent.
pub(super) fn text(body: &Value, name: &str) -> Option<String> {
    field(body, name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn checked_text(body: &Value, name: &str) -> Result<Option<String>, Malformed> {
    match field(body, name) {
        Some(value) if !value.is_string() => Err(Malformed::Json),
        _ => Ok(text(body, name)),
    }
}

fn boolean(body: &Value, name: &str) -> Result<bool, Malformed> {
    field(body, name).map_or(Ok(false), |value| value.as_bool().ok_or(Malformed::Json))
}

fn number(body: &Value, name: &str) -> Result<u32, Malformed> {
    match field(body, name) {
        None => Ok(0),
        Some(Value::String(digits)) => digits.parse().map_err(|_| Malformed::Json),
        Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or(Malformed::Json),
    }
}

/// A duration in seconds, as `45s`.
fn duration(body: &Value, name: &str) -> Result<Option<f64>, Malformed> {
    let Some(value) = field(body, name) else { return Ok(None) };
    let seconds = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|seconds| seconds.parse().ok());
    seconds.filter(|seconds: &f64| seconds.is_finite()).map(Some).ok_or(Malformed::Json)
}

pub(super) fn list(body: &Value, name: &str) -> Result<Vec<String>, Malformed> {
    let Some(value) = field(body, name) else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or(Malformed::Json)?;
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Malformed::Json)).collect()
}

pub(super) fn parse_room(body: &Value) -> Result<Room, Malformed> {
    let name = checked_text(body, "name")?.ok_or_else(|| argument("missing room name"))?;
    let agents = match field(body, "agents") {
        None => Vec::new(),
        Some(Value::Array(agents)) => agents
            .iter()
            .map(|agent| Ok(checked_text(agent, "agent_name")?.unwrap_or_default()))
            .collect::<Result<Vec<String>, Malformed>>()?,
        Some(_) => return Err(Malformed::Json),
    };
    let or = |number: u32, usual| if number == 0 { usual } else { number };
    Ok(Room {
        name,
        metadata: checked_text(body, "metadata")?.unwrap_or_default(),
        empty_timeout: or(number(body, "empty_timeout")?, 300),
        departure_timeout: or(number(body, "departure_timeout")?, 20),
        max_participants: number(body, "max_participants")?,
        agents,
    })
}

/// The room, as it is if it has to be made, and the call.
pub(super) fn parse_call(body: &Value) -> Result<(Room, Wanted), Malformed> {
    let room = checked_text(body, "room_name")?.ok_or_else(|| argument("missing room name"))?;
    let trunk = checked_text(body, "sip_trunk_id")?.ok_or_else(|| argument("missing sip trunk id"))?;
    let phone = checked_text(body, "sip_call_to")?.ok_or_else(|| argument("missing sip callee number"))?;
    let is_number = phone
        .strip_prefix('+')
        .is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number {
        return Err(argument("sip_call_to should be a phone number or SIP user, not a full SIP URI"));
    }
    let identity = checked_text(body, "participant_identity")?.ok_or_else(|| argument("missing identity"))?;
    if duration(body, "ringing_timeout")?.is_some_and(|seconds| !(0.0..=80.0).contains(&seconds)) {
        return Err(argument("ringing_timeout is too long"));
    }
    duration(body, "max_call_duration")?;
    let attributes = field(body, "participant_attributes").cloned().unwrap_or_else(|| json!({}));
    let are_texts = attributes.as_object().is_some_and(|all| all.values().all(Value::is_string));
    if !are_texts {
        return Err(Malformed::Json);
    }
    let echo = json!({
        "identity": identity,
        "name": checked_text(body, "participant_name")?.unwrap_or_default(),
        "metadata": checked_text(body, "participant_metadata")?.unwrap_or_default(),
        "attributes": attributes,
        "sip_number": checked_text(body, "sip_number")?.unwrap_or_default(),
    });
    let wanted = Wanted {
        service: Service::LiveKit,
        phone,
        name: Some(room.clone()),
        assistant: None,
        line: Some(trunk),
        earliest_at: None,
        at_once: boolean(body, "wait_until_answered")?,
        echo,
    };
    Ok((parse_room(&json!({"name": room}))?, wanted))
}

/// The status and code with which the failure of a call is told, by the carrier's status.
pub(super) fn twirp_of(sip_status: u16) -> (u16, &'static str) {
    match sip_status {
        480 | 486 | 600 => (429, "resource_exhausted"),
        401 | 407 => (401, "unauthenticated"),
        403 | 603 | 607 | 608 => (403, "permission_denied"),
        404 | 410 | 604 => (404, "not_found"),
        484 | 400 => (400, "invalid_argument"),
        408 | 504 => (408, "deadline_exceeded"),
        487 => (408, "canceled"),
        500..=699 => (412, "failed_precondition"),
        _ => (500, "internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_both_forms_and_unknown_ones_dropped() {
        let camel = json!({"roomName": "r", "sipTrunkId": "ST", "sipCallTo": "+12025550101", "participantIdentity": "i",
            "waitUntilAnswered": true, "ringingTimeout": "45s", "nonsense": {"x": 1}});
        let (room, wanted) = parse_call(&camel).unwrap();
        assert_eq!((room.name.as_str(), wanted.line.as_deref(), wanted.at_once), ("r", Some("ST"), true));
        let snake = json!({"room_name": "r", "sip_trunk_id": "ST", "sip_call_to": "+12025550101",
            "participant_identity": "i"});
        assert!(!parse_call(&snake).unwrap().1.at_once);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let sound = json!({"room_name": "r", "sip_trunk_id": "ST", "sip_call_to": "+12025550101",
            "participant_identity": "i"});
        for (key, value) in [
            ("room_name", json!("")),
            ("sip_trunk_id", json!(null)),
            ("sip_call_to", json!("sip:+12025550101@example.com")),
            ("sip_call_to", json!("911")),
            ("sip_call_to", json!(7)),
            ("participant_identity", json!("")),
            ("ringing_timeout", json!(45)),
            ("ringing_timeout", json!("45")),
            ("ringing_timeout", json!("81s")),
            ("wait_until_answered", json!("yes")),
            ("participant_attributes", json!({"a": 1})),
        ] {
            let mut body = sound.clone();
            body[key] = value.clone();
            assert!(parse_call(&body).is_err(), "{key} {value}");
        }
    }
}
