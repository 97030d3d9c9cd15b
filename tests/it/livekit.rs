//! LiveKit: the client against the stand-in, campaigns that call by it, and its webhooks.

mod asked;
mod setup;
mod stories;
mod webhooks;

use std::time::Duration;

use callops::domain::dial::{DialAnswer, DialRequest, DialResult, ProviderState, RefusalClass};
use callops::domain::outcome::Outcome;
use callops::domain::secret::Secret;
use callops::domain::signature::jwt;
use callops::providers::http::LastLook;
use callops::providers::livekit::LiveKit;
use callops::providers::{Http, ReadError};
use callops::sandbox::Running;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::common::story::reqwest_client;
use crate::sandbox::{PHONE, noon, settings, start};

const ID: &str = "01JD0000000000000000000001";
const MAKE_ROOM: &str = "/twirp/livekit.RoomService/CreateRoom";
const CALL: &str = "/twirp/livekit.SIP/CreateSIPParticipant";
const LOOK: &str = "/twirp/livekit.RoomService/ListParticipants";

fn livekit(url: &str) -> LiveKit {
    livekit_at(url, noon())
}

fn livekit_at(url: &str, now: DateTime<Utc>) -> LiveKit {
    // Shorter than a phone rings: the request that rings has a time of its own.
    let http = Http::new(Duration::from_secs(5), Duration::from_millis(1500));
    LiveKit::new(http, "sandbox-key", Secret::new("sandbox-key"), &url.replace("http:", "ws:"), move || now)
}

fn request() -> DialRequest {
    DialRequest {
        attempt_id: ID.to_owned(),
        to: PHONE.to_owned(),
        extension: None,
        customer_name: Some("Zoë".to_owned()),
        agent: json!({"agent_name": "reminder", "sip_trunk_id": "ST_1", "ringing_timeout": 1}),
        variables: Map::from_iter([("due".to_owned(), json!("Friday"))]),
    }
}

async fn place(sandbox: &Running) -> DialResult {
    livekit(&sandbox.url()).place_if(&request(), &LastLook::default()).await
}

async fn place_under(rule: Value) -> (Running, DialResult) {
    let sandbox = start(settings()).await;
    sandbox.add_faults(rule).unwrap();
    let result = place(&sandbox).await;
    (sandbox, result)
}

async fn control(sandbox: &Running, path: &str, body: Value) {
    let answer = reqwest_client().post(format!("{}/_sandbox/{path}", sandbox.url())).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}");
}

async fn shown(url: &str, path: &str) -> Value {
    reqwest_client().get(format!("{url}/_sandbox/{path}")).send().await.unwrap().json().await.unwrap()
}

/// How often this method was asked for.
async fn asked_for(sandbox: &Running, method: &str) -> u64 {
    shown(&sandbox.url(), "calls").await["requests"][format!("POST {method}")].as_u64().unwrap_or(0)
}

async fn script(sandbox: &Running, outcome: Value) {
    control(sandbox, "script", json!({"phone": PHONE, "outcomes": [outcome]})).await;
}

#[tokio::test]
async fn a_call_is_placed_and_followed_while_it_goes_on() {
    let sandbox = start(settings()).await;
    let livekit = livekit(&sandbox.url());
    assert_eq!(livekit.probe().await, Ok(Some(noon())));
    assert_eq!(livekit.get(ID).await, Ok(None), "nothing is there");
    script(&sandbox, json!("customer-ended-call")).await;
    let result = place(&sandbox).await;
    assert_eq!(result.provider_date, Some(noon()));
    let DialAnswer::Answered { provider_call_id, raw } = result.answer else { panic!("{result:?}") };
    assert_eq!((provider_call_id.as_str(), &raw["participant_identity"]), (ID, &json!(format!("callee-{ID}"))));

    let report = livekit.get(ID).await.unwrap().unwrap();
    assert_eq!((report.state, report.outcome), (ProviderState::InProgress, None));
    assert_eq!((report.to.as_deref(), report.line.as_deref()), (Some(PHONE), Some("ST_1")));
    assert_eq!(
        (report.correlation.as_deref(), report.raw["attributes"]["callops.attempt_id"].as_str()),
        (Some(ID), Some(ID))
    );
    sandbox.advance(TimeDelta::hours(1));
    let later = livekit_at(&sandbox.url(), sandbox.now());
    assert_eq!(later.get(ID).await, Ok(None), "it keeps no record of what is over");
    let ring = &sandbox.rings()[0];
    assert_eq!((sandbox.rings().len(), ring.name.as_deref()), (1, Some(ID)));
    assert!(matches!(later.trunk("ST_1").await, Ok(callops::domain::agent::AgentReport::Present { .. })));
}

#[tokio::test]
async fn what_became_of_a_call_is_the_answer() {
    for (outcome, expected) in [
        ("customer-busy", Outcome::Busy),
        ("customer-did-not-answer", Outcome::NoAnswer),
        ("vonage-rejected", Outcome::Rejected),
        ("twilio-reported-customer-misdialed", Outcome::InvalidNumber),
        ("sip-484", Outcome::InvalidNumber),
        ("sip-500", Outcome::ProviderError),
        ("sip-407", Outcome::AccountError),
    ] {
        let sandbox = start(settings()).await;
        script(&sandbox, json!(outcome)).await;
        let result = place(&sandbox).await;
        let DialAnswer::Ended { outcome: seen, ref reason, .. } = result.answer else {
            panic!("{outcome}: {result:?}")
        };
        assert_eq!(seen, expected, "{outcome}");
        assert!(reason.starts_with("sip status "), "{reason}");
    }
    // The server gave up waiting, and the phone rings on.
    for outcome in [json!({"ended_reason": "customer-busy", "stuck": "ringing"}), json!("sip-504")] {
        let sandbox = start(settings()).await;
        script(&sandbox, outcome.clone()).await;
        let result = place(&sandbox).await;
        assert!(matches!(result.answer, DialAnswer::Unknown { .. }), "{outcome}: {result:?}");
        let is_there = livekit(&sandbox.url()).get(ID).await.unwrap().is_some();
        assert_eq!(is_there, outcome.is_object(), "{outcome}");
    }
}

#[tokio::test]
async fn what_proves_nothing_is_unknown_and_sent_once() {
    for (rule, rings) in [
        (json!({"kind": "accept_and_drop"}), 1),
        (json!({"kind": "refuse_and_drop"}), 0),
        (json!({"kind": "delay_answer", "ms": 60_000}), 1),
        (json!({"kind": "slow_refuse", "ms": 60_000}), 0),
        (json!({"kind": "server_error", "status": 500}), 0),
        (json!({"kind": "server_error", "status": 503}), 0),
        (json!({"kind": "server_error", "status": 408, "rings": true}), 1),
        (json!({"kind": "server_error", "status": 409, "rings": true}), 1),
        (json!({"kind": "server_error", "status": 502, "rings": true}), 1),
        (json!({"kind": "broken_json"}), 1),
        (json!({"kind": "cut_body"}), 1),
        (json!({"kind": "no_id"}), 1),
    ] {
        // A busy line answers with what may be taken for a refusal, where it cannot be read.
        for outcome in ["customer-ended-call", "customer-busy"] {
            if outcome == "customer-busy" && (rule["kind"] == "no_id" || rule["ms"] == 60_000) {
                continue;
            }
            let sandbox = start(settings()).await;
            script(&sandbox, json!(outcome)).await;
            sandbox.add_faults(rule.clone()).unwrap();
            let result = place(&sandbox).await;
            assert!(matches!(result.answer, DialAnswer::Unknown { .. }), "{rule}: {result:?}");
            assert_eq!((sandbox.rings().len(), asked_for(&sandbox, CALL).await), (rings, 1), "{rule}");
        }
    }
}

#[tokio::test]
async fn the_request_that_rings_may_last_for_longer_than_others() {
    let (sandbox, result) = place_under(json!({"kind": "delay_answer", "ms": 2500})).await;
    assert!(!matches!(result.answer, DialAnswer::Unknown { .. }), "{result:?}");
    assert_eq!(sandbox.rings().len(), 1);
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_is_and_nobody_is_called() {
    for (rule, class, status) in [
        (json!({"kind": "unauthorized_all", "match": {"path": CALL}}), RefusalClass::Account, 401),
        (json!({"kind": "payment_required"}), RefusalClass::Account, 403),
        (json!({"kind": "number_invalid"}), RefusalClass::Number, 400),
        (json!({"kind": "assistant_missing"}), RefusalClass::Campaign, 404),
        (json!({"kind": "over_concurrency"}), RefusalClass::Capacity, 429),
        (json!({"kind": "too_many_requests", "retry_after": "30"}), RefusalClass::Capacity, 429),
    ] {
        let (sandbox, result) = place_under(rule.clone()).await;
        let DialAnswer::Refused { class: seen, http_status, .. } = result.answer else { panic!("{rule}: {result:?}") };
        assert_eq!((seen, http_status), (class, Some(status)), "{rule}");
        assert_eq!(sandbox.rings(), [], "{rule}");
    }
}

#[tokio::test]
async fn without_its_room_nobody_is_called() {
    let not_sent = |answer: &DialAnswer| matches!(answer, DialAnswer::NotSent { .. });
    let refused = |answer: &DialAnswer| matches!(answer, DialAnswer::Refused { .. });
    for (mut rule, fits) in [
        (json!({"kind": "accept_and_drop"}), not_sent as fn(&DialAnswer) -> bool),
        (json!({"kind": "refuse_and_drop"}), not_sent),
        (json!({"kind": "delay_answer", "ms": 60_000}), not_sent),
        (json!({"kind": "server_error", "status": 500}), not_sent),
        (json!({"kind": "server_error", "status": 503}), not_sent),
        (json!({"kind": "cut_body"}), not_sent),
        (json!({"kind": "unauthorized_all"}), refused),
        (json!({"kind": "too_many_requests"}), refused),
        (json!({"kind": "server_error", "status": 400}), refused),
    ] {
        rule["match"] = json!({"path": MAKE_ROOM});
        let (sandbox, result) = place_under(rule.clone()).await;
        assert!(fits(&result.answer), "{rule}: {result:?}");
        assert_eq!((sandbox.rings().len(), asked_for(&sandbox, CALL).await), (0, 0), "{rule}");
    }
}

#[tokio::test]
async fn the_last_look_is_before_the_request_that_rings() {
    let sandbox = start(settings()).await;
    let late = LastLook::new(|| Err("the clock moved on".to_owned()));
    let result = livekit(&sandbox.url()).place_if(&request(), &late).await;
    assert_eq!(result.answer, DialAnswer::NotSent { reason: "the clock moved on".to_owned() });
    assert_eq!((sandbox.rings().len(), asked_for(&sandbox, MAKE_ROOM).await), (0, 1));
}

#[tokio::test]
async fn a_room_that_is_there_already_starts_no_second_agent() {
    let sandbox = start(settings()).await;
    // Somebody's request for the same room came before; its answer was lost, say.
    let token = token(&json!({"video": {"roomCreate": true}}));
    let body = json!({"name": ID, "emptyTimeout": 60, "agents": [{"agentName": "reminder"}]});
    for _ in 0..2 {
        let (status, room) = post(&sandbox, MAKE_ROOM, &token, &body).await;
        assert_eq!((status, &room["name"], &room["empty_timeout"]), (200, &json!(ID), &json!(60)), "{room}");
    }
    place(&sandbox).await;
    let seen = shown(&sandbox.url(), "calls").await;
    assert_eq!((&seen["agents_started"], sandbox.rings().len()), (&json!({"reminder": 1}), 1));
}

fn token(grants: &Value) -> String {
    let mut claims = json!({"iss": "sandbox-key", "nbf": noon().timestamp(), "exp": noon().timestamp() + 60});
    claims.as_object_mut().unwrap().extend(grants.as_object().unwrap().clone());
    jwt::sign(&Secret::new("sandbox-key"), &claims).expose().to_owned()
}

async fn post(sandbox: &Running, method: &str, token: &str, body: &Value) -> (u16, Value) {
    let request = reqwest_client().post(format!("{}{method}", sandbox.url())).bearer_auth(token).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_stand_in_insists_on_the_grant_of_each_method() {
    let sandbox = start(settings()).await;
    let (make, call) = (json!({"video": {"roomCreate": true}}), json!({"sip": {"call": true}}));
    let look = json!({"video": {"roomAdmin": true, "room": ID}});
    let look_elsewhere = json!({"video": {"roomAdmin": true, "room": "other"}});
    for (method, grants, allowed) in [
        (MAKE_ROOM, &make, true),
        (MAKE_ROOM, &call, false),
        (MAKE_ROOM, &json!({"video": {"roomCreate": false}}), false),
        (MAKE_ROOM, &json!({}), false),
        (CALL, &make, false),
        (LOOK, &look, true),
        (LOOK, &look_elsewhere, false),
        (LOOK, &make, false),
    ] {
        let (status, answer) = post(&sandbox, method, &token(grants), &json!({"name": ID, "room": ID})).await;
        let expected = if allowed { 200 } else { 401 };
        assert_eq!(status, expected, "{method} {grants} {answer}");
        assert!(allowed || answer == json!({"code": "unauthenticated", "msg": "permissions denied"}), "{answer}");
    }
    let forged = jwt::sign(
        &Secret::new("other"),
        &json!({"iss": "sandbox-key", "exp": noon().timestamp() + 60,
        "video": {"roomCreate": true}}),
    );
    assert_eq!(post(&sandbox, MAKE_ROOM, forged.expose(), &json!({"name": ID})).await.0, 401);
    sandbox.advance(TimeDelta::minutes(3));
    assert_eq!(post(&sandbox, MAKE_ROOM, &token(&make), &json!({"name": ID})).await.0, 401, "it has expired");
    assert_eq!(post(&sandbox, "/twirp/livekit.SIP/Nope", "x", &json!({})).await.0, 401);
}

#[tokio::test]
async fn reads_outlast_a_short_failure_and_name_a_lasting_one() {
    let sandbox = start(settings()).await;
    let livekit = livekit(&sandbox.url());
    let look = json!({"path": LOOK});
    sandbox.add_faults(json!({"kind": "server_error", "status": 503, "times": 2, "match": look})).unwrap();
    assert_eq!(livekit.get(ID).await, Ok(None));
    let failing = |rule: Value| {
        sandbox.clear_faults();
        sandbox.add_faults(rule).unwrap();
    };
    failing(json!({"kind": "server_error", "status": 503, "match": look}));
    assert!(matches!(livekit.get(ID).await, Err(ReadError::Unreachable { status: Some(503), .. })));
    failing(json!({"kind": "unauthorized_all"}));
    assert!(matches!(livekit.get(ID).await, Err(ReadError::Unauthorized { status: 401, .. })));
    assert!(matches!(livekit.probe().await, Err(ReadError::Unauthorized { status: 401, .. })));
    failing(json!({"kind": "broken_json", "match": look}));
    assert!(matches!(livekit.get(ID).await, Err(ReadError::Broken { status: 200, .. })));
}
