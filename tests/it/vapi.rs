//! The Vapi client against the stand-in: what each misbehaviour proves, and what it does not.

use std::collections::BTreeSet;
use std::time::Duration;

use callops::domain::dial::{DialAnswer, DialRequest, DialResult, ProviderState, RefusalClass};
use callops::domain::outcome::Outcome;
use callops::domain::secret::Secret;
use callops::providers::vapi::{ListFilter, RangeLimits, Vapi};
use callops::providers::{Http, ReadError};
use callops::sandbox::Running;
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpSocket};

use crate::sandbox::{PHONE, noon, settings, start};

fn vapi(url: &str) -> Vapi {
    let http = Http::new(Duration::from_secs(5), Duration::from_millis(1500));
    Vapi::new(http, Secret::new("sandbox-key"), url)
}

fn request(attempt: u32) -> DialRequest {
    DialRequest {
        attempt_id: format!("01JD0000000000000000{attempt:06}"),
        to: PHONE.to_owned(),
        extension: Some("12".to_owned()),
        customer_name: Some("Zoë ".repeat(20)),
        agent: json!({"assistant_id": "assistant", "phone_number_id": "line"}),
        variables: Map::from_iter([("due".to_owned(), json!("Friday"))]),
    }
}

async fn place_under(rule: Value) -> (Running, DialResult) {
    let sandbox = start(settings()).await;
    sandbox.add_faults(rule).unwrap();
    let result = vapi(&sandbox.url()).place(&request(1)).await;
    (sandbox, result)
}

fn id_of(result: &DialResult) -> &str {
    match &result.answer {
        DialAnswer::Accepted { provider_call_id, .. } => provider_call_id,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_placed_found_followed_and_reported() {
    let sandbox = start(settings()).await;
    let vapi = vapi(&sandbox.url());
    assert_eq!(vapi.org_id().await, Ok(None));
    let result = vapi.place(&request(1)).await;
    assert_eq!(result.provider_date, Some(noon()));
    let DialAnswer::Accepted { provider_call_id: id, org_id, queued, .. } = result.answer else { panic!("{result:?}") };
    assert_eq!((org_id.as_deref(), queued), (Some("org-sandbox"), false));

    let call = vapi.get(&id).await.unwrap().unwrap();
    assert_eq!((call.state, call.outcome), (ProviderState::Queued, None));
    assert_eq!(call.correlation, Some(request(1).attempt_id));
    assert_eq!(
        (call.to.as_deref(), call.line.as_deref(), call.agent.as_deref()),
        (Some(PHONE), Some("line"), Some("assistant"))
    );
    assert_eq!(call.raw["customer"]["extension"], "12");
    assert_eq!(call.raw["assistantOverrides"]["variableValues"]["due"], "Friday");

    sandbox.advance(TimeDelta::hours(1));
    let call = vapi.get(&id).await.unwrap().unwrap();
    assert_eq!(call.state, ProviderState::Ended);
    assert!(call.outcome.is_some_and(|outcome| outcome != Outcome::Unknown), "{call:?}");
    assert!(!call.never_rang && call.ended_at.is_some() && call.cost_usd.is_some());
    assert_eq!(vapi.org_id().await, Ok(Some("org-sandbox".to_owned())));
    assert_eq!(vapi.get("00000000-0000-4000-8000-000000000000").await, Ok(None));
    assert_eq!(vapi.get("../_sandbox/calls").await, Ok(None));
    assert_eq!(sandbox.rings().len(), 1);
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
    ] {
        let (sandbox, result) = place_under(rule.clone()).await;
        let DialAnswer::Unknown { reason } = &result.answer else { panic!("{rule}: {result:?}") };
        assert_eq!(reason.contains("broke off"), rule["kind"] == "cut_body", "{rule}: {reason}");
        assert_eq!(sandbox.rings().len(), rings, "{rule}");
    }
}

#[tokio::test]
async fn a_drop_on_a_connection_in_use_is_not_answered_by_sending_again() {
    for (kind, rings) in [("accept_and_drop", 2), ("refuse_and_drop", 1), ("cut_body", 2)] {
        let sandbox = start(settings()).await;
        sandbox.add_faults(json!({"kind": kind, "match": {"nth": 2}})).unwrap();
        let vapi = vapi(&sandbox.url());
        id_of(&vapi.place(&request(1)).await);
        let result = vapi.place(&request(2)).await;
        assert!(matches!(result.answer, DialAnswer::Unknown { .. }), "{kind}: {result:?}");
        assert_eq!(sandbox.rings().len(), rings, "{kind}");
    }
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_is() {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    for (rule, class, status, retry_after) in [
        (json!({"kind": "unauthorized_all"}), RefusalClass::Account, 401, None),
        (json!({"kind": "payment_required"}), RefusalClass::Account, 402, None),
        (json!({"kind": "number_invalid"}), RefusalClass::Number, 400, None),
        (json!({"kind": "assistant_missing"}), RefusalClass::Campaign, 404, None),
        (json!({"kind": "server_error", "status": 400}), RefusalClass::Campaign, 400, None),
        (json!({"kind": "over_concurrency", "mode": "http_400"}), RefusalClass::Capacity, 400, None),
        (json!({"kind": "too_many_requests"}), RefusalClass::Capacity, 429, None),
        (json!({"kind": "too_many_requests", "retry_after": "30"}), RefusalClass::Capacity, 429, wait(30)),
        (json!({"kind": "too_many_requests", "retry_after": "date+90"}), RefusalClass::Capacity, 429, wait(90)),
        (json!({"kind": "too_many_requests", "retry_after": "absurd"}), RefusalClass::Capacity, 429, wait(3600)),
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
async fn only_a_connection_that_was_never_made_is_not_sent() {
    // A port that is taken and not listened on: nobody else can get it meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let result = vapi(&url).place(&request(1)).await;
    assert!(matches!(result.answer, DialAnswer::NotSent { .. }), "{result:?}");
    let read = vapi(&url).get("x").await;
    assert!(matches!(read, Err(ReadError::Unreachable { status: None, .. })), "{read:?}");

    // Somebody who takes the connection and closes it may have read the request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closer = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let result = vapi(&url).place(&request(1)).await;
    assert!(matches!(result.answer, DialAnswer::Unknown { .. }), "{result:?}");
    // But no request leaves before the other side has shown its certificate.
    let result = vapi(&url.replace("http:", "https:")).place(&request(1)).await;
    assert!(matches!(result.answer, DialAnswer::NotSent { .. }), "{result:?}");
    closer.abort();
}

#[tokio::test]
async fn the_agent_and_the_extension_are_looked_at_before_anything_is_sent() {
    let sandbox = start(settings()).await;
    let vapi = vapi(&sandbox.url());
    for (bad, class) in [
        (DialRequest { agent: json!({"assistant_id": "assistant"}), ..request(1) }, RefusalClass::Campaign),
        (DialRequest { extension: Some("12345678901".to_owned()), ..request(1) }, RefusalClass::Number),
    ] {
        let result = vapi.place(&bad).await;
        let expected =
            matches!(result.answer, DialAnswer::Refused { class: seen, http_status: None, .. } if seen == class);
        assert!(expected, "{result:?}");
    }
    assert_eq!(sandbox.rings(), []);
    // What the domain calls a phone, the service may not.
    let result = vapi.place(&DialRequest { to: "911".to_owned(), ..request(1) }).await;
    assert!(matches!(result.answer, DialAnswer::Refused { class: RefusalClass::Number, .. }), "{result:?}");
}

#[tokio::test]
async fn a_blocked_call_is_queued_and_once_deleted_proved_silent() {
    let (sandbox, result) = place_under(json!({"kind": "over_concurrency", "mode": "queued_blocked"})).await;
    assert!(matches!(result.answer, DialAnswer::Accepted { queued: true, .. }), "{result:?}");
    let vapi = vapi(&sandbox.url());
    let id = id_of(&result);
    assert_eq!(vapi.get(id).await.unwrap().unwrap().state, ProviderState::Scheduled);
    assert!(vapi.delete(id).await.unwrap().is_some());
    let call = vapi.get(id).await.unwrap().unwrap();
    assert_eq!((call.outcome, call.never_rang), (Some(Outcome::Cancelled), true));
    sandbox.advance(TimeDelta::days(1));
    assert_eq!(sandbox.rings(), []);
    assert_eq!(vapi.delete("00000000-0000-4000-8000-000000000000").await, Ok(None));
}

#[tokio::test]
async fn a_call_that_the_account_could_not_afford_never_rang() {
    let (sandbox, result) = place_under(json!({"kind": "over_concurrency", "mode": "ended"})).await;
    let call = vapi(&sandbox.url()).get(id_of(&result)).await.unwrap().unwrap();
    assert_eq!((call.outcome, call.never_rang), (Some(Outcome::AccountError), true));
}

#[tokio::test]
async fn a_range_is_split_until_every_call_is_seen_once() {
    let sandbox = start(settings()).await;
    let vapi = vapi(&sandbox.url());
    let mut placed = BTreeSet::new();
    for attempt in 0..37 {
        placed.insert(id_of(&vapi.place(&request(attempt)).await).to_owned());
        // Several in one millisecond, and gaps of all sizes.
        sandbox.advance(TimeDelta::milliseconds(i64::from(attempt % 4) * i64::from(attempt)));
    }
    let (from, to) = (noon() - TimeDelta::hours(1), noon() + TimeDelta::hours(1));
    let filter = ListFilter {
        assistant_id: Some("assistant".into()),
        phone_number_id: Some("line".into()),
        ..ListFilter::default()
    };
    let limits = RangeLimits { page: 4, requests: 500 };
    let listing = vapi.list_range(&filter, from, to, limits).await;
    assert_eq!(listing.gap, None);
    assert_eq!(listing.calls.len(), 37);
    assert_eq!(listing.calls.iter().map(|call| call.provider_call_id.clone()).collect::<BTreeSet<_>>(), placed);
    assert_eq!(
        listing.provider_date,
        Some(sandbox.now()).map(|now| now - TimeDelta::microseconds(now.timestamp_subsec_micros().into()))
    );

    let short = vapi.list_range(&filter, from, to, RangeLimits { requests: 3, ..limits }).await;
    assert!(matches!(short.gap, Some(ReadError::Incomplete { .. })), "{short:?}");
    // Two calls of one millisecond fill a page of two: absence can no longer be told.
    let narrow = vapi.list_range(&filter, from, to, RangeLimits { page: 2, ..limits }).await;
    assert!(matches!(narrow.gap, Some(ReadError::Incomplete { .. })), "{narrow:?}");
    let other = ListFilter { assistant_id: Some("other".into()), ..ListFilter::default() };
    assert_eq!(vapi.list_range(&other, from, to, limits).await.calls, []);
}

#[tokio::test]
async fn reads_outlast_a_short_failure_and_name_a_lasting_one() {
    let sandbox = start(settings()).await;
    let vapi = vapi(&sandbox.url());
    let all = ListFilter::default();
    sandbox.add_faults(json!({"kind": "server_error", "status": 503, "times": 2, "match": {"method": "GET"}})).unwrap();
    assert_eq!(vapi.list(&all).await.unwrap().calls, []);
    let failing = |rule: Value| {
        sandbox.clear_faults();
        sandbox.add_faults(rule).unwrap();
    };
    failing(json!({"kind": "server_error", "status": 503, "match": {"method": "GET"}}));
    assert!(matches!(vapi.list(&all).await, Err(ReadError::Unreachable { status: Some(503), .. })));
    let (from, to) = (noon(), noon() + TimeDelta::hours(1));
    assert!(vapi.list_range(&all, from, to, RangeLimits::default()).await.gap.is_some());
    failing(json!({"kind": "unauthorized_all"}));
    assert!(matches!(vapi.list(&all).await, Err(ReadError::Unauthorized { status: 401, .. })));
    failing(json!({"kind": "too_many_requests", "retry_after": "7", "match": {"method": "GET"}}));
    assert_eq!(vapi.list(&all).await, Err(ReadError::RateLimited { retry_after: Some(Duration::from_secs(7)) }));
    failing(json!({"kind": "broken_json", "match": {"method": "GET"}}));
    assert!(matches!(vapi.list(&all).await, Err(ReadError::Broken { status: 200, .. })));
    failing(json!({"kind": "server_error", "status": 500, "match": {"method": "DELETE"}}));
    assert!(matches!(vapi.delete("x").await, Err(ReadError::Unreachable { .. })));
}
