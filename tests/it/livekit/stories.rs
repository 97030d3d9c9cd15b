//! Campaigns that call by LiveKit, with the ledger as the judge of who was called.

use callops::domain::call::{AttemptState, CallStatus};
use callops::domain::campaign::Rules;
use callops::domain::conversation::ConversationStatus;
use callops::domain::evidence::RetryPolicy;
use callops::domain::outcome::Outcome;
use callops::error::Exit;
use chrono::TimeDelta;
use serde_json::json;

use super::{CALL, MAKE_ROOM, shown};
use crate::common::story::Story;
use crate::common::{TestDatabase, on_both_databases};

pub(super) const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

/// The rules of a daily campaign whose agent lets it ring for a second.
pub(super) fn rules() -> Rules {
    let agent = json!({"agent_name": "reminder", "sip_trunk_id": "ST_1", "ringing_timeout": 1});
    Rules { agent, ..crate::common::story::rules() }
}

/// A story with an account of LiveKit's, and a campaign of these people.
pub(super) async fn begin(db: TestDatabase, rules: &Rules, phones: &[&str]) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.put_account_with("livekit", "acme-livekit", "env:ACME_KEY", 1000).await;
    story.campaign_with("acme-livekit", "reminder", "reminder", rules).await;
    for phone in phones {
        story.contact(phone, |_| {}, &["reminder"]).await;
    }
    story
}

async fn only_attempt(story: &Story) -> callops::store::attempts::Attempt {
    let mut attempts = story.attempts(&story.only_call().await).await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    attempts.remove(0)
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
    async fn what_nobody_reports_of_ends_by_the_clock(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((counts.get("placed"), exit), (1, Exit::Success), "{counts:?}");
        let attempt = only_attempt(&story).await;
        assert_eq!((attempt.state, attempt.provider_call_id.as_deref()), (AttemptState::Answered, Some(attempt.id.as_str())));
        minutes(&story, 59).await;
        assert_eq!(only_attempt(&story).await.state, AttemptState::Answered, "absence says nothing");
        minutes(&story, 3).await;
        let call = story.only_call().await;
        assert_eq!((call.status, call.outcome), (CallStatus::Failed, Some(Outcome::Timeout)));
        assert_eq!(call.reason.as_deref(), Some("Call timeout - no agent response"));
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        assert_eq!(story.rings(), 1);
    }

    async fn a_busy_line_is_tried_again_and_no_record_is_asked_for(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.script(ADA, json!(["customer-busy", "customer-ended-call"])).await;
        story.process(&[]).await;
        let call = story.only_call().await;
        assert_eq!(call.status, CallStatus::Scheduled, "{call:?}");
        let attempt = only_attempt(&story).await;
        assert_eq!((attempt.state, attempt.outcome, attempt.may_have_rung), (AttemptState::Ended, Some(Outcome::Busy), true));
        assert_eq!(attempt.reason.as_deref(), Some("sip status 486: Busy here"));
        let requests = story.request_paths().await.len();
        story.wait(TimeDelta::minutes(1));
        let (counts, _) = story.collect().await;
        assert_eq!((counts.get("conversations_completed"), story.request_paths().await.len()), (1, requests));
        let conversation = story.conversation(&attempt.id).await.expect("a conversation");
        assert_eq!((conversation.status, conversation.next_try_at), (ConversationStatus::Completed, None));
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2);
        assert_eq!(story.only_call().await.status, CallStatus::InProgress);
    }

    async fn a_declined_call_and_a_wrong_number_are_not(db) {
        let story = begin(db, &rules(), &[ADA, BOB]).await;
        story.script(ADA, json!(["vonage-rejected"])).await;
        story.script(BOB, json!(["sip-604"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        for (phone, outcome) in [(ADA, Outcome::Rejected), (BOB, Outcome::InvalidNumber)] {
            let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
            assert_eq!((call.status, call.outcome, story.rings_of(phone)), (CallStatus::Failed, Some(outcome), 1));
        }
    }

    async fn a_refused_trunk_holds_the_account(db) {
        let story = begin(db, &rules(), &[ADA, BOB]).await;
        for phone in [ADA, BOB] {
            story.script(phone, json!(["sip-407"])).await;
        }
        let (_, exit) = story.process(&["--concurrency", "1"]).await;
        assert_eq!(exit, Exit::Configuration);
        let standing = story.write(async |tx| callops::store::runs::standing_findings(tx).await).await;
        assert!(standing.iter().any(|finding| finding.kind == "account_refused"), "{standing:?}");
    }

    async fn an_unknown_is_found_in_its_room(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.script(ADA, json!([{"ended_reason": "customer-ended-call", "talk_seconds": 600}])).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("unknown"), 1, "{counts:?}");
        story.sandbox.clear_faults();
        minutes(&story, 2).await;
        assert_eq!(only_attempt(&story).await.state, AttemptState::Answered);
        assert_eq!(story.rings(), 1);
    }

    async fn an_unknown_that_is_not_shown_is_given_up_and_never_dialled_again(db) {
        let story = begin(db, &rules(), &[ADA, BOB]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!({"kind": "accept_and_drop", "match": {"phone_prefix": ADA}}));
        // Of this one nobody ever knows that it was not sent on.
        story.fault(json!({"kind": "refuse_and_drop", "match": {"phone_prefix": BOB}}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(10));
        for _ in 0..30 {
            story.wait(TimeDelta::hours(1));
            story.sweep().await;
            story.process(&["--campaign", "acme/reminder"]).await;
        }
        let old: Vec<_> = story.calls().await.into_iter().filter(|call| call.slot_key == "2026-11-16").collect();
        assert_eq!(old.len(), 2);
        for call in old {
            let attempts = story.attempts(&call).await;
            assert_eq!(attempts.iter().map(|attempt| attempt.state).collect::<Vec<_>>(), [AttemptState::Lost]);
            assert_eq!(call.status, CallStatus::Failed);
        }
        let first_day = story.sandbox.rings().into_iter().filter(|ring| ring.at < crate::common::story::at("2026-11-17T15:00:00Z"));
        assert_eq!(first_day.count(), 1, "Ada once, Bob never");
    }

    async fn a_call_that_was_declined_when_we_had_given_up_waiting_is_not_dialled_again(db) {
        let policy = RetryPolicy { on: vec![Outcome::NoAnswer, Outcome::Busy, Outcome::Timeout], ..RetryPolicy::default() };
        let story = begin(db, &Rules { retry: policy, ..rules() }, &[ADA]).await;
        story.script(ADA, json!(["vonage-rejected"])).await;
        story.fault(json!({"kind": "delay_answer", "ms": 60_000}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        assert_eq!(only_attempt(&story).await.state, AttemptState::Unknown);
        for _ in 0..6 {
            story.wait(TimeDelta::hours(1));
            story.sweep().await;
            story.process(&[]).await;
        }
        assert_eq!((only_attempt(&story).await.state, story.rings()), (AttemptState::Unknown, 1));
    }

    async fn a_fault_of_the_dial_never_rings_twice(db) {
        for kind in ["accept_and_drop", "broken_json", "cut_body", "no_id"] {
            let db = db.copy();
            let story = begin(db, &rules(), &[ADA]).await;
            story.fault(json!({"kind": kind}));
            for _ in 0..7 {
                story.process(&[]).await;
                story.sweep().await;
                story.wait(TimeDelta::hours(1));
            }
            assert_eq!(story.rings(), 1, "{kind}");
        }
    }

    async fn a_room_that_cannot_be_made_costs_nothing(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!({"kind": "server_error", "status": 503, "match": {"path": MAKE_ROOM}}));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!((counts.get("not_sent"), exit, story.rings()), (1, Exit::Unreachable, 0));
        story.sandbox.clear_faults();
        minutes(&story, 3).await;
        assert_eq!(story.rings(), 1, "it is called as soon as it can be");
        let requests = shown(&story.sandbox.url(), "calls").await["requests"].clone();
        assert_eq!(requests[format!("POST {CALL}")], 1, "{requests}");
    }

    async fn a_run_that_died_while_it_rang_is_waited_for_as_long_as_it_may_ring(db) {
        let story = begin(db, &rules(), &[ADA]).await;
        let id = {
            let claim = story.plan_first().await;
            let now = story.now();
            story.write(async |tx| {
                callops::store::claims::claim(tx, "acme-livekit", std::slice::from_ref(&claim), "dead", now + TimeDelta::seconds(60), now).await?;
                callops::store::claims::commit_to_dial(tx, std::slice::from_ref(&claim.attempt_id), "dead", now).await
            }).await;
            claim.attempt_id
        };
        let state = async || story.write(async |tx| callops::store::attempts::attempt(tx, &id).await).await.expect("it").state;
        story.wait(TimeDelta::seconds(120));
        story.sweep().await;
        assert_eq!(state().await, AttemptState::Placing, "its request may be under way still");
        story.wait(TimeDelta::seconds(40));
        story.sweep().await;
        assert_eq!(state().await, AttemptState::Unknown);
    }
}
