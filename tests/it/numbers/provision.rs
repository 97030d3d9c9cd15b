//! A number is bought once: by whatever number of askers, and whatever becomes of the answer.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    MAIN, at_once, at_twilio, begin, bought, check_requests, kill_at, listed, named, number, put_tenant, sid,
    stopped_at, too_late_to_send,
};
use crate::common::story::Story;
use crate::common::{TestDatabase, on_both_databases};

const BUY: &[&str] = &["provision-number", "--tenant", "acme", "--area-code", "802", "--yes", "--format", "json"];

/// Asks again, as time goes by, until the tenant has its number. Yields it.
fn until_there(story: &Story) -> Value {
    for _ in 0..10 {
        let output = story.run(BUY);
        match output.code() {
            Some(0) => return output.json(),
            Some(7) => story.wait(TimeDelta::seconds(61)),
            _ => panic!("{output}"),
        }
    }
    panic!("ten minutes were not enough");
}

/// Insists that one number was bought, that the database has it, and that Twilio holds no other of these.
async fn assert_one(story: &Story) {
    let bought = bought(story);
    assert_eq!(bought.len(), 1, "{bought:?}");
    let rows: Vec<Value> = listed(story, "acme").into_iter().filter(|row| row["status"] == "active").collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["phone"], &rows[0]["is_tenants_number"]), (&json!(bought[0]), &json!(true)));
    let held = at_twilio(story).await;
    assert_eq!(held.iter().filter(|(_, name)| name.starts_with("callops acme ")).count(), 1, "{held:?}");
}

on_both_databases! {
    async fn a_number_is_bought_set_up_and_kept(db) {
        let story = begin(db).await;
        let plan = story.run(&["provision-number", "--tenant", "acme"]).exits(3);
        assert!(plan.to_string().contains("to buy: 1 number for acme"), "{plan}");
        assert_eq!(bought(&story), Vec::<String>::new());
        let first = story.run(BUY).success().json();
        assert_eq!(first["result"], "bought");
        assert!(first["phone"].as_str().expect("a phone").starts_with("+1802"), "{first}");
        let again = story.run(BUY).success().json();
        assert_eq!((&again["result"], &again["phone"]), (&json!("had"), &first["phone"]));
        assert_one(&story).await;
        story.run(&["reconcile-twilio"]).success();
        let shown = story.run(&["show", "number", first["phone"].as_str().expect("a phone"), "--format", "json"]);
        let shown = shown.success().json();
        assert_eq!((&shown["voice_url"], &shown["status_callback"]), (&json!(crate::numbers::VOICE), &json!(crate::numbers::STATUS)));
        check_requests(&story, 4).await;
    }

    async fn fifty_processes_buy_one_number(db) {
        let story = begin(db).await;
        let outputs = at_once(&story, 50, BUY);
        let codes: Vec<Option<i32>> = outputs.iter().map(crate::numbers::Output::code).collect();
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 7))), "{codes:?}");
        let had = |result: &str| {
            outputs.iter().filter(|one| one.code() == Some(0) && one.json()["result"] == result).count()
        };
        assert_eq!(had("bought"), 1, "{codes:?}");
        assert!(had("had") > 0, "{codes:?}");
        assert_one(&story).await;
    }

    async fn a_purchase_whose_answer_is_lost_is_found_by_its_name(db) {
        for fault in [
            json!({"kind": "accept_and_drop"}),
            json!({"kind": "server_error", "status": 500, "rings": true}),
            json!({"kind": "broken_json"}),
            json!({"kind": "cut_body"}),
            json!({"kind": "delay_answer", "ms": 4000}),
        ] {
            let story = begin(db.copy()).await;
            let mut rule = fault.clone();
            rule["match"] = json!({"method": "POST", "path": format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json")});
            rule["times"] = json!(1);
            story.sandbox.add_faults(rule).expect("a rule");
            let first = story.run(BUY);
            assert_eq!(bought(&story).len(), 1, "{fault}");
            assert_eq!(first.code(), Some(0), "it looks at once: {fault} {first}");
            until_there(&story);
            assert_one(&story).await;
        }
    }

    async fn a_purchase_that_never_arrived_is_made_after_two_looks(db) {
        for fault in [
            json!({"kind": "refuse_and_drop"}),
            json!({"kind": "server_error", "status": 503}),
            json!({"kind": "nothing_done"}),
        ] {
            let story = begin(db.copy()).await;
            let mut rule = fault.clone();
            rule["match"] = json!({"method": "POST", "path": format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json")});
            rule["times"] = json!(1);
            story.sandbox.add_faults(rule).expect("a rule");
            if fault["kind"] == "nothing_done" {
                // The service says that it sold the number. There is nothing better to go by; the next comparison shows it.
                story.run(BUY).success();
                story.wait(TimeDelta::minutes(1));
                story.run(&["reconcile-twilio"]).exits(3);
                continue;
            }
            let first = story.run(BUY).exits(7);
            assert!(first.to_string().contains("nobody knows yet"), "{first}");
            for seconds in [0, 60, 50] {
                story.wait(TimeDelta::seconds(seconds));
                story.run(BUY).exits(7);
                assert_eq!(bought(&story), Vec::<String>::new(), "too early: {fault}");
            }
            until_there(&story);
            assert_one(&story).await;
        }
    }

    async fn one_that_refuses_proves_that_nothing_was_bought(db) {
        let story = begin(db).await;
        let path = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
        story.sandbox.add_faults(json!({"kind": "too_many_requests", "retry_after": "0",
            "match": {"method": "POST", "path": path}, "times": 1})).expect("a rule");
        let first = story.run(BUY);
        assert!(matches!(first.code(), Some(0 | 7)), "{first}");
        until_there(&story);
        assert_one(&story).await;
    }

    async fn a_number_that_was_just_taken_is_passed_over_a_few_times(db) {
        let story = begin(db).await;
        let url = format!("{}/2010-04-01/Accounts/{MAIN}/AvailablePhoneNumbers/US/Local.json?AreaCode=802&VoiceEnabled=true&PageSize=5",
            story.sandbox.url());
        let answer = crate::common::story::reqwest_client().get(url).basic_auth(MAIN, Some("sandbox-key"));
        let offered: Value = answer.send().await.expect("an answer").json().await.expect("JSON");
        let offered: Vec<&str> = offered["available_phone_numbers"].as_array().expect("numbers").iter()
            .map(|one| one["phone_number"].as_str().expect("a phone")).collect();
        story.sandbox.twilio(json!({"taken": &offered[..2]})).expect("taken numbers");
        let output = story.run(BUY).success().json();
        assert_eq!(output["phone"], json!(offered[2]));
        assert_one(&story).await;

        let other = begin(db_of(&story)).await;
        other.sandbox.twilio(json!({"taken": offered})).expect("taken numbers");
        let refused = other.run(BUY).exits(4);
        assert!(refused.to_string().contains("21422"), "{refused}");
        let too_soon = other.run(BUY).exits(5);
        assert!(too_soon.to_string().contains("less than a minute ago"), "{too_soon}");
        assert_eq!(bought(&other), Vec::<String>::new());
        other.wait(TimeDelta::seconds(65));
        other.run(&["provision-number", "--tenant", "acme", "--area-code", "617", "--yes"]).success();
        assert_one(&other).await;
    }

    async fn what_cannot_be_bought_is_said(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"no_numbers_in": ["533"]})).expect("an area code");
        let none = story.run(&["provision-number", "--tenant", "acme", "--area-code", "533", "--yes"]).exits(4);
        assert!(none.to_string().contains("area code 533"), "{none}");
        for (args, text) in [
            (&["--tenant", "acm"][..], "did you mean acme?"),
            (&["--tenant", "acme", "--area-code", "80"], "no area code"),
            (&["--tenant", "acme", "--country", "XX"], "no country"),
            (&["--tenant", "acme", "--country", "FR", "--area-code", "802"], "no area codes of FR"),
            (&["--tenant", "acme", "--capabilities", "fax"], "no capability"),
            (&["--tenant", "acme", "--idempotency-key", "a b"], "without blanks"),
        ] {
            let output = story.run(&[&["provision-number", "--yes"], args].concat()).exits(2);
            assert!(output.to_string().contains(text), "{output}");
        }
        story.wait(TimeDelta::minutes(2));
        let wrong = story.spawn_with(&[("ACME_KEY", "wrong")], BUY).wait().exits(6);
        assert!(wrong.to_string().contains("20003"), "{wrong}");
        assert_eq!(bought(&story), Vec::<String>::new());
        until_there(&story);
        assert_one(&story).await;
    }

    async fn a_key_asks_for_the_same_purchase(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"no_numbers_in": ["533"]})).expect("an area code");
        let with_key = |code: &str, key: &str| {
            story.run(&["provision-number", "--tenant", "acme", "--area-code", code, "--yes", "--idempotency-key", key])
        };
        with_key("533", "order-1").exits(4);
        story.wait(TimeDelta::minutes(5));
        let again = with_key("802", "order-1").exits(4);
        assert!(again.to_string().contains("533"), "the answer to the first: {again}");
        assert_eq!(bought(&story), Vec::<String>::new());
        with_key("802", "order-2").success();
        with_key("802", "order-2").success();
        assert_one(&story).await;
    }

    async fn a_business_that_has_a_number_already_gets_no_other(db) {
        // Known to nobody here yet, and known by its name at Twilio.
        let story = begin(db.copy()).await;
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        let output = story.run(BUY).success().json();
        assert_eq!(output["sid"], json!(sid(1)));
        assert_eq!(bought(&story), Vec::<String>::new());

        // Of several somebody has to choose.
        let story = begin(db.copy()).await;
        story.sandbox.twilio(json!({"numbers": [number(1), number(2)]})).expect("numbers");
        let output = story.run(BUY).exits(4);
        assert!(output.to_string().contains("has 2 numbers already"), "{output}");
        story.run(&["reconcile-twilio"]).exits(3);
        let output = story.run(BUY).exits(4);
        assert!(output.to_string().contains("release-duplicate-numbers"), "{output}");
        assert_eq!(bought(&story), Vec::<String>::new());

        // By the subaccount that holds it.
        let story = begin(db).await;
        let sub = "AC00000000000000000000000000000001";
        story.sandbox.twilio(json!({"accounts": [{"sid": sub, "friendly_name": "Bell", "owner": MAIN}],
            "numbers": [{"account": sub, "sid": sid(9), "phone": "+18025550109"}]})).expect("a subaccount");
        let settings = callops::domain::numbers::NumberSettings { subaccount: Some(sub.to_owned()), ..named("Bell *") };
        put_tenant(&story, "bell", settings).await;
        let output = story.run(&["provision-number", "--tenant", "bell", "--yes", "--format", "json"]).success().json();
        assert_eq!(output["sid"], json!(sid(9)));
        assert_eq!(bought(&story), Vec::<String>::new());
    }

    async fn killed_at_any_point_it_is_bought_once(db) {
        let mut points = Vec::new();
        for n in 1.. {
            let story = begin(db.copy()).await;
            let log = story.scratch().path().join("points").display().to_string();
            let output = kill_at(&story, n, &log, BUY);
            let passed = std::fs::read_to_string(&log).unwrap_or_default();
            let Some(point) = passed.lines().nth(usize::try_from(n).expect("small") - 1) else {
                assert_eq!(output.code(), Some(0), "{output}");
                break;
            };
            assert_eq!(output.code(), None, "{point} kills nobody: {output}");
            points.push(point.to_owned());
            // Whoever asks before the lease of who was killed has run out waits for it, and is told.
            if point == "purchase.committed" {
                story.run(BUY).exits(7);
            }
            story.wait(TimeDelta::minutes(4));
            until_there(&story);
            assert_one(&story).await;
        }
        assert!(points.iter().any(|point| point == "purchase.committed"), "{points:?}");
        assert!(points.iter().any(|point| point == "purchase.answered"), "{points:?}");
    }

    async fn a_process_that_froze_before_it_sent_buys_nothing_when_it_wakes(db) {
        let story = begin(db).await;
        let frozen = stopped_at(&story, "purchase.committed", 0, begin(db_of(&story)).await, BUY).await;
        story.wait(TimeDelta::minutes(4));
        // Another one takes over, finds nothing, and buys when that is proven.
        until_there(&story);
        assert_eq!(bought(&story).len(), 1);
        too_late_to_send().await;
        frozen.signal("CONT");
        frozen.wait();
        assert_one(&story).await;
    }

    async fn one_that_froze_while_it_looked_forgets_nothing_that_another_one_asked_for(db) {
        let story = begin(db).await;
        // Stopped before it commits to a number.
        let frozen = stopped_at(&story, "purchase.committed", 3, begin(db_of(&story)).await, BUY).await;
        story.wait(TimeDelta::minutes(4));
        let path = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
        let rules = json!([
            {"kind": "accept_and_drop", "match": {"method": "POST", "path": path}, "times": 1},
            {"kind": "list_lag", "seconds": 60, "match": {"method": "POST", "path": path}},
        ]);
        story.sandbox.add_faults(rules).expect("rules");
        story.run(BUY).exits(7);
        assert_eq!(bought(&story).len(), 1);
        frozen.signal("CONT");
        frozen.wait().exits(7);
        story.run(BUY).exits(7);
        assert_eq!(bought(&story).len(), 1, "what was asked for is still asked for");
        until_there(&story);
        assert_one(&story).await;
    }

    async fn a_number_that_is_listed_late_is_not_bought_beside_another(db) {
        let story = begin(db).await;
        let path = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
        let rules = json!([
            {"kind": "accept_and_drop", "match": {"method": "POST", "path": path}, "times": 1},
            {"kind": "list_lag", "seconds": 400, "match": {"method": "POST", "path": path}},
        ]);
        story.sandbox.add_faults(rules).expect("rules");
        // Two looks find nothing, and the same number is asked for once more: it is taken, by us.
        for seconds in [0, 130, 70, 70] {
            story.wait(TimeDelta::seconds(seconds));
            story.run(BUY).exits(7);
        }
        assert_eq!(bought(&story).len(), 1);
        until_there(&story);
        assert_one(&story).await;
    }

    async fn what_a_business_has_comes_before_what_it_wishes(db) {
        let story = begin(db).await;
        story.run(BUY).success();
        story.run(&["provision-number", "--tenant", "acme", "--country", "XX"]).success();
        assert_one(&story).await;
        // Until it is gone.
        let listed = listed(&story, "acme");
        let sid = listed[0]["sid"].as_str().expect("a SID");
        let url = format!("{}/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers/{sid}.json", story.sandbox.url());
        let client = crate::common::story::reqwest_client();
        client.delete(url).basic_auth(MAIN, Some("sandbox-key")).send().await.expect("an answer");
        story.wait(TimeDelta::minutes(5));
        story.run(&["reconcile-twilio", "--apply", "--yes", "--force"]).success();
        let again = story.run(BUY).success().json();
        assert_eq!(again["result"], "bought");
        assert_eq!(bought(&story).len(), 2);
    }

    async fn two_businesses_that_claim_one_number_get_none_of_it(db) {
        let story = begin(db).await;
        put_tenant(&story, "bell", named("Acme Dental")).await;
        story.sandbox.twilio(json!({"numbers": [number(1)]})).expect("a number");
        for tenant in ["acme", "bell"] {
            let output = story.run(&["provision-number", "--tenant", tenant, "--yes"]).exits(4);
            assert!(output.to_string().contains("claimed by several tenants"), "{output}");
        }
        assert_eq!(bought(&story), Vec::<String>::new());
    }

    async fn a_long_name_is_no_obstacle(db) {
        let story = begin(db).await;
        let name = "t".repeat(63);
        put_tenant(&story, &name, named("Nobody *")).await;
        story.run(&["provision-number", "--tenant", &name, "--yes"]).success();
        assert_eq!(bought(&story).len(), 1);
    }
}

/// Another database of the same kind.
fn db_of(story: &Story) -> TestDatabase {
    TestDatabase::new(story.backend())
}
