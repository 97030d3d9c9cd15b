//! The stand-in provider: it is strict, it misbehaves as told, and its ledger convicts.

use std::collections::BTreeMap;
use std::time::Duration;

use callops::clock::Clock;
use callops::sandbox::{Organisation, Over, Ring, Running, Settings, serve};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const PHONE: &str = "+14155550100";

pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings::new(Clock::manual(noon()))
}

pub(crate) async fn start(settings: Settings) -> Running {
    serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

fn phones(rings: &[Ring]) -> BTreeMap<String, usize> {
    let mut phones = BTreeMap::new();
    for ring in rings {
        *phones.entry(ring.phone.clone()).or_default() += 1;
    }
    phones
}

#[expect(clippy::disallowed_methods, reason = "a client that is not ours")]
pub(crate) fn client(timeout: Duration) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(timeout).build().unwrap()
}

fn body(phone: &str) -> Value {
    json!({"assistantId": "assistant", "phoneNumberId": "line", "name": "N", "customer": {"number": phone}})
}

struct Api {
    http: reqwest::Client,
    url: String,
    key: &'static str,
}

impl Api {
    fn new(sandbox: &Running) -> Self {
        Self { http: client(Duration::from_secs(20)), url: sandbox.url(), key: "sandbox-key" }
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.send("POST", path, Some(body)).await;
        assert!(status < 300, "{status} {body}");
        body
    }

    async fn call(&self, phone: &str) -> String {
        self.post("/call", body(phone)).await["id"].as_str().unwrap().to_owned()
    }

    async fn status(&self, id: &str) -> Value {
        self.get(&format!("/call/{id}")).await["status"].clone()
    }
}

/// Retries on a timeout, claims nothing, and runs twice at once: everything that must not be done.
async fn naive_run(url: &str, phones: &[&str], timeout: Duration) {
    let http = client(timeout);
    for phone in phones {
        for _ in 0..3 {
            let request = http.post(format!("{url}/call")).bearer_auth("sandbox-key").json(&body(phone));
            if request.send().await.is_ok_and(|response| response.status().is_success()) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn assistants_and_lines_are_there_and_assistants_tell_whom_it_tells() {
    let sandbox = start(settings()).await;
    let api = Api::new(&sandbox);
    let assistant = api.get("/assistant/any").await;
    assert_eq!((&assistant["id"], &assistant["orgId"]), (&json!("any"), &json!("org-sandbox")));
    assert_eq!(assistant["server"], Value::Null);
    sandbox.set_webhook(Some(callops::sandbox::Webhook::new("http://127.0.0.1:9/hook", "secret"))).unwrap();
    assert_eq!(api.get("/assistant/any").await["server"], json!({"url": "http://127.0.0.1:9/hook"}));
    let line = api.get("/phone-number/line").await;
    for required in ["provider", "id", "orgId", "createdAt", "updatedAt"] {
        assert!(line[required].is_string(), "{required}: {line}");
    }
    for path in ["/assistant/any", "/phone-number/line"] {
        assert_eq!(api.send("GET", &format!("{path}?limit=1"), None).await.0, 400);
        assert_eq!(Api { key: "wrong", ..Api::new(&sandbox) }.send("GET", path, None).await.0, 401);
    }
}

#[tokio::test]
async fn the_ledger_convicts_a_client_that_retries_on_timeout() {
    let sandbox = start(settings()).await;
    sandbox.add_faults(json!({"kind": "delay_answer", "ms": 5000, "match": {"nth": 2}})).unwrap();
    naive_run(&sandbox.url(), &["+14155550101", "+14155550102"], Duration::from_millis(300)).await;
    assert_eq!(phones(&sandbox.rings()), [("+14155550101".to_owned(), 1), ("+14155550102".to_owned(), 2)].into());
}

#[tokio::test]
async fn the_ledger_convicts_a_client_that_runs_twice_at_once() {
    let sandbox = start(settings()).await;
    let (url, list) = (sandbox.url(), ["+14155550101", "+14155550102"]);
    tokio::join!(naive_run(&url, &list, Duration::from_secs(20)), naive_run(&url, &list, Duration::from_secs(20)),);
    assert_eq!(phones(&sandbox.rings()).into_values().collect::<Vec<_>>(), [2, 2]);
    let report = Api::new(&sandbox).get("/_sandbox/calls").await;
    assert_eq!(report["rings_by_phone_and_day"]["+14155550101"], json!({"2026-11-20": 2}));
    assert_eq!(report["rings_by_phone"]["+14155550102"], 2);
    assert_eq!(report["most_live_by_org"], json!({"org-sandbox": 4}));
    assert_eq!(report["requests"], json!({"POST /call": 4}));
}

#[tokio::test]
async fn every_fault_rings_or_does_not_ring_as_it_says() {
    let rings = [
        json!({"kind": "accept_and_drop"}),
        json!({"kind": "delay_answer", "ms": 1}),
        json!({"kind": "server_error", "status": 503, "rings": true}),
        json!({"kind": "broken_json"}),
        json!({"kind": "cut_body"}),
        json!({"kind": "no_id"}),
        json!({"kind": "list_lag", "seconds": 60}),
    ];
    let silent = [
        json!({"kind": "refuse_and_drop"}),
        json!({"kind": "slow_refuse", "ms": 1}),
        json!({"kind": "too_many_requests", "retry_after": "30"}),
        json!({"kind": "server_error", "status": 500}),
        json!({"kind": "unauthorized_all"}),
        json!({"kind": "payment_required"}),
        json!({"kind": "number_invalid"}),
        json!({"kind": "assistant_missing"}),
        json!({"kind": "over_concurrency", "mode": "http_400"}),
        json!({"kind": "over_concurrency", "mode": "ended"}),
        json!({"kind": "over_concurrency", "mode": "queued_blocked"}),
    ];
    let sandbox = start(settings()).await;
    let http = client(Duration::from_secs(20));
    for (rules, count) in [(&rings[..], 1), (&silent[..], 0)] {
        for rule in rules {
            let before = sandbox.rings().len();
            sandbox.clear_faults();
            sandbox.add_faults(rule.clone()).unwrap();
            let request = http.post(format!("{}/call", sandbox.url())).bearer_auth("sandbox-key").json(&body(PHONE));
            let _ = request.send().await;
            assert_eq!(sandbox.rings().len() - before, count, "{rule}");
        }
    }
}

#[tokio::test]
async fn a_call_takes_its_course_by_the_sandboxs_clock() {
    let sandbox = start(settings()).await;
    let api = Api::new(&sandbox);
    let scripted = json!({"ended_reason": "customer-ended-call", "ring_seconds": 10, "talk_seconds": 60});
    api.post("/_sandbox/script", json!({"phone": PHONE, "outcomes": [scripted, "customer-busy"]})).await;
    let id = api.call(PHONE).await;
    let mut seen = Vec::new();
    for seconds in [0, 1, 10, 59, 1] {
        sandbox.advance(TimeDelta::seconds(seconds));
        seen.push(api.status(&id).await);
    }
    assert_eq!(seen, ["queued", "ringing", "in-progress", "in-progress", "ended"]);
    let call = api.get(&format!("/call/{id}")).await;
    assert_eq!(call["createdAt"], "2026-11-20T12:00:00.000Z");
    assert_eq!(call["startedAt"], "2026-11-20T12:00:11.000Z");
    assert_eq!(call["endedAt"], "2026-11-20T12:01:11.000Z");
    assert_eq!(call["cost"], 0.11);
    assert!(call["artifact"]["transcript"].as_str().unwrap().starts_with("AI: Hello"));

    let busy = api.call(PHONE).await;
    sandbox.advance(TimeDelta::hours(1));
    let call = api.get(&format!("/call/{busy}")).await;
    assert_eq!((&call["endedReason"], call.get("startedAt")), (&json!("customer-busy"), None));
}

#[tokio::test]
async fn a_blocked_call_rings_when_a_line_is_free_and_never_once_deleted() {
    let one_line = Organisation { concurrency: 1, ..Organisation::default() };
    let sandbox = start(Settings { organisations: vec![one_line], ..settings() }).await;
    let api = Api::new(&sandbox);
    let first = api.post("/call", body("+14155550101")).await;
    assert_eq!(first["subscriptionLimits"]["concurrencyBlocked"], false);
    let second = api.post("/call", body("+14155550102")).await;
    let third = api.post("/call", body("+14155550103")).await;
    for blocked in [&second, &third] {
        assert_eq!(blocked["subscriptionLimits"]["concurrencyBlocked"], true);
        assert_eq!(blocked["status"], "scheduled");
    }
    assert_eq!(sandbox.rings().len(), 1);

    let path = format!("/call/{}", second["id"].as_str().unwrap());
    let (status, deleted) = api.send("DELETE", &path, None).await;
    assert_eq!((status, &deleted["endedReason"]), (200, &json!("scheduled-call-deleted")));
    sandbox.advance(TimeDelta::hours(1));
    let rung: Vec<String> = sandbox.rings().into_iter().map(|ring| ring.phone).collect();
    assert_eq!(rung, ["+14155550101", "+14155550103"]);
    let report = api.get("/_sandbox/calls").await;
    assert_eq!(report["most_live_by_org"]["org-sandbox"], 1);
    // It rang when the first call ended, not when somebody looked.
    let third_rang = sandbox.rings()[1].at;
    assert!(third_rang > noon() && third_rang < noon() + TimeDelta::minutes(10), "{third_rang}");
}

#[tokio::test]
async fn over_the_limit_the_other_two_behaviours_can_be_chosen() {
    let no_line = Organisation { concurrency: 0, ..Organisation::default() };
    let ended = Settings { organisations: vec![no_line], over_concurrency: Over::Ended, ..settings() };
    let sandbox = start(ended).await;
    let api = Api::new(&sandbox);
    let id = api.call(PHONE).await;
    let call = api.get(&format!("/call/{id}")).await;
    assert_eq!(call["endedReason"], "call.start.error-subscription-concurrency-limit-reached");
    api.post("/_sandbox/settings", json!({"over_concurrency": "http_400"})).await;
    let (status, error) = api.send("POST", "/call", Some(body(PHONE))).await;
    assert_eq!((status, &error["error"]), (400, &json!("Over Concurrency Limit")));
    assert_eq!(sandbox.rings(), []);
}

#[tokio::test]
async fn deleting_a_live_call_does_not_take_its_ring_back() {
    let sandbox = start(settings()).await;
    let api = Api::new(&sandbox);
    let id = api.call(PHONE).await;
    let path = format!("/call/{id}");
    let (_, call) = api.send("DELETE", &path, None).await;
    assert_eq!(call["endedReason"], "call-deleted");
    assert_eq!(sandbox.rings().len(), 1);
    let (status, _) = api.send("DELETE", &path, None).await;
    assert_eq!(status, 200);
    let (status, _) = api.send("GET", &path, None).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn organisations_do_not_see_each_other() {
    let other = Organisation { key: "other-key".to_owned(), org: "org-other".to_owned(), concurrency: 10 };
    let sandbox = start(Settings { organisations: vec![Organisation::default(), other], ..settings() }).await;
    let ours = Api::new(&sandbox);
    let id = ours.call(PHONE).await;
    let theirs = Api { key: "other-key", ..Api::new(&sandbox) };
    assert_eq!(theirs.get("/call").await, json!([]));
    assert_eq!(theirs.send("GET", &format!("/call/{id}"), None).await.0, 404);
    assert_eq!(theirs.send("DELETE", &format!("/call/{id}"), None).await.0, 404);
    let nobody = Api { key: "no-key", ..Api::new(&sandbox) };
    assert_eq!(nobody.send("POST", "/call", Some(body(PHONE))).await.0, 401);
    assert_eq!(sandbox.rings().len(), 1);
}

#[tokio::test]
async fn listings_filter_by_time_line_and_assistant_newest_first() {
    let sandbox = start(settings()).await;
    let api = Api::new(&sandbox);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.insert(0, api.call(PHONE).await);
        sandbox.advance(TimeDelta::seconds(10));
    }
    let list = async |query: &str| {
        let calls = api.get(&format!("/call?{query}")).await;
        calls.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, ids);
    assert_eq!(list("limit=2").await, ids[..2]);
    assert_eq!(list("createdAtGe=2026-11-20T12:00:10Z&createdAtLe=2026-11-20T12:00:20Z").await, ids[1..3]);
    assert_eq!(list("createdAtGt=2026-11-20T12:00:10Z&createdAtLt=2026-11-20T12:00:30Z").await, ids[1..2]);
    assert_eq!(list("createdAtGt=2026-11-20T13:00:00Z&createdAtLt=2026-11-20T12:00:00Z").await, ids[..0]);
    assert_eq!(list("assistantId=assistant&phoneNumberId=line").await, ids);
    assert_eq!(list("assistantId=other").await, ids[..0]);
    assert_eq!(list(&format!("id={}", ids[1])).await, ids[1..2]);
    assert_eq!(api.send("GET", "/call?limit=1001", None).await.0, 400);
}

#[tokio::test]
async fn a_lagging_call_appears_later_and_the_date_header_follows_the_clock() {
    let sandbox = start(settings()).await;
    sandbox.add_faults(json!({"kind": "list_lag", "seconds": 120})).unwrap();
    let api = Api::new(&sandbox);
    let id = api.call(PHONE).await;
    assert_eq!(sandbox.rings().len(), 1);
    assert_eq!(api.get("/call").await, json!([]));
    assert_eq!(api.send("GET", &format!("/call/{id}"), None).await.0, 404);
    api.post("/_sandbox/clock", json!({"advance_seconds": 120})).await;
    assert_eq!(api.get("/call").await.as_array().unwrap().len(), 1);

    api.post("/_sandbox/clock", json!({"now": "2027-01-01T00:00:00Z", "frozen": true})).await;
    let response = api.http.get(format!("{}/call", api.url)).bearer_auth(api.key).send().await.unwrap();
    assert_eq!(response.headers()["date"], "Fri, 01 Jan 2027 00:00:00 GMT");
}

#[tokio::test]
async fn the_ledgers_file_has_a_ring_before_the_connection_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rings.jsonl");
    let sandbox = start(Settings { ledger_file: Some(file.clone()), ..settings() }).await;
    sandbox.add_faults(json!({"kind": "accept_and_drop"})).unwrap();
    let http = client(Duration::from_secs(20));
    let request = http.post(format!("{}/call", sandbox.url())).bearer_auth("sandbox-key").json(&body(PHONE));
    assert!(request.send().await.is_err());
    let written: Value = serde_json::from_str(std::fs::read_to_string(&file).unwrap().trim()).unwrap();
    assert_eq!((&written["phone"], &written["name"]), (&json!(PHONE), &json!("N")));
    let requests = Api::new(&sandbox).get("/_sandbox/requests").await;
    assert_eq!(requests[0]["body"], body(PHONE));
    assert_eq!((&requests[0]["fault"], &requests[0]["status"]), (&json!("accept_and_drop"), &Value::Null));
}
