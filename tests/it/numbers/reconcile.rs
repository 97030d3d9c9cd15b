//! In what the database and Twilio differ, and what of it is mended.

use callops::domain::call::AttemptState;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    MAIN, STATUS, VOICE, at_once, begin, check_requests, deleted, kill_at, listed, named, number, put_tenant, requests,
    sid, strangers,
};
use crate::common::on_both_databases;
use crate::common::story::rules;

fn rows(output: &crate::numbers::Output) -> Vec<Value> {
    output.json().as_array().expect("rows").clone()
}

fn kinds(rows: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut kinds: Vec<_> = rows.iter().map(|row| (text(&row["kind"]), text(&row["sid"]))).collect();
    kinds.sort();
    kinds
}

fn pairs(expected: &[(&str, u32)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = expected.iter().map(|(kind, n)| ((*kind).to_owned(), sid(*n))).collect();
    pairs.sort();
    pairs
}

on_both_databases! {
    async fn each_difference_has_a_name_and_an_action(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        story.run(&["reconcile-twilio", "--apply", "--yes", "--force"]).success();
        story.run(&["reconcile-twilio"]).success();
        // Another number was adopted and is gone since; one is wired to another environment; one is of another name.
        story.sandbox.twilio(json!({"numbers": [number(2)]})).expect("a number");
        story.run(&["reconcile-twilio", "--apply", "--yes", "--force"]).success();
        let url = format!("{}/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers/{}.json", story.sandbox.url(), sid(2));
        let client = crate::common::story::reqwest_client();
        client.delete(url).basic_auth(MAIN, Some("sandbox-key")).send().await.expect("an answer");
        let mut staging = number(3);
        staging["voice_url"] = json!("https://staging.acme.example/twilio");
        staging["status_callback"] = json!("");
        let mut trunk = number(4);
        trunk["voice_url"] = json!("https://staging.acme.example/twilio");
        trunk["trunk_sid"] = json!("TK00000000000000000000000000000001");
        story.sandbox.twilio(json!({"numbers": [staging, trunk]})).expect("numbers");
        story.sandbox.twilio(json!({"numbers": strangers(1)})).expect("a stranger");
        story.wait(TimeDelta::minutes(1));
        let drift = story.run(&["reconcile-twilio", "--format", "json"]).exits(3);
        let expected = pairs(&[("twilio_only", 3), ("twilio_only", 4), ("voice_url", 3), ("status_callback", 3),
            ("database_only", 2), ("unattributed", 101)]);
        assert_eq!(kinds(&rows(&drift)), expected);
        for (kind, action) in [("twilio_only", "adopt"), ("voice_url", "set URLs"), ("database_only", "mark released")] {
            let row = rows(&drift).into_iter().find(|row| row["kind"] == kind).expect("a row");
            assert_eq!(row["action"], action);
        }
        check_requests(&story, 10).await;
    }

    async fn what_is_safe_is_mended_within_the_cap_and_once(db) {
        let story = begin(db).await;
        let mut wrong = number(1);
        wrong["voice_url"] = json!("https://staging.acme.example/twilio");
        wrong["status_callback"] = json!(null);
        let numbers: Vec<Value> = std::iter::once(wrong).chain(strangers(2)).collect();
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        story.run(&["reconcile-twilio", "--yes"]).exits(2);
        let plan = story.run(&["reconcile-twilio", "--apply"]).exits(5);
        assert!(plan.to_string().contains("more than 30 %"), "{plan}");
        story.sandbox.twilio(json!({"numbers": strangers(20).split_off(2)})).expect("numbers");
        let plan = story.run(&["reconcile-twilio", "--apply"]).exits(3);
        assert!(plan.to_string().contains("nothing was done"), "{plan}");
        let over = story.run(&["reconcile-twilio", "--apply", "--yes", "--max-changes", "0"]).exits(5);
        assert!(over.to_string().contains("--max-changes allows 0"), "{over}");
        let asked = requests(&story).await;
        assert!(asked.iter().all(|request| request["method"] == "GET"), "nothing was changed yet");
        let outputs = at_once(&story, 3, &["reconcile-twilio", "--apply", "--yes"]);
        for output in &outputs {
            assert!(matches!(output.code(), Some(0 | 4)), "{output}");
        }
        story.run(&["reconcile-twilio"]).success();
        let active = listed(&story, "acme");
        assert_eq!((active.len(), &active[0]["is_tenants_number"]), (1, &json!(true)));
        let shown = story.run(&["show", "number", &sid(1), "--format", "json"]).success().json();
        assert_eq!((&shown["voice_url"], &shown["status_callback"]), (&json!(VOICE), &json!(STATUS)));
        assert_eq!(deleted(&story), Vec::<String>::new(), "nothing is released here");
        assert_eq!(crate::numbers::bought(&story), Vec::<String>::new());
        check_requests(&story, 10).await;
    }

    async fn killed_while_mending_it_goes_on_with_the_next_run(db) {
        for n in 1.. {
            let story = begin(db.copy()).await;
            let mut wrong = number(1);
            wrong["voice_url"] = json!("https://staging.acme.example/twilio");
            let numbers: Vec<Value> = std::iter::once(wrong).chain(strangers(20)).collect();
            story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
            let log = story.scratch().path().join("points").display().to_string();
            let output = kill_at(&story, n, &log, &["reconcile-twilio", "--apply", "--yes"]);
            let passed = std::fs::read_to_string(&log).unwrap_or_default();
            if passed.lines().count() < usize::try_from(n).expect("small") {
                assert_eq!(output.code(), Some(0), "{output}");
                assert!(n > 4, "{passed}");
                break;
            }
            assert_eq!(output.code(), None, "{output}");
            story.run(&["reconcile-twilio", "--apply", "--yes"]).success();
            story.run(&["reconcile-twilio"]).success();
            assert_eq!(listed(&story, "acme")[0]["is_tenants_number"], json!(true));
        }
    }

    async fn a_number_of_another_tenant_is_for_people_to_settle(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        story.run(&["reconcile-twilio", "--apply", "--yes", "--force"]).success();
        put_tenant(&story, "acme", named("Acme Surgery")).await;
        put_tenant(&story, "bell", named("Acme Dental")).await;
        let drift = story.run(&["reconcile-twilio", "--apply", "--yes", "--force", "--format", "json"]).exits(3);
        assert_eq!(kinds(&rows(&drift)), pairs(&[("other_tenant", 1)]));
        story.run(&["reconcile-twilio"]).exits(3);
        assert_eq!(listed(&story, "acme")[0]["tenant"], Value::Null, "it is disputed");
    }

    async fn every_page_of_every_subaccount_is_read_and_a_429_is_waited_for(db) {
        let story = begin(db).await;
        let accounts: Vec<Value> = (1..=12).map(|n| json!({"sid": format!("AC{n:032x}"), "friendly_name": format!("S{n}"), "owner": MAIN})).collect();
        let numbers: Vec<Value> = (1..=12).map(|n| json!({"account": format!("AC{n:032x}"), "sid": sid(n), "phone": format!("+180255510{n:02}")})).collect();
        story.sandbox.twilio(json!({"accounts": accounts, "numbers": numbers,
            "many_numbers": {"account": MAIN, "count": 2500, "friendly_name": "Acme Dental"}})).expect("numbers");
        let rule = json!({"kind": "too_many_requests", "retry_after": "0", "match": {"method": "GET", "path": "/2010-04-01/", "every": 3}});
        story.sandbox.add_faults(rule).expect("a rule");
        let output = story.run(&["reconcile-twilio", "--limit", "3"]).exits(3);
        assert!(output.to_string().contains("2512 numbers at Twilio"), "{output}");
        assert!(output.to_string().contains("only 3 of"), "{output}");
        let most = story.sandbox.twilio_ledger()["most_at_once"].as_u64().expect("a count");
        assert!((2..=8).contains(&most), "{most} requests at once");
        check_requests(&story, 20).await;
    }

    async fn wrong_credentials_end_it_before_anything_is_said(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"story": "five-numbers"})).expect("a story");
        for command in [&["reconcile-twilio"][..], &["release-duplicate-numbers", "--yes"], &["reconcile-twilio", "--calls"]] {
            let output = story.spawn_with(&[("ACME_KEY", "wrong")], command).wait().exits(6);
            let text = output.to_string();
            assert!(text.contains("20003 Authenticate: the account SID, the auth token or the API key is wrong"), "{text}");
        }
        assert_eq!(listed(&story, "acme").len(), 0);
    }

    async fn calls_are_compared_and_those_that_are_over_settled(db) {
        let story = begin(db).await;
        story.campaign("checkup", &rules()).await;
        // A call that is placed, and of which the voice provider never hears the end.
        let stuck = "+12025550111";
        story.control("script", json!({"phone": stuck, "outcomes": [{"ended_reason": "customer-ended-call", "stuck": "in-progress"}]})).await;
        story.contact(stuck, |_| {}, &["checkup"]).await;
        story.process(&[]).await;
        let call = story.calls().await.remove(0);
        let attempt = story.attempts(&call).await.remove(0);
        assert_eq!(attempt.state, AttemptState::Placed);
        let began = story.now();
        let time = |minutes: i64| (began + TimeDelta::minutes(minutes)).to_rfc3339();
        let record = |n: u32, to: &str, status: &str, start: i64, end: Option<i64>| json!({
            "account": MAIN, "sid": format!("CA{n:032x}"), "to": to, "from": "+18025550101", "status": status,
            "direction": "outbound-api", "start_time": time(start), "end_time": end.map(time)});
        story.sandbox.twilio(json!({"calls": [
            record(1, stuck, "completed", 0, Some(3)),
            record(2, "+12025550122", "no-answer", -60, Some(-59)),
            record(3, "+12025550122", "completed", -55, Some(-54)),
            record(4, "+12025550133", "completed", -2 * 24 * 60 - 600, Some(-2 * 24 * 60 - 599)),
            {"account": MAIN, "to": "+18025550101", "from": "+12025550144", "status": "completed", "direction": "inbound",
                "start_time": time(-30), "end_time": time(-29)},
        ]})).expect("calls");
        story.wait(TimeDelta::minutes(5));
        let found = story.run(&["reconcile-twilio", "--calls", "--format", "json"]).exits(3);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut kinds: Vec<_> = rows(&found).iter().map(|row| (text(&row["kind"]), text(&row["call"]))).collect();
        kinds.sort();
        let ca = |n: u32| format!("CA{n:032x}");
        let expected = [("ended_there", 1), ("repeated", 3), ("unknown_here", 2), ("unknown_here", 3)];
        assert_eq!(kinds, expected.map(|(kind, n)| (kind.to_owned(), ca(n))));
        assert_eq!(story.attempts(&call).await.remove(0).state, AttemptState::Placed, "only looked at");
        let settled = story.run(&["reconcile-twilio", "--calls", "--apply", "--yes"]).exits(3);
        assert!(settled.to_string().contains("1 of 1 attempts are settled"), "{settled}");
        let attempt = story.attempts(&call).await.remove(0);
        assert_eq!((attempt.state, attempt.reason.as_deref()), (AttemptState::Ended, Some("twilio completed")));
        let found = story.run(&["reconcile-twilio", "--calls", "--format", "json"]).exits(3);
        assert!(rows(&found).iter().all(|row| row["kind"] != "ended_there"));
        check_requests(&story, 3).await;
    }
}
