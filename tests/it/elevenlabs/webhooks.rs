//! ElevenLabs' post-call webhooks: who may send them, what they do, and that losing them loses nothing.

use std::collections::BTreeMap;

use callops::domain::call::{AttemptState, CallStatus, Evidence};
use callops::domain::campaign::{AccountSettings, Rules};
use callops::domain::conversation::ConversationStatus;
use callops::domain::evidence::{Observation, RetryPolicy, Seen};
use callops::domain::outcome::Outcome;
use callops::domain::signature::to_hex;
use callops::sandbox::Webhook;
use callops::store::attempts::Attempt;
use callops::store::setup;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::stories::by_agent;
use crate::common::story::{Story, reqwest_client};
use crate::common::{TestDatabase, block_on, on_both_databases};
use crate::serve::{ACCOUNT_SECRET, ADA, OTHER_SECRET, Serving, attempt_to, events, until};

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
const PATHS: [&str; 2] = ["/voice/post_call", "/api/voice/post_call"];

/// A story with a campaign and these people, whose account and another one have secrets of their own.
async fn begin(db: TestDatabase, phones: &[&str]) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    let now = story.now();
    for (name, secret) in [("acme-vapi", "env:ACME_WEBHOOK"), ("other", "env:OTHER_WEBHOOK")] {
        let settings = AccountSettings {
            api_key: "env:ACME_KEY".to_owned(),
            webhook_secret: Some(secret.to_owned()),
            previous_webhook_secret: None,
            livemode: None,
            webhook_signature: None,
            api_secret: None,
            client_id: None,
            data_center: None,
            account_sid: None,
            base_url: Some(story.sandbox.url()),
        };
        let mut account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
        name.clone_into(&mut account.name);
        "elevenlabs".clone_into(&mut account.provider);
        account.settings = serde_json::to_string(&settings).expect("JSON");
        story.write(async |tx| setup::put_account(tx, &account, now).await).await;
    }
    story.campaign("checkup", &by_agent()).await;
    for phone in phones {
        story.contact(phone, |_| {}, &["checkup"]).await;
    }
    story
}

fn signature(secret: &str, at: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    format!("t={at},v0={}", to_hex(&mac.finalize().into_bytes()))
}

/// Sends a body as the service does.
async fn send(story: &Story, serving: &Serving, path: &str, body: String) -> (u16, Value) {
    let shown = signature(ACCOUNT_SECRET, story.now().timestamp(), body.as_bytes());
    serving.post(path, &[("ElevenLabs-Signature", &shown)], body).await
}

async fn tell(story: &Story, serving: &Serving, message: &Value) -> Value {
    let (status, answer) = send(story, serving, PATHS[1], message.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn transcription(attempt: &Attempt, at: i64) -> Value {
    let data = json!({
        "agent_id": "agent-1", "conversation_id": attempt.provider_call_id, "status": "done", "user_id": attempt.id,
        "transcript": [{"role": "agent", "message": "Hello\u{0}?"}, {"role": "user", "message": "Yes."}],
        "metadata": {
            "start_time_unix_secs": 1_794_841_210, "accepted_time_unix_secs": 1_794_841_220, "call_duration_secs": 180,
            "cost": 600, "cost_fiat": 0.15, "termination_reason": "Call ended by remote party",
        },
        "analysis": {"call_successful": "success", "transcript_summary": "A summary."},
    });
    json!({"type": "post_call_transcription", "event_timestamp": at, "data": data})
}

fn failure(attempt: &Attempt, reason: &str, at: i64) -> Value {
    let data = json!({"agent_id": "agent-1", "conversation_id": attempt.provider_call_id, "failure_reason": reason,
        "metadata": {"type": "twilio", "body": {"CallStatus": reason}}});
    json!({"type": "call_initiation_failure", "event_timestamp": at, "data": data})
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
        conversation.cost_usd,
        conversation.summary,
        conversation.transcript,
        conversation.duration_seconds,
        conversation.status.as_str(),
        call.status.as_str(),
        call.outcome,
        call.reason,
    ])
}

on_both_databases! {
    async fn a_call_ends_by_messages_alone_in_every_order_and_doubled(db) {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let phones: Vec<String> = (0..7).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        story.process(&[]).await;
        let serving = Serving::start(&story);
        let mut ends = Vec::new();
        for (order, phone) in orders.iter().zip(&phones) {
            let attempt = attempt_to(&story, phone).await;
            // The one of unknown cause says less than any other.
            let messages = [transcription(&attempt, 2), failure(&attempt, "unknown", 1), transcription(&attempt, 3)];
            for which in order {
                for _ in 0..2 {
                    tell(&story, &serving, &messages[*which]).await;
                }
            }
            ends.push(end(&story, phone).await);
        }
        ends.dedup();
        let talk = json!(["ended", "answered", "Call ended by remote party", 0.15, "A summary.", "Agent: Hello?\nUser: Yes.\n",
            180, "completed", "completed", "answered", "Call ended by remote party"]);
        assert_eq!(ends, [talk], "in each order");
        assert_eq!(events(&story).len(), 3 * orders.len(), "doubles are counted, not kept");

        let attempt = attempt_to(&story, &phones[6]).await;
        let answer = tell(&story, &serving, &failure(&attempt, "no-answer", 1)).await;
        assert_eq!(answer["applied"], true, "{answer}");
        let answer = tell(&story, &serving, &failure(&attempt, "no-answer", 1)).await;
        assert_eq!((&answer["applied"], &answer["reason"]), (&json!(false), &json!("duplicate")));
        let attempt = attempt_to(&story, &phones[6]).await;
        assert_eq!((attempt.state, attempt.outcome), (AttemptState::Ended, Some(Outcome::NoAnswer)));
        let asked = story.request_paths().await.len();
        story.wait(TimeDelta::minutes(5));
        story.collect().await;
        assert_eq!(story.request_paths().await.len(), asked, "there is no conversation to ask for");
        assert_eq!(story.only_retry(&phones[6]).await, CallStatus::Scheduled);
    }

    async fn an_account_is_known_by_its_own_signature_on_every_path(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        let body = json!({"type": "something_new", "event_timestamp": 1, "data": {"conversation_id": attempt.provider_call_id}}).to_string();
        let now = story.now().timestamp();
        let (mine, others) = (signature(ACCOUNT_SECRET, now, body.as_bytes()), signature(OTHER_SECRET, now, body.as_bytes()));
        let ahead = signature(ACCOUNT_SECRET, now + 86_400, body.as_bytes());
        let cases = [
            ("", Some(mine.as_str()), 200),
            ("/acme-vapi", Some(&mine), 200),
            ("/other", Some(&mine), 401),
            ("/no-such-account", Some(&mine), 401),
            ("", Some(&others), 200),
            // As in the provider's own library.
            ("", Some(&ahead), 200),
            ("", Some("t=1,v0=00"), 401),
            ("", Some("v0=00"), 401),
            ("", Some(&mine[..mine.len() - 1]), 401),
            ("", None, 401),
        ];
        for base in PATHS {
            for (path, shown, expected) in &cases {
                let headers: Vec<(&str, &str)> = shown.iter().map(|shown| ("ElevenLabs-Signature", *shown)).collect();
                let (status, answer) = serving.post(&format!("{base}{path}"), &headers, body.clone()).await;
                assert_eq!(status, *expected, "{base}{path} {shown:?} {answer}");
                assert!(status == 200 || answer == json!({"error": "unauthorized"}), "{answer}");
            }
        }
        assert!(events(&story).iter().all(|event| event["status"] == "ignored"), "kept, and nothing more");
        // What the other account says of a call of this one is about nothing.
        let message = failure(&attempt, "busy", 1).to_string();
        let shown = signature(OTHER_SECRET, now, message.as_bytes());
        assert_eq!(serving.post(PATHS[0], &[("ElevenLabs-Signature", &shown)], message).await.0, 200);
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Placed);
        for wrong in ["[]", "{}", "{\"type\": 7}", "{"] {
            let (status, answer) = send(&story, &serving, PATHS[0], wrong.to_owned()).await;
            assert!(status == 400 && answer["fields"].is_array(), "{status} {answer}");
        }
    }

    async fn an_old_signature_is_a_reason_to_ask_and_nothing_else(db) {
        let story = begin(db, &[ADA]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        story.wait(TimeDelta::seconds(29));
        story.script(ADA, json!([])).await;
        let serving = Serving::start(&story);
        let body = failure(&attempt, "busy", 1).to_string();
        let now = story.now();
        let was_due = attempt.next_poll_at.expect("a time");
        assert!(was_due > now, "not yet");
        let at = now.timestamp() - 1801;
        let shown = signature(ACCOUNT_SECRET, at, body.as_bytes());
        let (status, answer) = serving.post(PATHS[1], &[("ElevenLabs-Signature", &shown)], body.clone()).await;
        assert_eq!((status, &answer["event_id"]), (200, &Value::Null), "{answer}");
        let attempt = attempt_to(&story, ADA).await;
        assert_eq!(attempt.state, AttemptState::Placed, "what it says is not believed");
        assert!(attempt.next_poll_at.is_some_and(|at| at < was_due), "{attempt:?}");
        assert_eq!(events(&story).len(), 0);
        let forged = signature(OTHER_SECRET, at, body.as_bytes()).replace("v0=", "v0=0");
        assert_eq!(serving.post(PATHS[1], &[("ElevenLabs-Signature", &forged)], body).await.0, 401);
        story.wait(TimeDelta::minutes(10));
        story.collect().await;
        assert_eq!(attempt_to(&story, ADA).await.outcome, Some(Outcome::Answered));
    }

    async fn a_message_that_is_faster_than_our_own_answer_is_matched_all_the_same(db) {
        let story = begin(db, &[ADA]).await;
        let serving = Serving::start(&story);
        let id = story.claim_first("run-1").await;
        let now = story.now();
        story.write(async |tx| callops::store::claims::commit_to_dial(tx, std::slice::from_ref(&id), "run-1", now).await).await;
        let placing = Attempt { provider_call_id: Some("conv_1".to_owned()), ..attempt_to(&story, ADA).await };
        // By the provider's id alone nothing is known yet.
        let answer = tell(&story, &serving, &failure(&placing, "busy", 1)).await;
        assert_eq!((&answer["applied"], attempt_to(&story, ADA).await.state), (&json!(false), AttemptState::Placing));
        let accepted = Seen::Accepted { provider_call_id: "conv_1".to_owned(), org_id: None, queued: false };
        let observation = Observation { attempt_id: id.clone(), by: Evidence::Owner, at: now, seen: accepted };
        story.write(async |tx| callops::store::evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
        story.sweep().await;
        assert_eq!(attempt_to(&story, ADA).await.outcome, Some(Outcome::Busy));
    }

    async fn a_message_that_names_an_unknown_attempt_settles_it(db) {
        let story = begin(db, &[ADA]).await;
        story.fault(json!([{"kind": "accept_and_drop"}, {"kind": "list_lag", "seconds": 1e6}]));
        story.process(&[]).await;
        assert_eq!(attempt_to(&story, ADA).await.state, AttemptState::Unknown);
        let ring = story.sandbox.rings().remove(0);
        let unknown = Attempt { provider_call_id: Some(ring.id), ..attempt_to(&story, ADA).await };
        let serving = Serving::start(&story);
        let answer = tell(&story, &serving, &transcription(&unknown, 1)).await;
        assert_eq!(answer["applied"], true, "by our name: {answer}");
        assert_eq!(story.only_call().await.status, CallStatus::Completed);
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn a_webhook_says_why_nobody_picked_up_where_the_record_never_does(db) {
        let phones = [ADA, "+12025550102"];
        let story = begin(db, &phones).await;
        story.control("settings", json!({"tells_unanswered": false})).await;
        for phone in phones {
            story.script(phone, json!(["customer-did-not-answer", "customer-ended-call"])).await;
        }
        story.process(&[]).await;
        let serving = Serving::start(&story);
        // Of one it comes at once, of the other after the deadline.
        let [told_at_once, told_late] = [attempt_to(&story, phones[0]).await, attempt_to(&story, phones[1]).await];
        story.wait(TimeDelta::minutes(1));
        tell(&story, &serving, &failure(&told_at_once, "no-answer", story.now().timestamp())).await;
        for _ in 0..12 {
            story.wait(TimeDelta::minutes(1));
            story.sweep().await;
            story.collect().await;
        }
        assert_eq!(attempt_to(&story, phones[1]).await.outcome, Some(Outcome::Timeout));
        tell(&story, &serving, &failure(&told_late, "no-answer", story.now().timestamp())).await;
        for phone in phones {
            let (attempt, conversation) = story.conversation_with(phone).await;
            assert_eq!((attempt.outcome, attempt.evidence), (Some(Outcome::NoAnswer), Some(Evidence::Provider)), "{phone}");
            assert_eq!((conversation.status, conversation.transcript), (ConversationStatus::Completed, None));
        }
        let asked = story.request_paths().await.len();
        story.wait(TimeDelta::minutes(60));
        story.collect().await;
        assert_eq!(story.request_paths().await.len(), asked, "there is nothing more to ask for");
        story.wait(TimeDelta::minutes(90));
        story.process(&[]).await;
        assert_eq!(phones.map(|phone| story.rings_of(phone)), [2, 2], "it is known now that nobody was reached");
    }

    async fn sound_is_hashed_as_it_comes_and_nothing_of_it_is_kept(db) {
        let story = begin(db, &[ADA]).await;
        story.process(&[]).await;
        let attempt = attempt_to(&story, ADA).await;
        let serving = Serving::start(&story);
        let sound = |kind: &str, length: usize| {
            let id = attempt.provider_call_id.as_deref().expect("an id");
            format!("{{\"type\": \"{kind}\", \"event_timestamp\": 1, \"data\": {{\"conversation_id\": \"{id}\", \"full_audio\": \"{}\"}}}}", "S".repeat(length))
        };
        let (status, answer) = send(&story, &serving, PATHS[0], sound("post_call_audio", 100)).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("no sound is kept")), "{answer}");
        let before = most_memory_kib(&serving);
        let long = sound("post_call_audio", 40 * 1024 * 1024);
        let (status, answer) = send(&story, &serving, PATHS[1], long.clone()).await;
        assert_eq!((status, &answer["event_id"]), (200, &Value::Null), "{answer}");
        let grown = most_memory_kib(&serving) - before;
        assert!(grown < 8 * 1024, "{grown} KiB for 40 MiB");
        // Whoever has no secret is not taken for somebody who has, however long he speaks.
        let shown = signature("wrong", story.now().timestamp(), b"x");
        assert_eq!(serving.post(PATHS[1], &[("ElevenLabs-Signature", &shown)], long).await.0, 401);
        let nobody = "x".repeat(17 * 1024 * 1024);
        assert_eq!(serving.post(PATHS[1], &[], nobody).await.0, 413, "without a signature nobody is listened to for long");
        assert_eq!(events(&story).len(), 0);
        // Anything else that is too long is not kept either, and its sender is not told to stop.
        let (status, answer) = send(&story, &serving, PATHS[1], sound("post_call_transcription", 17 * 1024 * 1024)).await;
        assert_eq!((status, &answer["reason"]), (200, &json!("it is too long to be kept")), "{answer}");
        let kept = sound("post_call_transcription", 1024 * 1024);
        let (status, answer) = send(&story, &serving, PATHS[1], kept).await;
        assert!(status == 200 && answer["event_id"].is_string(), "{answer}");
    }
}

impl Story {
    /// The status of the call to a phone, which is to be tried again.
    async fn only_retry(&self, phone: &str) -> CallStatus {
        let call = self.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
        assert!(call.next_attempt_at.is_some(), "{call:?}");
        call.status
    }
}

/// The most memory that the process held, in KiB; zero where nobody says.
fn most_memory_kib(serving: &Serving) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", serving.running.id())) else { return 0 };
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

const PEOPLE: usize = 60;

/// Waits until the sandbox has told all that is due, and was answered.
async fn told(story: &Story) {
    let url = format!("{}/_sandbox/webhook", story.sandbox.url());
    until("told", async || {
        let outbox: Value = reqwest_client().get(&url).send().await.expect("an answer").json().await.expect("JSON");
        let number = |key: &str| outbox[key].as_u64().expect("a number");
        assert_eq!(number("refused"), 0, "only 200 counts: {outbox}");
        number("due") == 0 && number("sent") + number("waiting") == number("queued")
    })
    .await;
}

/// All that is known in the end, by phone, of each attempt and its conversation, and of the call.
async fn known(story: &Story) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for call in story.calls().await {
        let mut attempts = Vec::new();
        for attempt in story.attempts(&call).await {
            let conversation = story.conversation(&attempt.id).await.unwrap_or_else(|| panic!("{attempt:?}"));
            assert_eq!(conversation.status, ConversationStatus::Completed, "{conversation:?}");
            attempts.push(json!({
                "state": attempt.state.as_str(), "outcome": attempt.outcome, "reason": attempt.reason,
                "evidence": attempt.evidence.map(Evidence::as_str), "may_have_rung": attempt.may_have_rung,
                "cost_usd": conversation.cost_usd, "duration_seconds": conversation.duration_seconds,
                "summary": conversation.summary, "transcript": conversation.transcript,
                "analysis": conversation.analysis, "error": conversation.last_error,
            }));
        }
        let end = json!({"attempts": attempts, "status": call.status.as_str(), "outcome": call.outcome, "reason": call.reason});
        known.insert(call.phone.clone(), end);
    }
    assert_eq!(known.len(), PEOPLE);
    known
}

/// What is known in the end when this share of the webhooks is lost, doubled and delayed; none: nobody sends any.
async fn end_with_webhooks(db: TestDatabase, percent: Option<f64>) -> BTreeMap<String, Value> {
    let story = begin(db, &[]).await;
    let retry = RetryPolicy { after_seconds: 600, max_attempts: 2, ..RetryPolicy::default() };
    story.campaign("checkup", &Rules { retry, ..by_agent() }).await;
    let phones: Vec<String> = (0..PEOPLE).map(|n| format!("+12025550{:03}", n + 100)).collect();
    story.people(&phones, "checkup").await;
    story.control("settings", json!({"analysis_seconds": 20})).await;
    let serving = Serving::start(&story);
    if let Some(percent) = percent {
        let webhook = Webhook {
            lose_percent: percent,
            double_percent: percent,
            delay_percent: percent,
            delay_seconds: 300.0,
            unknown_percent: percent / 3.0,
            ..Webhook::new(format!("{}/voice/post_call", serving.url), ACCOUNT_SECRET)
        };
        story.sandbox.set_webhook(Some(webhook)).expect("a webhook");
    }
    story.process(&["--concurrency", "200"]).await;
    for _ in 0..40 {
        story.wait(TimeDelta::minutes(1));
        told(&story).await;
        story.process(&["--concurrency", "200"]).await;
        story.collect().await;
    }
    let events = events(&story);
    assert_eq!(events.is_empty(), percent.is_none());
    assert!(events.iter().any(|event| event["status"] == "applied") || percent.is_none(), "{events:?}");
    assert!(story.sandbox.rings().len() > PEOPLE, "some were tried again");
    known(&story).await
}

on_both_databases! {
    fn faulty_webhooks_of_elevenlabs_lead_to_what_none_and_perfect_ones_lead_to(db) {
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
