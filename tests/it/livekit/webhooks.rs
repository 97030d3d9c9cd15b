//! LiveKit's webhooks: in whatever order, doubled or lost, they come to the same.

use std::collections::BTreeMap;

use callops::domain::call::AttemptState;
use callops::domain::campaign::Rules;
use callops::domain::conversation::ConversationStatus;
use callops::domain::evidence::RetryPolicy;
use callops::domain::outcome::Outcome;
use callops::domain::secret::Secret;
use callops::domain::signature::livekit::sign;
use callops::sandbox::Webhook;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::stories::{ADA, begin, rules};
use crate::common::story::{Story, reqwest_client};
use crate::common::{TestDatabase, block_on, on_both_databases};
use crate::serve::{Serving, WEBHOOK_SECRET, attempt_to, events, until};

const PATH: &str = "/api/webhooks/livekit";
const KEY: &str = "sandbox-key";

async fn tell(story: &Story, serving: &Serving, path: &str, key: &str, event: &Value) -> (u16, Value) {
    let body = event.to_string();
    let token = sign(KEY, &Secret::new(key), body.as_bytes(), story.now());
    serving.post(path, &[("Authorization", token.expose()), ("Content-Type", "application/webhook+json")], body).await
}

fn event(kind: &str, id: &str, room: &str, status: &str, reason: Option<&str>) -> Value {
    let mut event = json!({
        "event": kind, "id": id, "createdAt": "1763305230", "room": {"sid": "RM_1", "name": room},
        "participant": {
            "sid": "PA_1", "identity": format!("callee-{room}"), "kind": "SIP",
            "attributes": {"sip.callStatus": status, "sip.phoneNumber": ADA},
        },
    });
    if let Some(reason) = reason {
        event["participant"]["disconnectReason"] = json!(reason);
    }
    event
}

fn completed(id: &str, response: &str) -> Value {
    let outcome = json!({"connected": true, "duration": 30, "customer_response": response});
    json!({"reminder_id": id, "event_type": "call_completed", "outcome": outcome})
}

/// Everything that a test compares of the newest attempt and its call.
async fn end(story: &Story, phone: &str) -> Value {
    let attempt = attempt_to(story, phone).await;
    let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
    json!([
        attempt.state.as_str(),
        attempt.outcome,
        attempt.reason,
        attempt.may_have_rung,
        call.status.as_str(),
        call.outcome,
        call.next_attempt_at.is_some(),
    ])
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..count {
        orders = (orders.into_iter())
            .flat_map(|order: Vec<usize>| {
                (0..count)
                    .filter(|next| !order.contains(next))
                    .map(|next| [&order[..], &[next]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    orders
}

on_both_databases! {
    async fn only_the_accounts_own_key_signs(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.put_account_with("livekit", "other-livekit", "env:OTHER_KEY", 10).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        let room = attempt_to(&story, ADA).await.id;
        let serving = Serving::start(&story);
        let left = event("participant_left", "EV_1", &room, "ringing", Some("USER_UNAVAILABLE"));
        for (path, key) in [(PATH, "hunter2"), ("/api/webhooks/livekit/other-livekit", KEY), ("/api/webhooks/livekit/nobody", KEY)] {
            assert_eq!(tell(&story, &serving, path, key, &left).await.0, 401, "{path} {key}");
        }
        let body = left.to_string();
        let token = sign(KEY, &Secret::new(KEY), body.as_bytes(), story.now());
        for header in [format!("Bearer {}", token.expose()), String::new(), "ey.ey.ey".to_owned()] {
            assert_eq!(serving.post(PATH, &[("Authorization", &header)], body.clone()).await.0, 401, "{header}");
        }
        assert_eq!(serving.post(PATH, &[("Authorization", token.expose())], format!("{body} ")).await.0, 401);
        // Another account's key may sign for its own calls alone.
        let token = sign("other-key", &Secret::new("other-key"), body.as_bytes(), story.now());
        let (status, answer) = serving.post(PATH, &[("Authorization", token.expose())], body.clone()).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(false)), "{answer}");
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Unknown);
        let (status, answer) = tell(&story, &serving, "/api/webhooks/livekit/acme-livekit", KEY, &left).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(true)), "{answer}");
        assert_eq!(attempt_to(&story, ADA).await.outcome, Some(Outcome::NoAnswer));
        let output = serving.end();
        assert!(!output.stderr.contains(token.expose()) && !output.stderr.contains("sandbox-key"), "{output}");
    }

    async fn the_same_id_is_the_same_event(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        let room = attempt_to(&story, ADA).await.id;
        let serving = Serving::start(&story);
        let joined = event("participant_joined", "EV_1", &room, "active", None);
        assert_eq!(tell(&story, &serving, PATH, KEY, &joined).await.1["applied"], true);
        let (_, answer) = tell(&story, &serving, PATH, KEY, &joined).await;
        assert_eq!(answer["reason"], "duplicate", "{answer}");
        let again = event("participant_joined", "EV_2", &room, "active", None);
        let (_, answer) = tell(&story, &serving, PATH, KEY, &again).await;
        assert_eq!(answer["reason"], "the attempt is answered", "another event of the same kind");
        for kind in ["room_started", "room_finished", "track_published", "something_new"] {
            let (status, answer) = tell(&story, &serving, PATH, KEY, &json!({"event": kind, "id": kind, "room": {"name": room}})).await;
            assert_eq!((status, &answer["reason"]), (200, &json!("it says nothing of a call")), "{answer}");
        }
        let (status, answer) = tell(&story, &serving, PATH, KEY, &json!({"event": "room_started"})).await;
        assert_eq!((status, &answer["fields"][0]["field"]), (400, &json!("id")), "{answer}");
        assert_eq!(events(&story).len(), 6);
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Answered);
    }

    async fn every_order_of_events_and_reports_comes_to_the_same(db) {
        for (reason, status, response) in [
            ("USER_REJECTED", "hangup", None),
            ("USER_UNAVAILABLE", "ringing", None),
            ("CLIENT_INITIATED", "hangup", None),
            ("CLIENT_INITIATED", "hangup", Some("no_answer")),
            ("ROOM_DELETED", "active", Some("will_pay_today")),
        ] {
            let orders = orders(if response.is_some() { 4 } else { 3 });
            let phones: Vec<String> = (0..orders.len()).map(|n| format!("+12025550{:03}", 200 + n)).collect();
            let story = begin(db.copy(), &rules(), &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
            story.fault(json!({"kind": "accept_and_drop"}));
            // Nothing is known of them, and no streak of silence ends the run.
            while story.rings() < phones.len() {
                story.process(&["--concurrency", "50"]).await;
                story.wait(TimeDelta::minutes(1));
            }
            let serving = Serving::start(&story);
            let mut ends = Vec::new();
            for (order, phone) in orders.iter().zip(&phones) {
                let id = attempt_to(&story, phone).await.id;
                let told = [
                    event("participant_joined", &format!("{id}-1"), &id, "active", None),
                    event("participant_left", &format!("{id}-2"), &id, status, Some(reason)),
                    json!({"event": "room_finished", "id": format!("{id}-3"), "room": {"name": id}}),
                ];
                for which in order {
                    for _ in 0..2 {
                        let (status, answer) = match told.get(*which) {
                            Some(event) => tell(&story, &serving, PATH, KEY, event).await,
                            None => serving.report(WEBHOOK_SECRET, &completed(&id, response.expect("a response"))).await,
                        };
                        assert_eq!(status, 200, "{answer}");
                    }
                }
                ends.push(end(&story, phone).await);
            }
            let expected = match response {
                Some("no_answer") => json!(["ended", "no_answer", null, true, "scheduled", null, true]),
                Some(_) => json!(["ended", "answered", null, true, "completed", "answered", false]),
                None if reason == "USER_REJECTED" => json!(["ended", "rejected", "USER_REJECTED", true, "failed", "rejected", false]),
                None if reason == "USER_UNAVAILABLE" => json!(["ended", "no_answer", "USER_UNAVAILABLE", true, "scheduled", null, true]),
                None => json!(["ended", "unknown", "Call over - no agent response", true, "failed", "unknown", false]),
            };
            for (order, end) in orders.iter().zip(&ends) {
                assert_eq!(*end, expected, "{reason} {response:?} {order:?}");
            }
        }
    }

    async fn the_answer_to_our_own_request_knows_better_in_either_order(db) {
        use callops::domain::call::Evidence;
        use callops::domain::evidence::{Ending, Observation, Seen};
        let phones = ["+12025550301", "+12025550302"];
        let story = begin(db, &rules(), &phones).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        let mut ends = Vec::new();
        for (turn, phone) in phones.iter().enumerate() {
            let id = attempt_to(&story, phone).await.id;
            let now = story.now();
            let ended = |by, outcome, reason: &str| Observation {
                attempt_id: id.clone(), by, at: now,
                seen: Seen::Ended(Ending { outcome, reason: Some(reason.to_owned()), ..Ending::timeout(now) }),
            };
            let mut both = vec![
                ended(Evidence::Owner, Outcome::Busy, "sip status 486: Busy here"),
                ended(Evidence::Provider, Outcome::Rejected, "USER_REJECTED"),
            ];
            if turn == 1 {
                both.reverse();
            }
            for observation in both {
                story.write(async |tx| callops::store::evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
            }
            ends.push(end(&story, phone).await);
        }
        assert_eq!(ends[0], ends[1]);
        assert_eq!(ends[0], json!(["ended", "busy", "sip status 486: Busy here", true, "scheduled", null, true]));
    }

    fn faulty_webhooks_lead_to_what_none_and_perfect_ones_lead_to(db) {
        let databases = [(None, db.copy()), (Some(0.0), db.copy()), (Some(30.0), db)];
        let ends = block_on(async move || {
            let mut ends = Vec::new();
            for (percent, db) in databases {
                ends.push(Box::pin(end_with_webhooks(db, percent)).await);
            }
            ends
        });
        for other in &ends[1..] {
            for (phone, end) in &ends[0] {
                assert_eq!(end, &other[phone], "{phone}");
            }
        }
    }
}

/// What the calls to the nth person come to, and what their agent reports of each that was picked up.
fn outcomes(n: usize) -> [&'static str; 2] {
    const TURNS: [[&str; 2]; 6] = [
        ["customer-ended-call", "customer-ended-call"],
        ["customer-busy", "assistant-ended-call"],
        ["customer-did-not-answer", "customer-did-not-answer"],
        ["voicemail", "customer-ended-call"],
        ["vonage-rejected", "customer-ended-call"],
        ["assistant-ended-call", "voicemail"],
    ];
    TURNS[n % TURNS.len()]
}

fn phone_of(n: usize) -> String {
    format!("+12025550{:03}", n + 100)
}

const PEOPLE: usize = 36;

/// What is known in the end when this share of the webhooks is lost, doubled and delayed; none: nobody sends any.
async fn end_with_webhooks(db: TestDatabase, percent: Option<f64>) -> BTreeMap<String, Value> {
    let retry = RetryPolicy { after_seconds: 600, max_attempts: 2, ..RetryPolicy::default() };
    let story = begin(db, &Rules { retry, ..rules() }, &[]).await;
    let phones: Vec<String> = (0..PEOPLE).map(phone_of).collect();
    story.people(&phones, "reminder").await;
    for (n, phone) in phones.iter().enumerate() {
        story.script(phone, json!(outcomes(n))).await;
    }
    let mut serving = Serving::ahead(&story);
    let listen = |serving: &Serving| {
        let Some(percent) = percent else { return };
        let webhook = Webhook {
            lose_percent: percent,
            double_percent: percent,
            delay_percent: percent,
            delay_seconds: 300.0,
            ..Webhook::new(format!("{}{PATH}", serving.url), "unused")
        };
        story.sandbox.set_webhook(Some(webhook)).expect("a webhook");
    };
    listen(&serving);
    let mut reported = 0;
    story.process(&["--concurrency", "200"]).await;
    for minute in 1..=45 {
        if minute % 5 == 0 {
            // Its clock does not follow the story's, and it takes no tokens from far away.
            serving = Serving::ahead(&story);
            listen(&serving);
        }
        story.wait(TimeDelta::minutes(1));
        told(&story).await;
        reported += report_all(&story, &serving).await;
        story.process(&["--concurrency", "200"]).await;
        story.sweep().await;
        story.collect().await;
    }
    let events = events(&story);
    assert_eq!(events.len() as u64 > reported, percent.is_some());
    assert!(events.iter().all(|event| event["status"] == "applied" || event["status"] == "ignored"), "{events:?}");
    known(&story).await
}

/// Waits until the sandbox has told all that is due, and was answered.
async fn told(story: &Story) {
    let url = format!("{}/_sandbox/webhook", story.sandbox.url());
    until("told", async || {
        let outbox: Value = reqwest_client().get(&url).send().await.expect("an answer").json().await.expect("JSON");
        let number = |key: &str| outbox[key].as_u64().expect("a number");
        assert_eq!(number("refused"), 0, "{outbox}");
        number("due") == 0 && number("sent") + number("waiting") == number("queued")
    })
    .await;
}

/// Every agent whose call was picked up three minutes ago reports of it. Says how many were new.
async fn report_all(story: &Story, serving: &Serving) -> u64 {
    let mut new = 0;
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for ring in story.sandbox.rings() {
        let turn = turns.entry(ring.phone.clone()).or_default();
        let n = (0..PEOPLE).find(|n| phone_of(*n) == ring.phone).expect("a person");
        let outcome = outcomes(n)[*turn];
        *turn += 1;
        let response = match outcome {
            "customer-ended-call" | "assistant-ended-call" => "will_pay_today",
            "voicemail" => "no_answer",
            _ => continue,
        };
        if story.now() - ring.at < TimeDelta::minutes(3) {
            continue;
        }
        let (status, answer) = serving.report(WEBHOOK_SECRET, &completed(&ring.name.expect("a name"), response)).await;
        assert_eq!(status, 200, "{answer}");
        new += u64::from(answer["reason"] != "duplicate");
    }
    new
}

/// All that is known in the end, by phone: of each attempt and its conversation, and of the call.
async fn known(story: &Story) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for call in story.calls().await {
        let mut attempts = Vec::new();
        for attempt in story.attempts(&call).await {
            let conversation = story.conversation(&attempt.id).await.unwrap_or_else(|| panic!("{attempt:?}"));
            assert_eq!(conversation.status, ConversationStatus::Completed, "{conversation:?}");
            attempts.push(json!({
                "state": attempt.state.as_str(), "outcome": attempt.outcome, "reason": attempt.reason,
                "may_have_rung": attempt.may_have_rung, "duration_seconds": conversation.duration_seconds,
                "error": conversation.last_error,
            }));
        }
        let rings = story.rings_of(&call.phone);
        assert_eq!(rings, attempts.len(), "{}", call.phone);
        let end = json!({"attempts": attempts, "status": call.status.as_str(), "outcome": call.outcome, "reason": call.reason});
        known.insert(call.phone.clone(), end);
    }
    assert_eq!(known.len(), PEOPLE);
    assert!(story.rings() > PEOPLE, "some were tried again");
    known
}
