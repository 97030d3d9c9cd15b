//! The stand-in's webhooks: what the provider would tell, and what goes wrong on the way.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use callops::domain::secret::Secret;
use callops::domain::signature::vapi::{Delivery, verify};
use callops::sandbox::{Auth, Running, Webhook};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::sandbox::{PHONE, noon, settings, start};

/// Somebody who is told.
struct Receiver {
    url: String,
    messages: UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Receiver {
    async fn start() -> Self {
        let (sender, messages) = unbounded_channel();
        let take = move |headers: HeaderMap, body: Bytes| {
            let sender = sender.clone();
            async move {
                let _ = sender.send((headers, body));
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/vapi/webhook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/api/vapi/webhook", post(take))).await });
        Self { url, messages }
    }

    /// The next message, which must come soon.
    async fn next(&mut self) -> (HeaderMap, Bytes) {
        tokio::time::timeout(Duration::from_secs(20), self.messages.recv())
            .await
            .expect("a message")
            .expect("a receiver")
    }

    /// What the next `count` messages say: their type, and the status or reason.
    async fn said(&mut self, count: usize) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..count {
            let body: Value = serde_json::from_slice(&self.next().await.1).unwrap();
            let message = &body["message"];
            let what = message.get("status").unwrap_or(&message["endedReason"]).as_str().unwrap();
            said.push(format!("{} {what}", message["type"].as_str().unwrap()));
        }
        said
    }
}

/// Places a call that is answered, and lets it end.
async fn call(sandbox: &Running) -> String {
    let client = callops_client();
    let body = json!({"assistantId": "a", "phoneNumberId": "line", "name": "N", "customer": {"number": PHONE}});
    let script = json!({"phone": PHONE, "outcomes": ["customer-ended-call"]});
    client.post(format!("{}/_sandbox/script", sandbox.url())).json(&script).send().await.unwrap();
    let placed =
        client.post(format!("{}/call", sandbox.url())).bearer_auth("sandbox-key").json(&body).send().await.unwrap();
    let record: Value = placed.json().await.unwrap();
    record["id"].as_str().unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a client that is not ours")]
fn callops_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

async fn counts(sandbox: &Running) -> Value {
    callops_client().get(format!("{}/_sandbox/webhook", sandbox.url())).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn every_step_of_a_call_is_told() {
    let mut receiver = Receiver::start().await;
    let sandbox = start(settings()).await;
    sandbox.set_webhook(Some(Webhook::new(&receiver.url, "s3cret"))).unwrap();
    let id = call(&sandbox).await;
    let (headers, body) = receiver.next().await;
    assert_eq!(headers["x-vapi-secret"], "s3cret");
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&message["message"]["call"]["id"], &message["message"]["call"]["name"]), (&json!(id), &json!("N")));
    assert_eq!(message["message"]["status"], "queued");
    sandbox.advance(TimeDelta::hours(1));
    let mut said = receiver.said(4).await;
    said.sort();
    assert_eq!(
        said,
        [
            "end-of-call-report customer-ended-call",
            "status-update ended",
            "status-update in-progress",
            "status-update ringing"
        ]
    );
}

#[tokio::test]
async fn messages_show_who_sends_them() {
    let mut receiver = Receiver::start().await;
    let sandbox = start(settings()).await;
    for auth in [Auth::Bearer, Auth::Hmac] {
        sandbox.set_webhook(Some(Webhook { auth, ..Webhook::new(&receiver.url, "s3cret") })).unwrap();
        call(&sandbox).await;
        let (headers, body) = receiver.next().await;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let delivery = Delivery { header: &header, method: "POST", url: &receiver.url, body: &body };
        assert_eq!(header("x-vapi-secret"), None);
        assert_eq!(verify(&Secret::new("s3cret"), None, &delivery, noon()), Ok(()), "{auth:?}");
        assert!(verify(&Secret::new("other"), None, &delivery, noon()).is_err());
        sandbox.advance(TimeDelta::hours(1));
        receiver.said(4).await;
        sandbox.advance(-TimeDelta::hours(1));
    }
}

#[tokio::test]
async fn messages_are_lost_doubled_delayed_and_invented_as_told() {
    let mut receiver = Receiver::start().await;
    let sandbox = start(settings()).await;
    let plain = Webhook::new(&receiver.url, "s3cret");
    sandbox.set_webhook(Some(Webhook { lose_percent: 100.0, ..plain.clone() })).unwrap();
    call(&sandbox).await;
    sandbox.advance(TimeDelta::hours(1));
    let lost = counts(&sandbox).await;
    assert_eq!((&lost["lost"], &lost["queued"]), (&json!(5), &json!(0)));

    sandbox.set_webhook(Some(Webhook { double_percent: 100.0, ..plain.clone() })).unwrap();
    call(&sandbox).await;
    assert_eq!(receiver.said(2).await, ["status-update queued", "status-update queued"]);
    sandbox.advance(TimeDelta::hours(1));
    receiver.said(8).await;

    sandbox.set_webhook(Some(Webhook { delay_percent: 100.0, delay_seconds: 3600.0, ..plain.clone() })).unwrap();
    call(&sandbox).await;
    let waiting = counts(&sandbox).await;
    assert_eq!((&waiting["waiting"], &waiting["queued"]), (&json!(1), &json!(11)));
    sandbox.advance(TimeDelta::hours(2));
    receiver.said(1).await;
    sandbox.advance(TimeDelta::hours(2));
    receiver.said(4).await;

    sandbox.set_webhook(Some(Webhook { unknown_percent: 100.0, ..plain })).unwrap();
    let id = call(&sandbox).await;
    let ids: Vec<Value> = [receiver.next().await.1, receiver.next().await.1]
        .iter()
        .map(|body| serde_json::from_slice::<Value>(body).unwrap()["message"]["call"]["id"].clone())
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.contains(&json!(id)));
}

#[tokio::test]
async fn the_message_can_come_before_the_answer() {
    let mut receiver = Receiver::start().await;
    let sandbox = start(settings()).await;
    sandbox.set_webhook(Some(Webhook::new(&receiver.url, "s3cret"))).unwrap();
    sandbox.add_faults(json!({"kind": "delay_answer", "ms": 60_000})).unwrap();
    let answer = call(&sandbox);
    tokio::select! {
        _ = answer => panic!("the answer came first"),
        (_, body) = receiver.next() => assert!(serde_json::from_slice::<Value>(&body).unwrap()["message"]["call"]["id"].is_string()),
    }
}

#[tokio::test]
async fn only_this_machine_is_told() {
    let sandbox = start(settings()).await;
    for url in ["https://127.0.0.1/", "http://example.com/", "nowhere", ""] {
        assert!(sandbox.set_webhook(Some(Webhook::new(url, "s"))).is_err(), "{url}");
    }
    let too_often = Webhook { lose_percent: 101.0, ..Webhook::new("http://127.0.0.1:1/", "s") };
    assert!(sandbox.set_webhook(Some(too_often)).is_err());
}
