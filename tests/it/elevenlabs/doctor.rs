//! What `doctor` says of an account of ElevenLabs.

use axum::routing::get;
use axum::{Json, Router};
use callops::domain::campaign::AccountSettings;
use callops::sandbox::Webhook;
use callops::store::setup;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stories::by_agent;
use crate::common::on_both_databases;
use crate::common::story::Story;
use crate::serve::ACCOUNT_SECRET;

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

/// The only row of a check, as verdict, words and hint.
fn said(story: &Story, check: &str) -> (String, String, String) {
    let output = story.spawn_with(&[("ACME_WEBHOOK", ACCOUNT_SECRET)], &["doctor", "--online", "--format", "json"]);
    let rows = output.wait().json();
    let rows: Vec<&Value> = rows.as_array().expect("rows").iter().filter(|row| row["check"] == check).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let text = |key: &str| rows[0][key].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("what"), text("hint"))
}

async fn put(story: &Story, base_url: String) {
    let now = story.now();
    let settings = AccountSettings {
        api_key: "env:ACME_KEY".to_owned(),
        webhook_secret: Some("env:ACME_WEBHOOK".to_owned()),
        previous_webhook_secret: None,
        livemode: None,
        webhook_signature: None,
        api_secret: None,
        client_id: None,
        data_center: None,
        account_sid: None,
        base_url: Some(base_url),
    };
    let mut account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
    "elevenlabs".clone_into(&mut account.provider);
    account.settings = serde_json::to_string(&settings).expect("JSON");
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

/// A workspace without conversations, that has every agent and line, and this webhook.
async fn workspace(hook: Value) -> String {
    let settings = json!({"webhooks": {"post_call_webhook_id": "w", "events": ["transcript"]}});
    let router = Router::new()
        .route("/v1/convai/conversations", get(async || Json(json!({"conversations": [], "has_more": false}))))
        .route("/v1/convai/agents/{id}", get(async || Json(json!({}))))
        .route("/v1/convai/phone-numbers/{id}", get(async || Json(json!({}))))
        .route("/v1/convai/settings", get(async move || Json(settings)))
        .route("/v1/workspace/webhooks", get(async move || Json(json!({"webhooks": [hook]}))));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

on_both_databases! {
    async fn an_agent_whose_webhook_is_off_or_elsewhere_is_found(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        put(&story, story.sandbox.url()).await;
        story.campaign("checkup", &by_agent()).await;
        story.scratch().write("callops.toml", "public_url = \"http://127.0.0.1:9\"\nrequest_timeout = \"2s\"\n");
        let is = |verdict: &str, words: &str| {
            let (found, what, hint) = said(&story, "agent:acme/checkup");
            assert!(found == verdict && what.contains(words), "{found}: {what}");
            hint
        };
        let (verdict, what, _) = said(&story, "account:acme-vapi");
        assert!(verdict == "ok" && what.contains("the provider does not say whose key it is"), "{what}");
        let hint = is("warning", "neither its agent nor the workspace names a post-call webhook");
        assert!(hint.contains("http://127.0.0.1:9/api/voice/post_call/acme-vapi"), "{hint}");
        for ours in ["/api/voice/post_call", "/voice/post_call/acme-vapi"] {
            let hook = Webhook::new(format!("http://127.0.0.1:9{ours}"), ACCOUNT_SECRET);
            story.sandbox.set_webhook(Some(hook)).expect("a webhook");
            is("ok", "its webhooks go to http://127.0.0.1:9");
        }
        for (hook, words) in [
            (json!({"is_auto_disabled": true, "most_recent_failure_error_code": 401, "most_recent_failure_timestamp": 1_794_800_000}),
                "the provider turned it off after failures, the last one status 401 at 2026-11-1"),
            (json!({"is_auto_disabled": true}), "after failures, the last one no answer"),
            (json!({"is_disabled": true}), "it is turned off: outcomes are learned by polling alone"),
        ] {
            let mut hook = hook;
            hook["webhook_id"] = json!("w");
            hook["webhook_url"] = json!("http://127.0.0.1:9/voice/post_call?token=hunter2");
            put(&story, workspace(hook).await).await;
            let hint = is("warning", words);
            assert!(hint.contains("turn the webhook on again"), "{hint}");
            assert!(!said(&story, "agent:acme/checkup").1.contains("hunter2"));
        }
        put(&story, story.sandbox.url()).await;
        let by_trunk = json!({"agent_id": "agent-1", "agent_phone_number_id": "line-1", "via": "sip_trunk"});
        story.campaign("checkup", &callops::domain::campaign::Rules { agent: by_trunk, ..by_agent() }).await;
        let hint = is("problem", "cannot call: its line is one of twilio at elevenlabs");
        assert!(hint.contains("via = \"twilio\""), "{hint}");
        let gone = json!({"agent_id": "missing-1", "agent_phone_number_id": "line-1"});
        put(&story, story.sandbox.url()).await;
        story.campaign("checkup", &callops::domain::campaign::Rules { agent: gone, ..by_agent() }).await;
        is("problem", "cannot call: elevenlabs does not have its agent_id");
    }
}
