//! No number that is kept or in use is ever told to go, whatever happens meanwhile.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    MAIN, at_twilio, audited, begin, check_requests, deleted, kill_at, listed, named, number, put_tenant, requests,
    sid, stopped_at, strangers, too_late_to_send,
};
use crate::common::story::{Story, reqwest_client, rules};
use crate::common::{Output, TestDatabase, on_both_databases};

const RELEASE: &[&str] = &["release-duplicate-numbers", "--yes", "--format", "json"];

/// Acme's numbers 1 to `count`, of which number 2 is in use, beside strangers.
async fn several(db: TestDatabase, count: u32) -> Story {
    let story = begin(db).await;
    let numbers: Vec<Value> = (1..=count).map(number).chain(strangers(20)).collect();
    let call = json!({"account": MAIN, "to": "+18025550102", "from": "+12025550123", "status": "completed",
        "direction": "inbound", "start_time": "2026-11-20T12:00:00Z", "duration": 30});
    story.sandbox.twilio(json!({"numbers": numbers, "calls": [call]})).expect("numbers");
    story
}

fn path_of(sid: &str) -> String {
    format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers/{sid}.json")
}

/// Releases again, as time goes by, until nothing is left to do.
fn until_done(story: &Story) -> Output {
    for _ in 0..6 {
        story.wait(TimeDelta::minutes(1));
        let output = story.run(RELEASE);
        // 3: nobody looked for duplicates, which the checklist says.
        if matches!(output.code(), Some(0 | 3)) {
            return output;
        }
        assert!(matches!(output.code(), Some(4 | 7)), "{output}");
    }
    panic!("six runs were not enough");
}

/// The SIDs of Acme's numbers at Twilio.
async fn left(story: &Story) -> Vec<String> {
    at_twilio(story).await.into_iter().filter(|(_, name)| name == "Acme Dental").map(|(sid, _)| sid).collect()
}

/// Insists that number 2 alone is left, was never told to go, and that database and audit say so of each.
async fn assert_only_the_used_one(story: &Story, count: u32) {
    assert_eq!(left(story).await, [sid(2)]);
    assert!(!deleted(story).contains(&sid(2)), "{:?}", deleted(story));
    let active: Vec<Value> = listed(story, "acme").into_iter().filter(|row| row["status"] == "active").collect();
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!((&active[0]["sid"], &active[0]["is_tenants_number"]), (&json!(sid(2)), &json!(true)));
    for n in (1..=count).filter(|n| *n != 2) {
        let actions = audited(story, &sid(n));
        assert_eq!(actions.iter().filter(|action| *action == "release-number").count(), 1, "{n}: {actions:?}");
        let shown = story.run(&["show", "number", &sid(n), "--format", "json"]).success().json();
        for release in shown["releases"].as_array().expect("rows") {
            assert_ne!(release["state"], "open", "{shown}");
        }
    }
    assert_eq!(story.run(&["reconcile-twilio"]).code(), Some(0));
}

on_both_databases! {
    async fn killed_at_any_point_it_takes_none_that_is_used(db) {
        let mut points = BTreeSet::new();
        for n in 1.. {
            let story = several(db.copy(), 3).await;
            let log = story.scratch().path().join("points").display().to_string();
            let output = kill_at(&story, n, &log, RELEASE);
            let passed = std::fs::read_to_string(&log).unwrap_or_default();
            let Some(point) = passed.lines().nth(usize::try_from(n).expect("small") - 1) else {
                assert_eq!(output.code(), Some(3), "{output}");
                break;
            };
            assert_eq!(output.code(), None, "{point} kills nobody: {output}");
            points.insert(point.to_owned());
            until_done(&story);
            assert_only_the_used_one(&story, 3).await;
        }
        for point in ["release.committed", "release.answered"] {
            assert!(points.contains(point), "{points:?}");
        }
    }

    async fn two_at_once_leave_one(db) {
        let story = begin(db).await;
        let numbers: Vec<Value> = (1..=5).map(number).chain(strangers(20)).collect();
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        let args = [RELEASE, &["--keep", "newest"]].concat();
        // The first three want to keep the oldest, which the others would take.
        let running: Vec<_> = (0..3).flat_map(|_| [story.spawn(RELEASE), story.spawn(&args)]).collect();
        for running in running {
            let output = running.wait();
            assert!(matches!(output.code(), Some(0 | 3 | 4 | 7)), "{output}");
        }
        until_done(&story);
        let left = left(&story).await;
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(!deleted(&story).contains(&left[0]), "what is kept was never told to go");
        let record: Vec<Value> =
            listed(&story, "acme").into_iter().filter(|row| row["is_tenants_number"] == true).collect();
        assert_eq!(record.len(), 1);
        assert_eq!(record[0]["sid"], json!(left[0]));
    }

    async fn whatever_the_answer_to_a_release_the_truth_is_found_out(db) {
        for (fault, first_code) in [
            (json!({"kind": "accept_and_drop"}), 3),
            (json!({"kind": "server_error", "status": 500, "rings": true}), 3),
            (json!({"kind": "server_error", "status": 500}), 4),
            (json!({"kind": "refuse_and_drop"}), 4),
            (json!({"kind": "nothing_done"}), 4),
            (json!({"kind": "delay_answer", "ms": 4000}), 3),
            (json!({"kind": "coded", "status": 404, "code": "20404"}), 4),
            (json!({"kind": "coded", "status": 400, "code": "21628"}), 4),
            (json!({"kind": "too_many_requests"}), 4),
        ] {
            let story = several(db.copy(), 3).await;
            let mut rule = fault.clone();
            rule["match"] = json!({"method": "DELETE", "path": path_of(&sid(1))});
            rule["times"] = json!(1);
            story.sandbox.add_faults(rule).expect("a rule");
            let first = story.run(RELEASE);
            assert_eq!(first.code(), Some(first_code), "{fault}: {first}");
            let report = first.json();
            let result = report["releases"].as_array().expect("releases").iter().find(|one| one["sid"] == sid(1));
            let is_done = result.expect("number 1")["result"] == "released";
            assert_eq!(is_done, first_code == 3, "{fault}: {report}");
            assert_eq!(is_done, !left(&story).await.contains(&sid(1)), "{fault}: what is said is so");
            until_done(&story);
            assert_only_the_used_one(&story, 3).await;
        }
    }

    async fn a_run_that_breaks_off_says_what_it_did(db) {
        let story = several(db, 4).await;
        let fault = json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": path_of(&sid(3))}});
        story.sandbox.add_faults(fault).expect("a rule");
        story.run(RELEASE).exits(7);
        assert_eq!(deleted(&story), [sid(1)]);
        let runs = story.run(&["list", "runs", "--format", "json"]).success().json();
        let run = runs.as_array().expect("rows").iter().find(|run| run["command"] == "release-duplicate-numbers");
        let run = run.expect("a run that failed is a run");
        assert_eq!((&run["exit_code"], &run["counts"]), (&json!(7), &json!({"released": 1})));
        story.sandbox.clear_faults();
        until_done(&story);
        assert_only_the_used_one(&story, 4).await;
    }

    async fn what_somebody_else_released_counts_as_released(db) {
        let story = several(db, 3).await;
        let running = stopped_at(&story, "release.planned", 0, several(db_of(&story), 3).await, RELEASE).await;
        // By hand, between the plan and the deed.
        let url = format!("{}{}", story.sandbox.url(), path_of(&sid(3)));
        reqwest_client().delete(url).basic_auth(MAIN, Some("sandbox-key")).send().await.expect("an answer");
        running.signal("CONT");
        let report = running.wait().exits(3).json();
        let results: Vec<(&Value, &Value)> =
            report["releases"].as_array().expect("releases").iter().map(|one| (&one["sid"], &one["result"])).collect();
        assert_eq!(results, [(&json!(sid(1)), &json!("released")), (&json!(sid(3)), &json!("already_gone"))]);
        assert_only_the_used_one(&story, 3).await;
    }

    async fn what_is_somebody_elses_meanwhile_is_kept(db) {
        let story = several(db, 4).await;
        let bell = callops::domain::numbers::NumberSettings { friendly_name: Some("Bell *".to_owned()), ..named("x") };
        put_tenant(&story, "bell", bell.clone()).await;
        let running = stopped_at(&story, "release.planned", 0, several(db_of(&story), 4).await, RELEASE).await;
        // One gets another name at Twilio, and another tenant's words change, while somebody thinks about the plan.
        let url = format!("{}{}", story.sandbox.url(), path_of(&sid(3)));
        let renamed = reqwest_client().post(url).basic_auth(MAIN, Some("sandbox-key"));
        let renamed = renamed.header("Content-Type", "application/x-www-form-urlencoded").body("FriendlyName=Bell+Dental");
        assert!(renamed.send().await.expect("an answer").status().is_success());
        running.signal("CONT");
        let report = running.wait().exits(4);
        assert!(report.to_string().contains("is claimed by others meanwhile"), "{report}");
        assert_eq!(deleted(&story), [sid(1), sid(4)]);
    }

    async fn one_that_froze_before_it_sent_takes_nothing_that_another_one_keeps(db) {
        let of = async |db: TestDatabase| {
            let story = begin(db).await;
            let numbers: Vec<Value> = (1..=3).map(number).chain(strangers(20)).collect();
            story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
            story
        };
        let story = of(db).await;
        // It keeps the oldest, and is about to release the second.
        let frozen = stopped_at(&story, "release.committed", 0, of(db_of(&story)).await, RELEASE).await;
        let second = sid(2);
        let keep_second = [RELEASE, &["--keep", &second]].concat();
        // However far the clocks of two machines may be apart, nobody else acts meanwhile.
        story.wait(TimeDelta::seconds(130));
        let early = story.run(&keep_second).exits(7);
        assert!(early.to_string().contains("another run is releasing"), "{early}");
        assert_eq!(deleted(&story), Vec::<String>::new());
        story.wait(TimeDelta::seconds(60));
        story.run(&keep_second).exits(3);
        assert_eq!(deleted(&story), [sid(1), sid(3)]);
        too_late_to_send().await;
        frozen.signal("CONT");
        frozen.wait().exits(4);
        assert_eq!(deleted(&story), [sid(1), sid(3)], "who slept too long sends nothing");
        assert_eq!(left(&story).await, [sid(2)]);
    }

    async fn a_number_that_comes_into_use_meanwhile_is_kept(db) {
        let story = several(db, 4).await;
        // While the first one is told to go, somebody calls the last one.
        let trial = several(db_of(&story), 4).await;
        let running = stopped_at(&story, "release.committed", 0, trial, RELEASE).await;
        let call = json!({"account": MAIN, "to": "+18025550104", "from": "+12025550123", "status": "in-progress",
            "direction": "inbound", "start_time": "2026-11-26T14:59:00Z"});
        story.sandbox.twilio(json!({"calls": [call]})).expect("a call");
        running.signal("CONT");
        let output = running.wait().exits(4);
        let report = output.json();
        let last = report["releases"].as_array().expect("releases").iter().find(|one| one["sid"] == sid(4)).cloned();
        let last = last.expect("number 4");
        assert_eq!(last["result"], "kept", "{report}");
        assert!(last["reason"].as_str().expect("why").contains("1 call in 30 days"), "{last}");
        assert!(!deleted(&story).contains(&sid(4)));
        assert_eq!(left(&story).await, [sid(2), sid(4)]);
        // Two that are in use are two that are kept.
        story.wait(TimeDelta::minutes(1));
        let report = story.run(RELEASE).exits(3);
        assert!(report.to_string().contains("acme has 2"), "{report}");
        assert_eq!(left(&story).await, [sid(2), sid(4)]);
    }

    async fn each_kind_of_use_keeps_a_number(db) {
        let story = begin(db.copy()).await;
        let mut numbers: Vec<Value> = (1..=7).map(number).collect();
        numbers[1]["trunk_sid"] = json!("TK00000000000000000000000000000001");
        numbers[2]["sms_url"] = json!("https://elsewhere.example/sms");
        numbers.extend(strangers(40));
        let call = |to: &str, from: &str, start: &str| json!({"account": MAIN, "to": to, "from": from,
            "status": "completed", "start_time": start, "duration": 5});
        story.sandbox.twilio(json!({
            "numbers": numbers,
            "vapi_numbers": [{"id": "line-1", "number": "+1 (802) 555-0104"}],
            "elevenlabs_numbers": [{"phone_number_id": "pn5", "phone_number": "+18025550105"}],
            "calls": [call("+12025550100", "+18025550106", "2026-10-28T00:00:00Z"),
                call("+18025550107", "+12025550100", "2026-10-20T00:00:00Z")],
        })).expect("numbers");
        story.put_account_with("elevenlabs", "acme-elevenlabs", "env:ACME_KEY", 10).await;
        story.campaign("checkup", &rules()).await;
        let plan = story.run(&["release-duplicate-numbers", "--format", "json"]).exits(3).json();
        let verdict = |n: u32| {
            let row = plan["plan"].as_array().expect("rows").iter().find(|row| row["sid"] == sid(n)).expect("a row");
            (row["verdict"].as_str().expect("a word").to_owned(), row["reasons"].as_str().expect("why").to_owned())
        };
        for (n, expected, reason) in [
            (1, "RELEASE", "not in use"),
            (2, "KEEP", "on trunk TK00000000000000000000000000000001"),
            (3, "KEEP", "text messages go to https://elsewhere.example/sms"),
            (4, "KEEP", "known to acme-vapi (line-1); caller id of acme/checkup"),
            (5, "KEEP", "known to acme-elevenlabs (pn5)"),
            (6, "KEEP", "1 call in 30 days"),
            (7, "RELEASE", "not in use"),
        ] {
            assert_eq!(verdict(n), (expected.to_owned(), reason.to_owned()), "{n}");
        }
        check_requests(&story, 10).await;

        // What a source may know keeps everything that it may know of.
        for (path, text) in [
            ("/phone-number", "account acme-vapi cannot say what it knows"),
            ("/v1/convai/phone-numbers", "account acme-elevenlabs cannot say what it knows"),
            (&format!("/2010-04-01/Accounts/{MAIN}/Calls.json"), "its calls cannot be read"),
        ] {
            let fault = json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": path}});
            story.sandbox.add_faults(fault).expect("a rule");
            let report = story.run(&["release-duplicate-numbers", "--yes", "--force", "--format", "json"]).exits(4);
            assert!(report.to_string().contains(text), "{report}");
            assert_eq!(deleted(&story), Vec::<String>::new(), "{path}");
            story.sandbox.clear_faults();
        }
        // And a key that cannot be read is a source that cannot be read.
        let args = ["release-duplicate-numbers", "--yes", "--force", "--format", "json"];
        story.put_account_with("vapi", "lost-vapi", "env:NOT_SET", 10).await;
        let report = story.run(&args).exits(4);
        assert!(report.to_string().contains("account lost-vapi cannot say what it knows"), "{report}");
        assert_eq!(deleted(&story), Vec::<String>::new());
    }

    async fn caps_and_consent_stand_before_everything(db) {
        let story = begin(db.copy()).await;
        let numbers: Vec<Value> = (1..=5).map(number).chain(strangers(8)).collect();
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        // 4 of 13 are more than 30 %.
        let refused = story.run(RELEASE).exits(5);
        assert!(refused.to_string().contains("more than 30 %"), "{refused}");
        story.sandbox.twilio(json!({"numbers": strangers(9).split_off(8)})).expect("a number");
        let refused = story.run(&[RELEASE, &["--max-releases", "3"]].concat()).exits(5);
        assert!(refused.to_string().contains("--max-releases allows 3"), "{refused}");
        for args in [&["release-duplicate-numbers"][..], &["release-duplicate-numbers", "--dry-run"]] {
            let plan = story.run(args).exits(3);
            assert!(plan.to_string().contains("nothing was done"), "{plan}");
        }
        story.run(&["release-duplicate-numbers", "--dry-run", "--yes"]).exits(2);
        story.run(&["release-duplicate-numbers", "--keep", "best"]).exits(2);
        story.run(&[RELEASE, &["--keep", &sid(77)]].concat()).exits(2);
        let none = story.run(&[RELEASE, &["--keep", "in-use"]].concat()).exits(4);
        assert!(none.to_string().contains("none is in use"), "{none}");
        assert_eq!(deleted(&story), Vec::<String>::new());
        let report = story.run(&[RELEASE, &["--keep", &sid(4)]].concat()).exits(3).json();
        assert_eq!(report["saving_per_month"], "20.00");
        assert_eq!(left(&story).await, [sid(4)]);
        assert_eq!(deleted(&story), [sid(1), sid(2), sid(3), sid(5)]);
    }

    async fn numbers_that_are_nobodys_or_of_several_are_let_be(db) {
        let story = begin(db).await;
        let mut numbers: Vec<Value> = (1..=4).map(number).chain(strangers(20)).collect();
        numbers[3]["voice_url"] = json!("https://bell.example/voice");
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        let bell = callops::domain::numbers::NumberSettings {
            voice_url_pattern: Some("https://bell.example/*".to_owned()),
            ..named("Bell *")
        };
        put_tenant(&story, "bell", bell).await;
        let drift = story.run(&["reconcile-twilio", "--format", "json"]).exits(3).json();
        let contested = drift.as_array().expect("rows").iter().find(|row| row["kind"] == "contested").expect("a row");
        assert_eq!((&contested["sid"], &contested["found"]), (&json!(sid(4)), &json!("acme, bell")));
        let report = story.run(RELEASE).exits(3).json();
        assert_eq!(report["plan"].as_array().expect("rows").len(), 3);
        assert_eq!(deleted(&story), [sid(2), sid(3)]);
        assert_eq!(at_twilio(&story).await.len(), 22);
    }

    async fn a_number_that_was_adopted_and_is_claimed_by_another_is_let_be(db) {
        let story = begin(db).await;
        let mut numbers: Vec<Value> = (1..=3).map(number).chain(strangers(20)).collect();
        numbers[2]["voice_url"] = json!("https://bell.example/voice");
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        let acme = callops::domain::numbers::NumberSettings { voice_url: None, ..named("Acme Dental") };
        put_tenant(&story, "acme", acme).await;
        story.run(&["reconcile-twilio", "--apply", "--yes"]).success();
        let bell = callops::domain::numbers::NumberSettings {
            voice_url_pattern: Some("https://bell.example/*".to_owned()),
            ..named("Bell *")
        };
        put_tenant(&story, "bell", bell).await;
        let report = story.run(RELEASE).exits(3).json();
        assert_eq!(report["plan"].as_array().expect("rows").len(), 2, "{report}");
        assert_eq!(deleted(&story), [sid(2)]);
        let found = story.run(&["detect-duplicates", "--kind", "numbers", "--format", "json"]).success().json();
        assert_eq!(found.as_array().expect("rows").len(), 0, "{found}");
    }

    async fn whose_number_in_use_cannot_be_read_keeps_them_all(db) {
        let story = begin(db).await;
        let sub = "AC00000000000000000000000000000001";
        let mut used = number(3);
        used["account"] = json!(sub);
        let call = json!({"account": sub, "to": "+18025550103", "from": "+12025550123", "status": "completed",
            "direction": "inbound", "start_time": "2026-11-25T12:00:00Z"});
        let numbers: Vec<Value> = [number(1), number(2), used].into_iter().chain(strangers(20)).collect();
        story.sandbox.twilio(json!({"accounts": [{"sid": sub, "friendly_name": "One", "owner": MAIN}],
            "numbers": numbers, "calls": [call]})).expect("numbers");
        story.run(&["reconcile-twilio"]).exits(3);
        let path = format!("/2010-04-01/Accounts/{sub}/");
        story.sandbox.add_faults(json!({"kind": "server_error", "status": 403, "match": {"method": "GET", "path": path}}))
            .expect("a rule");
        let report = story.run(RELEASE).exits(4);
        assert!(report.to_string().contains("could not be read"), "{report}");
        assert_eq!(deleted(&story), Vec::<String>::new());
        assert!(listed(&story, "acme").iter().all(|row| row["is_tenants_number"] == false), "nothing was chosen");
    }

    async fn an_unreadable_subaccount_is_left_out_and_half_a_list_is_no_list(db) {
        let story = begin(db).await;
        let (one, two) = ("AC00000000000000000000000000000001", "AC00000000000000000000000000000002");
        let in_account = |account: &str, n: u32| {
            let mut number = number(n);
            number["account"] = json!(account);
            number
        };
        let mut numbers = vec![in_account(one, 1), in_account(one, 2), in_account(two, 3), in_account(two, 4)];
        numbers.extend(strangers(20));
        story.sandbox.twilio(json!({
            "accounts": [{"sid": one, "friendly_name": "One", "owner": MAIN}, {"sid": two, "friendly_name": "Two", "owner": MAIN}],
            "numbers": numbers,
        })).expect("numbers");
        story.run(&["reconcile-twilio"]).exits(3);
        let path = format!("/2010-04-01/Accounts/{two}/IncomingPhoneNumbers.json");
        story.sandbox.add_faults(json!({"kind": "server_error", "status": 403, "match": {"method": "GET", "path": path}}))
            .expect("a rule");
        let drift = story.run(&["reconcile-twilio", "--format", "json"]).exits(4);
        assert!(drift.to_string().contains(two), "{drift}");
        assert!(!drift.to_string().contains("database_only"), "what cannot be read is not gone: {drift}");
        let report = story.run(RELEASE).exits(4);
        assert!(report.to_string().contains("cannot be read"), "{report}");
        assert_eq!(deleted(&story), Vec::<String>::new(), "what cannot be read may be what is used");
        story.sandbox.clear_faults();

        // The second page of the main account cannot be had.
        story.sandbox.twilio(json!({"many_numbers": {"account": MAIN, "count": 1500, "friendly_name": "Acme Dental"}}))
            .expect("many numbers");
        let path = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
        // A read is tried three times.
        let faults: Vec<Value> = (2..=4)
            .map(|n| json!({"kind": "server_error", "status": 500, "match": {"method": "GET", "path": path, "nth": n}}))
            .collect();
        for args in [&["release-duplicate-numbers", "--yes", "--force", "--max-releases", "10000"][..],
            &["reconcile-twilio", "--apply", "--yes", "--force"]]
        {
            story.sandbox.add_faults(json!(faults)).expect("rules");
            let broken = story.run(args).exits(7);
            assert!(broken.to_string().contains("broke off"), "{broken}");
            assert!(broken.to_string().contains("half a list"), "{broken}");
            story.sandbox.clear_faults();
        }
        assert_eq!(deleted(&story), Vec::<String>::new());
        let asked = requests(&story).await;
        assert!(asked.iter().all(|request| request["method"] == "GET"), "nothing was changed either");
    }
}

/// Another database of the same kind.
fn db_of(story: &Story) -> TestDatabase {
    TestDatabase::new(story.backend())
}
