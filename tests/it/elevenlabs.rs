//! ElevenLabs: its client against the stand-in, and whole campaigns that call by its agents.

mod doctor;
mod schema;
mod stories;
mod webhooks;

use std::time::Duration;

use callops::domain::agent::AgentReport;
use callops::domain::dial::{DialAnswer, DialRequest, DialResult, ProviderState, RefusalClass};
use callops::domain::outcome::Outcome;
use callops::domain::secret::Secret;
use callops::providers::elevenlabs::ElevenLabs;
use callops::providers::http::LastLook;
use callops::providers::{Http, ReadError};
use callops::sandbox::{Running, Webhook};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use tokio::net::TcpSocket;

use self::schema::check_requests;
use crate::sandbox::{PHONE, noon, settings, start};

fn client(url: &str) -> ElevenLabs {
    let http = Http::new(Duration::from_secs(5), Duration::from_millis(1500));
    ElevenLabs::new(http, Secret::new("sandbox-key"), url)
}

fn request(attempt: u32) -> DialRequest {
    DialRequest {
        attempt_id: format!("01JD0000000000000000{attempt:06}"),
        to: PHONE.to_owned(),
        extension: None,
        customer_name: Some("Zoë".to_owned()),
        agent: json!({"agent_id": "agent", "agent_phone_number_id": "line"}),
        variables: Map::from_iter([("due".to_owned(), json!("Friday")), ("amount".to_owned(), json!(12.5))]),
    }
}

async fn place_under(rule: Value) -> (Running, DialResult) {
    let sandbox = start(settings()).await;
    sandbox.add_faults(rule).unwrap();
    let result = client(&sandbox.url()).place(&request(1)).await;
    (sandbox, result)
}

fn id_of(result: &DialResult) -> &str {
    match &result.answer {
        DialAnswer::Accepted { provider_call_id, .. } => provider_call_id,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Has the sandbox do something, as its own endpoints take it.
async fn control(sandbox: &Running, path: &str, body: &Value) {
    let url = format!("{}/_sandbox/{path}", sandbox.url());
    let answer = crate::common::story::reqwest_client().post(url).json(body).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}");
}

#[tokio::test]
async fn a_call_is_placed_found_followed_and_reported() {
    let sandbox = start(settings()).await;
    let client = client(&sandbox.url());
    let course = json!([{"ended_reason": "customer-ended-call", "ring_seconds": 5, "talk_seconds": 60}]);
    control(&sandbox, "script", &json!({"phone": PHONE, "outcomes": course})).await;
    control(&sandbox, "settings", &json!({"analysis_seconds": 60})).await;
    assert_eq!(client.probe().await, Ok(Some(noon())));
    let result = client.place(&request(1)).await;
    assert_eq!(result.provider_date, Some(noon()));
    let id = id_of(&result);
    assert!(matches!(&result.answer, DialAnswer::Accepted { queued: false, org_id: None, .. }), "{result:?}");

    let call = client.get(id).await.unwrap().unwrap();
    assert_eq!((call.state, call.outcome, call.started_at), (ProviderState::Announced, None, None));
    assert_eq!(call.correlation, Some(request(1).attempt_id));
    assert_eq!(
        (call.to.as_deref(), call.line.as_deref(), call.agent.as_deref()),
        (Some(PHONE), Some("line"), Some("agent"))
    );
    let data = &call.raw["conversation_initiation_client_data"];
    assert_eq!(data["dynamic_variables"], json!({"customer_name": "Zoë", "due": "Friday", "amount": 12.5}));
    assert_eq!(client.find(&request(1).attempt_id).await.unwrap().unwrap().provider_call_id, id);
    assert_eq!(client.find(&request(2).attempt_id).await, Ok(None));

    sandbox.advance(TimeDelta::seconds(20));
    assert_eq!(client.get(id).await.unwrap().unwrap().state, ProviderState::InProgress);
    sandbox.advance(TimeDelta::seconds(80));
    let call = client.get(id).await.unwrap().unwrap();
    assert_eq!((call.state, call.is_complete, call.cost_usd), (ProviderState::Ended, false, None), "{:?}", call.raw);
    sandbox.advance(TimeDelta::hours(1));
    let call = client.get(id).await.unwrap().unwrap();
    assert_eq!((call.outcome, call.is_complete), (Some(Outcome::Answered), true));
    assert!(call.cost_usd > Some(0.0) && call.transcript.is_some() && call.summary.is_some(), "{call:?}");
    assert_eq!(call.record().duration_seconds, Some(60));
    assert_eq!(client.get("conv_00000000").await, Ok(None));
    assert_eq!(client.get("../_sandbox/calls").await, Ok(None));
    assert_eq!(sandbox.rings().len(), 1);
    check_requests(&sandbox, 4).await;
}

#[tokio::test]
async fn the_line_decides_the_way_and_both_are_asked_as_the_contract_says() {
    let sandbox = start(settings()).await;
    let client = client(&sandbox.url());
    for (attempt, via) in ["twilio", "sip_trunk"].into_iter().enumerate() {
        let agent = json!({"agent_id": "agent", "agent_phone_number_id": "line", "via": via, "ringing_timeout": 25});
        let request = DialRequest { agent, ..request(u32::try_from(attempt).unwrap()) };
        let result = client.place(&request).await;
        let call = client.get(id_of(&result)).await.unwrap().unwrap();
        let carrier = if via == "twilio" { "twilio" } else { "sip_trunking" };
        assert_eq!(call.raw["metadata"]["phone_call"]["type"], carrier);
    }
    assert_eq!(
        client.agent("agent", "line", "twilio").await,
        Ok(AgentReport::Present { webhook_url: None, tells_ends: true })
    );
    let requests = check_requests(&sandbox, 7).await;
    let bodies: Vec<&Value> = requests.iter().filter(|request| request["method"] == "POST").collect();
    assert!(bodies.iter().all(|request| request["body"]["telephony_call_config"]["ringing_timeout_secs"] == 25));
}

#[tokio::test]
async fn what_proves_nothing_is_unknown_and_sent_once() {
    for (rule, rings) in [
        (json!({"kind": "accept_and_drop"}), 1),
        (json!({"kind": "refuse_and_drop"}), 0),
        (json!({"kind": "delay_answer", "ms": 60_000}), 1),
        (json!({"kind": "slow_refuse", "ms": 60_000}), 0),
        (json!({"kind": "server_error", "status": 500}), 0),
        (json!({"kind": "server_error", "status": 502, "rings": true}), 1),
        (json!({"kind": "server_error", "status": 408, "rings": true}), 1),
        (json!({"kind": "server_error", "status": 409, "rings": true}), 1),
        (json!({"kind": "broken_json"}), 1),
        (json!({"kind": "cut_body"}), 1),
        (json!({"kind": "no_id"}), 1),
        (json!({"kind": "success_false", "message": "Request timed out", "rings": true}), 1),
        (json!({"kind": "success_false", "message": "INVITE failed: sip status: 486: Busy", "rings": true}), 1),
    ] {
        let (sandbox, result) = place_under(rule.clone()).await;
        assert!(matches!(&result.answer, DialAnswer::Unknown { .. }), "{rule}: {result:?}");
        assert_eq!(sandbox.rings().len(), rings, "{rule}");
        // Had it been sent twice, a fault that does not ring would have met the second one as well.
        assert_eq!(requests_of(&sandbox).await.len(), 1, "{rule}");
    }
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_is() {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    let coded = |code: &str| json!({"kind": "coded", "code": code});
    let failed = |message: &str| json!({"kind": "success_false", "message": message});
    for (rule, class, status, retry_after) in [
        (json!({"kind": "unauthorized_all"}), RefusalClass::Account, 401, None),
        (json!({"kind": "payment_required"}), RefusalClass::Account, 402, None),
        (json!({"kind": "coded", "status": 403, "code": "forbidden"}), RefusalClass::Account, 403, None),
        (json!({"kind": "number_invalid"}), RefusalClass::Number, 422, None),
        (json!({"kind": "assistant_missing"}), RefusalClass::Campaign, 404, None),
        (json!({"kind": "server_error", "status": 400}), RefusalClass::Campaign, 400, None),
        (json!({"kind": "over_concurrency"}), RefusalClass::Capacity, 429, None),
        (coded("system_busy"), RefusalClass::Capacity, 429, None),
        (coded("legacy:too_many_concurrent_requests"), RefusalClass::Capacity, 429, None),
        (coded("legacy:quota_exceeded"), RefusalClass::Account, 429, None),
        (json!({"kind": "too_many_requests"}), RefusalClass::Capacity, 429, None),
        (json!({"kind": "too_many_requests", "retry_after": "30"}), RefusalClass::Capacity, 429, wait(30)),
        (failed("HTTP 401 error: Unable to create record: Authenticate"), RefusalClass::Account, 200, None),
        (failed("Agent not found"), RefusalClass::Campaign, 200, None),
    ] {
        let (sandbox, result) = place_under(rule.clone()).await;
        let DialAnswer::Refused { class: seen, http_status, retry_after: wait, .. } = result.answer else {
            panic!("{rule}: {result:?}")
        };
        assert_eq!((seen, http_status, wait), (class, Some(status), retry_after), "{rule}");
        assert_eq!(sandbox.rings(), [], "{rule}");
    }
}

#[tokio::test]
async fn what_was_never_sent_is_said_to_be_so() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let result = client(&url).place(&request(1)).await;
    assert!(matches!(result.answer, DialAnswer::NotSent { .. }), "{result:?}");
    assert!(matches!(client(&url).get("x").await, Err(ReadError::Unreachable { status: None, .. })));

    let sandbox = start(settings()).await;
    let late = LastLook::new(|| Err("too late".to_owned()));
    let result = client(&sandbox.url()).place_if(&request(1), &late).await;
    assert_eq!(result.answer, DialAnswer::NotSent { reason: "too late".to_owned() });
    assert_eq!(sandbox.rings(), []);
}

#[tokio::test]
async fn the_service_says_which_number_it_does_not_call() {
    let sandbox = start(settings()).await;
    let result = client(&sandbox.url()).place(&DialRequest { to: "911".to_owned(), ..request(1) }).await;
    assert!(matches!(result.answer, DialAnswer::Refused { class: RefusalClass::Number, .. }), "{result:?}");
    let extended = DialRequest { extension: Some("12".to_owned()), ..request(1) };
    let result = client(&sandbox.url()).place(&extended).await;
    let is_ours = matches!(result.answer, DialAnswer::Refused { class: RefusalClass::Number, http_status: None, .. });
    assert!(is_ours, "{result:?}");
}

#[tokio::test]
async fn a_name_is_only_what_the_record_says() {
    let sandbox = start(settings()).await;
    let client = client(&sandbox.url());
    for attempt in 0..7 {
        id_of(&client.place(&request(attempt)).await);
    }
    let name = request(6).attempt_id;
    assert_eq!(client.find(&name).await.unwrap().unwrap().correlation, Some(name.clone()));
    // A proxy that drops the question's filter shows everybody's conversations.
    let unfiltered = unfiltered_proxy(&sandbox.url()).await;
    let found = self::client(&unfiltered).find("01JDSOMETHINGELSE000000000").await;
    assert!(matches!(found, Err(ReadError::Incomplete { .. })), "{found:?}");

    sandbox.add_faults(json!({"kind": "list_lag", "seconds": 600})).unwrap();
    let result = client.place(&request(9)).await;
    assert_eq!(client.get(id_of(&result)).await, Ok(None));
    assert_eq!(client.find(&request(9).attempt_id).await, Ok(None));
    sandbox.advance(TimeDelta::seconds(600));
    assert!(client.find(&request(9).attempt_id).await.unwrap().is_some());
}

/// Somebody in between who forwards reads without what they ask for.
async fn unfiltered_proxy(url: &str) -> String {
    let url = url.to_owned();
    let router = axum::Router::new().fallback(async move |uri: axum::http::Uri| {
        let request = crate::common::story::reqwest_client().get(format!("{url}{}", uri.path()));
        request.header("xi-api-key", "sandbox-key").send().await.expect("an answer").text().await.expect("text")
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn agents_and_lines_may_be_missing_and_the_workspace_says_whom_it_tells() {
    let sandbox = start(settings()).await;
    let client = client(&sandbox.url());
    assert_eq!(client.agent("missing-1", "line", "twilio").await, Ok(AgentReport::Missing("agent_id")));
    assert_eq!(client.agent("agent", "missing-1", "twilio").await, Ok(AgentReport::Missing("agent_phone_number_id")));
    let hook = Webhook::new("http://127.0.0.1:1/api/voice/post_call", "s");
    sandbox.set_webhook(Some(hook)).unwrap();
    let told = AgentReport::Present {
        webhook_url: Some("http://127.0.0.1:1/api/voice/post_call".to_owned()),
        tells_ends: true,
    };
    assert_eq!(client.agent("agent", "line", "twilio").await, Ok(told));
    let other = AgentReport::OtherWay { via: "twilio".to_owned() };
    assert_eq!(client.agent("agent", "line", "sip_trunk").await, Ok(other));
    // A key that may not see the workspace's settings can call all the same.
    let path = "/v1/workspace/webhooks";
    sandbox.add_faults(json!({"kind": "coded", "status": 403, "code": "x", "match": {"path": path}})).unwrap();
    assert_eq!(
        client.agent("agent", "line", "twilio").await,
        Ok(AgentReport::Present { webhook_url: None, tells_ends: true })
    );
}

async fn requests_of(sandbox: &Running) -> Vec<Value> {
    let url = format!("{}/_sandbox/requests", sandbox.url());
    let answer = crate::common::story::reqwest_client().get(url).send().await.expect("an answer");
    answer.json::<Vec<Value>>().await.expect("a list")
}
