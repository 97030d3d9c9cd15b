//! `call`: one person, now, through the same gates and steps as everybody else.

use callops::commands::call;
use callops::commands::calling::stop::Stop;
use callops::domain::call::CallStatus;
use callops::error::{Exit, classify, hints};
use callops::store::{contacts, control, enrollments};
use chrono::TimeDelta;
use clap::Parser;
use serde_json::{Map, Value, json};

use crate::common::on_both_databases;
use crate::common::story::{Story, rules};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: call::Args,
}

async fn call(story: &Story, options: &[&str]) -> anyhow::Result<(Map<String, Value>, Exit)> {
    let fixed = ["call", "--campaign", "acme/checkup"];
    let args = Command::parse_from(fixed.iter().chain(options)).args;
    call::once(&story.app, &args, &Stop::default()).await
}

/// Insists that nobody was called, and yields the message with its hints.
async fn refused(story: &Story, options: &[&str]) -> String {
    let rings = story.rings();
    let error = call(story, options).await.expect_err("a refusal");
    assert_eq!(classify(&error), Exit::Partial, "{error:#}");
    assert_eq!(story.rings(), rings);
    format!("{error:#}; {}", hints(&error).join("; "))
}

async fn begin(db: crate::common::TestDatabase, now: &str) -> Story {
    let story = Story::begin(db, now).await;
    story.campaign("checkup", &rules()).await;
    story
}

on_both_databases! {
    async fn one_person_is_called_and_nobody_else(db) {
        let story = begin(db, MONDAY_TEN).await;
        let ada = story.contact(ADA, |ada| ada.preferred_time = Some("15:00".to_owned()), &["checkup"]).await;
        story.contact(BOB, |_| {}, &["checkup"]).await;
        let (dry, exit) = call(&story, &[ADA, "--dry-run"]).await.expect("a preview");
        assert_eq!((exit, story.rings(), &dry["would_enroll"]), (Exit::Success, 0, &json!(false)));
        let (done, exit) = call(&story, &[&ada.id]).await.expect("a call");
        assert_eq!(exit, Exit::Success);
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 0), "whatever time they prefer");
        let stored = story.only_call().await;
        let attempt = story.attempts(&stored).await.remove(0);
        assert_eq!(done["call"], json!(stored.id));
        assert_eq!(done["attempt"], json!(attempt.id));
        assert_eq!(done["state"], "placed");
        assert_eq!(done["provider_call_id"], json!(attempt.provider_call_id.expect("an id")));
        assert_eq!(stored.requested_by, "call");

        // Never a second call for the slot, nor a second dial beside a live one.
        let live = refused(&story, &[ADA]).await;
        assert!(live.contains("gate frequency says already_called"), "{live}");
        story.process(&[]).await;
        assert_eq!((story.rings_of(ADA), story.rings_of(BOB)), (1, 1));
    }

    async fn somebody_new_is_created_and_enrolled_only_when_asked(db) {
        let story = begin(db, MONDAY_TEN).await;
        let error = call(&story, &[ADA]).await.expect_err("nobody");
        assert_eq!(classify(&error), Exit::Usage, "{error:#}");
        let (dry, _) = call(&story, &[ADA, "--create", "--dry-run"]).await.expect("a preview");
        assert_eq!((&dry["would_create"], &dry["would_enroll"]), (&json!(true), &json!(true)));
        let known = story.write(async |tx| contacts::contacts_with_phone(tx, ADA).await).await;
        assert!(known.is_empty(), "a dry run writes nothing");
        let (_, exit) = call(&story, &[ADA, "--create"]).await.expect("a call");
        assert_eq!((exit, story.rings_of(ADA)), (Exit::Success, 1));

        story.contact(BOB, |_| {}, &[]).await;
        call(&story, &["(202) 555-0102"]).await.expect("a call");
        assert_eq!(story.rings_of(BOB), 1, "enrolled on the way");
    }

    async fn a_gate_that_says_no_is_named_with_the_next_moment(db) {
        let story = begin(db, "2026-11-16T13:59:00Z").await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let closed = refused(&story, &[ADA]).await;
        assert!(closed.contains("gate window says outside_window"), "{closed}");
        assert!(closed.contains("2026-11-16T14:00:00Z"), "{closed}");
        assert!(refused(&story, &[ADA, "--dry-run"]).await.contains("outside_window"));
        refused(&story, &[BOB, "--create"]).await;
        let known = story.write(async |tx| contacts::contacts_with_phone(tx, BOB).await).await;
        assert!(known.is_empty(), "who is not called is not made either");

        story.wait(TimeDelta::minutes(1));
        let now = story.now();
        story.write(async |tx| control::pause(tx, "all", None, now).await).await;
        let paused = refused(&story, &[ADA]).await;
        assert!(paused.contains("gate pause says paused") && paused.contains("not before paused ends"), "{paused}");
        story.write(async |tx| control::resume(tx, "all").await).await;

        let campaign = story.find_campaign("checkup").await;
        let ada = story.write(async |tx| contacts::contacts_with_phone(tx, ADA).await).await.remove(0);
        story.write(async |tx| enrollments::withdraw(tx, &campaign.id, &ada.id, now).await).await;
        assert!(refused(&story, &[ADA]).await.contains("gate active says not_enrolled"));
        assert_eq!(story.rings(), 0);
    }

    async fn a_waiting_call_gets_its_next_attempt_when_it_is_due(db) {
        let story = begin(db, MONDAY_TEN).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-busy", "customer-busy"])).await;
        call(&story, &[ADA]).await.expect("a call");
        story.wait(TimeDelta::minutes(5));
        story.collect().await;
        let waiting = refused(&story, &[ADA]).await;
        assert!(waiting.contains("gate retry says retry_waits"), "{waiting}");
        story.wait(TimeDelta::hours(2));
        let (done, _) = call(&story, &[ADA]).await.expect("a call");
        assert_eq!((&done["number"], story.rings_of(ADA)), (&json!(2), 2));
        assert_eq!(story.only_call().await.attempt_count, 2);

        story.wait(TimeDelta::minutes(5));
        story.collect().await;
        // The next day that call is over with its slot, and the person is called anew.
        story.wait_until("2026-11-17T15:00:00Z");
        let (done, _) = call(&story, &[ADA]).await.expect("a call");
        assert_eq!((&done["number"], story.rings_of(ADA)), (&json!(1), 3));
        let calls = story.calls().await;
        assert_eq!((calls[1].status, calls[1].reason.as_deref()), (CallStatus::Failed, Some("slot_expired")));
    }

    async fn a_call_that_the_provider_refuses_is_not_a_success(db) {
        let story = begin(db, MONDAY_TEN).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.fault(json!({"kind": "too_many_requests", "retry_after": "600", "match": {"phone_prefix": ADA}}));
        let (done, exit) = call(&story, &[ADA]).await.expect("an answer");
        assert_eq!((exit, &done["state"], story.rings()), (Exit::Partial, &json!("refused"), 0));
    }

    async fn what_an_operator_reads(db) {
        let story = begin(db, "2026-11-16T13:00:00Z").await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        let closed = story.run(&["call", ADA, "--campaign", "acme/checkup"]).exits(4);
        insta::allow_duplicates! {
            insta::assert_snapshot!(closed.stderr, @r"
            error: +12025550101 is not called now: gate window says outside_window
            hint: the next possible moment is 2026-11-16T14:00:00Z
            ");
        }
        let closed = story.run(&["call", ADA, "--campaign", "acme/checkup", "--format", "json"]).exits(4);
        let error: Value = serde_json::from_str(&closed.stderr).expect("JSON");
        assert_eq!(error["error"]["kind"], "partial");
        assert!(closed.stdout.is_empty());
        story.run(&["call", BOB, "--campaign", "acme/checkup"]).exits(2);
        story.run(&["call", ADA, "--campaign", "acme/nothing"]).exits(2);
        story.run(&["call", ADA]).exits(2);
        story.wait(TimeDelta::hours(1));
        let dry = story.run(&["call", ADA, "--campaign", "acme/checkup", "--dry-run"]).success();
        assert_eq!((dry.stdout.as_str(), story.rings()), ("+12025550101 would be called now by acme/checkup, attempt 1\n", 0));
        let done = story.run(&["call", ADA, "--campaign", "acme/checkup", "--format", "json"]).success().json();
        assert_eq!((&done["state"], story.rings()), (&json!("placed"), 1));
    }
}
