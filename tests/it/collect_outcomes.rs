//! `collect-outcomes`: what is asked of providers until the record of each conversation is complete.

use callops::domain::call::{AttemptState, Evidence};
use callops::domain::conversation::ConversationStatus;
use callops::domain::evidence::{Ending, Observation, Seen};
use callops::domain::outcome::Outcome;
use callops::error::Exit;
use callops::store::{Tx, evidence};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::common::story::{Story, rules};
use crate::common::{TestDatabase, on_both_databases};

/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";
const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";

/// A campaign whose calls go as scripted, all placed.
async fn placed(db: TestDatabase, people: &[(&str, &str)]) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.campaign("checkup", &rules()).await;
    for (phone, reason) in people {
        story.contact(phone, |_| {}, &["checkup"]).await;
        story.script(phone, json!([reason])).await;
    }
    Box::pin(story.process(&[])).await;
    assert_eq!(story.rings(), people.len());
    story
}

/// Records that an attempt ended, on somebody's word who knows nothing of the provider's record.
async fn tell_end(story: &Story, attempt_id: &str, by: Evidence, outcome: Outcome) {
    let now = story.now();
    let seen = Seen::Ended(Ending { outcome, reason: None, ..Ending::timeout(now) });
    let observation = Observation { attempt_id: attempt_id.to_owned(), by, at: now, seen };
    story.write(async |tx| evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
}

/// Collects for so long, every minute at first and then every quarter of an hour; yields how many conversations were given
/// up.
async fn collect_on(story: &Story, hours: i64) -> u64 {
    let mut failed = 0;
    let until = story.now() + TimeDelta::hours(hours);
    for n in 0.. {
        if story.now() >= until {
            break;
        }
        story.wait(TimeDelta::minutes(if n < 15 { 1 } else { 15 }));
        failed += story.collect().await.0.get("conversations_failed");
    }
    failed
}

/// Copies of the only attempt, of another account, that are over and of whose conversations the provider should be asked.
async fn overdue_of(story: &Story, account: &str, count: i64) {
    let attempt = story.attempts(&story.only_call().await).await.remove(0);
    let now = story.now();
    let copies = format!(
        "INSERT INTO attempts (id, call_id, number, tenant, phone, purpose, contact_id, contact_version, campaign_id,
             rules_version, account, state, owner, lease_until, window_closes_at, dial_before, answer_timeout_seconds,
             call_timeout_seconds, claimed_at, provider_call_id, updated_at)
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})
         SELECT 'copy-' || n, call_id, 100 + n, tenant, phone, purpose, contact_id, contact_version, campaign_id,
             rules_version, '{account}', 'ended', owner, lease_until, window_closes_at, dial_before,
             answer_timeout_seconds, call_timeout_seconds, claimed_at, 'copy-' || n, updated_at
         FROM attempts, n WHERE attempts.id = '{}'",
        attempt.id
    );
    let wanted = format!(
        "INSERT INTO conversations (id, tenant, account, status, tries, next_try_at, created_at, updated_at)
         SELECT id, tenant, account, 'pending', 0, $1, $1, $1 FROM attempts WHERE account = '{account}'"
    );
    story
        .write(async |tx| {
            match tx {
                Tx::Sqlite(tx) => {
                    sqlx::query(AssertSqlSafe(copies.clone())).execute(&mut **tx).await?;
                    sqlx::query(AssertSqlSafe(wanted.clone())).bind(now).execute(&mut **tx).await?;
                }
                Tx::Postgres(tx) => {
                    sqlx::query(AssertSqlSafe(copies.clone())).execute(&mut **tx).await?;
                    sqlx::query(AssertSqlSafe(wanted.clone())).bind(now).execute(&mut **tx).await?;
                }
            }
            Ok(())
        })
        .await;
}

/// What `doctor` says of conversations.
fn doctors_row(story: &Story) -> serde_json::Value {
    let output = story.run(&["doctor", "--format", "json"]);
    let rows = output.json();
    let found = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["check"].as_str().is_some_and(|check| check.starts_with("conversations")));
    found.unwrap_or_else(|| panic!("{output}")).clone()
}

on_both_databases! {
    async fn an_end_that_somebody_told_is_completed_by_asking(db) {
        let story = placed(db, &[(ADA, "customer-ended-call"), (BOB, "customer-busy")]).await;
        story.wait(TimeDelta::minutes(5));
        for call in story.calls().await {
            let attempt = story.attempts(&call).await.remove(0);
            let outcome = if call.phone == ADA { Outcome::Answered } else { Outcome::Busy };
            tell_end(&story, &attempt.id, Evidence::Provider, outcome).await;
            let wanted = story.conversation(&attempt.id).await.expect("a conversation");
            assert_eq!((wanted.status, wanted.tries, wanted.cost_usd), (ConversationStatus::Pending, 0, None));
        }
        assert_eq!(story.collect().await.0.get("conversations_completed"), 0, "not before the provider had a moment");
        assert_eq!(doctors_row(&story)["verdict"], "ok");
        story.wait(TimeDelta::minutes(16));
        let row = doctors_row(&story);
        assert!(row["what"].as_str().expect("text").contains("of 2 should have been asked for"), "{row}");
        let (counts, exit) = story.collect().await;
        assert_eq!((counts.get("conversations_completed"), exit), (2, Exit::Success), "{counts:?}");
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.status, conversation.next_try_at), (ConversationStatus::Completed, None));
        assert!(conversation.transcript.expect("a transcript").contains("Hello"));
        assert!(conversation.analysis.expect("an analysis").contains("successEvaluation"));
        assert!(conversation.cost_usd > Some(0.0) && conversation.duration_seconds > Some(10));
        assert_eq!((attempt.ended_at, attempt.answered_at), (conversation.ended_at, conversation.started_at));
        let (_, busy) = story.conversation_with(BOB).await;
        assert_eq!((busy.status, busy.transcript, busy.duration_seconds), (ConversationStatus::Completed, None, None));
        let asked = story.request_paths().await.len();
        collect_on(&story, 1).await;
        assert_eq!(story.request_paths().await.len(), asked, "nobody is asked about what is complete");
    }

    async fn a_record_that_lacks_its_analysis_is_asked_for_until_it_has_it(db) {
        let story = placed(db, &[(ADA, "customer-ended-call"), (BOB, "customer-busy")]).await;
        story.control("settings", json!({"analysis_seconds": 300})).await;
        story.wait(TimeDelta::seconds(140));
        story.collect().await;
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!((attempt.state, attempt.outcome), (AttemptState::Ended, Some(Outcome::Answered)));
        assert_eq!((conversation.status, conversation.last_error), (ConversationStatus::Processing, None));
        assert_eq!((conversation.transcript.as_deref().map(str::lines).map(Iterator::count), conversation.cost_usd), (Some(1), Some(0.0)));
        collect_on(&story, 1).await;
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.status, &conversation.last_error), (ConversationStatus::Completed, &None), "{conversation:?}");
        assert!(conversation.transcript.is_some_and(|text| text.lines().count() == 3) && conversation.cost_usd > Some(0.0));
        assert_eq!(attempt.ended_at, conversation.ended_at);
    }

    async fn a_record_that_never_gets_an_analysis_is_complete_without_it(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.control("settings", json!({"analysis_seconds": 1e9})).await;
        assert_eq!(collect_on(&story, 8).await, 0);
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!(conversation.status, ConversationStatus::Completed);
        assert!(conversation.last_error.expect("a reason").contains("taken as it was"));
        assert!(conversation.analysis.is_none() && conversation.ended_at.is_some() && conversation.raw.is_some());
        assert!(doctors_row(&story)["what"].as_str().expect("text").contains("taken though they lack"));
        let asked = story.request_paths().await.len();
        collect_on(&story, 1).await;
        assert_eq!(story.request_paths().await.len(), asked);
    }

    async fn a_call_that_the_provider_forgot_is_given_up_and_a_late_report_is_taken_all_the_same(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.wait(TimeDelta::minutes(5));
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        let record = story.report_of(&attempt).await;
        story.erase(&attempt).await;
        assert_eq!(collect_on(&story, 8).await, 1);
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!(conversation.status, ConversationStatus::Failed);
        let tries = conversation.tries;
        assert_eq!(conversation.last_error.as_deref(), Some("the provider does not know the call"));
        let asked = story.request_paths().await.len();
        collect_on(&story, 1).await;
        assert_eq!(story.request_paths().await.len(), asked, "what was given up is asked for no more");

        let row = doctors_row(&story);
        assert_eq!(row["verdict"], "warning", "{row}");
        assert!(row["what"].as_str().expect("text").starts_with("1 of the last 2 days were given up"), "{row}");
        let listed = story.run(&["list", "conversations", "--status", "failed", "--format", "json"]).success().json();
        assert_eq!((&listed[0]["id"], &listed[0]["tries"]), (&json!(attempt.id), &json!(tries)));
        let by_hand = story.run(&["collect-outcomes", "--call", &attempt.call_id, "--format", "json"]).exits(4).json();
        assert_eq!((&by_hand[0]["conversation"], &by_hand[0]["tries"]), (&json!("failed"), &json!(tries)));

        let now = story.now();
        let seen = Seen::from_report(&record, now).expect("something");
        let observation = Observation { attempt_id: attempt.id.clone(), by: Evidence::Provider, at: now, seen };
        story.write(async |tx| evidence::apply(tx, std::slice::from_ref(&observation), now).await).await;
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.status, conversation.last_error), (ConversationStatus::Completed, None));
        assert!(conversation.transcript.is_some());
    }

    async fn an_outage_of_the_provider_uses_up_no_try(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.wait(TimeDelta::minutes(5));
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        story.wait(TimeDelta::minutes(1));
        for kind in [json!({"kind": "server_error", "status": 503, "match": {"method": "GET"}}), json!({"kind": "too_many_requests", "match": {"method": "GET"}})] {
            story.fault(kind);
            let (_, exit) = story.collect().await;
            assert_eq!(exit, Exit::Unreachable);
            story.sandbox.clear_faults();
        }
        assert_eq!(story.conversation_with(ADA).await.1.tries, 0);
        story.fault(json!({"kind": "broken_json", "match": {"method": "GET"}}));
        story.collect().await;
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.tries, conversation.status), (1, ConversationStatus::Pending));
        assert_eq!(conversation.last_error.as_deref(), Some("the provider's record of its call cannot be used"));
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(1));
        story.collect().await;
        assert_eq!(story.conversation_with(ADA).await.1.status, ConversationStatus::Completed);
    }

    async fn a_call_whose_id_never_came_is_found_by_its_name(db) {
        let story = Story::begin(db, MONDAY_TEN).await;
        story.campaign("checkup", &rules()).await;
        story.contact(ADA, |_| {}, &["checkup"]).await;
        story.script(ADA, json!(["customer-ended-call"])).await;
        story.fault(json!({"kind": "accept_and_drop"}));
        story.process(&[]).await;
        story.sandbox.clear_faults();
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        assert_eq!((attempt.state, &attempt.provider_call_id), (AttemptState::Unknown, &None));
        // The agent reports by our own id, and ends the attempt before a sweep finds it.
        story.wait(TimeDelta::minutes(5));
        tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        story.wait(TimeDelta::minutes(1));
        assert_eq!(story.collect().await.0.get("conversations_completed"), 1);
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!(attempt.provider_call_id.as_deref(), Some(story.sandbox.rings()[0].id.as_str()));
        assert!(conversation.transcript.is_some());
    }

    async fn a_verdict_of_time_is_replaced_by_the_record_that_is_asked_for(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.wait(TimeDelta::minutes(5));
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        tell_end(&story, &attempt.id, Evidence::Timer, Outcome::Timeout).await;
        assert_eq!(story.only_call().await.status.as_str(), "failed");
        story.wait(TimeDelta::minutes(1));
        story.collect().await;
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!((attempt.outcome, attempt.evidence), (Some(Outcome::Answered), Some(Evidence::Provider)));
        assert_eq!((conversation.status, story.only_call().await.status.as_str()), (ConversationStatus::Completed, "completed"));
    }

    async fn one_call_is_asked_about_by_hand(db) {
        let story = placed(db, &[(ADA, "customer-ended-call"), (BOB, "customer-ended-call")]).await;
        story.run(&["collect-outcomes", "--call", "nobody"]).exits(2);
        let (attempts, mut calls) = (async |phone: &str| {
            let call = story.calls().await.into_iter().find(|call| call.phone == phone).expect("a call");
            story.attempts(&call).await.remove(0)
        }, story.calls().await);
        calls.retain(|call| call.phone == ADA);
        let rows = story.run(&["collect-outcomes", "--call", &calls[0].id, "--format", "json"]).success().json();
        assert!(rows[0]["state"] != "ended" && rows[0]["conversation"].is_null(), "it goes on: {rows}");
        story.wait(TimeDelta::minutes(5));
        let attempt = attempts(ADA).await;
        let rows = story.run(&["collect-outcomes", "--call", &attempt.id, "--format", "json"]).success().json();
        assert_eq!((&rows[0]["conversation"], &rows[0]["outcome"]), (&json!("completed"), &json!("answered")));
        assert!(attempts(BOB).await.state.is_live(), "nobody else is asked about");
        let shown = story.run(&["show", "conversation", &attempt.id, "--format", "json"]).success().json();
        assert!(shown["transcript"].is_string() && shown["analysis"]["summary"].is_string(), "{shown}");
        assert_eq!((&shown["raw"]["id"], &shown["status"]), (&json!(attempt.provider_call_id), &json!("completed")));
        let shown = story.run(&["show", "call", &calls[0].id, "--format", "json"]).success().json();
        assert_eq!(shown["conversations"][0]["cost_usd"], rows[0]["cost_usd"]);
    }

    async fn asking_often_and_at_once_takes_no_record_before_it_is_whole(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.control("settings", json!({"analysis_seconds": 600})).await;
        story.wait(TimeDelta::seconds(150));
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        for _ in 0..4 {
            story.wait(TimeDelta::seconds(31));
            let mut runs: Vec<_> = (0..4).map(|_| story.spawn(&["collect-outcomes"])).collect();
            runs.push(story.spawn(&["collect-outcomes", "--call", &attempt.id]));
            for run in runs {
                run.wait();
            }
        }
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!(conversation.status, ConversationStatus::Processing, "{conversation:?}");
        assert!(conversation.tries <= 4, "{conversation:?}");
        collect_on(&story, 1).await;
        let (_, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.status, &conversation.last_error), (ConversationStatus::Completed, &None));
        assert!(conversation.cost_usd > Some(0.0) && conversation.analysis.is_some());
    }

    async fn a_report_that_comes_after_a_record_was_taken_as_it_was_replaces_it(db) {
        let story = placed(db, &[(ADA, "voicemail")]).await;
        story.control("settings", json!({"analysis_seconds": 36_000})).await;
        collect_on(&story, 8).await;
        let (attempt, conversation) = story.conversation_with(ADA).await;
        assert_eq!((conversation.status, conversation.cost_usd), (ConversationStatus::Completed, Some(0.0)));
        story.wait(TimeDelta::hours(4));
        story.learn_from_provider(&attempt).await;
        let (_, conversation) = story.conversation_with(ADA).await;
        assert!(conversation.cost_usd > Some(0.0) && conversation.last_error.is_none(), "{conversation:?}");
    }

    async fn records_that_cannot_be_read_keep_nobody_else_waiting(db) {
        let phones: Vec<String> = (0..60).map(|n| format!("+1202555{:04}", n + 1000)).collect();
        let people: Vec<(&str, &str)> = phones.iter().map(|phone| (phone.as_str(), "customer-ended-call")).collect();
        let story = placed(db, &people).await;
        story.wait(TimeDelta::minutes(5));
        let mut broken = Vec::new();
        for (n, call) in story.calls().await.into_iter().rev().enumerate() {
            let attempt = story.attempts(&call).await.remove(0);
            tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
            if n < 4 {
                let id = attempt.provider_call_id.expect("an id");
                let fault = if n < 2 { json!({"kind": "server_error", "status": 500}) } else { json!({"kind": "unauthorized_all"}) };
                let mut rule = fault;
                rule["match"] = json!({"method": "GET", "path": format!("/call/{id}")});
                story.fault(rule);
                broken.push(attempt.id);
            }
        }
        story.wait(TimeDelta::minutes(1));
        let (counts, exit) = story.collect().await;
        assert_eq!((counts.get("conversations_completed"), exit), (56, Exit::Unreachable), "{counts:?}");
        let account = story.write(async |tx| callops::store::setup::accounts(tx).await).await.remove(0);
        assert!(account.held_until.is_none(), "a key that is taken is not held back for one record");
        for id in &broken {
            let conversation = story.conversation(id).await.expect("a conversation");
            assert_eq!((conversation.tries, conversation.status), (1, ConversationStatus::Pending));
        }
        assert_eq!(collect_on(&story, 8).await, 4, "they are given up in the end");
    }

    async fn an_account_that_cannot_be_used_keeps_no_other_waiting(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.wait(TimeDelta::minutes(5));
        story.put_account("a-first", "env:NOT_THERE", 10).await;
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        overdue_of(&story, "a-first", 2100).await;
        story.wait(TimeDelta::minutes(16));
        let (counts, exit) = story.collect().await;
        assert_eq!((counts.get("conversations_completed"), exit), (1, Exit::Configuration), "{counts:?}");
        let output = story.run(&["doctor", "--format", "json"]);
        let rows = output.json();
        let row = rows.as_array().expect("rows").iter().find(|row| row["check"] == "conversations:a-first");
        assert!(row.expect("a row")["what"].as_str().expect("text").contains("of 2100 should"), "{rows}");
    }

    async fn accounts_are_asked_side_by_side(db) {
        let story = placed(db, &[(ADA, "customer-ended-call")]).await;
        story.wait(TimeDelta::minutes(5));
        story.put_account("a-first", "env:ACME_KEY", 10).await;
        let attempt = story.attempts(&story.only_call().await).await.remove(0);
        tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        overdue_of(&story, "a-first", 200).await;
        story.wait(TimeDelta::minutes(1));
        let before = story.request_paths().await.len();
        story.collect().await;
        let paths = story.request_paths().await.split_off(before);
        let mine = format!("/call/{}", attempt.provider_call_id.expect("an id"));
        assert_eq!(paths.len(), 201);
        assert!(paths.iter().position(|path| *path == mine).is_some_and(|at| at < 150), "one after the other it would be the last: {paths:?}");
    }

    async fn many_are_asked_about_at_once_by_runs_side_by_side(db) {
        let phones: Vec<String> = (0..100).map(|n| format!("+1202555{:04}", n + 1000)).collect();
        let people: Vec<(&str, &str)> = phones.iter().map(|phone| (phone.as_str(), "customer-ended-call")).collect();
        let story = placed(db, &people).await;
        story.wait(TimeDelta::minutes(5));
        for call in story.calls().await {
            let attempt = story.attempts(&call).await.remove(0);
            tell_end(&story, &attempt.id, Evidence::Provider, Outcome::Answered).await;
        }
        story.wait(TimeDelta::minutes(1));
        let runs: Vec<_> = (0..4).map(|_| story.spawn(&["collect-outcomes", "--format", "json"])).collect();
        let completed: u64 = runs
            .into_iter()
            .map(|run| run.wait().success().json()["conversations_completed"].as_u64().unwrap_or_default())
            .sum();
        assert_eq!(completed, 100, "each is completed once");
        for phone in &phones {
            assert_eq!(story.conversation_with(phone).await.1.status, ConversationStatus::Completed);
        }
    }
}
