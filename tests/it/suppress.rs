//! `suppress`, `unsuppress`, `list suppressions`: who must not be called is not, until they may be again.

use std::time::Duration;

use callops::domain::call::AttemptState;
use callops::store::setup::Tenant;
use callops::store::{Db, Tx, claims, runs, setup};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::common::story::{Story, rules};
use crate::common::{Output, TestDatabase, assert_same_snapshot, on_both_databases};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
const CID: &str = "+13035550103";
/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

/// Three people who are due.
async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.campaign("checkup", &rules()).await;
    for phone in [ADA, BOB, CID] {
        story.contact(phone, |_| {}, &["checkup"]).await;
    }
    story
}

/// How often each of the three rang, by the sandbox's ledger.
fn rings(story: &Story) -> [usize; 3] {
    [ADA, BOB, CID].map(|phone| story.rings_of(phone))
}

fn suppress(story: &Story, args: &[&str]) -> Output {
    story.run(&[&["suppress", "--reason", "asked us to stop"], args].concat())
}

fn rows(output: Output) -> Vec<Value> {
    output.success().json().as_array().expect("rows").clone()
}

fn results(output: &Output) -> Vec<(String, String)> {
    let rows = output.json();
    let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
    rows.as_array().expect("rows").iter().map(|row| (text(row, "pattern"), text(row, "result"))).collect()
}

fn result(pattern: &str, result: &str) -> (String, String) {
    (pattern.to_owned(), result.to_owned())
}

/// What `explain` says of the gate.
fn gate(story: &Story, phone: &str) -> Value {
    let explained = story.run(&["explain", "--contact", phone, "--format", "json"]).success().json();
    let gates = explained["campaigns"][0]["gates"].as_array().expect("gates").clone();
    gates.into_iter().find(|check| check["gate"] == "suppression").expect("the gate")
}

async fn audit(story: &Story, subject: &str) -> Vec<(String, Value)> {
    let log = story.write(async |tx| runs::audit_of(tx, subject, 100).await).await;
    log.into_iter().map(|line| (line.action, serde_json::from_str(&line.detail).expect("JSON"))).collect()
}

on_both_databases! {
    async fn who_is_suppressed_is_not_called_until_they_may_be_again(db) {
        let story = begin(db).await;
        assert_same_snapshot!(suppress(&story, &["(202) 555-0101", "--tenant", "acme"]), @r#"
        exit: 0
        --- stdout
         tenant  pattern       result      contacts  live  expires at
         acme    +12025550101  suppressed  1         0
        --- stderr
        "#);
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 1, 1]);
        let check = gate(&story, ADA);
        assert_eq!((&check["verdict"], &check["reason"]), (&json!("block"), &json!("suppressed")));
        let evidence = check["evidence"].as_str().expect("text");
        assert!(evidence.starts_with("+12025550101 is suppressed for good since 2026-11-16T15:00:00"), "{evidence}");
        assert!(evidence.ends_with(": asked us to stop (operator)"), "{evidence}");

        story.wait(TimeDelta::minutes(1));
        let lift = ["unsuppress", ADA, "--tenant", "acme", "--reason", "asked again"];
        assert_same_snapshot!(story.run(&lift), @r#"
        exit: 0
        --- stdout
         tenant  pattern       result        still suppressed by
         acme    +12025550101  unsuppressed
        --- stderr
        "#);
        // At once, and not when the next look was due.
        story.wait(TimeDelta::seconds(1));
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);
        assert_same_snapshot!(story.run(&lift), @r#"
        exit: 0
        --- stdout
         tenant  pattern       result              still suppressed by
         acme    +12025550101  was not suppressed
        --- stderr
        "#);
        let log = audit(&story, "phone:+12025550101").await;
        assert_eq!(log.iter().map(|(action, _)| action.as_str()).collect::<Vec<_>>(), ["suppress", "unsuppress"]);
        assert_eq!((&log[0].1["tenant"], &log[0].1["after"]["reason"]), (&json!("acme"), &json!("asked us to stop")));
        assert_eq!(log[1].1["before"]["reason"], "asked us to stop");
        assert_eq!(log[1].1["reason"], "asked again");
    }

    async fn what_was_claimed_before_is_not_dialled(db) {
        let story = begin(db).await;
        let attempt = story.claim_first("run-1").await;
        let phone = story.only_call().await.phone;
        let row = &rows(suppress(&story, &[&phone, "--all-tenants", "--format", "json"]))[0];
        assert_eq!((&row["tenant"], &row["live"]), (&json!("*"), &json!(0)), "a claim does not ring");
        let now = story.now();
        let commit = async || {
            let attempt = std::slice::from_ref(&attempt);
            story.write(async |tx| claims::commit_to_dial(tx, attempt, "run-1", now).await).await
        };
        assert!(commit().await.is_empty(), "dialled in spite of it");
        assert_eq!(story.attempts(&story.only_call().await).await[0].state, AttemptState::Claimed);
        story.run(&["unsuppress", &phone, "--all-tenants"]).success();
        assert_eq!(commit().await.len(), 1);
        let output = suppress(&story, &[&phone, "--tenant", "acme", "--format", "json"]);
        assert_eq!(output.json()[0]["live"], 1);
        assert!(output.stderr.contains(&format!("warning: a call to {phone} is under way and goes on")), "{output}");
    }

    /// On SQLite one transaction writes at a time, so that there is nothing to wait for.
    async fn a_suppression_waits_for_a_commit_that_is_under_way(db) {
        let story = begin(db).await;
        let Db::Postgres(..) = story.db().await else { return };
        let attempt = [story.claim_first("run-1").await];
        let phone = story.only_call().await.phone;
        let now = story.now();
        let mut dialling = story.db().await.begin().await.expect("a transaction");
        assert_eq!(claims::commit_to_dial(&mut dialling, &attempt, "run-1", now).await.expect("a commit"), attempt);
        let args = ["suppress", &phone, "--tenant", "acme", "--reason", "no", "--format", "json"];
        let mut command = story.spawn(&args);
        // Either it waits for a lock, or it is over too early.
        while !command.is_over() {
            let mut tx = story.db().await.read().await.expect("a transaction");
            let Tx::Postgres(connection) = &mut tx else { unreachable!("asked above") };
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut **connection)
            .await
            .expect("a count");
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        dialling.commit().await.expect("a commit");
        let output = command.wait().success();
        assert_eq!(output.json()[0]["live"], 1, "it returned while a dial was still to come behind it: {output}");
    }

    async fn a_prefix_and_all_tenants_hold_side_by_side(db) {
        let story = begin(db).await;
        let prefix = ["--prefix", "+1 202", "--all-tenants", "--source", "legal", "--format", "json"];
        let output = suppress(&story, &prefix);
        assert_eq!(output.stderr, "+1202* covers 2 contacts of all tenants\n");
        assert_eq!(output.json()[0]["contacts"], 2);
        suppress(&story, &[ADA, "--tenant", "acme"]).success();
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 0, 1]);
        assert!(gate(&story, BOB)["evidence"].as_str().expect("text").starts_with("+1202* is suppressed"));

        let output = story.run(&["unsuppress", ADA, "--tenant", "acme"]);
        assert_same_snapshot!(output, @r#"
        exit: 0
        --- stdout
         tenant  pattern       result        still suppressed by
         acme    +12025550101  unsuppressed  * +1202*
        --- stderr
        warning: +12025550101 is still not called, since +1202* is suppressed for all tenants: asked us to stop; `callops unsuppress --prefix +1202 --all-tenants` ends that
        "#);
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 0, 1]);
        story.run(&["unsuppress", "--prefix", "+1202", "--all-tenants"]).success();
        story.wait(TimeDelta::seconds(1));
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);
        // A tenant's own does not concern another one, and all tenants' does not end it.
        let now = story.now();
        let other = Tenant { name: "other".to_owned(), display_name: "Other".to_owned(), region: None, timezone: None, settings: "{}".to_owned() };
        story.write(async |tx| setup::put_tenant(tx, &other, now).await).await;
        suppress(&story, &[ADA, "--tenant", "other"]).success();
        assert_eq!(gate(&story, ADA)["verdict"], "pass");
        let output = story.run(&["unsuppress", ADA, "--all-tenants", "--format", "json"]).success();
        assert_eq!(output.json()[0]["still_suppressed_by"], "other +12025550101");
        assert!(output.stderr.contains("`callops unsuppress +12025550101 --tenant other` ends that"), "{output}");
    }

    async fn a_suppression_ends_by_itself(db) {
        let story = begin(db).await;
        suppress(&story, &[ADA, "--tenant", "acme", "--expires", "2026-11-16T17:00:00Z"]).success();
        suppress(&story, &[BOB, "--tenant", "acme", "--for", "90m"]).success();
        let explained = story.run(&["explain", "--contact", ADA, "--format", "json"]).success().json();
        assert_eq!(explained["campaigns"][0]["next_call_at"], "2026-11-16T17:00:00Z");
        for _ in 0..5 {
            story.process(&[]).await;
            story.wait(TimeDelta::minutes(15));
        }
        assert_eq!(rings(&story), [0, 0, 1]);
        story.wait_until("2026-11-16T16:29:59Z");
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 0, 1], "not a second early");
        story.wait_until("2026-11-16T16:45:00Z");
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 1, 1], "looked at again a quarter of an hour after the end at the latest");
        story.wait_until("2026-11-16T17:15:00Z");
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);

        // It is still listed, and can be made anew.
        let listed = |status: &str| rows(story.run(&["list", "suppressions", "--status", status, "--format", "json"])).len();
        assert_eq!((listed("active"), listed("expired")), (0, 2));
        let output = suppress(&story, &[ADA, "--tenant", "acme", "--format", "json"]);
        assert_eq!(results(&output), [result(ADA, "suppressed")]);
        assert_eq!((listed("active"), listed("expired")), (1, 1));
        let output = story.run(&["unsuppress", ADA, BOB, "--tenant", "acme", "--format", "json"]);
        assert_eq!(results(&output), [result(ADA, "unsuppressed"), result(BOB, "had expired already")]);
        assert_eq!((listed("active"), listed("expired")), (0, 0));
    }

    async fn repeating_changes_nothing_and_a_change_is_said(db) {
        let story = begin(db).await;
        let again = |args: &[&str]| suppress(&story, &[&[ADA, "--tenant", "acme", "--format", "json"], args].concat());
        assert_eq!(results(&again(&[])), [result(ADA, "suppressed")]);
        story.wait(TimeDelta::minutes(1));
        assert_eq!(results(&again(&[ADA, "(202) 555-0101 x5"])), [result(ADA, "already suppressed")]);
        story.wait(TimeDelta::minutes(1));
        let output = again(&["--for", "1d"]);
        assert_eq!(results(&output), [result(ADA, "updated")]);
        assert!(output.stderr.contains("+12025550101 was suppressed for good, which is longer than it is now"), "{output}");
        story.wait(TimeDelta::minutes(1));
        assert_eq!(results(&again(&["--expires", "2026-11-18T00:00:00Z", "--source", "form"])), [result(ADA, "updated")]);
        let listed = rows(story.run(&["list", "suppressions", "--format", "json"]));
        assert_eq!(listed, [json!({
            "tenant": "acme", "pattern": ADA, "status": "active", "reason": "asked us to stop", "source": "form",
            "created_at": "2026-11-16T15:00:00Z", "expires_at": "2026-11-18T00:00:00Z",
        })]);
        let log = audit(&story, "phone:+12025550101").await;
        assert_eq!(log.len(), 3, "nothing was written where nothing changed: {log:?}");
        assert_eq!((&log[1].1["before"]["expires_at"], &log[2].1["before"]["source"]), (&Value::Null, &json!("operator")));
    }

    async fn a_list_is_done_line_by_line(db) {
        let story = begin(db).await;
        let scratch = story.scratch();
        scratch.write("list.txt", "# who wrote to us\n\n202-555-0101\r\nnobody\n+1303* # a prefix\n+12025550101\n911\n");
        let args = ["--file", "list.txt", "--tenant", "acme"];
        let output = suppress(&story, &args).exits(4);
        assert_same_snapshot!(output, @r#"
        exit: 4
        --- stdout
         tenant  pattern       result      contacts  live  expires at
         acme    +12025550101  suppressed  1         0
         acme    +1303*        suppressed  1         0
         acme    nobody        rejected
         acme    911           rejected
        --- stderr
        warning: list.txt, line 4: "nobody": this is not a phone number
        warning: list.txt, line 7: "911": emergency and short numbers are not called
        +1303* covers 1 contact of acme
        "#);
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 1, 0]);
        let output = story.run(&["unsuppress", "--file", "list.txt", "--tenant", "acme", "--format", "csv"]).exits(4);
        assert_same_snapshot!(output, @r#"
        exit: 4
        --- stdout
        tenant,pattern,result,still_suppressed_by
        acme,+12025550101,unsuppressed,
        acme,'+1303*,unsuppressed,
        acme,nobody,rejected,
        acme,911,rejected,
        --- stderr
        warning: list.txt, line 4: "nobody": this is not a phone number
        warning: list.txt, line 7: "911": emergency and short numbers are not called
        "#);
        story.wait(TimeDelta::seconds(1));
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);
    }

    /// More than fit in a statement, or are settled in one transaction.
    async fn a_long_list_is_done_whole(db) {
        let story = begin(db).await;
        let list: Vec<String> = (0..4_321).map(|n| format!("+1202556{n:04}")).chain([ADA.to_owned()]).collect();
        story.scratch().write("list.txt", list.join("\n"));
        let args = ["--file", "list.txt", "--tenant", "acme", "--format", "jsonl"];
        for result in ["\"result\":\"suppressed\"", "\"result\":\"already suppressed\""] {
            let output = suppress(&story, &args).success();
            assert_eq!(output.stdout.matches(result).count(), 4_322);
        }
        story.process(&[]).await;
        assert_eq!(rings(&story), [0, 1, 1]);
        let output = story.run(&["unsuppress", "--file", "list.txt", "--tenant", "acme", "--format", "jsonl"]).success();
        assert_eq!(output.stdout.matches("\"result\":\"unsuppressed\"").count(), 4_322);
        assert!(rows(story.run(&["list", "suppressions", "--format", "json"])).is_empty());
        story.wait(TimeDelta::seconds(1));
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);
    }

    async fn a_whole_country_wants_a_yes(db) {
        let story = begin(db).await;
        let args = ["--prefix", "+1", "--prefix", "+49", BOB, "--tenant", "acme"];
        assert_same_snapshot!(suppress(&story, &args).exits(5), @r#"
        exit: 5
        --- stdout
        --- stderr
        error: a prefix so short stands for a country or more, and nothing was suppressed: +1* covers 3 contacts, +49* covers 0 contacts of acme
        hint: --yes suppresses it all the same
        "#);
        assert!(rows(story.run(&["list", "suppressions", "--format", "json"])).is_empty());
        let with_yes = [&args[..], &["--yes", "--format", "csv"]].concat();
        assert_same_snapshot!(suppress(&story, &with_yes), @r#"
        exit: 0
        --- stdout
        tenant,pattern,result,contacts,live,expires_at
        acme,'+1*,suppressed,3,0,
        acme,+12025550102,suppressed,1,0,
        acme,'+49*,suppressed,0,0,
        --- stderr
        +1* covers 3 contacts of acme
        +49* covers 0 contacts of acme
        "#);
        story.process(&[]).await;
        assert_eq!(story.rings(), 0);
        let listed = rows(story.run(&["list", "suppressions", "--phone", BOB, "--format", "json"]));
        assert_eq!(listed.iter().map(|row| row["pattern"].clone()).collect::<Vec<_>>(), ["+1*", BOB]);
    }

    async fn what_cannot_be_read_changes_nothing(db) {
        let story = begin(db).await;
        story.scratch().write("empty.txt", "# nobody\n");
        for (args, told) in [
            (vec!["12", ADA, "--tenant", "acme"], "\"12\" is no phone"),
            (vec!["202-555-0101", "--all-tenants"], "the number has no country code"),
            (vec![ADA, "--tenant", "acne"], "did you mean acme?"),
            (vec![ADA], "--tenant <TENANT>|--all-tenants"),
            (vec![ADA, "--tenant", "acme", "--all-tenants"], "cannot be used with"),
            (vec!["--tenant", "acme"], "<PHONE|--prefix <PREFIX>|--file <FILE>>"),
            (vec!["--prefix", "1900", "--tenant", "acme"], "\"1900\" is no prefix: a prefix is `+`"),
            (vec!["--file", "none.txt", "--tenant", "acme"], "cannot read none.txt"),
            (vec!["--file", "empty.txt", "--tenant", "acme"], "empty.txt names no number"),
            (vec![ADA, "--tenant", "acme", "--region", "USA"], "did you mean `--region US`?"),
        ] {
            for output in [suppress(&story, &args), story.run(&[&["unsuppress"], &args[..]].concat())] {
                assert!(output.clone().exits(2).stderr.contains(told), "{args:?}: {output}");
            }
        }
        for (args, told) in [
            (vec!["--for", "1d", "--expires", "2026-12-01T00:00:00Z"], "cannot be used with"),
            (vec!["--expires", "2026-11-16T15:00:00Z"], "would be over already"),
            (vec!["--for", "0s"], "would be over already"),
            (vec!["--source", ""], "a value is required"),
        ] {
            let output = suppress(&story, &[&[ADA, "--tenant", "acme"], &args[..]].concat()).exits(2);
            assert!(output.stderr.contains(told), "{args:?}: {output}");
        }
        story.run(&["suppress", ADA, "--tenant", "acme"]).exits(2);
        assert!(rows(story.run(&["list", "suppressions", "--format", "json"])).is_empty());
        story.process(&[]).await;
        assert_eq!(rings(&story), [1, 1, 1]);
    }

    async fn suppressions_are_listed(db) {
        let story = begin(db).await;
        suppress(&story, &["900-234-5678", ADA, "--tenant", "acme"]).success();
        suppress(&story, &["--prefix", "+1202", "--all-tenants", "--source", "legal", "--for", "1h"]).success();
        story.wait(TimeDelta::hours(1));
        assert_same_snapshot!(story.run(&["list", "suppressions"]), @r#"
        exit: 0
        --- stdout
         tenant  pattern       status   reason            source    created at            expires at
         *       +1202*        expired  asked us to stop  legal     2026-11-16T15:00:00Z  2026-11-16T16:00:00Z
         acme    +12025550101  active   asked us to stop  operator  2026-11-16T15:00:00Z
         acme    +19002345678  active   asked us to stop  operator  2026-11-16T15:00:00Z
        --- stderr
        "#);
        for (args, count) in [
            (vec!["--tenant", "acme"], 3),
            (vec!["--phone", ADA], 2),
            (vec!["--phone", ADA, "--status", "active"], 1),
            (vec!["--phone", "900-234-5678", "--tenant", "acme"], 1),
            (vec!["--phone", BOB, "--status", "expired"], 1),
            (vec!["--since", "2026-11-16T15:00:59Z"], 0),
        ] {
            let listed = rows(story.run(&[&["list", "suppressions", "--format", "json"], &args[..]].concat()));
            assert_eq!(listed.len(), count, "{args:?}");
        }
        story.run(&["list", "suppressions", "--campaign", "acme/checkup"]).exits(2);
        story.run(&["list", "suppressions", "--phone", "12"]).exits(2);
    }
}
