//! Every class of failure: its exit code, and what stderr says to people and to programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::common::{Backend, Callops, Output, Scratch, TestDatabase, on_both_databases};

/// Runs a command for people and for programs; both must end with `code`. Yields what stderr says to either.
#[track_caller]
fn fails(callops: &Callops<'_>, code: i32, kind: &str, args: &[&str]) -> (Output, Output) {
    let text = callops.run(args).exits(code);
    let json = callops.run(args.iter().chain(&["--format", "json"])).exits(code);
    assert_eq!(text.stdout, "", "{text}");
    assert_eq!(json.stdout, "", "{json}");
    assert!(text.stderr.starts_with("error: "), "{text}");
    let error: Value = serde_json::from_str(&json.stderr).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(error["error"]["kind"], kind, "{json}");
    assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    assert!(error["error"]["hints"].is_array(), "{json}");
    (text, json)
}

/// A campaign that may call at any time, at a provider on this machine.
fn campaign(base_url: &str) -> String {
    format!(
        r#"
[account.main]
provider = "vapi"
api_key = "env:KEY"
base_url = "{base_url}"

[tenant.acme]
region = "US"
timezone = "America/New_York"

[tenant.acme.campaign.checkup]
account = "main"
vapi = {{ assistant_id = "assistant", phone_number_id = "line" }}
window = "00:00-24:00"
zone_policy = "campaign"
"#
    )
}

/// A database with that campaign started and one contact in it.
fn with_work<'a>(db: &'a TestDatabase, base_url: &str) -> Callops<'a> {
    let callops = db.callops().env("KEY", "sandbox-key");
    db.scratch().write("acme.toml", campaign(base_url));
    db.scratch().write("list.csv", "phone\n+14155550100\n");
    callops.run(["apply", "acme.toml"]).success();
    callops.run(["import-contacts", "list.csv", "--tenant", "acme", "--campaign", "checkup"]).success();
    callops.run(["start-campaign", "acme/checkup"]).success();
    callops
}

/// The URL with another database, and with another user.
fn other_database(url: &str) -> String {
    let (before, options) = url.split_once('?').map_or((url, String::new()), |(url, rest)| (url, format!("?{rest}")));
    let server = before.rsplit_once('/').expect("a database").0;
    format!("{server}/no_such_database{options}")
}

fn other_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (authority, path) = rest.split_once('/').expect("a path");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://no_such_user:wrong@{host}/{path}")
}

on_both_databases! {
    fn done_and_nothing_to_do_are_0_and_silent(db) {
        for command in ["process-calls", "sweep-timeouts", "collect-outcomes"] {
            let output = db.callops().run([command]).success();
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{output}");
        }
    }

    fn usage_is_2(db) {
        let callops = db.callops();
        let (text, _) = fails(&callops, 2, "usage", &["start-campaign", "acme/checkup"]);
        assert!(text.stderr.contains("there is no campaign acme/checkup"), "{text}");
        fails(&callops, 2, "usage", &["process-calls", "--limt", "1"]);
        fails(&callops, 2, "usage", &["no-such-command"]);
        fails(&callops, 2, "usage", &["process-calls", "--now", "2026-11-16T15:00:00Z"]);
        fails(&callops, 2, "usage", &["demo", "--database-url", "mine.db"]);
    }

    fn findings_are_3(db: empty) {
        // Migrations that wait are one.
        if db.backend() == Backend::Sqlite {
            db.scratch().write("callops.db", "");
        }
        let output = db.callops().run(["migrate", "--status"]).exits(3);
        assert!(!output.stdout.is_empty(), "{output}");
    }

    fn some_rejected_is_4(db) {
        let callops = with_work(&db, "http://127.0.0.1:1");
        db.scratch().write("list.csv", "phone\n+14155550101\nnonsense\n");
        let output = callops.run(["import-contacts", "list.csv", "--tenant", "acme", "--format", "json"]).exits(4);
        assert_eq!((&output.json()["created"], &output.json()["rejected"]), (&json!(1), &json!(1)), "{output}");
    }

    fn refused_is_5(db) {
        let callops = with_work(&db, "http://127.0.0.1:1");
        let args = ["import-contacts", "list.csv", "--tenant", "acme", "--on-existing", "fail"];
        let (text, _) = fails_after_talk(&callops, 5, "refused", &args);
        assert!(text.stderr.contains("+14155550100"), "{text}");
    }

    fn a_database_without_a_schema_is_6(db: empty) {
        for command in [vec!["process-calls"], vec!["list", "calls"], vec!["doctor"]] {
            let output = db.callops().run(&command);
            assert_eq!(output.code(), Some(6), "{output}");
        }
        let (text, _) = fails(&db.callops(), 6, "configuration", &["process-calls"]);
        assert!(text.stderr.contains("callops init"), "{text}");
        match db.backend() {
            Backend::Sqlite => {
                let path = db.scratch().path().join("callops.db");
                assert!(text.stderr.contains(&path.display().to_string()), "it names the path: {text}");
                assert!(!path.exists(), "an empty database that cron made by mistake would be silence for ever");
            }
            Backend::Postgres => assert!(text.stderr.contains("holds no callops schema"), "{text}"),
        }
    }

    fn an_unreadable_configuration_is_6(db) {
        db.scratch().write("callops.toml", "run_intervall = \"1m\"\n");
        let (text, _) = fails(&db.callops(), 6, "configuration", &["process-calls"]);
        assert!(text.stderr.contains("callops.toml:1:1") && text.stderr.contains("run_interval"), "{text}");
    }

    fn a_refused_key_is_6_and_spends_no_slot(db) {
        let mut sandbox = db.callops().spawn(["sandbox", "--key", "other-key=org"]);
        let callops = with_work(&db, &url_of(&sandbox.stdout_line("url")));
        let output = callops.run(["process-calls"]).exits(6);
        assert!(output.stderr.contains("account main"), "{output}");
        let calls = callops.run(["list", "calls", "--format", "json"]).success();
        assert_eq!(calls.json(), json!([]), "{calls}");
        sandbox.kill();
    }

    fn a_missing_key_is_6(db) {
        let callops = with_work(&db, "http://127.0.0.1:1").without_env("KEY");
        let output = callops.run(["process-calls"]).exits(6);
        assert!(output.stderr.contains("KEY is not set"), "{output}");
    }

    fn an_unreachable_provider_is_7_and_spends_no_slot(db) {
        let callops = with_work(&db, "http://127.0.0.1:1");
        let output = callops.run(["process-calls"]).exits(7);
        assert!(output.stderr.contains("account main"), "{output}");
        let calls = callops.run(["list", "calls", "--format", "json"]).success();
        assert_eq!(calls.json(), json!([]), "{calls}");
    }
}

/// As [`fails`], for a command that says something before it fails.
fn fails_after_talk(callops: &Callops<'_>, code: i32, kind: &str, args: &[&str]) -> (Output, Value) {
    let text = callops.run(args).exits(code);
    assert!(text.stderr.contains("error: "), "{text}");
    let json = callops.run(args.iter().chain(&["--format", "json"])).exits(code);
    let last = json.stderr.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(error["error"]["kind"], kind, "{json}");
    (text, error)
}

fn url_of(line: &str) -> String {
    let ready: Value = serde_json::from_str(line).expect("one JSON object");
    ready["url"].as_str().expect("a url").to_owned()
}

#[test]
fn an_unreachable_server_is_7_at_once() {
    let scratch = Scratch::new();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", "postgres://me:secret@127.0.0.1:1/calls");
    let at_once = std::time::Duration::from_secs(10);
    let (text, _) = fails(&callops.time_limit(at_once), 7, "unreachable", &["process-calls"]);
    insta::assert_snapshot!(text, @"
    exit: 7
    --- stdout
    --- stderr
    error: cannot open the database postgres://me:[secret]@127.0.0.1:[PRT]/calls: error communicating with database: Connection refused (os error 111)
    hint: is the server running? trying again may help
    ");
}

#[test]
fn what_postgres_does_not_let_in_is_6() {
    let db = TestDatabase::empty(Backend::Postgres);
    for url in [other_database(db.url()), other_user(db.url())] {
        let (text, _) = fails(&db.callops().env("CALLOPS_DATABASE_URL", &url), 6, "configuration", &["list", "calls"]);
        assert!(text.stderr.contains("no_such_") && !text.stderr.contains("wrong@"), "{text}");
        assert!(text.stderr.contains("hint: check its address"), "{text}");
    }
}

#[test]
fn a_file_that_is_no_database_is_6() {
    let scratch = Scratch::new();
    scratch.write("callops.db", "certainly no database, but long enough to look like one at first sight".repeat(20));
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", "callops.db");
    fails(&callops, 6, "configuration", &["process-calls"]);
}

/// Scripts depend on these; the help, the README and the code say the same.
#[test]
fn the_documented_codes_are_those_of_the_program() {
    use callops::error::Exit;

    let all = [
        Exit::Success,
        Exit::Unexpected,
        Exit::Usage,
        Exit::Findings,
        Exit::Partial,
        Exit::Refused,
        Exit::Configuration,
        Exit::Unreachable,
        Exit::Interrupted,
        Exit::Terminated,
    ];
    let readme = include_str!("../../README.md");
    let listed: Vec<u8> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| exit code |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(listed, all.map(Exit::code), "README.md lists other exit codes");
    let mut words = String::new();
    for exit in all {
        writeln!(words, "{} {}", exit.code(), exit.kind()).expect("a string can be written");
    }
    insta::assert_snapshot!(words, @"
    0 success
    1 unexpected
    2 usage
    3 findings
    4 partial
    5 refused
    6 configuration
    7 unreachable
    130 interrupted
    143 terminated
    ");
}
