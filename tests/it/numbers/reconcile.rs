//! In what the database and Twilio differ, and what of it is mended.

use callops::domain::call::AttemptState;
use callops::domain::campaign::AccountSettings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    MAIN, STATUS, VOICE, at_once, audited, begin, check_requests, deleted, kill_at, listed, named, number,
    put_settings, put_tenant, requests, sid, strangers,
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
        check_requests(&story, 9).await;
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
        story.control("settings", json!({"latency_ms": 30})).await;
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
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        story.run(&["reconcile-twilio"]).exits(3);
        story.campaign("checkup", &rules()).await;
        // Of the first the provider goes on to say that it rings or talks; the second it knows no more; the third it ended.
        let phones = ["+12025550111", "+12025550112", "+12025550113", "+12025550114", "+12025550115"];
        for phone in phones {
            let mut outcome = json!({"ended_reason": "customer-ended-call"});
            if phone != phones[1] {
                outcome["stuck"] = json!("in-progress");
            }
            story.control("script", json!({"phone": phone, "outcomes": [outcome]})).await;
            story.contact(phone, |_| {}, &["checkup"]).await;
        }
        story.process(&[]).await;
        let began = story.now();
        let time = |minutes: i64| (began + TimeDelta::minutes(minutes)).to_rfc3339();
        let record = |n: u32, to: &str, status: &str, start: i64, end: Option<i64>| json!({
            "account": MAIN, "sid": format!("CA{n:032x}"), "to": to, "from": "+18025550101", "status": status,
            "direction": "outbound-api", "start_time": time(start), "end_time": end.map(time)});
        let from = |mut record: Value, from: &str| { record["from"] = json!(from); record };
        story.sandbox.twilio(json!({"calls": [
            record(1, phones[0], "completed", 0, Some(3)),
            record(2, phones[1], "completed", 0, Some(3)),
            // From a line that is nobody's.
            from(record(3, phones[2], "busy", 0, Some(1)), "+19995550101"),
            // Still under way there.
            record(4, phones[3], "in-progress", 0, None),
            // Over a moment ago: it is being told.
            record(5, phones[4], "completed", 0, Some(5)),
            record(12, "+12025550122", "no-answer", -60, Some(-59)),
            record(13, "+12025550122", "completed", -55, Some(-54)),
            record(14, "+12025550133", "completed", -2 * 24 * 60 - 600, Some(-2 * 24 * 60 - 599)),
            record(15, "client:alice", "completed", -30, Some(-29)),
            {"account": MAIN, "to": "+18025550101", "from": "+12025550144", "status": "completed", "direction": "inbound",
                "start_time": time(-30), "end_time": time(-29)},
        ]})).expect("calls");
        story.wait(TimeDelta::minutes(5));
        let found = story.run(&["reconcile-twilio", "--calls", "--format", "json"]).exits(3);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut kinds: Vec<_> =
            rows(&found).iter().map(|row| (text(&row["kind"]), text(&row["call"]), row["action"] == "settle")).collect();
        kinds.sort();
        let ca = |n: u32| format!("CA{n:032x}");
        let expected = [("ended_there", 1, true), ("ended_there", 2, true), ("ended_there", 3, false),
            ("repeated", 13, false), ("unknown_here", 12, false), ("unknown_here", 13, false)];
        assert_eq!(kinds, expected.map(|(kind, n, settles)| (kind.to_owned(), ca(n), settles)));
        let mut attempts = std::collections::BTreeMap::new();
        for call in story.calls().await {
            let attempt = story.attempts(&call).await.remove(0);
            assert_eq!(attempt.state, AttemptState::Placed, "only looked at");
            attempts.insert(call.phone.clone(), (call, attempt));
        }
        story.erase(&attempts[phones[1]].1).await;
        let over = story.run(&["reconcile-twilio", "--calls", "--apply", "--yes", "--max-changes", "1"]).exits(5);
        assert!(over.to_string().contains("--max-changes allows 1"), "{over}");
        let settled = story.run(&["reconcile-twilio", "--calls", "--apply", "--yes"]).exits(4);
        assert!(settled.to_string().contains("1 of 2 attempts are settled"), "{settled}");
        assert!(settled.to_string().contains("says that it goes on"), "{settled}");
        for (phone, state, reason) in [
            (phones[0], AttemptState::Placed, None),
            (phones[1], AttemptState::Ended, Some("twilio completed")),
            (phones[2], AttemptState::Placed, None),
            (phones[3], AttemptState::Placed, None),
        ] {
            let attempt = story.attempts(&attempts[phone].0).await.remove(0);
            assert_eq!((attempt.state, attempt.reason.as_deref()), (state, reason), "{phone}");
        }
        let rings = story.sandbox.rings().len();
        story.wait(TimeDelta::minutes(10));
        story.process(&[]).await;
        assert_eq!(story.sandbox.rings().len(), rings, "nobody is rung again whose call goes on");
        check_requests(&story, 3).await;
    }

    async fn closed_and_unlisted_subaccounts_are_said(db) {
        let story = begin(db).await;
        let sub = "AC00000000000000000000000000000001";
        let mut held = number(1);
        held["account"] = json!(sub);
        story.sandbox.twilio(json!({"accounts": [{"sid": sub, "friendly_name": "One", "owner": MAIN}],
            "numbers": std::iter::once(held).chain(strangers(20)).collect::<Vec<_>>()})).expect("a number");
        story.run(&["reconcile-twilio", "--apply", "--yes"]).success();
        story.wait(TimeDelta::minutes(1));
        // A standard API key may not list accounts: then what is in others is not known, and nothing of it is gone.
        let fault = json!({"kind": "server_error", "status": 401, "match": {"method": "GET", "path": "/2010-04-01/Accounts.json"}});
        story.sandbox.add_faults(fault).expect("a rule");
        let unlisted = story.run(&["reconcile-twilio", "--format", "json"]).exits(4);
        assert!(unlisted.to_string().contains("subaccounts cannot be listed"), "{unlisted}");
        assert!(rows(&unlisted).iter().all(|row| row["kind"] == "unattributed"), "{unlisted}");
        story.sandbox.clear_faults();
        story.wait(TimeDelta::minutes(1));
        story.sandbox.twilio(json!({"accounts": [{"sid": sub, "friendly_name": "One", "owner": MAIN, "status": "closed"}]}))
            .expect("a closed account");
        let closed = story.run(&["reconcile-twilio", "--format", "json"]).exits(3);
        let row = rows(&closed).into_iter().find(|row| row["kind"] == "database_only").expect("a row");
        assert_eq!((&row["sid"], &row["found"]), (&json!(sid(1)), &json!("its subaccount is closed")));
        story.run(&["reconcile-twilio", "--apply", "--yes"]).success();
        assert_eq!(listed(&story, "acme")[0]["status"], "gone");
        assert_eq!(audited(&story, &sid(1)), ["adopt-number", "mark-released"]);
    }

    async fn an_api_key_opens_an_account_as_its_token_does(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        let settings = AccountSettings {
            api_key: "env:KEY_SID".to_owned(),
            api_secret: Some("env:ACME_KEY".to_owned()),
            account_sid: Some(MAIN.to_owned()),
            base_url: Some(story.sandbox.url()),
            ..AccountSettings::default()
        };
        put_settings(&story, "acme-twilio", &settings).await;
        let key = ("KEY_SID", "SK0000000000000000000000000000005a");
        let output = story.spawn_with(&[key], &["reconcile-twilio"]).wait().exits(3);
        assert!(output.to_string().contains("1 number at Twilio"), "{output}");
        let wrong = story.spawn_with(&[("KEY_SID", "SK00000000000000000000000000000099")], &["reconcile-twilio"]).wait();
        assert!(wrong.exits(6).to_string().contains("20003"));
        let doctor = story.spawn_with(&[key], &["doctor", "--online", "--format", "json"]).wait().json();
        let row = |check: &str| doctor.as_array().expect("rows").iter().find(|row| row["check"] == check).cloned();
        assert_eq!(row("account:acme-twilio").expect("a row")["verdict"], "ok", "{doctor}");
        assert!(row("webhooks:acme-twilio").is_none(), "it tells nobody of calls");
    }

    async fn findings_come_before_what_is_none_and_the_plan_is_shown_whole(db) {
        let story = begin(db).await;
        let mut wrong = number(1);
        wrong["voice_url"] = json!("https://staging.acme.example/twilio");
        let numbers: Vec<Value> = strangers(60).into_iter().chain([wrong]).collect();
        story.sandbox.twilio(json!({"numbers": numbers})).expect("numbers");
        let shown = rows(&story.run(&["reconcile-twilio", "--limit", "2", "--format", "json"]).exits(3));
        assert_eq!(kinds(&shown), pairs(&[("twilio_only", 1), ("voice_url", 1)]));
        let plan = rows(&story.run(&["reconcile-twilio", "--apply", "--limit", "1", "--format", "json"]).exits(3));
        assert_eq!(kinds(&plan), pairs(&[("twilio_only", 1), ("voice_url", 1)]), "what is to be done is shown whole");
        for wrong in [&["reconcile-twilio", "--force"][..], &["reconcile-twilio", "--dry-run"]] {
            story.run(wrong).exits(2);
        }
        let half = json!({"kind": "server_error", "status": 500, "match": {"method": "POST", "path": "/2010-04-01/"}});
        story.sandbox.add_faults(half).expect("a rule");
        story.run(&["reconcile-twilio", "--apply", "--yes"]).exits(7);
        let runs = story.run(&["list", "runs", "--format", "json"]).success().json();
        let ended: Vec<&Value> = runs.as_array().expect("rows").iter().map(|run| &run["exit_code"]).collect();
        assert!(ended.contains(&&json!(7)), "a run that fails is a run: {runs}");
    }

    async fn a_slow_reading_takes_nothing_for_gone_that_a_later_one_saw(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"many_numbers": {"account": MAIN, "count": 1500, "friendly_name": "Acme Dental"}}))
            .expect("numbers");
        story.run(&["reconcile-twilio"]).exits(3);
        story.wait(TimeDelta::minutes(1));
        // The first begins and is stopped before it stores a page; the second, when it has stored both.
        let stopped_at = async |point: &str| {
            let variables = [("CALLOPS_FAIL_AT", point), ("CALLOPS_FAIL_DO", "stop")];
            let mut running = story.spawn_with(&variables, &["reconcile-twilio", "--format", "json"]);
            while running.condition() != crate::common::Condition::Stopped {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            running
        };
        let first = stopped_at("1").await;
        story.wait(TimeDelta::minutes(1));
        let second = stopped_at("6").await;
        first.signal("CONT");
        first.wait().exits(3);
        second.signal("CONT");
        let output = second.wait().exits(3);
        assert!(output.to_string().contains("1500 numbers at Twilio"), "{output}");
        assert!(!output.to_string().contains("database_only"), "{output}");
    }
}
