//! `doctor`: what is wrong, and how to mend it.

use std::collections::BTreeMap;

use callops::store::{control, runs, setup};
use serde_json::{Value, json};

use crate::common::{Backend, Output, Scratch, TestDatabase, on_both_databases};
use crate::explain::{CHECKUP, FRIDAY, World, at};

fn doctor(database: &TestDatabase, args: &[&str]) -> Output {
    database.callops().env("KEY", "hunter2").run(["--now", FRIDAY, "doctor", "--format", "json"].iter().chain(args))
}

/// Insists on an exit code; 6 where the tests' own PostgreSQL runs without fsync, which is rightly a problem.
#[track_caller]
fn exits(output: Output, code: i32) -> Output {
    let without_fsync = output.stdout.contains("fsync = off");
    output.exits(if without_fsync { 6 } else { code })
}

/// Verdict and words by check; several rows of one check are joined.
fn rows(output: &Output) -> BTreeMap<String, (String, String)> {
    let mut rows: BTreeMap<String, (String, String)> = BTreeMap::new();
    for row in output.json().as_array().expect("rows") {
        let keys: Vec<&String> = row.as_object().expect("a row").keys().collect();
        assert_eq!(keys, ["check", "verdict", "what", "hint"]);
        assert_eq!(row["verdict"] == "ok", row["hint"] == Value::Null, "every fault has a hint: {row}");
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (verdict, what) = rows.entry(text("check")).or_insert_with(|| ("ok".to_owned(), String::new()));
        if text("verdict") != "ok" {
            *verdict = text("verdict");
        }
        what.push_str(&text("what"));
        what.push('\n');
    }
    rows
}

async fn beat(world: &World, exit_code: i64, started_at: &str) {
    let mut tx = world.db.begin().await.expect("a transaction");
    let counts = json!({"placed": 2}).to_string();
    runs::beat(&mut tx, "process-calls", at(started_at), at(started_at), exit_code, &counts).await.expect("a beat");
    tx.commit().await.expect("a commit");
}

on_both_databases! {
    async fn all_is_well(db) {
        let world = World::new(&db).await;
        beat(&world, 0, "2026-11-20T14:59:30Z").await;
        let output = exits(doctor(&db, &[]), 0);
        let rows = rows(&output);
        let is_well = |check: &str, verdict: &str| verdict == "ok" || (check == "settings" && output.stdout.contains("fsync = off"));
        assert!(rows.iter().all(|(check, (verdict, _))| is_well(check, verdict)), "{output}");
        assert!(!output.stdout.contains("hunter2"), "the key is shown: {output}");
        let json = output.json();
        assert_eq!(json[0]["check"], "database");
        assert_eq!(json[1]["check"], "schema");
        let settings = &rows["settings"].1;
        match db.backend() {
            Backend::Sqlite => {
                assert_eq!(settings, "journal_mode = wal\nsynchronous = 2\nforeign_keys = 1\n");
            }
            Backend::Postgres => assert!(settings.starts_with("PostgreSQL ") && settings.contains("fsync = o"), "{settings}"),
        }
        assert!(rows["process-calls"].1.contains(r#"exit 0, and saw: {"placed":2}"#), "{rows:?}");
        let table = db.callops().env("KEY", "x").run(["--now", FRIDAY, "doctor"]);
        assert!(table.stdout.lines().nth(1).expect("a row").trim_start().starts_with("database"), "{table}");
    }

    async fn the_clock_is_compared_with_the_databases(db) {
        World::new(&db).await;
        let output = db.callops().env("KEY", "x").run(["doctor", "--format", "json"]);
        let output = exits(output, 3);
        let rows = rows(&output);
        let expected = if db.backend() == Backend::Sqlite { "no clock but" } else { "agrees with" };
        assert!(rows["clock"].1.contains(expected), "{rows:?}");
    }

    async fn each_fault_is_found(db) {
        let world = World::new(&db).await;
        beat(&world, 1, "2026-11-20T12:00:00Z").await;
        let campaign = |number: u32| format!("01JDC00000000000000000000{number}");
        for (number, name, changes) in [
            (2, "over", json!({"schedule": {"window": "09:00-17:00", "ends": "2026-11-01"}})),
            (3, "never", json!({"schedule": {"window": "09:00-17:00", "days": ["mon"], "starts": "2026-11-21", "ends": "2026-11-22"}})),
            (4, "empty", json!({})),
            (5, "zoneless", json!({"zone_policy": "callee"})),
            (6, "broken", json!({"frequency": "hourly"})),
        ] {
            // A satellite phone is of no place.
            let contact = if name == "zoneless" { "01JDA000000000000000000009" } else { "01JDA000000000000000000001" };
            if name == "zoneless" {
                world.put_contact(contact, "acme", "+88212345678", None).await;
            }
            world.put_campaign(&campaign(number), "acme", name, &changes).await;
            if name != "empty" {
                world.enroll(&campaign(number), contact).await;
            }
        }
        let (_, attempt) = world.dial(CHECKUP, "01JDA000000000000000000001", "2026-11-20", at("2026-11-20T14:30:00Z")).await;
        let seen = callops::domain::evidence::Seen::Unknown { reason: "no answer".to_owned() };
        world.observe(&attempt, seen, at("2026-11-20T14:31:00Z")).await;
        let mut tx = world.db.begin().await.expect("a transaction");
        control::pause(&mut tx, "all", Some("fire drill"), at("2026-11-20T14:00:00Z")).await.expect("a pause");
        setup::hold_campaign(&mut tx, CHECKUP, at("2026-11-20T16:00:00Z"), "no such agent", 1).await.expect("a hold");
        runs::raise(&mut tx, "account_refused", "account:acme-vapi", "401", at(FRIDAY)).await.expect("a finding");
        tx.commit().await.expect("a commit");

        let output = exits(doctor(&db, &[]), 3);
        let rows = rows(&output);
        for (check, verdict, words) in [
            ("campaign:acme/over", "warning", "its last date, 2026-11-01, is over"),
            ("campaign:acme/never", "warning", "opens on no day of the next 400"),
            ("campaign:acme/empty", "warning", "nobody is enrolled"),
            ("campaign:acme/zoneless", "warning", "open at no moment for anybody enrolled"),
            ("campaign:acme/broken", "problem", "hourly"),
            ("campaign:acme/checkup", "warning", "no such agent"),
            ("unknown_attempts", "warning", "1 older than 15 minutes"),
            ("pause", "warning", "fire drill"),
            ("process-calls", "problem", "3h"),
            ("finding:account_refused", "warning", "account:acme-vapi: 401"),
        ] {
            let (found, what) = &rows[check];
            assert!(found == verdict && what.contains(words), "{check}: {found}: {what}");
        }
    }

    async fn purposes_are_shared_only_by_campaigns_that_agree(db) {
        let world = World::new(&db).await;
        beat(&world, 0, "2026-11-20T14:59:30Z").await;
        world.put_campaign("01JDC000000000000000000002", "acme", "other", &json!({"frequency": "weekly"})).await;
        world.enroll("01JDC000000000000000000002", "01JDA000000000000000000001").await;
        exits(doctor(&db, &[]), 0);
        let mut tx = world.db.begin().await.expect("a transaction");
        let mut other = setup::campaign(&mut tx, "acme", "other").await.expect("a read").expect("a campaign");
        "checkup".clone_into(&mut other.purpose);
        setup::put_campaign(&mut tx, &other, at(FRIDAY)).await.expect("an edit");
        tx.commit().await.expect("a commit");
        let output = exits(doctor(&db, &[]), 3);
        let (verdict, what) = &rows(&output)["purpose:acme/checkup"];
        assert_eq!((verdict.as_str(), what.as_str()), ("problem", "shared by checkup, other, which differ in frequency\n"));
    }

    async fn keys_that_cannot_be_read_are_exit_6(db) {
        let world = World::new(&db).await;
        beat(&world, 0, "2026-11-20T14:59:30Z").await;
        let output = db.callops().run(["--now", FRIDAY, "doctor", "--format", "json"]).exits(6);
        let (verdict, what) = &rows(&output)["account:acme-vapi"];
        assert!(verdict == "problem" && what.contains("the variable KEY is not set"), "{what}");
        // Everything behind it is still told.
        assert!(rows(&output).contains_key("process-calls"));
    }

    async fn the_provider_is_asked_only_when_told_to(db) {
        let world = World::new(&db).await;
        beat(&world, 0, "2026-11-20T14:59:30Z").await;
        let sandbox = crate::sandbox::start(crate::sandbox::settings()).await;
        let mut tx = world.db.begin().await.expect("a transaction");
        let mut account = setup::accounts(&mut tx).await.expect("a read").remove(0);
        account.settings = json!({"api_key": "env:KEY", "base_url": sandbox.url()}).to_string();
        setup::put_account(&mut tx, &account, at(FRIDAY)).await.expect("an edit");
        tx.commit().await.expect("a commit");
        let ask = |key: &str, online: bool| {
            let mut args = vec!["--now", FRIDAY, "doctor", "--format", "json"];
            args.extend(online.then_some("--online"));
            db.callops().env("KEY", key).run(args)
        };
        let what = |output: &Output| rows(output)["account:acme-vapi"].1.clone();
        assert!(what(&exits(ask("sandbox-key", false), 0)).contains("was not asked"));
        assert!(what(&exits(ask("sandbox-key", true), 0)).contains("the provider answers"));
        assert!(what(&exits(ask("wrong-key", false), 0)).contains("was not asked"));
        assert!(what(&ask("wrong-key", true).exits(6)).contains("refuses the account's key"));
    }

    fn without_a_schema_it_says_so_and_prints_what_it_can(db: empty) {
        let output = doctor(&db, &[]).exits(6);
        let rows = rows(&output);
        assert!(rows.contains_key("zone_data") && rows.contains_key("configuration"), "{output}");
        assert!(!rows.contains_key("pause"), "{output}");
        match db.backend() {
            Backend::Sqlite => assert!(rows["database"].1.contains("there is no database at"), "{output}"),
            Backend::Postgres => assert!(rows["schema"].1.contains("holds no callops schema"), "{output}"),
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_row_as_well() {
    let scratch = Scratch::new();
    scratch.write("callops.toml", "run_interval = \"soon\"\n");
    let output = crate::common::Callops::new(&scratch).run(["doctor"]);
    insta::assert_snapshot!(output, @r#"
    exit: 6
    --- stdout
     check          verdict  what                                                                                                                                                  hint
     configuration  problem                     [DIR]/callops.toml:1:16: run_interval: "soon" is no length of time: write a whole number and one unit (s, m, h or d), such as 15m
    --- stderr
    "#);
}

#[test]
fn an_env_file_that_others_may_read_is_seen() {
    let database = TestDatabase::new(Backend::Sqlite);
    let path = database.scratch().write("callops.env", "KEY=hunter2\n");
    database.scratch().write("callops.toml", "env_file = \"callops.env\"\n");
    let run = || database.callops().run(["--now", FRIDAY, "doctor", "--format", "json"]);
    mode(&path, 0o644);
    let output = run().exits(3);
    assert_eq!(rows(&output)["env_file"].0, "warning", "{output}");
    mode(&path, 0o600);
    assert_eq!(rows(&run().success())["env_file"].0, "ok");
}

#[cfg(unix)]
fn mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}
