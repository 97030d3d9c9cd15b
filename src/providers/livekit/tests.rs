use serde_json::Map;

use super::*;
use crate::domain::dial::ProviderState;
use crate::domain::outcome::Outcome;

const ID: &str = "01JD0000000000000000000001";

fn request() -> DialRequest {
    DialRequest {
        attempt_id: ID.to_owned(),
        to: "+12025550101".to_owned(),
        extension: None,
        customer_name: Some(" Ada ".to_owned()),
        agent: json!({"agent_name": "reminder", "sip_trunk_id": "ST_1"}),
        variables: Map::from_iter([("due".to_owned(), json!("Friday"))]),
    }
}

#[test]
fn an_address_of_web_sockets_is_one_for_requests_too() {
    for (given, expected) in [
        ("wss://acme.livekit.cloud", "https://acme.livekit.cloud"),
        ("https://acme.livekit.cloud/", "https://acme.livekit.cloud"),
        ("ws://127.0.0.1:7880/", "http://127.0.0.1:7880"),
        ("http://127.0.0.1:7880", "http://127.0.0.1:7880"),
    ] {
        assert_eq!(over_http(given), expected);
    }
}

#[test]
fn everything_bears_the_attempts_id() {
    let (room, callee) = (room_body(&request()), participant_body(&request()).expect("a body"));
    assert_eq!((&room["name"], &callee["room_name"]), (&json!(ID), &json!(ID)));
    assert_eq!(callee["participant_identity"], identity_of(ID));
    assert_eq!(callee["participant_attributes"]["callops.attempt_id"], ID);
    assert_eq!((&callee["participant_name"], &callee["ringing_timeout"]), (&json!("Ada"), &json!("30s")));
    for metadata in [&room["agents"][0]["metadata"], &callee["participant_metadata"]] {
        let told: Value = serde_json::from_str(metadata.as_str().expect("text")).expect("JSON");
        assert_eq!((&told["attempt_id"], &told["variables"]["due"]), (&json!(ID), &json!("Friday")));
    }
    assert!(callee.get("sip_number").is_none() && callee.get("dtmf").is_none());
    let agent = json!({"agent_name": "a", "sip_trunk_id": "t", "sip_number": "+12025550100", "ringing_timeout": 45});
    let callee = participant_body(&DialRequest { agent, extension: Some("12#".to_owned()), ..request() });
    let callee = callee.expect("a body");
    assert_eq!((&callee["sip_number"], &callee["ringing_timeout"]), (&json!("+12025550100"), &json!("45s")));
    assert_eq!(callee["dtmf"], "ww12#");
    // The room outlasts the ringing.
    assert_eq!(room["empty_timeout"], 90);
}

#[test]
fn what_cannot_be_dialled_says_whose_fault_it_is() {
    let agent = |agent| DialRequest { agent, ..request() };
    for bad in [agent(json!({"agent_name": "a"})), agent(json!({"sip_trunk_id": "t"})), agent(json!({}))] {
        assert_eq!(participant_body(&bad).expect_err("none").0, RefusalClass::Campaign);
    }
    for extension in ["12w", "+1", "1 2", "1,2", &"1".repeat(33)] {
        let bad = DialRequest { extension: Some(extension.to_owned()), ..request() };
        assert_eq!(participant_body(&bad).expect_err("none").0, RefusalClass::Number, "{extension}");
    }
}

/// From the descriptions of the service's own repositories; see SOURCES.md beside them.
pub(super) fn sample(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/livekit/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect("JSON")
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, body: body.to_string().into_bytes(), ..Answer::default() }
}

#[test]
fn the_described_answers_are_read() {
    let accepted = judge(&answer(200, &sample("create_sip_participant-response")), ID);
    assert!(matches!(accepted, DialAnswer::Answered { .. }), "{accepted:?}");
    let rooms = list_of(&answer(200, &sample("list_rooms-response")), "rooms").expect("rooms");
    assert_eq!(rooms.len(), 1);
    let people = list_of(&answer(200, &sample("list_participants-response")), "participants").expect("people");
    let report = report_of(people[0].clone(), "callops-01J9Z3X0ABCD").expect("a report");
    assert_eq!((report.state, report.outcome), (ProviderState::InProgress, None));
    assert_eq!((report.to.as_deref(), report.line.as_deref()), (Some("+15005550006"), Some("ST_d9mzn2muMMsM")));
    for error in sample("twirp-errors").as_array().expect("a list") {
        let status = u16::try_from(error["http_status"].as_u64().expect("a status")).expect("a status");
        let judged = judge(&answer(status, &error["body"]), ID);
        let fits = match error["body"]["code"].as_str().expect("a code") {
            "unauthenticated" | "bad_route" => {
                matches!(judged, DialAnswer::Refused { class: RefusalClass::Account, .. })
            }
            "not_found" | "invalid_argument" => {
                matches!(judged, DialAnswer::Refused { class: RefusalClass::Campaign, .. })
            }
            "resource_exhausted" => matches!(judged, DialAnswer::Ended { outcome: Outcome::Busy, .. }),
            "deadline_exceeded" | "unavailable" => matches!(judged, DialAnswer::Unknown { .. }),
            other => panic!("{other}"),
        };
        assert!(fits, "{error}: {judged:?}");
    }
}

#[test]
fn what_is_asked_is_named_as_in_the_described_requests() {
    let camel = |key: &str| {
        let mut parts = key.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
    };
    for (ours, described) in [
        (room_body(&request()), sample("create_room-request")),
        (participant_body(&request()).expect("a body"), sample("create_sip_participant-request")),
    ] {
        for key in ours.as_object().expect("an object").keys() {
            // These two are in the description and not in its example.
            let is_known = described.get(camel(key)).is_some()
                || ["wait_until_answered", "participant_attributes"].contains(&key.as_str());
            assert!(is_known, "{key}");
        }
    }
}

#[test]
fn whoever_is_in_the_room_stands_somewhere() {
    let callee = |status: &str, more: Value| {
        let mut raw = json!({"identity": identity_of(ID), "state": "ACTIVE", "attributes": {"sip.callStatus": status}});
        raw.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        report_of(raw, ID).expect("a report")
    };
    for (status, state) in [
        ("dialing", ProviderState::Ringing),
        ("ringing", ProviderState::Ringing),
        ("", ProviderState::Ringing),
        ("something new", ProviderState::Ringing),
        ("automation", ProviderState::InProgress),
        ("active", ProviderState::InProgress),
        ("hangup", ProviderState::Ended),
    ] {
        assert_eq!(callee(status, json!({})).state, state, "{status}");
    }
    for (status, reason, outcome) in [
        ("ringing", "USER_UNAVAILABLE", Outcome::NoAnswer),
        ("hangup", "USER_REJECTED", Outcome::Rejected),
        ("ringing", "SIP_TRUNK_FAILURE", Outcome::ProviderError),
        ("ringing", "ROOM_DELETED", Outcome::Cancelled),
        ("active", "ROOM_DELETED", Outcome::Unknown),
        ("hangup", "CLIENT_INITIATED", Outcome::Unknown),
        ("active", "SOMETHING_NEW", Outcome::Unknown),
    ] {
        let report = callee(status, json!({"disconnect_reason": reason}));
        assert_eq!((report.state, report.outcome), (ProviderState::Ended, Some(outcome)), "{status} {reason}");
        let words = if outcome == Outcome::Unknown { "Call over - no agent response" } else { reason };
        assert_eq!(report.ended_reason.as_deref(), Some(words));
    }
    assert_eq!(callee("active", json!({"disconnect_reason": "UNKNOWN_REASON"})).state, ProviderState::InProgress);
    assert_eq!(callee("active", json!({"state": "DISCONNECTED"})).state, ProviderState::Ended);
}

#[test]
fn tokens_are_not_shown() {
    let http = Http::new(Duration::from_secs(1), Duration::from_secs(1));
    let client = LiveKit::new(http, "APIkey", Secret::new("hunter2"), "ws://127.0.0.1:1", || DateTime::UNIX_EPOCH);
    let request = client.request("SIP/CreateSIPParticipant", &Grant::Call).expect("a request");
    let shown = format!("{client:?} {request:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("ey"), "{shown}");
}
