//! What `doctor` says of webhooks: whether they come, whether they are applied, whether they can reach us.

use std::sync::{Arc, Mutex};

use axum::http::header::LOCATION;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use callops::domain::campaign::AccountSettings;
use callops::sandbox::Webhook;
use callops::store::{Tx, setup};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{ACCOUNT_SECRET, ADA, BOB, Serving, VARIABLES, WEBHOOK_SECRET, attempt_to, begin, events, put_account};
use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

/// The rows of one check, as verdict, words and hint.
fn said(story: &Story, check: &str, args: &[&str]) -> Vec<(String, String, String)> {
    let args: Vec<&str> = ["doctor", "--format", "json"].iter().chain(args).copied().collect();
    let rows = story.spawn_with(VARIABLES, &args).wait().json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().expect("rows").iter().filter(|row| row["check"] == check);
    rows.map(|row| (text(row, "verdict"), text(row, "what"), text(row, "hint"))).collect()
}

/// The only row of a check, as verdict and words.
fn only(story: &Story, check: &str) -> (String, String) {
    let mut rows = said(story, check, &[]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (verdict, what, hint) = rows.remove(0);
    assert_eq!(verdict == "ok", hint.is_empty(), "every fault has a hint: {what}");
    (verdict, what)
}

fn ok(what: &str) -> (String, String) {
    ("ok".to_owned(), what.to_owned())
}

async fn sql(story: &Story, statement: &'static str) {
    story
        .write(async |tx| {
            match tx {
                Tx::Sqlite(tx) => sqlx::query(statement).execute(&mut **tx).await.map(|_| ())?,
                Tx::Postgres(tx) => sqlx::query(statement).execute(&mut **tx).await.map(|_| ())?,
            }
            Ok(())
        })
        .await;
}

/// Somebody who answers every request with this status, or never. Yields his address, and what he was asked.
async fn answering(status: Option<u16>) -> (String, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let router = Router::new().fallback(async move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
        assert!(!headers.keys().any(|name| name.as_str().contains("signature")), "{headers:?}");
        seen.lock().expect("the requests").push(format!("{method} {} {body}", uri.path()));
        let Some(status) = status else { return std::future::pending().await };
        (StatusCode::from_u16(status).expect("a status"), [(LOCATION, "https://elsewhere.example/")])
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

/// A provider without calls, that has this assistant and this line.
async fn provider(assistant: Value, line: Value) -> String {
    let router = Router::new()
        .route("/call", get(async || Json(json!([]))))
        .route("/assistant/{id}", get(async move || Json(assistant)))
        .route("/phone-number/{id}", get(async move || Json(line)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Calls everybody who is due, and learns the ends by asking.
async fn call_and_poll(story: &Story) {
    story.process(&[]).await;
    story.wait(TimeDelta::minutes(30));
    story.collect().await;
}

on_both_databases! {
    async fn outcomes_that_no_webhook_told_are_counted(db) {
        let story = begin(db, &[ADA, BOB]).await;
        let settings = |secret: Option<&str>| AccountSettings {
            api_key: "env:ACME_KEY".to_owned(),
            api_secret: None,
            client_id: None,
            data_center: None,
            account_sid: None,
            webhook_secret: secret.map(str::to_owned),
            previous_webhook_secret: None,
            livemode: None,
            webhook_signature: None,
            base_url: Some(story.sandbox.url()),
        };
        put_account(&story, "plain-vapi", settings(None)).await;
        for phone in [ADA, BOB] {
            story.script(phone, json!(["customer-ended-call", "customer-ended-call", "customer-ended-call"])).await;
        }
        assert_eq!(only(&story, "webhooks:acme-vapi"), ok("no call ended in 24 h"));
        let polling_alone = ok("none are set up (webhook_secret): outcomes are learned by polling alone");
        assert_eq!(only(&story, "webhooks:plain-vapi"), polling_alone);

        call_and_poll(&story).await;
        let rows = said(&story, "webhooks:acme-vapi", &[]);
        let (verdict, what, hint) = &rows[0];
        assert_eq!(verdict, "warning");
        assert_eq!(what, "0 of 2 outcomes came by webhook in 24 h: they are learned by polling alone");
        assert!(hint.contains("set public_url") && hint.contains("/api/vapi/webhook/acme-vapi"), "{hint}");
        assert_eq!(only(&story, "webhooks:other-vapi"), ok("no call ended in 24 h"), "each account for itself");

        // One that comes after the poll came all the same.
        let serving = Serving::start(&story);
        let attempt = attempt_to(&story, ADA).await;
        let call = json!({"id": attempt.provider_call_id, "orgId": "org-sandbox", "name": attempt.id});
        let message = json!({"type": "end-of-call-report", "endedReason": "customer-ended-call", "call": call});
        for _ in 0..2 {
            assert_eq!(serving.message(message.clone()).await.0, 200);
        }
        serving.end();
        assert_eq!(only(&story, "webhooks:acme-vapi"), ok("1 of 2 outcomes came by webhook in 24 h"));

        story.wait_until("2026-11-17T15:31:00Z");
        assert_eq!(only(&story, "webhooks:acme-vapi"), ok("no call ended in 24 h"));
        // Who told us last week and is silent now is missed, with a secret or without.
        put_account(&story, "acme-vapi", settings(None)).await;
        call_and_poll(&story).await;
        let (verdict, what) = only(&story, "webhooks:acme-vapi");
        assert!(verdict == "warning" && what.starts_with("0 of 2 outcomes"), "{verdict}: {what}");
        story.wait_until("2026-11-26T15:31:00Z");
        call_and_poll(&story).await;
        assert_eq!(only(&story, "webhooks:acme-vapi"), polling_alone);
    }

    async fn an_inbox_in_which_something_is_stuck_is_a_warning(db) {
        let story = begin(db, &[ADA]).await;
        assert_eq!(only(&story, "inbox"), ok("no webhook waits"));
        call_and_poll(&story).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        sql(&story, "ALTER TABLE campaigns RENAME TO campaigns_away").await;
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": attempt.id, "event_type": "call_completed"})).await;
        sql(&story, "ALTER TABLE campaigns_away RENAME TO campaigns").await;
        serving.report(WEBHOOK_SECRET, &json!({"reminder_id": "unknown", "event_type": "call_answered"})).await;
        serving.end();
        story.wait(TimeDelta::minutes(3));
        let rows = said(&story, "inbox", &[]);
        let (verdict, what, hint) = &rows[0];
        assert_eq!(verdict, "warning");
        assert!(what.starts_with("1 could not be applied, the oldest waits for 2m ") || what.starts_with("1 could not be applied, the oldest waits for 3m"), "{what}");
        assert!(what.contains("campaigns"), "the reason: {what}");
        assert!(hint.contains("list events --status pending") && hint.contains("replay-events --pending"), "{hint}");
        let (verdict, what, _) = &rows[1];
        assert!(verdict == "ok" && what.starts_with("1 of the last 48 h are about no call"), "{verdict}: {what}");
        let (verdict, what) = only(&story, "webhooks:acme-vapi");
        assert!(verdict == "warning" && what.starts_with("0 of 1"), "what is not applied has told nothing: {what}");

        // One that is just being applied is not stuck; one that was left so is.
        sql(&story, "UPDATE events SET tries = 0, reason = NULL WHERE state = 'pending'").await;
        assert_eq!(said(&story, "inbox", &[]).len(), 1);
        story.wait(TimeDelta::minutes(3));
        let rows = said(&story, "inbox", &[]);
        assert!(rows[0].1.ends_with("they were never tried"), "{rows:?}");

        story.run(&["replay-events", "--pending"]).success();
        story.wait(TimeDelta::hours(48));
        assert_eq!(only(&story, "inbox"), ok("no webhook waits"));
    }

    async fn an_address_at_which_serve_answers_is_told_from_all_others(db) {
        let story = begin(db, &[]).await;
        let configure = |url: &str| {
            story.scratch().write("callops.toml", format!("public_url = \"{url}\"\nrequest_timeout = \"1s\"\n"));
        };
        assert!(said(&story, "public_url", &["--online"]).is_empty(), "none is set");
        let serving = Serving::start(&story);
        configure(&serving.url);
        assert!(said(&story, "public_url", &[]).is_empty(), "only --online asks");
        let rows = said(&story, "public_url", &["--online"]);
        for path in ["/api/webhooks/call-status", "/api/vapi/webhook"] {
            let expected = format!("{}{path} asks for a signature, as it should", serving.url);
            assert!(rows.iter().any(|(verdict, what, _)| verdict == "ok" && *what == expected), "{rows:?}");
        }
        assert_eq!(rows.len(), 2);
        assert!(events(&story).is_empty(), "nothing is stored");

        // A proxy that takes the first part of the path away.
        configure(&format!("{}/callops", serving.url));
        let rows = said(&story, "public_url", &["--online"]);
        assert!(rows.iter().all(|(verdict, what, _)| verdict == "warning" && what.contains("something else answers")), "{rows:?}");
        let url = serving.url.clone();
        serving.end();
        configure(&url);
        let rows = said(&story, "public_url", &["--online"]);
        assert!(rows.len() == 1 && rows[0].1.contains("no connection from this machine") && rows[0].2.contains("firewall"), "{rows:?}");

        for (status, words, advice) in [
            (200, "somebody answers without asking for a signature (status 200)", "it is not `callops serve`"),
            (204, "somebody answers without asking for a signature (status 204)", "it is not `callops serve`"),
            (302, "it leads elsewhere (status 302, to https://elsewhere.example/)", "senders do not follow"),
            (401, "turned away before they reach `callops serve` (status 401)", "firewall"),
            (403, "turned away before they reach `callops serve` (status 403)", "firewall"),
            (404, "something else answers there (status 404)", "the path in the proxy"),
            (500, "it answers with status 500", "the log of `callops serve`"),
            (502, "nobody answers behind the proxy (status 502)", "`callops serve` runs"),
        ] {
            let (url, requests) = answering(Some(status)).await;
            configure(&url);
            let rows = said(&story, "public_url", &["--online"]);
            assert_eq!(rows.len(), 2, "{rows:?}");
            for (verdict, what, hint) in &rows {
                assert!(verdict == "warning" && what.contains(words) && hint.contains(advice), "{status}: {what}: {hint}");
            }
            let posts = ["POST /api/webhooks/call-status {}", "POST /api/vapi/webhook {}"];
            assert_eq!(*requests.lock().expect("the requests"), posts, "once each, and no redirect is followed");
        }
        let (url, requests) = answering(Some(401)).await;
        configure(&url.replace("http:", "https:"));
        let rows = said(&story, "public_url", &["--online"]);
        assert!(rows.len() == 1 && rows[0].1.contains("no connection") && rows[0].2.contains("certificate"), "{rows:?}");
        assert!(requests.lock().expect("the requests").is_empty());
        let (url, _) = answering(None).await;
        configure(&url);
        let rows = said(&story, "public_url", &["--online"]);
        assert!(rows.len() == 1 && rows[0].0 == "warning" && rows[0].1.contains("no answer: timed out"), "{rows:?}");
    }

    async fn agents_whose_webhooks_do_not_lead_to_us_are_found(db) {
        let story = begin(db, &[ADA]).await;
        let agent = || {
            let mut rows = said(&story, "agent:acme/checkup", &["--online"]);
            assert_eq!(rows.len(), 1, "{rows:?}");
            rows.remove(0)
        };
        let is = |verdict: &str, words: &str| {
            let (found, what, hint) = agent();
            assert!(found == verdict && what.contains(words), "{found}: {what}");
            hint
        };
        let tells = |url: &str| story.sandbox.set_webhook(Some(Webhook::new(url, ACCOUNT_SECRET))).expect("a webhook");
        assert!(said(&story, "agent:acme/checkup", &[]).is_empty(), "only --online asks");
        is("ok", "the provider has its agent and line");

        story.scratch().write("callops.toml", "public_url = \"http://127.0.0.1:9/base\"\nrequest_timeout = \"2s\"\n");
        let hint = is("warning", "neither its agent nor its line has a server URL");
        assert!(hint.contains("http://127.0.0.1:9/base/api/vapi/webhook/acme-vapi"), "{hint}");
        tells("http://127.0.0.1:9/elsewhere?token=hunter2");
        is("warning", "its webhooks go to http://127.0.0.1:9/elsewhere and not to us: outcomes are learned by polling alone");
        for ours in ["/acme-vapi", "", "?x=1"] {
            tells(&format!("http://127.0.0.1:9/base/api/vapi/webhook{ours}"));
            is("ok", "its webhooks go to http://127.0.0.1:9/base/api/vapi/webhook");
        }
        tells("http://127.0.0.1:9/base/api/vapi/webhook/other-vapi");
        is("warning", "and not to us");

        // Whose webhooks come all the same has them from the organisation's server, which cannot be read.
        story.sandbox.set_webhook(None).expect("no webhook");
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        let call = json!({"id": attempt.provider_call_id, "orgId": "org-sandbox", "name": attempt.id});
        let message = json!({"type": "end-of-call-report", "endedReason": "customer-ended-call", "call": call});
        assert_eq!(serving.message(message).await.0, 200);
        serving.end();
        story.wait(TimeDelta::minutes(5));
        is("ok", "neither names a server URL, but webhooks come");

        for (path, key) in [("/assistant", "assistant_id"), ("/phone-number", "phone_number_id")] {
            story.fault(json!({"kind": "assistant_missing", "match": {"method": "GET", "path": path}}));
            is("problem", &format!("cannot call: vapi does not have its {key}"));
            story.sandbox.clear_faults();
        }
        // Whoever is not reached for one campaign is not asked for the next.
        story.campaign("survey", &rules()).await;
        story.fault(json!({"kind": "refuse_and_drop", "match": {"method": "GET", "path": "/assistant"}}));
        is("warning", "the provider cannot be reached");
        assert!(said(&story, "agent:acme/survey", &["--online"]).is_empty());
        story.sandbox.clear_faults();

        let ours = json!({"server": {"url": "http://127.0.0.1:9/base/api/vapi/webhook"}});
        let mut mute = ours.clone();
        mute["serverMessages"] = json!(["transcript"]);
        for (assistant, line, verdict, words) in [
            (json!({}), ours, "ok", "its webhooks go to http://127.0.0.1:9/base/api/vapi/webhook"),
            (mute, json!({}), "warning", "do not tell how calls end (serverMessages)"),
        ] {
            let settings = AccountSettings {
                api_key: "env:ACME_KEY".to_owned(),
                api_secret: None,
                client_id: None,
                data_center: None,
                account_sid: None,
                webhook_secret: Some("env:ACME_WEBHOOK".to_owned()),
                previous_webhook_secret: None,
                livemode: None,
                webhook_signature: None,
                base_url: Some(provider(assistant, line).await),
            };
            put_account(&story, "acme-vapi", settings).await;
            is(verdict, words);
        }

        let campaign = story.find_campaign("checkup").await;
        let now = story.now();
        story.write(async |tx| setup::set_active(tx, &campaign.id, false, now).await).await;
        assert!(said(&story, "agent:acme/checkup", &["--online"]).is_empty(), "one that is stopped calls nobody");
    }
}
