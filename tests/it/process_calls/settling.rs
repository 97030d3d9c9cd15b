//! Lost answers, refusals and deadlines: what is unclear is settled by evidence, and nobody is rung to find out.

use callops::domain::call::{AttemptState, CallStatus};
use callops::domain::outcome::Outcome;
use callops::error::{Exit, classify};
use callops::sandbox::Organisation;
use chrono::TimeDelta;
use serde_json::json;

use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

/// A campaign with Ada and Bob, in which Bob has been called an hour ago, so that the organisation is known and later
/// readings have a call to show.
async fn with_a_known_call(story: &Story) {
    story.campaign("checkup", &rules()).await;
    story.contact(BOB, |_| {}, &["checkup"]).await;
    story.script(BOB, json!(["customer-ended-call"])).await;
    story.process(&[]).await;
    story.wait(TimeDelta::minutes(30));
    story.collect().await;
    assert_eq!(story.only_call().await.status, CallStatus::Completed);
    story.contact(ADA, |_| {}, &["checkup"]).await;
}

/// Sweeps every minute for so many minutes.
async fn sweep_for(story: &Story, minutes: i64) {
    for _ in 0..minutes {
        story.wait(TimeDelta::minutes(1));
        story.sweep().await;
    }
}

async fn state_of(story: &Story, phone: &str) -> (CallStatus, Vec<AttemptState>) {
    let calls = story.calls().await;
    let call = calls.iter().find(|call| call.phone == phone).expect("a call");
    (call.status, story.attempts(call).await.iter().map(|attempt| attempt.state).collect())
}

on_both_databases! {
    async fn an_accepted_call_whose_answer_was_lost_is_found_and_never_rung_again(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        with_a_known_call(&story).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.script(ADA, json!(["customer-ended-call"])).await;
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("unknown"), 1, "{counts:?}");
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Calling, vec![AttemptState::Unknown]));
        story.sandbox.clear_faults();
        for _ in 0..5 {
            story.wait(TimeDelta::minutes(1));
            story.process(&[]).await;
        }
        sweep_for(&story, 30).await;
        story.collect().await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Completed, vec![AttemptState::Ended]));
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn a_refused_call_whose_answer_was_lost_is_rung_exactly_once_later(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        with_a_known_call(&story).await;
        story.fault(json!({"kind": "refuse_and_drop"}));
        story.process(&[]).await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Calling, vec![AttemptState::Unknown]));
        story.sandbox.clear_faults();
        for minute in 0..40 {
            story.wait(TimeDelta::minutes(1));
            story.process(&[]).await;
            assert!(minute >= 18 || story.rings_of(ADA) == 0, "absence takes 15 and 5 minutes to prove, not {minute}");
        }
        let (_, states) = state_of(&story, ADA).await;
        assert_eq!(states[0], AttemptState::NotSent);
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn without_a_known_call_to_show_absence_is_never_proven(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "refuse_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        for _ in 0..30 {
            story.wait(TimeDelta::minutes(10));
            let (_, exit) = story.sweep().await;
            assert!(matches!(exit, Exit::Success | Exit::Findings), "{exit:?}");
            story.process(&[]).await;
        }
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Calling, vec![AttemptState::Unknown]));
        story.wait(TimeDelta::hours(24));
        story.sweep().await;
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Failed, vec![AttemptState::Lost]), "its slot stays spent");
        assert_eq!(story.rings_of(ADA), 0);
    }

    async fn a_key_of_another_organisation_proves_nothing(db) {
        let organisations = vec![
            Organisation { concurrency: 100, ..Organisation::default() },
            Organisation { key: "other-key".to_owned(), org: "org-other".to_owned(), concurrency: 100 },
        ];
        let story = Story::begin_with(db, MONDAY_TEN, organisations).await;
        with_a_known_call(&story).await;
        story.fault(json!({"kind": "refuse_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        // Somebody changes the account's key to that of another organisation, which has calls of its own.
        story.put_account("acme-vapi", "env:OTHER_KEY", 100).await;
        let carol = "+12025550103";
        story.contact(carol, |_| {}, &["checkup"]).await;
        for _ in 0..60 {
            story.wait(TimeDelta::minutes(2));
            story.process(&[]).await;
        }
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Calling, vec![AttemptState::Unknown]));
        assert_eq!((story.rings_of(ADA), story.rings_of(carol)), (0, 1));
    }

    async fn a_refused_key_costs_no_slot_and_is_one_finding(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "unauthorized_all"}));
        let (counts, exit) = story.process(&[]).await;
        assert_eq!(exit, Exit::Configuration, "{counts:?}");
        story.wait(TimeDelta::minutes(1));
        story.process(&[]).await;
        let findings = story.write(async |tx| callops::store::runs::standing_findings(tx).await).await;
        assert_eq!(findings.iter().map(|f| f.kind.as_str()).collect::<Vec<_>>(), ["account_refused"]);
        assert!(story.calls().await.is_empty(), "no slot spent");
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(10));
        let (_, exit) = story.process(&[]).await;
        assert_eq!((exit, story.rings_of(ADA), story.rings_of(BOB)), (Exit::Success, 1, 1));
    }

    async fn a_key_refused_at_the_dial_holds_everybody_back_and_spends_no_attempt(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        for n in 0..30 {
            story.contact(&format!("+120255502{n:02}"), |_| {}, &["checkup"]).await;
        }
        story.fault(json!({"kind": "payment_required"}));
        let (_, exit) = story.process(&["--concurrency", "2"]).await;
        assert_eq!(exit, Exit::Configuration);
        assert_eq!(story.rings(), 0);
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(2));
        for _ in 0..3 {
            story.process(&[]).await;
            story.wait(TimeDelta::minutes(1));
        }
        assert_eq!(story.rings(), 30, "all are called once the account pays");
        assert!(story.write(async |tx| callops::store::runs::standing_findings(tx).await).await.is_empty());
    }

    async fn a_sweep_by_a_clock_that_is_wrong_from_the_start_lets_no_timer_decide(db) {
        let (carol, dan) = ("+12025550103", "+12025550104");
        let story = Story::begin(db, MONDAY_TEN).await;
        with_a_known_call(&story).await;
        story.fault(json!([
            {"kind": "refuse_and_drop", "match": {"phone_prefix": ADA}},
            {"kind": "list_lag", "seconds": 1200, "match": {"phone_prefix": carol}},
        ]));
        story.contact(carol, |_| {}, &["checkup"]).await;
        story.script(carol, json!(["customer-ended-call"])).await;
        story.process(&[]).await;
        story.contact(dan, |_| {}, &["checkup"]).await;
        story.claim_first("a run that died").await;
        story.sandbox.clear_faults();
        let ahead = TimeDelta::hours(25);
        story.clock.advance(ahead);
        story.sandbox.advance(-ahead);
        let error = callops::commands::sweep_timeouts::once(&story.app).await.expect_err("the clocks are compared");
        assert_eq!(classify(&error), Exit::Configuration, "{error:#}");
        assert_eq!(state_of(&story, ADA).await.1, [AttemptState::Unknown]);
        assert_eq!(state_of(&story, carol).await.1, [AttemptState::Placed]);
        story.clock.advance(-ahead);
        story.sandbox.advance(ahead);
        for _ in 0..30 {
            story.wait(TimeDelta::minutes(1));
            story.process(&[]).await;
        }
        assert_eq!(state_of(&story, carol).await.1, [AttemptState::Ended], "the provider tells how it ended");
        for phone in [ADA, carol, dan] {
            assert_eq!(story.rings_of(phone), 1, "{phone}");
        }
    }

    async fn a_run_by_a_clock_that_is_a_day_ahead_ends_no_call(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-did-not-answer", "customer-ended-call"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(2));
        story.collect().await;
        story.wait(TimeDelta::hours(3));
        let ahead = TimeDelta::days(1);
        story.clock.advance(ahead);
        story.sandbox.advance(-ahead);
        let error = story.try_process(&[]).await.expect_err("the clocks are compared");
        assert_eq!(classify(&error), Exit::Configuration, "{error:#}");
        assert_eq!(story.only_call().await.status, CallStatus::Scheduled, "its period is not over");
        story.clock.advance(-ahead);
        story.sandbox.advance(ahead);
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2, "the second attempt is made the same day");
    }

    async fn an_unreachable_provider_leaves_everything_as_it_is(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        with_a_known_call(&story).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        story.fault(json!({"kind": "server_error", "status": 503, "match": {"method": "GET"}}));
        story.wait(TimeDelta::minutes(30));
        let (_, exit) = story.sweep().await;
        assert_eq!(exit, Exit::Unreachable);
        assert_eq!(state_of(&story, ADA).await, (CallStatus::Calling, vec![AttemptState::Unknown]));
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(10));
        story.sweep().await;
        assert_eq!(state_of(&story, ADA).await.1, [AttemptState::Ended]);
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn a_call_queued_at_the_end_of_the_day_is_taken_back(db) {
        // 16:50 in New York: less than an hour is left.
        let story = Story::begin(db, "2026-11-16T21:50:00Z").await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "over_concurrency", "mode": "queued_blocked", "seconds": 1800}));
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.get("queued"), counts.get("taken_back")), (1, 1), "{counts:?}");
        let call = story.only_call().await;
        let attempt = &story.attempts(&call).await[0];
        assert_eq!((attempt.state, attempt.may_have_rung), (AttemptState::Ended, false), "{attempt:?}");
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!(story.rings(), 0, "never outside the window");
        story.sandbox.clear_faults();
        story.wait_until("2026-11-17T14:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1);
    }

    async fn a_call_that_the_provider_holds_back_does_not_ring_after_a_pause(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "over_concurrency", "mode": "queued_blocked", "seconds": 1800}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        story.run(&["pause"]).success();
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        story.run(&["resume"]).success();
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "it goes on where it was");
    }

    async fn a_finding_goes_away_with_its_cause(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.put_account("acme-vapi", "env:NOT_SET", 10).await;
        assert_eq!(story.process(&[]).await.1, Exit::Configuration);
        let standing = async || story.write(async |tx| callops::store::runs::standing_findings(tx).await).await.len();
        assert_eq!(standing().await, 1);
        story.put_account("acme-vapi", "env:ACME_KEY", 10).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), standing().await), (1, 0));
    }

    async fn a_call_queued_in_the_morning_is_left_to_ring(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!({"kind": "over_concurrency", "mode": "queued_blocked", "seconds": 1800}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        for _ in 0..60 {
            story.wait(TimeDelta::minutes(1));
            story.sweep().await;
            story.collect().await;
        }
        assert_eq!(story.rings_of(ADA), 1);
        assert_eq!(story.only_call().await.status, CallStatus::Completed);
    }

    async fn a_call_of_which_nothing_is_heard_times_out_only_after_asking(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        story.script(ADA, json!([{"ended_reason": "customer-ended-call", "ring_seconds": 1200, "talk_seconds": 60}])).await;
        // Bob's record is never shown again.
        story.fault(json!({"kind": "list_lag", "seconds": 100_000, "match": {"phone_prefix": BOB}}));
        story.process(&[]).await;
        sweep_for(&story, 15).await;
        let (status, _) = state_of(&story, ADA).await;
        assert_eq!(status, CallStatus::Calling, "the provider still sees it ring");
        let calls = story.calls().await;
        let bob = calls.iter().find(|call| call.phone == BOB).expect("Bob's call");
        assert_eq!((bob.status, bob.outcome), (CallStatus::Failed, Some(Outcome::Timeout)));
        assert_eq!(bob.reason.as_deref(), Some("Call timeout - no agent response"));
        sweep_for(&story, 30).await;
        story.collect().await;
        assert_eq!(state_of(&story, ADA).await.0, CallStatus::Completed);
        story.wait(TimeDelta::hours(3));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 1), "a timeout without proof is not tried again");
    }

    async fn an_outcome_that_comes_after_the_timeout_replaces_it(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!({"kind": "list_lag", "seconds": 1200}));
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(11));
        story.sweep().await;
        let call = story.only_call().await;
        assert_eq!(call.outcome, Some(Outcome::Timeout));
        let attempt = story.attempts(&call).await.remove(0);
        story.wait(TimeDelta::minutes(30));
        story.learn_from_provider(&attempt).await;
        let call = story.only_call().await;
        assert_eq!((call.status, call.outcome), (CallStatus::Completed, Some(Outcome::Answered)));
    }
}
