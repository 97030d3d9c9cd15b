//! Campaigns that call by agents of ElevenLabs: what rings, what is found again, and what is learned by asking alone.

use callops::domain::call::{AttemptState, CallStatus, Evidence};
use callops::domain::campaign::Rules;
use callops::domain::conversation::ConversationStatus;
use callops::domain::outcome::Outcome;
use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::schema::check_requests;
use crate::common::story::{Story, rules};
use crate::common::{TestDatabase, on_both_databases};

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

/// The usual rules, with an agent of ElevenLabs.
pub(super) fn by_agent() -> Rules {
    Rules { agent: json!({"agent_id": "agent-1", "agent_phone_number_id": "line-1"}), ..rules() }
}

/// Makes the story's account one of ElevenLabs.
pub(super) async fn adopt(story: &Story) {
    use callops::store::setup;
    let now = story.now();
    let mut account = story.write(async |tx| setup::accounts(tx).await).await.remove(0);
    "elevenlabs".clone_into(&mut account.provider);
    story.write(async |tx| setup::put_account(tx, &account, now).await).await;
}

/// A story with a campaign and these people.
async fn begin(db: TestDatabase, phones: &[&str]) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    adopt(&story).await;
    story.campaign("checkup", &by_agent()).await;
    for phone in phones {
        story.contact(phone, |_| {}, &["checkup"]).await;
    }
    story
}

async fn state_of(story: &Story, phone: &str) -> (CallStatus, Vec<AttemptState>) {
    let calls = story.calls().await;
    let call = calls.iter().find(|call| call.phone == phone).expect("a call");
    (call.status, story.attempts(call).await.iter().map(|attempt| attempt.state).collect())
}

/// What cron does for so many minutes.
async fn minutes(story: &Story, minutes: i64) {
    for _ in 0..minutes {
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        story.collect().await;
    }
}

on_both_databases! {
    async fn every_outcome_is_learned_by_asking_alone(db) {
        let outcomes = [
            ("customer-ended-call", Outcome::Answered), ("assistant-ended-call", Outcome::Answered),
            ("voicemail", Outcome::Voicemail), ("customer-busy", Outcome::Busy),
            ("customer-did-not-answer", Outcome::NoAnswer), ("something-new", Outcome::Unknown),
        ];
        let phones: Vec<String> = (0..outcomes.len()).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for (phone, (reason, _)) in phones.iter().zip(outcomes) {
            story.script(phone, json!([reason])).await;
        }
        story.control("settings", json!({"analysis_seconds": 90})).await;
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("placed"), outcomes.len() as u64, "{counts:?}");
        minutes(&story, 10).await;
        for (phone, (reason, outcome)) in phones.iter().zip(outcomes) {
            let (attempt, conversation) = story.conversation_with(phone).await;
            assert_eq!((attempt.outcome, attempt.evidence), (Some(outcome), Some(Evidence::Provider)), "{reason}");
            assert_eq!(conversation.status, ConversationStatus::Completed, "{reason}: {conversation:?}");
            assert_eq!(conversation.cost_usd.is_some(), reason != "customer-busy" && attempt.answered_at.is_some(), "{reason}");
            assert_eq!((attempt.org_id, story.rings_of(phone)), (None, 1), "{reason}");
        }
        let (attempt, conversation) = story.conversation_with(&phones[0]).await;
        assert!(conversation.transcript.is_some_and(|text| text.contains("User: Yes")) && conversation.summary.is_some());
        assert_eq!((attempt.ended_at, attempt.answered_at), (conversation.ended_at, conversation.started_at));
        let asked = story.request_paths().await.len();
        minutes(&story, 30).await;
        assert_eq!(story.request_paths().await.len(), asked, "nobody is asked about what is complete");
        check_requests(&story.sandbox, 10).await;
    }

    async fn no_fault_of_a_dial_rings_twice(db) {
        let faults = [
            json!({"kind": "accept_and_drop"}),
            json!({"kind": "refuse_and_drop"}),
            json!({"kind": "server_error", "status": 500}),
            json!({"kind": "server_error", "status": 502, "rings": true}),
            json!({"kind": "broken_json"}),
            json!({"kind": "cut_body"}),
            json!({"kind": "no_id"}),
            json!({"kind": "too_many_requests"}),
            json!({"kind": "coded", "code": "system_busy"}),
            json!({"kind": "payment_required"}),
            json!({"kind": "over_concurrency"}),
            json!({"kind": "number_invalid"}),
            json!({"kind": "success_false", "message": "Request timed out", "rings": true}),
            json!({"kind": "success_false", "message": "HTTP 401 error: Unable to create record: Authenticate"}),
            json!({"kind": "list_lag", "seconds": 1200}),
        ];
        let phones: Vec<String> = (0..faults.len()).map(|n| format!("+120255502{n:02}")).collect();
        let story = begin(db, &phones.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut rules: Vec<Value> = faults.to_vec();
        for (rule, phone) in rules.iter_mut().zip(&phones) {
            story.script(phone, json!(["customer-ended-call"])).await;
            rule["match"] = json!({"phone_prefix": phone, "nth": 1});
        }
        story.fault(json!(rules));
        minutes(&story, 240).await;
        let mut never = Vec::new();
        for (phone, fault) in phones.iter().zip(&faults) {
            let rings = story.rings_of(phone);
            assert!(rings <= 1, "{fault}: {rings}");
            if rings == 0 {
                never.push(fault["kind"].as_str().expect("a kind"));
            }
        }
        // What the service certainly refused is dialled later; what it may have taken is not.
        assert_eq!(never, ["refuse_and_drop", "server_error", "number_invalid"]);
        for (phone, fault) in phones.iter().zip(&faults) {
            if story.rings_of(phone) == 1 {
                assert_eq!(state_of(&story, phone).await.0, CallStatus::Completed, "{fault}");
            }
        }
    }

    async fn a_call_whose_answer_was_lost_is_found_by_its_name(db) {
        let story = begin(db, &[ADA]).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.script(ADA, json!(["customer-ended-call"])).await;
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("unknown"), 1, "{counts:?}");
        story.sandbox.clear_faults();
        // Found while it rings, without any other call to compare with.
        story.wait(TimeDelta::seconds(61));
        let (counts, _) = story.sweep().await;
        assert_eq!(counts.get("found"), 1, "{counts:?}");
        minutes(&story, 10).await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Completed, vec![AttemptState::Ended]));
        assert_eq!(story.rings_of(ADA), 1);
        check_requests(&story.sandbox, 3).await;
    }

    async fn what_is_never_found_is_never_dialled_again_and_given_up_after_a_day(db) {
        let story = begin(db, &[ADA]).await;
        story.fault(json!({"kind": "refuse_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        let asked = story.request_paths().await.len();
        for minute in 0..300 {
            story.wait(TimeDelta::minutes(1));
            story.process(&[]).await;
            assert_eq!(state_of(&story, ADA).await.1, [AttemptState::Unknown], "after {minute} minutes");
        }
        // Each look is a question, and each run that has something to look for asks for the time.
        let looks = story.request_paths().await.len() - asked;
        assert!((10..50).contains(&looks), "less and less often: {looks}");
        story.wait(TimeDelta::hours(20));
        story.sweep().await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Failed, vec![AttemptState::Lost]), "its slot stays spent");
        assert_eq!(story.rings_of(ADA), 0);
    }

    async fn a_call_that_is_listed_late_is_found_all_the_same(db) {
        let story = begin(db, &[ADA]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!([{"kind": "list_lag", "seconds": 7200}, {"kind": "cut_body"}]));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        minutes(&story, 110).await;
        assert_eq!(state_of(&story, ADA).await.1, [AttemptState::Unknown]);
        minutes(&story, 150).await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Completed, vec![AttemptState::Ended]));
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn one_unreadable_conversation_keeps_no_other_from_being_found(db) {
        let story = begin(db, &[ADA, BOB]).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        let first = story.sandbox.rings().remove(0);
        let path = format!("/v1/convai/conversations/{}", first.id);
        story.fault(json!({"kind": "broken_json", "match": {"method": "GET", "path": path}}));
        story.wait(TimeDelta::minutes(2));
        let (counts, exit) = story.sweep().await;
        assert_eq!((counts.get("found"), exit), (1, Exit::Unreachable), "{counts:?}");
        story.sandbox.clear_faults();
        minutes(&story, 10).await;
        for phone in [ADA, BOB] {
            assert_eq!((state_of(&story, phone).await.1.len(), story.rings_of(phone)), (1, 1));
        }
    }

    async fn a_call_that_stays_announced_times_out_after_its_ringing_and_only_after_asking(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        adopt(&story).await;
        let agent = json!({"agent_id": "agent-1", "agent_phone_number_id": "line-1", "ringing_timeout": 300});
        story.campaign("checkup", &Rules { agent, answer_timeout_seconds: Some(60), ..by_agent() }).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        story.control("settings", json!({"tells_unanswered": false})).await;
        let late = json!([{"ended_reason": "customer-ended-call", "ring_seconds": 280, "talk_seconds": 1800}]);
        story.script(ADA, json!(["customer-did-not-answer"])).await;
        story.script(BOB, late).await;
        story.process(&[]).await;
        minutes(&story, 5).await;
        assert_eq!(state_of(&story, ADA).await.1, [AttemptState::Placed], "not while the phone may ring");
        minutes(&story, 3).await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Failed, vec![AttemptState::Ended]));
        let (attempt, _) = story.conversation_with(ADA).await;
        assert_eq!((attempt.outcome, attempt.evidence), (Some(Outcome::Timeout), Some(Evidence::Timer)));
        assert_eq!(state_of(&story, BOB).await.1, [AttemptState::Answered], "the provider was asked before");
        minutes(&story, 60).await;
        assert_eq!(state_of(&story, BOB).await.0, CallStatus::Completed);
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 1), "a timeout without proof is not tried again");
    }

    async fn a_refused_key_costs_no_slot(db) {
        let story = begin(db, &[ADA]).await;
        story.fault(json!({"kind": "unauthorized_all"}));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!(exit, Exit::Configuration, "{counts:?}");
        assert!(story.calls().await.is_empty());
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(10));
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1);
    }
}
