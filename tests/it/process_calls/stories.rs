//! Who is called when, and who is not called twice.

use callops::domain::call::{AttemptState, CallStatus};
use callops::domain::campaign::ZonePolicy;
use callops::domain::outcome::Outcome;
use callops::domain::slot::Frequency;
use callops::error::Exit;
use callops::store::claims::Claim;
use callops::store::{calls, claims, setup};
use chrono::TimeDelta;
use serde_json::json;

use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

on_both_databases! {
    async fn a_person_is_called_once_a_day_however_often_cron_runs(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        for _ in 0..5 {
            story.process(&[]).await;
            story.collect().await;
            story.wait(TimeDelta::minutes(7));
        }
        assert_eq!(story.rings_of(ADA), 1);
        let call = story.only_call().await;
        assert_eq!(call.slot_key, "2026-11-16");
        assert!(matches!(call.status, CallStatus::Completed | CallStatus::Scheduled), "{call:?}");

        story.wait_until("2026-11-17T13:59:00Z");
        story.process(&[]).await;
        assert_eq!(story.calls().await.len(), 1, "the window opens at nine");
        story.wait_until("2026-11-17T14:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.calls().await.len(), 2);
    }

    async fn stop_and_start_the_same_morning_loses_nobody(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.process(&[]).await;
        // Ada is called; Bob's call is refused for now, so that it waits without having rung. Had it been refused first, nobody
        // would have been called: the account waits.
        story.contact(BOB, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "too_many_requests", "retry_after": "1800", "match": {"phone_prefix": BOB}}));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 0));
        story.sandbox.clear_faults();

        let campaign = story.find_campaign("checkup").await;
        let now = story.now();
        let cancelled = story.write(async |tx| {
            setup::set_active(tx, &campaign.id, false, now).await?;
            let open = calls::open_of_campaign(tx, &campaign.id).await?;
            calls::cancel(tx, &open, now).await
        }).await;
        assert_eq!((cancelled.cancelled, cancelled.live, cancelled.freed), (1, 1, 1));
        story.process(&[]).await;
        assert_eq!(story.rings_of(BOB), 0, "a stopped campaign calls nobody");

        story.wait(TimeDelta::minutes(31));
        let now = story.now();
        story.write(async |tx| setup::set_active(tx, &campaign.id, true, now).await).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 1), "nobody lost, nobody twice");
    }

    async fn a_retry_waits_and_is_not_carried_over_midnight(db) {
        let story = Story::begin(db, "2026-11-16T20:30:00Z").await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-did-not-answer", "customer-did-not-answer"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(2));
        story.collect().await;
        let call = story.only_call().await;
        assert_eq!(call.status, CallStatus::Scheduled, "no answer is tried again: {call:?}");
        // 15:32 and two hours is 17:32, after the window; the next opening is another day's slot.
        story.wait_until("2026-11-16T22:40:00Z");
        story.process(&[]).await;
        story.wait_until("2026-11-17T14:00:00Z");
        story.process(&[]).await;
        let calls = story.calls().await;
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[1].status, calls[1].reason.as_deref()), (CallStatus::Failed, Some("slot_expired")));
        assert_eq!((calls[0].slot_key.as_str(), story.rings_of(ADA)), ("2026-11-17", 2));
    }

    async fn a_weekly_retry_is_not_carried_over_sunday(db) {
        // Sunday, 16:50 in New York; the ISO week ends with it.
        let story = Story::begin(db, "2026-11-22T21:50:00Z").await;
        story.campaign("checkup", &callops::domain::campaign::Rules { frequency: Frequency::Weekly, ..rules() }).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-busy", "customer-busy"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(2));
        story.collect().await;
        assert_eq!(story.only_call().await.slot_key, "2026-W47");
        story.wait_until("2026-11-23T14:00:00Z");
        story.process(&[]).await;
        let calls = story.calls().await;
        assert_eq!(calls.iter().map(|call| call.slot_key.as_str()).collect::<Vec<_>>(), ["2026-W48", "2026-W47"]);
        assert_eq!(calls[1].reason.as_deref(), Some("slot_expired"));
        assert_eq!(story.rings_of(ADA), 2, "one a week");
    }

    async fn a_retry_within_the_day_is_another_attempt_of_the_same_call(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-did-not-answer", "customer-busy", "customer-busy", "customer-busy"])).await;
        for hour in 0..7 {
            story.process(&[]).await;
            story.wait(TimeDelta::minutes(5));
            story.collect().await;
            story.wait(TimeDelta::minutes(50));
            assert!(story.rings_of(ADA) <= 1 + hour / 2 + 1);
        }
        let call = story.only_call().await;
        assert_eq!((call.status, call.outcome), (CallStatus::Failed, Some(Outcome::Busy)));
        assert_eq!((call.attempt_count, story.rings_of(ADA)), (3, 3), "three attempts are the budget");
    }

    async fn edits_after_todays_call_do_not_call_again_today(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(20));
        story.collect().await;
        assert_eq!(story.only_call().await.status, CallStatus::Completed);
        let mut edited = rules();
        // Far enough on that the gap between two calls is over too, and the frequency alone forbids it.
        story.wait_until("2026-11-16T19:30:00Z");
        edited.schedule.window = "08:00-20:00".parse().expect("a window");
        story.campaign("checkup", &edited).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "window edited");
        edited.timezone = Some("America/Los_Angeles".parse().expect("a zone"));
        story.campaign("checkup", &edited).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "zone edited");
        edited.frequency = Frequency::Weekly;
        story.campaign("checkup", &edited).await;
        story.process(&[]).await;
        story.wait_until("2026-11-17T19:30:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "called this week already");
        edited.frequency = Frequency::Daily;
        story.campaign("checkup", &edited).await;
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2, "a new day, and daily again");
    }

    async fn two_campaigns_and_one_phone(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.campaign_for("checkup-north", "checkup", &rules()).await;
        story.campaign("survey", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup", "checkup-north", "survey"]).await;
        story.script(ADA, json!(["customer-ended-call", "customer-ended-call", "customer-ended-call"])).await;
        for _ in 0..4 {
            story.process(&[]).await;
            assert!(story.sandbox.rings().iter().filter(|ring| ring.phone == ADA).count() <= 1, "one at a time, and a gap");
            story.wait(TimeDelta::minutes(20));
            story.collect().await;
        }
        story.wait_until("2026-11-16T19:30:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2, "after the gap, the other purpose");
        story.wait(TimeDelta::minutes(20));
        story.collect().await;
        story.process(&[]).await;
        let purposes: Vec<String> = story.calls().await.into_iter().map(|call| call.purpose).collect();
        assert_eq!(purposes, ["survey", "checkup"], "a shared purpose is called for once");
    }

    async fn a_phone_corrected_between_attempts_is_dialled_under_its_new_number_only(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-busy"])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(5));
        story.collect().await;
        story.correct_phone(&ada, BOB).await;
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 0), "not before the retry is due");
        story.wait(TimeDelta::hours(2));
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 1));
        let call = story.only_call().await;
        assert_eq!((call.phone.as_str(), call.attempt_count), (BOB, 2));
    }

    async fn a_phone_corrected_after_the_claim_is_not_dialled(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        let attempt = story.claim_first("run-1").await;
        story.correct_phone(&ada, BOB).await;
        let now = story.now();
        let ids = [attempt];
        let placed = story.write(async |tx| claims::commit_to_dial(tx, &ids, "run-1", now).await).await;
        assert!(placed.is_empty());
    }

    async fn a_preferred_time_outside_the_window_counts_from_the_opening(db) {
        let story = Story::begin(db, "2026-11-16T13:00:00Z").await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |ada| ada.preferred_time = Some("07:30".to_owned()), &["checkup"]).await;
        story.contact(BOB, |bob| bob.preferred_time = Some("11:00".to_owned()), &["checkup"]).await;
        for (moment, ada, bob) in [
            ("2026-11-16T13:59:00Z", 0, 0),
            ("2026-11-16T14:00:00Z", 1, 0),
            ("2026-11-16T15:59:00Z", 1, 0),
            ("2026-11-16T16:00:00Z", 1, 1),
        ] {
            story.wait_until(moment);
            story.process(&[]).await;
            assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (ada, bob), "{moment}");
        }
    }

    async fn a_preferred_time_that_was_missed_waits_for_the_next_day(db) {
        let story = Story::begin(db, "2026-11-16T14:00:00Z").await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |ada| ada.preferred_time = Some("11:00".to_owned()), &["checkup"]).await;
        story.process(&[]).await;
        // Cron was down from before 11:00 until 11:16 and a minute for the run's own interval.
        story.wait_until("2026-11-16T16:16:00Z");
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.skipped("missed_preferred_time"), story.rings_of(ADA)), (1, 0));
        story.wait_until("2026-11-17T16:15:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 1, "late by less than the look-back");
    }

    async fn past_the_close_margin_nobody_is_dialled(db) {
        let story = Story::begin(db, "2026-11-16T21:57:59Z").await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &[]).await;
        let attempt = story.claim_first("run-1").await;
        story.wait(TimeDelta::seconds(1));
        let now = story.now();
        let ids = [attempt];
        let placed = story.write(async |tx| claims::commit_to_dial(tx, &ids, "run-1", now).await).await;
        assert!(placed.is_empty(), "16:58:00 is two minutes before the end");
        let (counts, _) = story.process(&[]).await;
        assert_eq!(counts.get("placed"), 0, "{counts:?}");
        assert_eq!(story.rings(), 0);
    }

    async fn a_callee_without_a_zone_is_not_called_under_the_callees_clock(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &callops::domain::campaign::Rules { zone_policy: ZonePolicy::Callee, ..rules() }).await;
        // A satellite phone is of no place.
        story.contact("+88212345678", |_| {}, &["checkup"]).await;
        story.contact(BOB, |bob| bob.timezone = Some("America/Los_Angeles".to_owned()), &["checkup"]).await;
        story.contact("+12025550103", |c| c.timezone = Some("America/New York".to_owned()), &["checkup"]).await;
        let (counts, _) = story.process(&[]).await;
        assert_eq!((counts.skipped("no_timezone"), counts.skipped("outside_window")), (2, 1));
        assert_eq!(story.rings(), 0, "it is seven in Los Angeles");
        story.wait_until("2026-11-16T17:00:00Z");
        story.process(&[]).await;
        assert_eq!((story.rings_of(BOB), story.rings()), (1, 1));
    }

    async fn rules_that_cannot_be_read_stop_their_campaign_and_no_other(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.campaign("broken", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["broken"]).await;
        story.spoil_rules("broken", "America/New York").await;
        let (counts, exit) = story.process(&[]).await;
        assert_eq!(exit, Exit::Partial, "{counts:?}");
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 0));
    }

    async fn an_account_is_never_asked_for_more_than_it_can_hold(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.put_account("acme-vapi", "env:ACME_KEY", 3).await;
        story.campaign("checkup", &rules()).await;
        story.campaign("survey", &rules()).await;
        for n in 0..20 {
            let campaign = if n % 2 == 0 { "checkup" } else { "survey" };
            story.contact(&format!("+120255502{n:02}"), |_| {}, &[campaign]).await;
        }
        story.process(&[]).await;
        assert_eq!(story.rings(), 3);
        let (counts, _) = story.process(&[]).await;
        assert_eq!((story.rings(), counts.get("placed")), (3, 0));
        for _ in 0..12 {
            story.wait(TimeDelta::minutes(20));
            story.collect().await;
            story.process(&[]).await;
        }
        assert_eq!(story.most_live("org-sandbox").await, 3);
        let phones: std::collections::BTreeSet<String> =
            story.sandbox.rings().into_iter().map(|ring| ring.phone).collect();
        assert_eq!(phones.len(), 20, "nobody starves");
    }

    async fn a_campaign_starts_no_more_calls_in_a_minute_than_it_may(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        let slow = callops::domain::campaign::Rules { calls_per_minute: Some(2), ..rules() };
        story.campaign("checkup", &slow).await;
        story.campaign("survey", &rules()).await;
        for n in 0..6 {
            story.contact(&format!("+120255502{n:02}"), |_| {}, &["checkup"]).await;
            story.contact(&format!("+120255503{n:02}"), |_| {}, &["survey"]).await;
        }
        let (counts, _) = story.process(&[]).await;
        assert_eq!((story.rings(), counts.skipped("calls_per_minute")), (2 + 6, 4), "{counts:?}");
        story.wait(TimeDelta::seconds(59));
        story.process(&[]).await;
        assert_eq!(story.rings(), 8);
        story.wait(TimeDelta::seconds(1));
        story.process(&[]).await;
        assert_eq!(story.rings(), 10);
    }

    async fn a_check_while_somebody_is_on_the_phone_does_not_forget_them(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!([{"ended_reason": "customer-ended-call", "ring_seconds": 5, "talk_seconds": 900}])).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(1));
        // Everybody is checked anew, Ada in the middle of her conversation.
        story.campaign("checkup", &rules()).await;
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(30));
        story.collect().await;
        story.wait_until("2026-11-17T14:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings_of(ADA), 2, "called again on the next day");
    }

    async fn a_call_that_waits_ends_with_its_campaign_or_its_enrollment(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        let mut short = rules();
        short.schedule.ends = Some("2026-11-16".parse().expect("a date"));
        story.campaign("checkup", &short).await;
        story.campaign("survey", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let bob = story.contact(BOB, |_| {}, &["survey"]).await;
        story.fault(json!({"kind": "too_many_requests", "retry_after": "3600"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        let survey = story.find_campaign("survey").await;
        let now = story.now();
        story.write(async |tx| callops::store::enrollments::withdraw(tx, &survey.id, &bob.id, now).await).await;
        story.wait_until("2026-11-18T15:00:00Z");
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        let mut ends: Vec<(String, CallStatus)> =
            story.calls().await.into_iter().map(|call| (call.phone, call.status)).collect();
        ends.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(ends, [(ADA.to_owned(), CallStatus::Failed), (BOB.to_owned(), CallStatus::Cancelled)]);
    }

    async fn a_claim_by_an_outdated_plan_comes_to_nothing(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        let claim = story.plan_first().await;
        let now = story.now();
        story.correct_phone(&ada, BOB).await;
        let claims = [claim];
        let lease_until = now + TimeDelta::seconds(60);
        let claimed = story
            .write(async |tx| claims::claim(tx, "acme-vapi", &claims, "run-1", lease_until, now).await)
            .await;
        assert_eq!((claimed.attempts.len(), claimed.changed.len()), (0, 1));
        assert!(story.calls().await.is_empty(), "no slot is spent");
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (0, 1));
    }

    async fn whoever_is_claimed_twice_does_not_stand_in_for_whoever_changed(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        let bob = story.plan_first().await;
        let ada = story.contact(ADA, |_| {}, &["checkup"]).await;
        let enrolled = story
            .write(async |tx| callops::store::enrollments::candidate(tx, &bob.campaign_id, &ada.id).await)
            .await
            .expect("an enrollment");
        let id = || story.app.new_id();
        let again = Claim { attempt_id: id(), call_id: id(), ..bob.clone() };
        let outdated = Claim {
            attempt_id: id(),
            call_id: id(),
            enrollment_id: enrolled.enrollment_id,
            contact_id: ada.id.clone(),
            phone: ADA.to_owned(),
            ..bob.clone()
        };
        story.correct_phone(&ada, "+12025550109").await;
        let claims = [outdated, bob, again];
        let now = story.now();
        let lease_until = now + TimeDelta::seconds(60);
        let claimed = story
            .write(async |tx| claims::claim(tx, "acme-vapi", &claims, "run-1", lease_until, now).await)
            .await;
        assert_eq!((claimed.attempts.len(), claimed.slot_taken.len(), claimed.changed.len()), (1, 1, 1), "{claimed:?}");
    }

    async fn what_is_paused_or_beyond_the_limit_does_not_ring(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        let now = story.now();
        story.write(async |tx| callops::store::control::pause(tx, "all", None, now).await).await;
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        story.write(async |tx| callops::store::control::resume(tx, "all").await).await;
        story.process(&["--limit", "1"]).await;
        assert_eq!(story.rings(), 1);
        story.process(&[]).await;
        assert_eq!(story.rings(), 2);
        assert!(story.calls().await.iter().all(|call| call.attempt_count == 1));
    }

    async fn a_claim_whose_run_died_is_given_back_and_dialled_later(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let attempt = story.claim_first("run-that-died").await;
        story.process(&[]).await;
        assert_eq!(story.rings(), 0, "the lease still runs");
        story.wait(TimeDelta::seconds(61));
        story.process(&[]).await;
        assert_eq!(story.rings(), 1);
        let ids = [attempt];
        let now = story.now();
        let placed = story.write(async |tx| claims::commit_to_dial(tx, &ids, "run-that-died", now).await).await;
        assert!(placed.is_empty(), "the dead run comes back and may not dial");
        let call = story.only_call().await;
        let states: Vec<AttemptState> = story.attempts(&call).await.iter().map(|a| a.state).collect();
        assert_eq!(states, [AttemptState::Void, AttemptState::Placed]);
    }
}
