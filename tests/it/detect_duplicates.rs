//! `detect-duplicates`: numbers, contacts, calls and conversations that are there more than once, and who is told of them.

mod alerts;

use std::collections::BTreeSet;

use callops::store::{Tx, runs};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::common::story::{Story, at, rules};
use crate::common::{Output, TestDatabase, assert_same_snapshot, on_both_databases};

const ADA: &str = "+12025550101";
const BOB: &str = "+12025550102";
/// A Monday, 10:00 in New York.
const MONDAY_TEN: &str = "2026-11-16T15:00:00Z";

async fn begin(db: TestDatabase) -> Story {
    let story = Story::begin(db, MONDAY_TEN).await;
    story.campaign("checkup", &rules()).await;
    story.contact(ADA, |_| {}, &["checkup"]).await;
    story
}

/// Statements that both databases read alike.
async fn sql(story: &Story, statements: &str) {
    story
        .write(async |tx| {
            match tx {
                Tx::Sqlite(tx) => {
                    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut **tx).await.map(drop)?;
                }
                Tx::Postgres(tx) => {
                    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut **tx).await.map(drop)?;
                }
            }
            Ok(())
        })
        .await;
}

/// An instant as both databases take it, so long after the story's beginning.
fn text(after: TimeDelta) -> String {
    (at(MONDAY_TEN) + after).to_rfc3339()
}

/// An attempt of a call that may have rung so many seconds after the story's beginning, and was claimed five before.
async fn ring(story: &Story, phone: &str, call: &str, number: u32, seconds: i64) {
    let attempt = format!("{call}-{number}");
    let (claimed, placed) = (text(TimeDelta::seconds(seconds - 5)), text(TimeDelta::seconds(seconds)));
    if number == 1 {
        sql(
            story,
            &format!(
                "INSERT INTO calls (id, tenant, campaign_id, enrollment_id, contact_id, purpose, phone, slot_key, status,
                     attempt_count, requested_by, created_at, updated_at)
                 SELECT '{call}', 'acme', e.campaign_id, e.id, e.contact_id, 'checkup', '{phone}', '{call}', 'completed',
                     1, 'test', '{claimed}', '{claimed}' FROM enrollments e"
            ),
        )
        .await;
    }
    sql(
        story,
        &format!(
            "INSERT INTO attempts (id, call_id, number, tenant, phone, purpose, contact_id, contact_version, campaign_id,
                 rules_version, account, state, owner, lease_until, window_closes_at, dial_before,
                 answer_timeout_seconds, call_timeout_seconds, may_have_rung, claimed_at, placing_at, updated_at)
             SELECT '{attempt}', c.id, {number}, 'acme', '{phone}', 'checkup', c.contact_id, 1, c.campaign_id,
                 1, 'acme-vapi', 'ended', 'test', '{placed}', '{placed}', '{placed}',
                 600, 3600, TRUE, '{claimed}', '{placed}', '{placed}' FROM calls c WHERE c.id = '{call}'"
        ),
    )
    .await;
}

async fn contact(story: &Story, phone: &str, email: Option<&str>, external_id: Option<&str>) -> String {
    let edit = |contact: &mut callops::store::contacts::Contact| {
        contact.email = email.map(str::to_owned);
        contact.external_id = external_id.map(str::to_owned);
    };
    story.contact(phone, edit, &[]).await.id
}

/// An active number, bought so many minutes after the story's beginning.
async fn number(story: &Story, sid: &str, phone: &str, tenant: Option<&str>, claimed_by: Option<&str>, minutes: i64) {
    let quoted = |name: Option<&str>| name.map_or("NULL".to_owned(), |name| format!("'{name}'"));
    let (bought, now) = (text(TimeDelta::minutes(minutes)), story.now().to_rfc3339());
    sql(
        story,
        &format!(
            "INSERT INTO numbers (sid, account, account_sid, phone, bought_at, claimed_by, tenant, status, first_seen_at,
                 last_seen_at, updated_at)
             VALUES ('{sid}', 'twilio', 'AC1', '{phone}', '{bought}', {}, {}, 'active', '{bought}', '{now}', '{now}')",
            quoted(claimed_by),
            quoted(tenant)
        ),
    )
    .await;
}

async fn session(story: &Story, id: &str, conversation: &str) {
    let now = story.now().to_rfc3339();
    sql(
        story,
        &format!(
            "INSERT INTO sessions (id, tenant, account, status, conversation_id, metadata, started_at, updated_at)
             VALUES ('{id}', 'acme', 'acme-vapi', 'ended', '{conversation}', '{{}}', '{now}', '{now}')"
        ),
    )
    .await;
}

async fn record(story: &Story, id: &str, started: &str, seconds: i64, transcript: &str) {
    let now = story.now().to_rfc3339();
    sql(
        story,
        &format!(
            "INSERT INTO conversations (id, tenant, account, status, tries, started_at, duration_seconds, transcript,
                 created_at, updated_at)
             VALUES ('{id}', 'acme', 'acme-vapi', 'completed', 1, '{started}', {seconds}, '{transcript}', '{now}', '{now}')"
        ),
    )
    .await;
}

fn detect(story: &Story, args: &[&str]) -> Output {
    story.run(&[&["detect-duplicates", "--format", "json"], args].concat())
}

/// The findings, of which there are some.
#[track_caller]
fn found(story: &Story, args: &[&str]) -> Vec<Value> {
    detect(story, args).exits(3).json().as_array().expect("rows").clone()
}

#[track_caller]
fn nothing(story: &Story, args: &[&str]) {
    assert_eq!(detect(story, args).success().json(), json!([]));
}

fn subjects(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["subject"].as_str().expect("text")).collect()
}

async fn heartbeat(story: &Story) -> runs::Heartbeat {
    let beats = story.write(async |tx| runs::heartbeats(tx).await).await;
    beats.into_iter().find(|beat| beat.command == "detect-duplicates").expect("a heartbeat")
}

on_both_databases! {
    async fn a_business_with_several_numbers_is_found_until_it_has_one(db) {
        let story = begin(db).await;
        assert!(detect(&story, &["--kind", "numbers"]).success().stderr.contains("was never read"));
        sql(&story, r#"UPDATE tenants SET settings = '{"numbers": {"account": "twilio", "monthly_cost": "1.15"}}'"#).await;
        number(&story, "PN1", "+15005550001", Some("acme"), None, -60 * 24 * 40).await;
        nothing(&story, &["--kind", "numbers"]);
        number(&story, "PN2", "+15005550002", None, Some("acme"), -60 * 24 * 40 + 3).await;
        let rows = found(&story, &["--kind", "numbers"]);
        assert_eq!(rows, [json!({
            "kind": "numbers", "tenant": "acme", "subject": "tenant:acme", "count": 2,
            "first_at": "2026-10-07T15:00:00Z", "last_at": "2026-10-07T15:03:00Z", "minutes_between": 3,
            "detail": {
                "phones": ["+15005550001", "+15005550002"], "sids": ["PN1", "PN2"],
                "wasted_per_month": "1.15", "wasted_so_far": "2.30",
            },
        })]);
        let standing = story.write(async |tx| runs::standing_findings(tx).await).await;
        assert_eq!(standing.len(), 1, "{standing:?}");
        assert_eq!((standing[0].kind.as_str(), standing[0].subject.as_str()), ("duplicate_numbers", "tenant:acme"));
        assert_eq!(standing[0].detail, "2 active numbers: +15005550001, +15005550002; 1.15 a month more than one would cost");

        // Another tenant's run ends nothing, and neither does one that looks at what is new.
        found(&story, &["--kind", "numbers", "--since", "2026-10-07T15:03:00Z"]);
        nothing(&story, &["--kind", "numbers", "--since", "2026-10-07T15:03:01Z"]);
        assert_eq!(story.write(async |tx| runs::standing_findings(tx).await).await.len(), 1);
        sql(&story, "UPDATE numbers SET status = 'gone' WHERE sid = 'PN2'").await;
        nothing(&story, &["--kind", "numbers"]);
        assert!(story.write(async |tx| runs::standing_findings(tx).await).await.is_empty());
    }

    async fn a_number_that_two_claim_counts_for_neither(db) {
        let story = begin(db).await;
        number(&story, "PN1", "+15005550001", Some("acme"), None, 0).await;
        number(&story, "PN2", "+15005550002", Some("acme"), Some("beta"), 1).await;
        number(&story, "PN3", "+15005550003", Some("beta"), None, 2).await;
        number(&story, "PN4", "+15005550004", None, None, 3).await;
        number(&story, "PN5", "+15005550005", None, None, 3).await;
        nothing(&story, &["--kind", "numbers"]);
        sql(&story, "UPDATE numbers SET claimed_by = 'acme' WHERE sid = 'PN2'").await;
        assert_eq!(subjects(&found(&story, &["--kind", "numbers"])), ["tenant:acme"]);
        story.wait(TimeDelta::hours(25));
        let output = detect(&story, &["--kind", "numbers"]).exits(3);
        assert!(output.stderr.contains("is 25 hours old"), "{output}");
    }

    async fn contacts_that_differ_by_formatting_are_found_by_each_key(db) {
        let story = begin(db).await;
        nothing(&story, &["--kind", "contacts"]);
        let ids = [
            contact(&story, "+13035550101", Some("Ada@X.example"), None).await,
            contact(&story, "+13035550102", Some(" ada@x.EXAMPLE "), None).await,
            contact(&story, "+13035550103", Some("ada@x.example"), Some("K-1.7 a")).await,
            contact(&story, "+13035550104", Some("b@x.example"), Some("k17A")).await,
            contact(&story, "+5215512345678", None, Some("k18")).await,
            contact(&story, "+525512345678", Some("  "), None).await,
            contact(&story, "+5491123456789", Some(""), Some("--")).await,
            contact(&story, "+541123456789", None, Some(" . ")).await,
            // Ten digits that begin with the prefix are another phone.
            contact(&story, "+521551234567", None, None).await,
            contact(&story, "+52551234567", None, None).await,
        ];
        // In one millisecond, ids are in no order.
        let sorted = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
        let rows = found(&story, &["--kind", "contacts"]);
        assert_eq!(
            subjects(&rows),
            ["email:ada@x.example", "external_id:k17a", "phone:+525512345678", "phone:+541123456789"]
        );
        let named = |row: &Value| {
            let ids = row["detail"]["contact_ids"].as_array().expect("ids");
            ids.iter().map(|id| id.as_str().expect("text").to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(named(&rows[0]), sorted(&ids[..3]));
        assert_eq!((&rows[0]["count"], &rows[0]["minutes_between"]), (&json!(3), &json!(0)));
        assert_eq!(named(&rows[1]), sorted(&ids[2..4]));
        assert_eq!(named(&rows[3]), sorted(&ids[6..8]));

        story.wait(TimeDelta::minutes(5));
        let since = story.now().to_rfc3339();
        nothing(&story, &["--kind", "contacts", "--since", &since]);
        contact(&story, "+13035550109", None, Some("k.17.A")).await;
        let rows = found(&story, &["--kind", "contacts", "--since", &since]);
        assert_eq!((subjects(&rows), &rows[0]["count"]), (vec!["external_id:k17a"], &json!(3)));
        assert_eq!(rows[0]["minutes_between"], 5);
        // All are counted, and the first are shown.
        let output = detect(&story, &["--kind", "contacts", "--limit", "1"]).exits(3);
        assert_eq!(subjects(output.json().as_array().expect("rows")), ["email:ada@x.example"]);
        assert_eq!(output.stderr, "only 1 of 4 contacts are shown; --limit shows more\nduplicates: contacts 4\n");
    }

    async fn calls_to_one_phone_within_an_hour_are_found_and_a_second_later_not(db) {
        let story = begin(db).await;
        ring(&story, ADA, "a", 1, 0).await;
        ring(&story, ADA, "a", 2, 1800).await;
        nothing(&story, &["--kind", "calls"]);
        ring(&story, BOB, "b", 1, 0).await;
        ring(&story, BOB, "c", 1, 3601).await;
        nothing(&story, &["--kind", "calls"]);
        ring(&story, ADA, "d", 1, 1800 + 3600).await;
        let rows = found(&story, &["--kind", "calls"]);
        assert_eq!(rows, [json!({
            "kind": "calls", "tenant": "acme", "subject": "phone:+12025550101", "count": 2,
            "first_at": "2026-11-16T15:00:00Z", "last_at": "2026-11-16T16:30:00Z", "minutes_between": 90,
            "detail": {"purposes": ["checkup"], "call_ids": ["a", "d"]},
        })]);
        assert_eq!(found(&story, &["--kind", "calls", "--within", "3601s"]).len(), 2);
        nothing(&story, &["--kind", "calls", "--within", "59m"]);
        detect(&story, &["--kind", "calls", "--within", "8d"]).exits(2);
        detect(&story, &["--kind", "calls", "--tenant", "acne"]).exits(2);

        let at_last = ["--kind", "calls", "--since", "2026-11-16T16:30:00Z"];
        assert_eq!(found(&story, &at_last), rows);
        nothing(&story, &["--kind", "calls", "--since", "2026-11-16T16:30:01Z"]);
        // What did not ring is no call.
        sql(&story, "UPDATE attempts SET may_have_rung = FALSE WHERE id = 'd-1'").await;
        nothing(&story, &["--kind", "calls"]);
        // Two that were claimed further apart than they rang.
        sql(
            &story,
            &format!(
                "UPDATE attempts SET may_have_rung = TRUE, claimed_at = '{}', placing_at = '{}' WHERE id = 'c-1'",
                text(TimeDelta::seconds(3601)),
                text(TimeDelta::seconds(3600))
            ),
        )
        .await;
        sql(
            &story,
            &format!("UPDATE attempts SET claimed_at = '{}' WHERE id = 'b-1'", text(TimeDelta::seconds(-119))),
        )
        .await;
        assert_eq!(subjects(&found(&story, &["--kind", "calls"])), ["phone:+12025550102"]);
    }

    async fn a_conversation_that_was_recorded_twice_is_found(db) {
        let story = begin(db).await;
        ring(&story, ADA, "a", 1, 0).await;
        ring(&story, BOB, "b", 1, 0).await;
        sql(&story, "UPDATE attempts SET provider_call_id = 'conv-1' WHERE id = 'a-1'").await;
        session(&story, "s1", "conv-2").await;
        record(&story, "a-1", "2026-11-16T15:00:01+00:00", 60, "hello").await;
        record(&story, "b-1", "2026-11-16T15:00:01+00:00", 61, "hello").await;
        record(&story, "r1", "2026-11-16T15:00:01+00:00", 62, "").await;
        record(&story, "r2", "2026-11-16T15:00:01+00:00", 62, "").await;
        record(&story, "r3", "2026-11-16T15:00:01+00:00", 62, "good morning").await;
        record(&story, "r4", "2026-11-16T15:00:01+00:00", 62, "good evening").await;
        nothing(&story, &["--kind", "conversations"]);

        story.wait(TimeDelta::minutes(7));
        session(&story, "s2", "conv-1").await;
        // The session's record of it is the same conversation, and no second finding.
        record(&story, "s2", "2026-11-16T15:00:01+00:00", 60, "hello").await;
        record(&story, "r5", "2026-11-16T15:00:01+00:00", 62, "good evening").await;
        let expected = ["conversation:conv-1", "record:r4"];
        let rows = found(&story, &["--kind", "conversations"]);
        assert_eq!(subjects(&rows), expected);
        assert_eq!(rows[0]["detail"]["record_ids"], json!(["a-1", "s2"]));
        assert_eq!(rows[1]["detail"]["record_ids"], json!(["r4", "r5"]));
        assert_eq!((&rows[1]["count"], &rows[1]["minutes_between"]), (&json!(2), &json!(7)));
        assert_eq!(subjects(&found(&story, &["--kind", "conversations", "--since", "7m"])), expected);
        nothing(&story, &["--kind", "conversations", "--since", "2026-11-16T15:07:01Z"]);
    }

    async fn every_format_has_the_same_columns(db) {
        let story = begin(db).await;
        assert_same_snapshot!(story.run(&["detect-duplicates"]), @r#"
        exit: 0
        --- stdout
        --- stderr
        duplicates: numbers 0, contacts 0, calls 0, conversations 0
        "#);
        let csv = story.run(&["detect-duplicates", "--format", "csv"]).success();
        assert_eq!(csv.stdout, "kind,tenant,subject,count,first_at,last_at,minutes_between,detail\n");
        number(&story, "PN1", "+15005550001", Some("acme"), None, 0).await;
        number(&story, "PN2", "+15005550002", Some("acme"), None, 1).await;
        contact(&story, "+5215512345678", None, Some("1-2")).await;
        contact(&story, "+525512345678", None, Some("=12")).await;
        ring(&story, ADA, "01JD5Q3G7V9M2C8K4R6T0W1XYZ", 1, 0).await;
        ring(&story, ADA, "01JD5Q3G7V9M2C8K4R6T0W1XY0", 1, 30).await;
        record(&story, "01JD5Q3G7V9M2C8K4R6T0W1XY1", "2026-11-16T15:00:01+00:00", 62, "good evening").await;
        record(&story, "01JD5Q3G7V9M2C8K4R6T0W1XY2", "2026-11-16T15:00:01+00:00", 62, "good evening").await;
        assert_same_snapshot!(story.run(&["detect-duplicates"]).exits(3), @r#"
        exit: 3
        --- stdout
        numbers:
         tenant  count  first bought          minutes  a month  so far  phones
         acme    2      2026-11-16T15:00:00Z  1                         +15005550001
                                                                        +15005550002

        contacts:
         tenant  count  same                 contacts
         acme    2      phone:+525512345678  [ulid-1------------------]
                                             [ulid-2------------------]

        calls:
         tenant  phone         count  first rang            minutes  purposes
         acme    +12025550101  2      2026-11-16T15:00:00Z  0        checkup

        conversations:
         tenant  count  same        records
         acme    2      transcript  [ulid-3------------------]
                                    [ulid-4------------------]
        --- stderr
        duplicates: numbers 1, contacts 1, calls 1, conversations 1
        "#);
        assert_same_snapshot!(story.run(&["detect-duplicates", "--kind", "calls", "--format", "csv"]).exits(3), @r#"
        exit: 3
        --- stdout
        kind,tenant,subject,count,first_at,last_at,minutes_between,detail
        calls,acme,phone:+12025550101,2,2026-11-16T15:00:00Z,2026-11-16T15:00:30Z,0,"{""purposes"":[""checkup""],""call_ids"":[""[ulid-1------------------]"",""[ulid-2------------------]""]}"
        --- stderr
        duplicates: calls 1
        "#);
        let keys = |row: &Value| row.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(",");
        for line in story.run(&["detect-duplicates", "--format", "jsonl"]).exits(3).stdout.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(keys(&row) + "\n", csv.stdout);
        }
        let rows = found(&story, &[]);
        let kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().expect("text")).collect();
        assert_eq!(kinds, ["numbers", "contacts", "calls", "conversations"]);
    }

    async fn each_run_leaves_a_heartbeat_also_where_nobody_reads_it(db) {
        let story = begin(db).await;
        nothing(&story, &[]);
        let beat = heartbeat(&story).await;
        assert_eq!((beat.ticks, beat.last_exit_code), (1, Some(0)));
        let counts = r#"{"numbers":0,"contacts":0,"calls":0,"conversations":0}"#;
        assert_eq!(beat.last_counts.as_deref(), Some(counts));
        assert!(story.write(async |tx| runs::runs(tx, Some("detect-duplicates"), 10).await).await.is_empty());

        ring(&story, ADA, "a", 1, 0).await;
        ring(&story, ADA, "b", 1, 1).await;
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_callops"))
            .args(["detect-duplicates", "--format", "jsonl", "--now", &story.now().to_rfc3339()])
            .env("CALLOPS_DATABASE_URL", story.app.config.database().expect("a database").url.as_str())
            .current_dir(story.scratch().path())
            .stdout(writer)
            .output()
            .expect("callops can be started");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let beat = heartbeat(&story).await;
        assert_eq!((beat.ticks, beat.last_exit_code), (2, Some(3)));
        let runs = story.write(async |tx| runs::runs(tx, Some("detect-duplicates"), 10).await).await;
        assert_eq!(runs.len(), 1, "{runs:?}");
    }
}
