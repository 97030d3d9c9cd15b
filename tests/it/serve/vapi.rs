//! What Vapi's server messages do.

use callops::domain::call::{AttemptState, CallStatus, Evidence};
use callops::domain::evidence::{Observation, Seen};
use callops::domain::outcome::Outcome;
use callops::sandbox::Webhook;
use callops::store::attempts::Attempt;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{ACCOUNT_SECRET, ADA, BOB, OTHER_SECRET, Serving, attempt_to, begin, events, until};
use crate::common::on_both_databases;
use crate::common::story::Story;

fn call_of(attempt: &Attempt) -> Value {
    json!({"id": attempt.provider_call_id, "orgId": "org-sandbox", "name": attempt.id, "customer": {"externalId": attempt.id}})
}

fn status(attempt: &Attempt, status: &str) -> Value {
    json!({"type": "status-update", "status": status, "call": call_of(attempt)})
}

fn report(attempt: &Attempt, reason: &str) -> Value {
    json!({
        "type": "end-of-call-report", "endedReason": reason, "call": call_of(attempt), "cost": 0.15,
        "startedAt": "2026-11-16T15:00:10.000Z", "endedAt": "2026-11-16T15:03:10.000Z",
        "analysis": {"summary": "A summary\u{0}."}, "artifact": {"transcript": "T", "messages": []},
    })
}

fn ended(attempt: &Attempt, reason: &str) -> Value {
    let mut message = status(attempt, "ended");
    message["endedReason"] = json!(reason);
    message
}

/// Everything that a test compares of an attempt and its call.
async fn end(story: &Story, phone: &str) -> Value {
    let attempt = attempt_to(story, phone).await;
    let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
    let conversation = story.conversation(&attempt.id).await.expect("a conversation");
    json!([
        attempt.state.as_str(),
        attempt.outcome,
        attempt.reason,
        attempt.ended_at,
        conversation.cost_usd,
        conversation.summary,
        conversation.duration_seconds,
        conversation.raw.is_some(),
        call.status.as_str(),
        call.outcome
    ])
}

on_both_databases! {
    async fn a_call_goes_on_and_ends_by_messages_alone_in_every_order(db) {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let phones: Vec<String> = (0..6).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        story.process(&[]).await;
        let serving = Serving::start(&story);
        let mut ends = Vec::new();
        for (order, phone) in orders.iter().zip(&phones) {
            let attempt = attempt_to(&story, phone).await;
            let messages = [status(&attempt, "in-progress"), ended(&attempt, "customer-ended-call"), report(&attempt, "customer-ended-call")];
            for which in order {
                for _ in 0..2 {
                    assert_eq!(serving.message(messages[*which].clone()).await.0, 200);
                }
            }
            ends.push(end(&story, phone).await);
        }
        ends.dedup();
        let whole = json!(["ended", "answered", "customer-ended-call", "2026-11-16T15:03:10Z", 0.15, "A summary.", 180, true, "completed", "answered"]);
        assert_eq!(ends, [whole], "in each order, and with all that the report holds");
    }

    async fn an_account_is_shown_by_each_of_its_ways_and_only_by_its_own_secret(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        let body = json!({"message": status(&attempt, "in-progress")}).to_string();
        let now = story.now().timestamp();
        let hmac_of = |secret: &str, at: i64| {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
            mac.update(format!("{at}.{body}").as_bytes());
            callops::domain::signature::to_hex(&mac.finalize().into_bytes())
        };
        let (bearer, other_bearer) = (format!("Bearer {ACCOUNT_SECRET}"), format!("Bearer {OTHER_SECRET}"));
        let (mine, others, at) = (hmac_of(ACCOUNT_SECRET, now), hmac_of(OTHER_SECRET, now), now.to_string());
        let (old, old_at) = (hmac_of(ACCOUNT_SECRET, now - 3600), (now - 3600).to_string());
        let cases = [
            ("", vec![("X-Vapi-Secret", ACCOUNT_SECRET)], 200),
            ("/acme-vapi", vec![("X-Vapi-Secret", ACCOUNT_SECRET)], 200),
            ("", vec![("Authorization", &bearer)], 200),
            ("", vec![("X-Signature", &mine), ("X-Timestamp", &at)], 200),
            ("", vec![("X-Signature", &old), ("X-Timestamp", &old_at)], 401),
            ("/other-vapi", vec![("X-Vapi-Secret", ACCOUNT_SECRET)], 401),
            ("/no-such-account", vec![("X-Vapi-Secret", ACCOUNT_SECRET)], 401),
            // The other account demands signatures.
            ("", vec![("X-Vapi-Secret", OTHER_SECRET)], 401),
            ("", vec![("Authorization", &other_bearer)], 401),
            ("", vec![("X-Vapi-Secret", "wrong")], 401),
            ("", vec![], 401),
            ("", vec![("X-Signature", &others), ("X-Timestamp", &at)], 200),
        ];
        for (path, headers, expected) in &cases {
            let path = format!("/api/vapi/webhook{path}");
            let (status, answer) = serving.post(&path, headers, body.clone()).await;
            assert_eq!(status, *expected, "{path} {headers:?} {answer}");
            assert!(status == 200 || answer == json!({"error": "unauthorized"}), "{answer}");
        }
        let events = events(&story);
        let states: Vec<&Value> = events.iter().map(|event| &event["status"]).collect();
        assert_eq!(states, ["applied", "unmatched"], "what the other account says of a call of this one is about nothing");
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Answered);
        let hello = serving.client.get(format!("{}/api/vapi/webhook/acme-vapi", serving.url)).send().await.expect("an answer");
        assert_eq!((hello.status().as_u16(), hello.text().await.expect("text").lines().count()), (200, 1));
    }

    async fn a_message_that_is_faster_than_our_own_answer_is_matched_when_that_is_recorded(db) {
        let story = begin(db, &[ADA, BOB]).await;
        let serving = Serving::start(&story);
        // Before anything is known of the call but what it is called at the provider.
        let early = json!({"type": "status-update", "status": "in-progress", "call": {"id": "call-1"}});
        let (status, answer) = serving.message(early).await;
        assert_eq!((status, &answer["applied"]), (200, &json!(false)), "{answer}");
        let claim = story.plan_first().await;
        let (id, phone) = (story.claim_first("run-1").await, claim.phone.clone());
        let now = story.now();
        story.write(async |tx| callops::store::claims::commit_to_dial(tx, std::slice::from_ref(&id), "run-1", now).await).await;
        // By our name it is found at once, in the middle of sending.
        let named = json!({"type": "status-update", "status": "ringing", "call": {"id": "call-1", "name": id}});
        let (_, answer) = serving.message(named).await;
        assert_eq!(answer["applied"], true, "{answer}");
        let attempt = attempt_to(&story, &phone).await;
        assert_eq!((attempt.state, attempt.provider_call_id.as_deref()), (AttemptState::Placed, Some("call-1")));
        assert_eq!(events(&story)[0]["status"], "unmatched");
        let (counts, _) = story.sweep().await;
        assert_eq!(counts.get("events_applied"), 1);
        assert_eq!((events(&story)[0]["status"].clone(), attempt_to(&story, &phone).await.state), (json!("applied"), AttemptState::Answered));
        // Our own answer comes last, and takes nothing back.
        let accepted = Seen::Accepted { provider_call_id: "call-1".to_owned(), org_id: Some("org".to_owned()), queued: false };
        let observation = Observation { attempt_id: id.clone(), by: Evidence::Owner, at: now, seen: accepted };
        story.write(async |tx| callops::store::evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
        assert_eq!(attempt_to(&story, &phone).await.state, AttemptState::Answered);
    }

    async fn a_run_that_records_its_answer_matches_what_came_before_it(db) {
        let story = begin(db, &[ADA]).await;
        let serving = Serving::start(&story);
        story.fault(json!({"kind": "delay_answer", "ms": 1500}));
        let meanwhile = async {
            // The phone rings, and our request is not answered yet.
            let ring = loop {
                match story.sandbox.rings().pop() {
                    Some(ring) => break ring,
                    None => tokio::task::yield_now().await,
                }
            };
            serving.message(json!({"type": "status-update", "status": "in-progress", "call": {"id": ring.id}})).await.1
        };
        let (_, answer) = tokio::join!(story.process(&[]), meanwhile);
        assert_eq!((&answer["applied"], &answer["reason"]), (&json!(false), &json!("no attempt has this call, or its name")));
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Answered, "matched by the run, with no sweep");
    }

    async fn the_answer_to_our_own_request_says_which_of_two_calls_of_one_name_is_ours(db) {
        let story = begin(db, &[ADA]).await;
        let serving = Serving::start(&story);
        let id = story.claim_first("run-1").await;
        let now = story.now();
        story.write(async |tx| callops::store::claims::commit_to_dial(tx, std::slice::from_ref(&id), "run-1", now).await).await;
        let of = |call: &str, status: &str| json!({"type": "status-update", "status": status, "call": {"id": call, "name": id}});
        serving.message(of("another", "ringing")).await;
        let (_, answer) = serving.message(of("ours", "in-progress")).await;
        assert_eq!(answer["applied"], false, "{answer}");
        let accepted = Seen::Accepted { provider_call_id: "ours".to_owned(), org_id: None, queued: false };
        let observation = Observation { attempt_id: id.clone(), by: Evidence::Owner, at: now, seen: accepted };
        story.write(async |tx| callops::store::evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
        story.sweep().await;
        let attempt = attempt_to(&story, ADA).await;
        assert_eq!((attempt.provider_call_id.as_deref(), attempt.state), (Some("ours"), AttemptState::Answered));
        let findings = story.run(&["list", "findings", "--format", "json"]).success().json();
        assert_eq!(findings[0]["kind"], "second_live_call", "{findings}");
    }

    async fn an_end_without_a_reason_has_the_provider_asked(db) {
        let story = begin(db, &[ADA]).await;
        story.script(ADA, json!(["customer-busy"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::seconds(20));
        let attempt = attempt_to(&story, ADA).await;
        assert!(attempt.next_poll_at.is_some_and(|at| at > story.now()), "not yet due");
        let serving = Serving::start(&story);
        let (_, answer) = serving.message(status(&attempt, "ended")).await;
        assert_eq!(answer["applied"], true, "{answer}");
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Placed, "half a truth ends nothing");
        story.wait(TimeDelta::seconds(5));
        story.collect().await;
        let attempt = attempt_to(&story, ADA).await;
        assert_eq!((attempt.state, attempt.outcome), (AttemptState::Ended, Some(Outcome::Busy)));
    }

    async fn other_messages_are_kept_and_a_fault_of_the_account_holds_it_back(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        for message in [
            json!({"type": "hang", "call": call_of(&attempt)}),
            json!({"type": "conversation-update", "call": call_of(&attempt), "messages": [1]}),
            json!({"type": "conversation-update", "call": call_of(&attempt), "messages": [1, 2]}),
            json!({"type": "conversation-update", "call": call_of(&attempt), "messages": [1, 2]}),
            json!({"type": "status-update", "status": "ended", "call": {}}),
        ] {
            let (status, answer) = serving.message(message).await;
            assert_eq!((status, &answer["applied"]), (200, &json!(false)), "{answer}");
        }
        assert_eq!(events(&story).iter().filter(|event| event["status"] == "ignored").count(), 4);
        for wrong in [json!({"message": []}), json!({"message": {"type": 7}}), json!([])] {
            let headers = [("X-Vapi-Secret", ACCOUNT_SECRET)];
            let (status, answer) = serving.post("/api/vapi/webhook", &headers, wrong.to_string()).await;
            assert!(status == 400 && answer["fields"].is_array(), "{status} {answer}");
        }
        serving.message(ended(&attempt, "call.start.error-subscription-insufficient-credits")).await;
        let account = story.write(async |tx| callops::store::setup::accounts(tx).await).await.remove(0);
        assert!(account.held_until.is_some() && account.refusals == 1, "{account:?}");
        assert_eq!(story.only_call().await.status, CallStatus::Scheduled, "nobody was called");
    }

    async fn every_outcome_is_learned_by_webhooks_that_come_twice_late_and_out_of_order(db) {
        let phones: Vec<String> = (0..40).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let reasons = ["customer-ended-call", "customer-busy", "voicemail", "customer-did-not-answer"];
        for (phone, reason) in phones.iter().zip(reasons.iter().cycle()) {
            story.script(phone, json!([reason])).await;
        }
        let serving = Serving::start(&story);
        let webhook = Webhook {
            double_percent: 50.0,
            delay_percent: 50.0,
            unknown_percent: 20.0,
            ..Webhook::new(format!("{}/api/vapi/webhook", serving.url), ACCOUNT_SECRET)
        };
        story.sandbox.set_webhook(Some(webhook)).expect("a webhook");
        story.process(&[]).await;
        // No sweep and no collection: nobody asks the provider anything from here on.
        for _ in 0..30 {
            story.wait(TimeDelta::seconds(60));
        }
        let outcomes = [Outcome::Answered, Outcome::Busy, Outcome::Voicemail, Outcome::NoAnswer];
        until("all over", async || {
            let mut over = 0;
            for call in story.calls().await {
                over += story.attempts(&call).await.iter().filter(|a| a.state == AttemptState::Ended).count();
            }
            over == phones.len()
        })
        .await;
        for (phone, outcome) in phones.iter().zip(outcomes.iter().cycle()) {
            let attempt = attempt_to(&story, phone).await;
            assert_eq!((attempt.outcome, attempt.evidence), (Some(*outcome), Some(Evidence::Provider)), "{attempt:?}");
        }
        assert!(events(&story).iter().all(|event| event["status"] != "pending"));
    }
}
