//! The command line as a whole: help, the README's table of commands, closed pipes, narrow terminals.

use std::process::{Command, Stdio};

use callops::cli::Cli;
use clap::CommandFactory as _;

use crate::common::{Callops, Scratch};

fn commands() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn help() {
    let scratch = Scratch::new();
    let callops = Callops::new(&scratch);
    let output = callops.run(["--help"]).success();
    insta::assert_snapshot!("help", output.stdout);
    assert_eq!(callops.run(["-h"]).success().stdout, output.stdout);
    // Without a command the same is said, as a mistake.
    let bare = callops.run([""; 0]).exits(2);
    assert_eq!((bare.stdout.as_str(), bare.stderr), ("", output.stdout));
}

#[test]
fn help_of_each_command() {
    let scratch = Scratch::new();
    for command in commands() {
        let output = Callops::new(&scratch).run([command.as_str(), "--help"]).success();
        assert!(output.stdout.contains("Example"), "{command} shows no example");
        insta::assert_snapshot!(format!("help_{}", command.replace('-', "_")), output.stdout);
    }
}

#[test]
fn a_narrow_terminal_is_no_reason_to_fail() {
    let scratch = Scratch::new();
    for width in ["1", "20", "80"] {
        let output = Callops::new(&scratch).env("COLUMNS", width).run(["process-calls", "--help"]).success();
        assert!(output.stdout.contains("--dry-run"), "{output}");
    }
}

#[test]
fn the_readme_lists_the_commands() {
    let readme = include_str!("../../README.md");
    let mut listed: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| command |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split(['`', ' ']).next())
        .collect();
    let mut known = commands();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known, "the table of commands in README.md differs from `callops --help`");
}

/// What stands in the README can be pasted.
#[test]
fn the_campaign_of_the_readme_is_applied_and_calls_nobody_else() {
    let readme = include_str!("../../README.md");
    let toml = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a TOML block");
    assert!(toml.lines().filter(|line| line.contains('=')).count() < 20, "{toml}");
    let scratch = Scratch::new();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", "callops.db");
    scratch.write("acme.toml", toml.replace("\"...\"", "\"an-id\""));
    scratch.write("me.csv", "phone\n+14155550100\n");
    callops.run(["init"]).success();
    callops.run(["apply", "acme.toml"]).success();
    callops.run(["import-contacts", "me.csv", "--tenant", "acme", "--campaign", "checkup"]).success();
    callops.run(["start-campaign", "acme/checkup"]).success();
    let output = callops.run(["process-calls", "--dry-run", "--now", "2036-11-17T15:00:00Z"]).success();
    assert!(output.stdout.contains("due"), "{output}");
    scratch.write("others.csv", "phone\n+14155550101\n");
    callops.run(["import-contacts", "others.csv", "--tenant", "acme", "--campaign", "checkup"]).success();
    let explained = ["explain", "--contact", "+14155550101", "--at", "2036-11-17T15:00:00Z"];
    let output = callops.run(explained).success();
    assert!(output.stdout.contains("allow"), "{output}");
}

/// Every TOML file among the examples is one that `apply` takes.
#[test]
fn the_examples_can_be_applied() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let paths = std::fs::read_dir(examples).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    let scratch = Scratch::new();
    let callops = Callops::new(&scratch).env("CALLOPS_DATABASE_URL", "callops.db");
    // Together, since a tenant may stand in another file than its account.
    callops
        .run([std::path::Path::new("apply")].into_iter().chain(files.iter().map(std::path::PathBuf::as_path)))
        .success();
}

/// `callops list contacts | head -1`, in which the reader goes away early.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_crash() {
    let scratch = Scratch::new();
    let callops = env!("CARGO_BIN_EXE_callops");
    let phones = "+14155550100\n".repeat(200_000);
    let list = scratch.write("phones.txt", phones);
    for script in [
        r#""$0" check-phone - --format jsonl <"$1" | head -1; test "${PIPESTATUS[0]}" = 0"#,
        r#""$0" --help | true; test "${PIPESTATUS[0]}" = 0"#,
    ] {
        let output = Command::new("bash")
            .args(["-c", script, callops])
            .arg(&list)
            .stdin(Stdio::null())
            .output()
            .expect("bash can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {:?}\n{stderr}", output.status);
        assert_eq!(stderr, "", "{script}");
    }
}
