//! Sessions: conversations that an application tells of, and what is made of them.

use callops::domain::campaign::{AccountSettings, TenantSettings};
use callops::sandbox::Webhook;
use callops::store::Tx;
use callops::store::setup::{self, Tenant};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ACCOUNT_SECRET, ADA, Serving, attempt_to, begin, until};
use crate::common::story::{Story, reqwest_client};
use crate::common::{TestDatabase, on_both_databases};

const ACME: &str = "Bearer the-token-of-acme";
const OTHER: &str = "Bearer the-token-of-other";
/// Who the conversations of these tests are with, at the provider.
const LINE: &str = "+12025550188";

/// Two tenants whose applications tell of sessions, and a server.
async fn open(db: TestDatabase) -> (Story, Serving) {
    let story = begin(db, &[]).await;
    let mapping = json!({
        "name": "customer_name", "phone": "customer_phone", "email": "customer_email", "intent": "intent",
        "booking": {"intents": ["booking"], "fields": {"service": "service", "day": "day"}},
        "ticket": {"intents": ["complaint"], "fields": {"subject": "complaint"}},
    });
    let now = story.now();
    for (name, token) in [("acme", "env:ACME_TOKEN"), ("other", "env:OTHER_TOKEN")] {
        let settings = TenantSettings {
            api_token: Some(token.to_owned()),
            voice_account: Some("acme-vapi".to_owned()),
            records: Some(serde_json::from_value(mapping.clone()).expect("a mapping")),
            ..TenantSettings::default()
        };
        let tenant = Tenant {
            name: name.to_owned(),
            display_name: name.to_owned(),
            region: Some("US".to_owned()),
            timezone: Some("America/New_York".to_owned()),
            settings: serde_json::to_string(&settings).expect("JSON"),
        };
        story.write(async |tx| setup::put_tenant(tx, &tenant, now).await).await;
    }
    let serving = Serving::start(&story);
    (story, serving)
}

impl Serving {
    async fn tell(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        self.post(path, &[("Authorization", token)], body.to_string()).await
    }

    /// A session that begins; yields its id.
    async fn session(&self, body: Value) -> String {
        let (status, answer) = self.tell("/voice/sessions", ACME, body).await;
        assert_eq!((status, &answer["status"]), (201, &json!("ACTIVE")), "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    async fn status(&self, id: &str) -> Value {
        let url = format!("{}/voice/sessions/{id}/status", self.url);
        let answer = self.client.get(url).header("Authorization", ACME).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        answer.json().await.expect("JSON")
    }
}

/// A conversation at the provider, of which this is extracted. Yields its id.
async fn conversation(story: &Story, name: &str, extracted: Value) -> String {
    let outcome = json!({"ended_reason": "customer-ended-call", "talk_seconds": 60, "extracted": extracted});
    story.control("script", json!({"phone": LINE, "outcomes": [outcome]})).await;
    let body = json!({"assistantId": "a", "phoneNumberId": "line", "name": name, "customer": {"number": LINE}});
    let request = reqwest_client().post(format!("{}/call", story.sandbox.url())).bearer_auth("sandbox-key").json(&body);
    let record: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    record["id"].as_str().expect("an id").to_owned()
}

fn everything() -> Value {
    json!({"customer_name": "Ada Lovelace", "customer_phone": "(802) 223-6942", "customer_email": "ada@example.com",
        "intent": ["booking", "complaint"], "service": "Cleaning", "day": "Friday", "complaint": "the door is stuck"})
}

/// How many rows a kind has, as `list` shows it.
fn listed(story: &Story, kind: &str) -> usize {
    story.run(&["list", kind, "--format", "json"]).success().json().as_array().expect("rows").len()
}

fn status(session: &str, processing: Option<&str>, has: [bool; 3], webhook: bool) -> Value {
    json!({"session_status": session, "processing_status": processing, "has_customer_data": has[0],
        "has_booking": has[1], "has_ticket": has[2], "webhook_processed": webhook})
}

on_both_databases! {
    async fn a_session_becomes_one_contact_one_booking_and_one_ticket(db) {
        let (story, serving) = open(db).await;
        let call = conversation(&story, "whatever", everything()).await;
        let id = serving.session(json!({"external_id": "visit-7", "metadata": {"page": "/prices"}})).await;
        assert_eq!(listed(&story, "contacts"), 0, "a session is no contact");
        assert_eq!(serving.status(&id).await, status("ACTIVE", None, [false; 3], false));
        story.wait(TimeDelta::minutes(5));
        let path = format!("/voice/sessions/{id}/end");
        for _ in 0..2 {
            let (status, answer) = serving.tell(&path, ACME, json!({"conversation_id": call})).await;
            assert_eq!((status, answer), (200, json!({"status": "success"})));
        }
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
        for _ in 0..2 {
            let (status, answer) = serving.tell(&format!("/voice/sessions/{id}/process"), ACME, json!({})).await;
            assert_eq!((status, answer), (200, json!({"status": "processed"})));
            story.run(&["collect-outcomes", "--session", &id]).success();
            story.collect().await;
        }
        let contacts = story.run(&["list", "contacts", "--format", "json"]).success().json();
        assert_eq!((contacts.as_array().expect("rows").len(), &contacts[0]["name"], &contacts[0]["phone"]),
            (1, &json!("Ada Lovelace"), &json!("+18022236942")));
        let shown = story.run(&["show", "session", &id, "--format", "json"]).success().json();
        assert_eq!(shown["bookings"][0]["fields"], json!({"day": "Friday", "service": "Cleaning"}));
        assert_eq!(shown["tickets"][0]["fields"], json!({"subject": "the door is stuck"}));
        assert_eq!(shown["bookings"][0]["contact"], contacts[0]["id"]);
        assert_eq!(shown["metadata"], json!({"page": "/prices"}));
        for (kind, part) in [("booking", "bookings"), ("ticket", "tickets")] {
            let record = story.run(&["show", kind, &id, "--format", "json"]).success().json();
            assert_eq!((&record["fields"], &record["contact"]), (&shown[part][0]["fields"], &contacts[0]["id"]));
            assert!(record["transcript"].is_string(), "{record}");
            story.run(&["show", kind, "nobody"]).exits(2);
        }
        assert_eq!((listed(&story, "bookings"), listed(&story, "tickets"), listed(&story, "sessions")), (1, 1, 1));
    }

    async fn an_empty_conversation_makes_nothing(db) {
        let (story, serving) = open(db).await;
        for extracted in [json!({}), json!({"customer_name": "unknown", "customer_phone": "+18022236942"}),
            json!({"customer_name": "Ada", "customer_phone": "12"}), json!({"customer_name": "", "customer_phone": null})] {
            let call = conversation(&story, "whatever", extracted).await;
            let id = serving.session(json!({"conversation_id": call})).await;
            story.wait(TimeDelta::minutes(5));
            assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await.0, 200);
            assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [false; 3], false));
        }
        assert_eq!((listed(&story, "contacts"), listed(&story, "bookings"), listed(&story, "tickets")), (0, 0, 0));
    }

    async fn what_the_provider_is_not_done_with_is_asked_for_until_it_is(db) {
        let (story, serving) = open(db).await;
        story.control("settings", json!({"analysis_seconds": 300})).await;
        let call = conversation(&story, "whatever", everything()).await;
        let id = serving.session(json!({"conversation_id": call})).await;
        // The application says that it is over while the provider still talks, and then analyses.
        let (code, answer) = serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await;
        assert_eq!((code, answer), (200, json!({"status": "success"})));
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("pending"), [false; 3], false));
        let (_, answer) = serving.tell(&format!("/voice/sessions/{id}/process"), ACME, json!({})).await;
        assert_eq!(answer["status"], "pending", "{answer}");
        story.wait(TimeDelta::minutes(2));
        story.collect().await;
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("processing"), [false; 3], false));
        assert_eq!(listed(&story, "contacts"), 0);
        for _ in 0..10 {
            story.wait(TimeDelta::minutes(1));
            story.collect().await;
        }
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
    }

    async fn a_provider_that_fails_is_no_failure_of_the_session(db) {
        let (story, serving) = open(db).await;
        let call = conversation(&story, "whatever", everything()).await;
        let id = serving.session(json!({"conversation_id": call})).await;
        story.wait(TimeDelta::minutes(5));
        story.fault(json!({"kind": "server_error", "status": 503, "match": {"method": "GET"}}));
        let (code, answer) = serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await;
        assert_eq!((code, answer), (200, json!({"status": "success"})));
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("pending"), [false; 3], false));
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(1));
        story.collect().await;
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
    }

    async fn a_session_whose_id_nobody_told_is_found_after_a_failure_too(db) {
        let (story, serving) = open(db).await;
        let id = serving.session(json!({})).await;
        conversation(&story, &id, everything()).await;
        story.wait(TimeDelta::minutes(5));
        story.fault(json!({"kind": "server_error", "status": 503, "match": {"method": "GET"}}));
        assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await.0, 200);
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("pending"), [false; 3], false));
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(1));
        story.collect().await;
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
    }

    async fn a_session_of_elevenlabs_is_found_by_its_name_and_processed_when_it_is_analysed(db) {
        let (story, serving) = open(db).await;
        let settings = AccountSettings {
            api_key: "env:ACME_KEY".to_owned(),
            base_url: Some(story.sandbox.url()),
            ..AccountSettings::default()
        };
        let now = story.now();
        story.write(async |tx| {
            let mut account = setup::accounts(tx).await?.remove(0);
            "acme-voice".clone_into(&mut account.name);
            "elevenlabs".clone_into(&mut account.provider);
            account.settings = serde_json::to_string(&settings).expect("JSON");
            setup::put_account(tx, &account, now).await?;
            let mut tenant = setup::tenant(tx, "acme").await?.expect("the tenant");
            let mut settings = tenant.settings()?;
            settings.voice_account = Some("acme-voice".to_owned());
            tenant.settings = serde_json::to_string(&settings).expect("JSON");
            setup::put_tenant(tx, &tenant, now).await
        }).await;
        story.control("settings", json!({"analysis_seconds": 120})).await;
        let id = serving.session(json!({"external_id": "visit-9"})).await;
        let outcome = json!({"ended_reason": "customer-ended-call", "talk_seconds": 60, "extracted": everything()});
        story.control("script", json!({"phone": LINE, "outcomes": [outcome]})).await;
        let body = json!({"agent_id": "a", "agent_phone_number_id": "line", "to_number": LINE,
            "conversation_initiation_client_data": {"user_id": id}});
        let url = format!("{}/v1/convai/twilio/outbound-call", story.sandbox.url());
        let placed = reqwest_client().post(url).header("xi-api-key", "sandbox-key").json(&body).send().await.expect("an answer");
        assert!(placed.status().is_success());
        story.wait(TimeDelta::seconds(90));
        // It is `processing` when the application ends it.
        assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await.0, 200);
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("processing"), [false; 3], false));
        assert_eq!(listed(&story, "contacts"), 0);
        for _ in 0..5 {
            story.wait(TimeDelta::minutes(1));
            story.collect().await;
        }
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
        assert_eq!((listed(&story, "contacts"), listed(&story, "bookings"), listed(&story, "tickets")), (1, 1, 1));
    }

    async fn two_sessions_of_one_conversation_keep_nobody_waiting(db) {
        let (story, serving) = open(db).await;
        let first = serving.session(json!({})).await;
        let call = conversation(&story, &first, everything()).await;
        // The page was loaded once more.
        let second = serving.session(json!({})).await;
        story.wait(TimeDelta::minutes(5));
        let (code, _) = serving.tell(&format!("/voice/sessions/{second}/end"), ACME, json!({"conversation_id": call})).await;
        assert_eq!(code, 200);
        let message = json!({"type": "status-update", "status": "in-progress", "call": {"id": call, "name": first}});
        let (code, answer) = serving.message(message).await;
        assert_eq!((code, &answer["reason"]), (200, &json!("another session has this conversation")));
        for _ in 0..3 {
            story.wait(TimeDelta::hours(2));
            let (_, exit) = story.collect().await;
            assert_eq!(exit, callops::error::Exit::Success);
        }
        assert_eq!(serving.status(&second).await, status("COMPLETED", Some("completed"), [true; 3], false));
        story.wait(TimeDelta::hours(24));
        story.collect().await;
        assert_eq!(serving.status(&first).await["session_status"], "COMPLETED");
        assert_eq!((listed(&story, "contacts"), listed(&story, "bookings")), (1, 1));
    }

    async fn a_conversation_of_a_call_is_no_sessions_and_an_unknown_one_ends(db) {
        let (story, serving) = open(db).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let call = attempt.provider_call_id.expect("an id");
        for token in [ACME, OTHER] {
            let (code, answer) = serving.tell("/voice/sessions", token, json!({"conversation_id": call})).await;
            assert_eq!((code, &answer["error"]), (409, &json!("a call has this conversation")));
        }
        let id = serving.session(json!({})).await;
        assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({"conversation_id": call})).await.0, 409);
        // A request that is repeated since its answer was lost.
        let unknown = json!({"conversation_id": "nowhere", "external_id": "visit-1"});
        let lost = serving.session(unknown.clone()).await;
        assert_eq!(serving.session(unknown).await, lost);
        assert_eq!(serving.tell("/voice/sessions", OTHER, json!({"conversation_id": "nowhere"})).await.0, 409);
        for _ in 0..30 {
            story.wait(TimeDelta::hours(1));
            story.collect().await;
        }
        assert_eq!(serving.status(&lost).await["session_status"], "COMPLETED");
    }

    async fn a_record_that_cannot_be_read_keeps_no_other_session_waiting(db) {
        let (story, serving) = open(db).await;
        let mut ids = Vec::new();
        for n in 0..4 {
            let call = conversation(&story, "whatever", everything()).await;
            let id = serving.session(json!({"conversation_id": call})).await;
            if n < 2 {
                let kind = ["unauthorized_all", "server_error"][n];
                story.fault(json!({"kind": kind, "match": {"method": "GET", "path": format!("/call/{call}")}}));
            }
            ids.push(id);
        }
        story.wait(TimeDelta::hours(2));
        story.collect().await;
        let account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
        assert!(account.held_until.is_none(), "one tenant's wrong id stops nobody's calls");
        for (id, expected) in ids.iter().zip(["ACTIVE", "ACTIVE", "COMPLETED", "COMPLETED"]) {
            assert_eq!(serving.status(id).await["session_status"], expected);
        }
    }

    async fn a_customer_who_comes_again_is_known_and_an_import_that_she_is_of_stays(db) {
        let (story, serving) = open(db).await;
        story.scratch().write("list.csv", "name,phone\nAda,+18022236942\n");
        let import = story.run(&["import-contacts", "list.csv", "--tenant", "acme", "--format", "json"]).success().json();
        let call = conversation(&story, "whatever", everything()).await;
        let id = serving.session(json!({"conversation_id": call})).await;
        story.wait(TimeDelta::minutes(5));
        assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({})).await.0, 200);
        assert_eq!(serving.status(&id).await, status("COMPLETED", Some("completed"), [true; 3], false));
        let contacts = story.run(&["list", "contacts", "--format", "json"]).success().json();
        assert_eq!((contacts.as_array().expect("rows").len(), &contacts[0]["name"]), (1, &json!("Ada")), "a known name stays");
        let undone = story.run(&["undo-import", import["import"].as_str().expect("an id"), "--yes"]);
        assert!(!undone.stderr.to_lowercase().contains("foreign"), "{undone}");
        assert_eq!((listed(&story, "contacts"), listed(&story, "bookings")), (1, 1));
    }

    async fn a_session_that_nobody_ends_is_looked_up(db) {
        let (story, serving) = open(db).await;
        let named = serving.session(json!({})).await;
        // The application named the conversation by the session, and told nobody its id.
        conversation(&story, &named, everything()).await;
        let nameless = serving.session(json!({})).await;
        story.wait(TimeDelta::minutes(59));
        story.collect().await;
        assert_eq!(serving.status(&named).await["session_status"], "ACTIVE");
        story.wait(TimeDelta::minutes(2));
        story.collect().await;
        assert_eq!(serving.status(&named).await, status("COMPLETED", Some("completed"), [true; 3], false));
        assert_eq!(serving.status(&nameless).await["session_status"], "ACTIVE");
        story.wait(TimeDelta::hours(24));
        story.collect().await;
        let ended = serving.status(&nameless).await;
        assert_eq!((&ended["session_status"], &ended["has_customer_data"]), (&json!("COMPLETED"), &json!(false)));
    }

    async fn a_webhook_and_twenty_processes_at_once_make_each_record_once(db) {
        let (story, serving) = open(db).await;
        let call = conversation(&story, "whatever", everything()).await;
        let id = serving.session(json!({"conversation_id": call})).await;
        story.wait(TimeDelta::minutes(5));
        let message = json!({"type": "end-of-call-report", "endedReason": "customer-ended-call", "cost": 0.2,
            "startedAt": "2026-11-16T15:00:10.000Z", "endedAt": "2026-11-16T15:01:10.000Z",
            "analysis": {"summary": "S", "structuredData": everything()}, "artifact": {"transcript": "T"},
            "call": {"id": call, "orgId": "org-sandbox"}});
        let processes: Vec<_> = (0..20).map(|_| story.spawn(&["collect-outcomes", "--session", &id])).collect();
        let end = format!("/voice/sessions/{id}/end");
        let (end, told) = tokio::join!(
            serving.tell(&end, ACME, json!({})),
            serving.message(message)
        );
        assert_eq!((end.0, told.0), (200, 200));
        for process in processes {
            process.wait().success();
        }
        assert_eq!((listed(&story, "contacts"), listed(&story, "bookings"), listed(&story, "tickets")), (1, 1, 1));
    }

    async fn webhooks_end_sessions_too_whatever_comes_first(db) {
        let (story, serving) = open(db).await;
        let webhook = Webhook { double_percent: 50.0, ..Webhook::new(format!("{}/api/vapi/webhook", serving.url), ACCOUNT_SECRET) };
        story.sandbox.set_webhook(Some(webhook)).expect("a webhook");
        let id = serving.session(json!({})).await;
        let other = serving.session(json!({})).await;
        let call = conversation(&story, &id, everything()).await;
        story.wait(TimeDelta::minutes(5));
        let completed = status("COMPLETED", Some("completed"), [true; 3], true);
        until("told", async || serving.status(&id).await == completed).await;
        assert_eq!(serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({"conversation_id": call})).await.0, 200);
        assert_eq!(serving.status(&id).await, completed);
        let (code, answer) = serving.tell(&format!("/voice/sessions/{other}/end"), ACME, json!({"conversation_id": call})).await;
        assert_eq!((code, &answer["error"]), (409, &json!("another session has this conversation")));
        let (code, answer) = serving.tell(&format!("/voice/sessions/{id}/end"), ACME, json!({"conversation_id": "x"})).await;
        assert_eq!((code, &answer["error"]), (409, &json!("the session has another conversation")));
    }

    async fn strangers_and_wrong_bodies_are_refused(db) {
        let (story, serving) = open(db).await;
        let id = serving.session(json!({})).await;
        for token in ["", "Bearer wrong", "the-token-of-acme", "Bearer the-cron-secret", "Bearer "] {
            for path in ["/voice/sessions".to_owned(), format!("/voice/sessions/{id}/end"), format!("/voice/sessions/{id}/process")] {
                let (code, answer) = serving.tell(&path, token, json!({})).await;
                assert_eq!((code, answer), (401, json!({"error": "unauthorized"})), "{token} {path}");
            }
        }
        for path in [format!("/voice/sessions/{id}/end"), format!("/voice/sessions/{id}/process"), "/voice/sessions/nobody/end".to_owned()] {
            assert_eq!(serving.tell(&path, OTHER, json!({})).await.0, 404, "another tenant's session is none: {path}");
        }
        for (body, field) in [
            (json!([]), ""), (json!("x"), ""), (json!({"external_id": 7}), "external_id"), (json!({"external_id": ""}), "external_id"),
            (json!({"conversation_id": "\u{0}"}), "conversation_id"), (json!({"metadata": []}), "metadata"),
            (json!({"metadata": {"x": "y".repeat(70_000)}}), "metadata"),
        ] {
            let (code, answer) = serving.tell("/voice/sessions", ACME, body).await;
            assert_eq!((code, &answer["fields"][0]["field"]), (400, &json!(field)), "{answer}");
        }
        assert_eq!(listed(&story, "sessions"), 1);
        story.run(&["collect-outcomes", "--session", "nobody"]).exits(2);
        story.run(&["show", "session", "nobody"]).exits(2);
    }

    async fn a_blank_contact_cannot_be_written(db) {
        let (story, _serving) = open(db).await;
        let columns = "(id, tenant, phone, name, attributes, conversation_id, created_at, updated_at)";
        for (phone, name, conversation) in [("''", "'Ada'", "NULL"), ("'+1'", "'Ada'", "NULL"), ("'+12025550101'", "NULL", "'c'"), ("'+12025550101'", "'  '", "'c'")] {
            let statement = format!("INSERT INTO contacts {columns} VALUES ('x', 'acme', {phone}, {name}, '{{}}', {conversation}, $1, $1)");
            let now = story.now();
            let result = story.db().await.write(async |tx| {
                let statement = sqlx::AssertSqlSafe(statement.clone());
                match tx {
                    Tx::Sqlite(tx) => sqlx::query(statement).bind(now).execute(&mut **tx).await.map(drop)?,
                    Tx::Postgres(tx) => sqlx::query(statement).bind(now).execute(&mut **tx).await.map(drop)?,
                }
                Ok(())
            }).await;
            let error = result.expect_err("the schema forbids it").to_string();
            assert!(error.to_lowercase().contains("check"), "{error}");
        }
    }
}
