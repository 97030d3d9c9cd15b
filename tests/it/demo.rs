//! `demo`: the whole loop through the binary, judged by the stand-in's ledger.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Callops, Scratch};

fn demo(scratch: &Scratch, args: &[&str]) -> (Value, String) {
    let output = Callops::new(scratch)
        .env("TMPDIR", scratch.path().display().to_string())
        .run(["demo", "--format", "json"].iter().chain(args))
        .success();
    (output.json(), output.stderr)
}

#[test]
fn everybody_is_called_once_and_nothing_is_left_behind() {
    let scratch = Scratch::new();
    // None of this may count.
    scratch.write("callops.toml", "this is no TOML");
    let (summary, said) = demo(&scratch, &[]);
    let created: Vec<&Value> = summary["imports"].as_array().unwrap().iter().map(|import| &import["created"]).collect();
    assert_eq!(created, [1204, 246], "{summary}");
    assert_eq!(summary["contacts"], 1450, "{summary}");
    assert_eq!(summary["calls"], 1450, "{summary}");
    assert_eq!(summary["ledger"], json!({"rings": 1450, "phones": 1450, "most_rings_of_one_phone": 1}), "{summary}");
    assert_eq!(summary["lost_requests"], json!({"rung_and_found": 3, "proven_not_rung": 2}), "{summary}");
    assert_eq!(
        summary["statuses"]["completed"].as_u64().unwrap() + summary["statuses"]["failed"].as_u64().unwrap(),
        1450
    );
    assert!(summary["explained"]["contact"]["phone"].is_string(), "{summary}");
    assert!(said.contains("$ callops process-calls"), "{said}");
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["callops.toml"], "{left:?}");

    a_kept_folder_can_be_looked_into(&summary);
}

/// And the demo is the same each time.
fn a_kept_folder_can_be_looked_into(first: &Value) {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = Scratch::new();
    let (second, _) = demo(&scratch, &["--keep", "kept"]);
    for part in ["outcomes", "statuses", "ledger", "simulated_minutes"] {
        assert_eq!(first[part], second[part], "{part}");
    }
    let kept = scratch.path().join("kept");
    assert_eq!(second["folder"], kept.display().to_string());
    for (path, expected) in [(kept.clone(), 0o700), (kept.join("key"), 0o600)] {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{} has mode {mode:o}", path.display());
    }
    let config = kept.join("callops.toml").display().to_string();
    let listed = Callops::new(&scratch)
        .run(["list", "calls", "--config", &config, "--format", "json", "--limit", "2000"])
        .success();
    assert_eq!(listed.json().as_array().map(Vec::len), Some(1450));

    let output = Callops::new(&scratch).run(["demo", "--keep", "kept"]).exits(2);
    assert!(output.stderr.contains("not empty"), "{output}");
}
