//! What it sends: signed, sent again until somebody takes it, and what goes wrong on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use callops::domain::secret::Secret;
use callops::domain::signature::stripe::{SIGNATURE_HEADER, TOLERANCE_SECONDS, verify};
use callops::sandbox::Running;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Api, KEY, SECRET, with};

/// Somebody who is told, and answers as it is set to.
struct Receiver {
    url: String,
    answers: Arc<Mutex<u16>>,
    messages: UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Receiver {
    async fn start() -> Self {
        let (sender, messages) = unbounded_channel();
        let answers = Arc::new(Mutex::new(200));
        let status = Arc::clone(&answers);
        let take = move |headers: HeaderMap, body: Bytes| {
            let _ = sender.send((headers, body));
            let status = StatusCode::from_u16(*status.lock().unwrap()).unwrap();
            async move { status }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/webhooks/stripe", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, Router::new().route("/api/webhooks/stripe", post(take))).await },
        );
        Self { url, answers, messages }
    }

    fn answer(&self, status: u16) {
        *self.answers.lock().unwrap() = status;
    }

    /// The next message, which must come soon.
    async fn next(&mut self) -> (String, Bytes) {
        let message = tokio::time::timeout(Duration::from_secs(20), self.messages.recv()).await;
        let (headers, body) = message.expect("a message").expect("a receiver");
        (headers[SIGNATURE_HEADER].to_str().unwrap().to_owned(), body)
    }

    async fn next_id(&mut self) -> String {
        let event: Value = serde_json::from_slice(&self.next().await.1).unwrap();
        event["id"].as_str().unwrap().to_owned()
    }
}

/// What the ledger says once nothing is under way any more and `sent` were.
async fn ledger(sandbox: &Running, sent: u64) -> Value {
    for _ in 0..400 {
        let ledger = sandbox.stripe_ledger();
        let answered = ledger["accepted"].as_u64().unwrap() + ledger["refused"].as_u64().unwrap();
        if ledger["sent"] == sent && answered == sent {
            return ledger;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", sandbox.stripe_ledger())
}

fn events(count: usize) -> Value {
    json!((0..count).map(|n| json!({"id": format!("evt_{n:03}"), "type": "a", "object": {"n": n}})).collect::<Vec<_>>())
}

#[tokio::test]
async fn an_event_is_sent_signed_with_each_secret_that_is_good() {
    let mut receiver = Receiver::start().await;
    let sandbox = with(json!({"webhook": {"url": receiver.url}})).await;
    sandbox.stripe(json!({"usual": {"kind": "checkout_paid", "customer": "cus_1", "id": "evt_1"}})).unwrap();
    let (header, body) = receiver.next().await;
    let holds = |secret: &str, header: &str, body: &[u8]| {
        verify(&Secret::new(secret), Some(header), body, sandbox.now(), TOLERANCE_SECONDS).is_ok()
    };
    assert_eq!((holds(SECRET, &header, &body), header.matches("v1=").count()), (true, 1));
    assert!(!holds("whsec_other", &header, &body) && !holds(SECRET, &header, &body[1..]));
    // The body is the event, not as the shortest JSON writes it.
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert!(body.len() > event.to_string().len());
    ledger(&sandbox, 1).await;
    let mut listed = Api::new(&sandbox).get("/v1/events/evt_1").await;
    assert_eq!((&event["pending_webhooks"], &listed["pending_webhooks"]), (&json!(1), &json!(0)));
    listed["pending_webhooks"] = json!(1);
    assert_eq!(event, listed);

    let rolled = json!({"key": KEY, "webhook_secret": "whsec_new", "previous_secret": SECRET});
    sandbox.stripe(json!({"accounts": [rolled], "usual": {"kind": "charge_refunded", "customer": "cus_1"}})).unwrap();
    let (header, body) = receiver.next().await;
    assert!(holds(SECRET, &header, &body) && holds("whsec_new", &header, &body) && !holds("whsec", &header, &body));
}

#[tokio::test]
async fn an_event_is_sent_again_until_it_is_taken() {
    let mut receiver = Receiver::start().await;
    let sandbox = with(json!({"webhook": {"url": receiver.url}})).await;
    receiver.answer(500);
    sandbox.stripe(json!({"events": events(1)})).unwrap();
    let (first, body) = receiver.next().await;
    let told = ledger(&sandbox, 1).await;
    assert_eq!((&told["refused"], &told["waiting"], &told["due"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(Api::new(&sandbox).get("/v1/events/evt_000").await["pending_webhooks"], 1);
    receiver.answer(302);
    sandbox.advance(TimeDelta::minutes(10));
    let (second, again) = receiver.next().await;
    // The same bytes, signed anew.
    assert_eq!(body, again);
    assert_ne!(first, second);
    ledger(&sandbox, 2).await;
    receiver.answer(204);
    sandbox.advance(TimeDelta::minutes(60));
    receiver.next().await;
    let told = ledger(&sandbox, 3).await;
    assert_eq!((&told["accepted"], &told["waiting"]), (&json!(1), &json!(0)));
    let tries: Vec<(&Value, &Value)> =
        told["deliveries"].as_array().unwrap().iter().map(|one| (&one["attempt"], &one["status"])).collect();
    assert_eq!(json!(tries), json!([[1, 500], [2, 302], [3, 204]]));
}

#[tokio::test]
async fn nobody_is_told_for_ever() {
    let receiver = Receiver::start().await;
    receiver.answer(500);
    for (livemode, tries, hours) in [(false, 4, 5), (true, 10, 72)] {
        let sandbox = with(json!({"webhook": {"url": receiver.url}})).await;
        sandbox.stripe(json!({"events": [{"type": "a", "object": {}, "livemode": livemode}]})).unwrap();
        let begin = sandbox.now();
        for sent in 1..=tries {
            ledger(&sandbox, sent).await;
            // To when the next is due, and not further.
            for _ in 0..12 {
                if sandbox.stripe_ledger()["due"] == 0 && sent < tries {
                    sandbox.advance(TimeDelta::hours(1));
                }
            }
        }
        let told = ledger(&sandbox, tries).await;
        assert_eq!((&told["given_up"], &told["waiting"]), (&json!(1), &json!(0)), "{livemode}");
        let last = &told["deliveries"][usize::try_from(tries).unwrap() - 1]["at"];
        let last: chrono::DateTime<chrono::Utc> = last.as_str().unwrap().parse().unwrap();
        assert!(last - begin <= TimeDelta::hours(hours), "{livemode} {last}");
    }
}

#[tokio::test]
async fn what_comes_later_is_sent_later() {
    let mut receiver = Receiver::start().await;
    let sandbox = with(json!({"webhook": {"url": receiver.url}})).await;
    let later = sandbox.now() + TimeDelta::hours(1);
    sandbox
        .stripe(json!({"events": [
            {"id": "evt_later", "type": "a", "object": {}, "created": later},
            {"id": "evt_now", "type": "a", "object": {}},
        ]}))
        .unwrap();
    assert_eq!(receiver.next_id().await, "evt_now");
    assert_eq!(ledger(&sandbox, 1).await["waiting"], 1);
    sandbox.advance(TimeDelta::hours(1));
    assert_eq!(receiver.next_id().await, "evt_later");
}

#[tokio::test]
async fn events_are_lost_doubled_and_delayed_as_told() {
    let receiver = Receiver::start().await;
    let hook = |more: Value| {
        let mut hook = json!({"url": receiver.url});
        hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"webhook": hook})
    };
    let sandbox = with(hook(json!({"lose_percent": 50}))).await;
    sandbox.stripe(json!({"events": events(100)})).unwrap();
    let lost = sandbox.stripe_ledger()["lost"].as_u64().unwrap();
    assert!((25..75).contains(&lost), "{lost}");
    ledger(&sandbox, 100 - lost).await;
    // What was lost can still be read.
    assert_eq!(Api::new(&sandbox).ids("limit=100").await.0.len(), 100);

    let sandbox = with(hook(json!({"double_percent": 100}))).await;
    sandbox.stripe(json!({"events": events(5)})).unwrap();
    let told = ledger(&sandbox, 10).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in told["deliveries"].as_array().unwrap() {
        *counts.entry(one["event"].as_str().unwrap()).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 2), "{counts:?}");

    let sandbox = with(hook(json!({"delay_percent": 100, "delay_seconds": 600}))).await;
    sandbox.stripe(json!({"events": events(20)})).unwrap();
    assert!(sandbox.stripe_ledger()["waiting"].as_u64().unwrap() > 15);
    sandbox.advance(TimeDelta::minutes(10));
    ledger(&sandbox, 20).await;
}

#[tokio::test]
async fn events_go_in_their_order_or_in_any() {
    let receiver = Receiver::start().await;
    let order = async |reorder: bool| {
        let sandbox = with(json!({"webhook": {"url": receiver.url, "reorder": reorder}})).await;
        sandbox.stripe(json!({"events": events(30)})).unwrap();
        let told = ledger(&sandbox, 30).await;
        let sent: Vec<String> = told["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["event"].as_str().unwrap().to_owned())
            .collect();
        sent
    };
    let mut shuffled = order(true).await;
    assert!(!shuffled.is_sorted());
    shuffled.sort();
    assert_eq!(order(false).await, shuffled);
}
