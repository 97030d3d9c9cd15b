//! The configuration as an operator meets it: what is refused, what wins, and what is never shown.

use crate::common::{Callops, Scratch};

/// A command that needs the database, and so the configuration.
const COMMAND: [&str; 2] = ["migrate", "--status"];

#[test]
fn a_misspelt_key_is_told_with_its_place_and_the_nearest_key() {
    let scratch = Scratch::new();
    scratch.write("callops.toml", "log = \"warn\"\n\nrequest_timout = \"20s\"\n");
    insta::assert_snapshot!(Callops::new(&scratch).run(COMMAND), @r#"
    exit: 6
    --- stdout
    --- stderr
    error: [DIR]/callops.toml:3:1: unknown key request_timout
    hint: did you mean request_timeout?
    "#);
}

#[test]
fn a_wrong_value_is_one_json_object_under_json() {
    let scratch = Scratch::new();
    scratch.write("other.toml", "run_interval = \"1 minute\"\n");
    let callops = Callops::new(&scratch).env("CALLOPS_CONFIG", "other.toml");
    insta::assert_snapshot!(callops.run(["migrate", "--status", "--format", "json"]), @r#"
    exit: 6
    --- stdout
    --- stderr
    {"error":{"kind":"configuration","message":"[DIR]/other.toml:1:16: run_interval: \"1 minute\" is no length of time: write a whole number and one unit (s, m, h or d), such as 15m","hints":[]}}
    "#);
}

#[test]
fn a_missing_database_is_named_by_the_path_of_whoever_named_it() {
    let scratch = Scratch::new();
    scratch.write("callops.toml", "database_url = \"toml.db\"\nenv_file = \"cron.env\"\n");
    scratch.write("cron.env", "");
    assert!(Callops::new(&scratch).run(COMMAND).exits(6).stderr.contains("/toml.db"));
    scratch.write("cron.env", "CALLOPS_DATABASE_URL=env_file.db\n");
    let callops = Callops::new(&scratch);
    assert!(callops.run(COMMAND).exits(6).stderr.contains("/env_file.db"));
    let callops = callops.env("CALLOPS_DATABASE_URL", "variable.db");
    assert!(callops.run(COMMAND).exits(6).stderr.contains("/variable.db"));
    let output = callops.run(["--database-url", "option.db", "migrate", "--status"]).exits(6);
    assert!(output.stderr.contains("/option.db"), "{output}");
    let left: Vec<_> =
        std::fs::read_dir(scratch.path()).expect("a directory").map(|entry| entry.expect("an entry")).collect();
    assert!(left.iter().all(|entry| entry.path().extension().is_none_or(|extension| extension != "db")), "{left:?}");
}

#[test]
fn without_configuration_the_database_is_in_the_data_directory() {
    let scratch = Scratch::new();
    insta::assert_snapshot!(Callops::new(&scratch).run(COMMAND), @r#"
    exit: 6
    --- stdout
    --- stderr
    error: cannot open the database sqlite://[DIR]/home/data/callops/callops.db: there is no database at [DIR]/home/data/callops/callops.db
    hint: `callops init` makes one; or name another with --database-url or CALLOPS_DATABASE_URL
    "#);
    Callops::new(&scratch).run(["init"]).success();
    Callops::new(&scratch).run(COMMAND).success();
}

#[test]
fn a_password_is_shown_in_no_failure() {
    let scratch = Scratch::new();
    for url in [
        "postgres://callops:hunter2@127.0.0.1:1/callops",
        "postgres://callops:hunter2@127.0.0.1:port/callops",
        "mysql://callops:hunter2@127.0.0.1/callops",
    ] {
        let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", url).env("CALLOPS_LOG", "trace");
        let output = callops.run(COMMAND);
        assert_ne!(output.code(), Some(0), "{output}");
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("hunter2"), "{output}");
    }
}

#[cfg(unix)]
#[test]
fn an_env_file_that_others_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = Scratch::new();
    scratch.write("callops.toml", "env_file = \"cron.env\"\n");
    let env_file = scratch.write("cron.env", "A=hunter2\n");
    let warns = |mode| {
        std::fs::set_permissions(&env_file, std::fs::Permissions::from_mode(mode)).expect("the mode can be set");
        Callops::new(&scratch).run(["init"]).success().stderr.contains("chmod 600")
    };
    assert!(warns(0o644));
    assert!(!warns(0o600));
}
