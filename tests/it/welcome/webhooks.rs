//! `POST /api/webhooks/stripe`, over real HTTP.

use std::sync::Arc;

use callops::domain::campaign::AccountSettings;
use callops::domain::signature::to_hex;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Barrier;

use super::{ADA, SECRET, account, begin, customer, events_there, happen, put_account, state_of, welcomes};
use crate::common::on_both_databases;
use crate::common::story::Story;
use crate::serve::{Serving, events, until};

const OLD_SECRET: &str = "whsec_former";
const VARIABLES: &[(&str, &str)] =
    &[("ACME_STRIPE_WEBHOOK", SECRET), ("ACME_STRIPE_FORMER", OLD_SECRET), ("OTHER_STRIPE_WEBHOOK", "whsec_other")];

fn serve(story: &Story) -> Serving {
    Serving::with(story, VARIABLES)
}

fn header(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", to_hex(&mac.finalize().into_bytes()))
}

async fn send(serving: &Serving, path: &str, secret: &str, seconds: i64, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let header = header(secret, seconds, &body);
    serving.post(path, &[("Stripe-Signature", &header)], body).await
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/stripe/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
}

on_both_databases! {
    async fn only_a_fresh_signature_with_a_secret_of_the_account_counts(db) {
        let story = begin(db).await;
        let settings = AccountSettings { previous_webhook_secret: Some("env:ACME_STRIPE_FORMER".to_owned()), ..account() };
        put_account(&story, "acme-stripe", settings).await;
        let other = AccountSettings { webhook_secret: Some("env:OTHER_STRIPE_WEBHOOK".to_owned()), ..account() };
        put_account(&story, "other-stripe", other).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        let event = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        let serving = serve(&story);
        let now = story.now().timestamp();
        let path = "/api/webhooks/stripe";
        for (what, path, secret, seconds) in [
            ("a wrong secret", path, "whsec_wrong", now),
            ("an old signature", path, SECRET, now - 400),
            ("the secret of another account", "/api/webhooks/stripe/acme-stripe", "whsec_other", now),
            ("an account that is not there", "/api/webhooks/stripe/nobody", SECRET, now),
        ] {
            let (status, answer) = send(&serving, path, secret, seconds, &event).await;
            assert_eq!((status, answer), (401, json!({"error": "unauthorized"})), "{what}");
        }
        let body = event.to_string();
        let (status, _) = serving.post(path, &[], body.clone()).await;
        assert_eq!(status, 401, "no signature");
        let signature = header(SECRET, now, &body);
        let (status, _) = serving.post(path, &[("Stripe-Signature", &signature)], body.replace("paid", "paId")).await;
        assert_eq!(status, 401, "another body");
        assert_eq!(events(&story).len(), 0, "nothing is stored of a stranger");
        // Rolled: the former secret signs beside the new one.
        let both = format!("{},{}", header(OLD_SECRET, now, &body), header("whsec_next", now, &body).split_once(',').unwrap().1);
        let (status, answer) = serving.post(path, &[("Stripe-Signature", &both)], body.clone()).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(true)), "{answer}");
        let (status, answer) = send(&serving, "/api/webhooks/stripe/acme-stripe", SECRET, now, &event).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("duplicate")), "{answer}");
        assert_eq!(state_of(&story, "cus_1"), "enrolled");
        // Of the other account: nobody welcomes its customers.
        let (status, answer) = send(&serving, path, "whsec_other", now, &event).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(false)));
        assert!(answer["reason"].as_str().unwrap().contains("no tenant welcomes"), "{answer}");
        for body in [json!([]), json!({"object": "charge"}), json!({"id": "evt_1", "object": "event", "type": "a", "created": 1, "livemode": true})] {
            let (status, answer) = send(&serving, path, SECRET, now, &body).await;
            assert_eq!(status, 400, "{answer}");
        }
        assert_eq!(story.rings(), 0);
        serving.end();
    }

    async fn the_services_own_examples_are_taken(db) {
        let story = begin(db).await;
        crate::welcome::put_tenant(&story, callops::domain::welcome::WelcomeSettings {
            welcome_since: "2024-07-01T00:00:00Z".parse().unwrap(), ..crate::welcome::welcome()
        }).await;
        customer(&story, "cus_QXg1o8vcGmoR32", json!({"created": 1_721_949_990, "name": "Jane Example"}));
        let serving = serve(&story);
        for (name, applied) in [("checkout.session.completed", true), ("invoice.paid", false), ("customer.subscription.created", false)] {
            let event = fixture(name);
            let (status, answer) = send(&serving, "/api/webhooks/stripe", SECRET, story.now().timestamp(), &event).await;
            assert_eq!((status, &answer["applied"]), (200, &json!(applied)), "{name} {answer}");
        }
        // The checkout's phone is one of Twilio's for tests, of a number that is nowhere.
        assert_eq!(state_of(&story, "cus_QXg1o8vcGmoR32"), "no_timezone");
        let kinds: Vec<Value> = events(&story).iter().map(|event| event["kind"].clone()).collect();
        assert_eq!(kinds, ["checkout.session.completed", "invoice.paid", "customer.subscription.created"]);
        serving.end();
    }

    async fn customers_told_of_six_times_at_once_are_welcomed_once(db) {
        let story = begin(db).await;
        let mut all = Vec::new();
        for n in 0..20 {
            let id = format!("cus_{n}");
            customer(&story, &id, json!({"phone": format!("+12025550{:03}", 100 + n)}));
            for kind in ["checkout_paid", "invoice_paid", "subscription_active"] {
                story.sandbox.stripe(json!({"usual": {"kind": kind, "customer": id}})).unwrap();
            }
        }
        all.extend(events_there(&story).await);
        assert_eq!(all.len(), 60);
        let serving = serve(&story);
        let barrier = Arc::new(Barrier::new(120));
        let now = story.now().timestamp();
        let mut tasks = tokio::task::JoinSet::new();
        for event in all.iter().chain(&all) {
            let body = event.to_string();
            let request = serving.client.post(format!("{}/api/webhooks/stripe", serving.url));
            let request = request.header("Stripe-Signature", header(SECRET, now, &body)).body(body);
            let barrier = Arc::clone(&barrier);
            tasks.spawn(async move {
                barrier.wait().await;
                request.send().await.expect("an answer").status().as_u16()
            });
        }
        while let Some(status) = tasks.join_next().await {
            assert_eq!(status.expect("an answer"), 200);
        }
        let stored = events(&story);
        assert_eq!(stored.len(), 60);
        assert!(stored.iter().all(|event| event["deliveries"] == 2 && event["status"] != "pending"), "{stored:?}");
        let states: Vec<Value> = welcomes(&story).iter().map(|one| one["status"].clone()).collect();
        assert_eq!(states, vec![json!("enrolled"); 20]);
        story.wait(TimeDelta::hours(2));
        story.process(&["--concurrency", "50"]).await;
        assert_eq!(story.rings(), 20);
        serving.end();
    }

    async fn a_server_that_dies_between_storing_and_applying_loses_nothing(db) {
        let story = begin(db).await;
        customer(&story, "cus_1", json!({"phone": ADA}));
        let event = happen(&story, json!({"kind": "checkout_paid", "customer": "cus_1"})).await;
        let log = story.scratch().path().join("points");
        let count = |name: &str| std::fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.ends_with(name)).count();
        let log_path = log.display().to_string();
        let with_log: Vec<(&str, &str)> = VARIABLES.iter().copied().chain([("CALLOPS_FAIL_LOG", log_path.as_str())]).collect();
        let body = event.to_string();
        let signature = header(SECRET, story.now().timestamp(), &body);
        // Where the point is, by a server that is asked something else first.
        let trial = Serving::with(&story, &with_log);
        let (status, _) = send(&trial, "/api/webhooks/stripe", SECRET, story.now().timestamp(),
            &json!({"id": "evt_t", "object": "event", "type": "ping", "created": 1, "livemode": false, "data": {"object": {}}})).await;
        assert_eq!(status, 200);
        let points = std::fs::read_to_string(&log).unwrap();
        let at = points.lines().position(|line| line.ends_with("inbox.stored")).expect("the point") + 1;
        trial.end();
        assert_eq!(count("inbox.stored"), 1);
        let at = at.to_string();
        let dying: Vec<(&str, &str)> = VARIABLES.iter().copied().chain([("CALLOPS_FAIL_AT", at.as_str())]).collect();
        let mut serving = Serving::with(&story, &dying);
        let sent = serving.client.post(format!("{}/api/webhooks/stripe", serving.url)).header("Stripe-Signature", &signature).body(body).send().await;
        assert!(sent.is_err(), "the server died: {sent:?}");
        until("over", async || true).await;
        for _ in 0..500 {
            if serving.running.is_over() { break; }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(serving.running.is_over());
        let stored = events(&story);
        assert_eq!(stored.iter().filter(|one| one["status"] == "pending").count(), 1, "{stored:?}");
        assert_eq!(welcomes(&story).len(), 0);
        story.process(&[]).await;
        assert_eq!(state_of(&story, "cus_1"), "enrolled");
        // Stripe sends it again.
        let serving = serve(&story);
        let (status, answer) = send(&serving, "/api/webhooks/stripe", SECRET, story.now().timestamp(), &event).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("duplicate")), "{answer}");
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        story.process(&[]).await;
        assert_eq!(story.rings(), 1);
        serving.end();
    }
}
