//! Onboarding over HTTP: however often the button is pressed.

use std::collections::BTreeSet;

use callops::store::purchases;
use serde_json::{Value, json};

use super::{MAIN, at_twilio, begin, bought, named, put_tenant};
use crate::common::on_both_databases;
use crate::serve::Serving;

const PATH: &str = "/api/businesses/acme/complete-onboarding";
const ACME: (&str, &str) = ("Authorization", "Bearer the-token-of-acme");

on_both_databases! {
    async fn two_hundred_clicks_buy_one_number(db) {
        // So fast that all wait for the one who buys, and so slow that none can.
        for expected in [200, 409] {
            let story = begin(db.copy()).await;
            story.control("settings", json!({"latency_ms": 200})).await;
            if expected == 409 {
                // The search is put off three times.
                let path = format!("/2010-04-01/Accounts/{MAIN}/AvailablePhoneNumbers/");
                let rule = json!({"kind": "too_many_requests", "retry_after": "4", "match": {"method": "GET", "path": path}, "times": 3});
                story.sandbox.add_faults(rule).expect("a rule");
            }
            let serving = Serving::start(&story);
            let clicks = (0..200).map(|_| serving.post(PATH, &[ACME], "{\"areaCode\":\"802\"}"));
            let answers: Vec<(u16, Value)> = futures_util::future::join_all(clicks).await;
            let intent = story.write(async |tx| purchases::latest_of(tx, "acme", 2).await).await;
            let [intent] = &intent[..] else { panic!("{intent:?}") };
            let mut fresh = 0;
            for (status, answer) in &answers {
                assert_eq!(*status, expected, "{answer}");
                if expected == 200 {
                    fresh += usize::from(answer["alreadyComplete"] == false);
                    assert_eq!((&answer["success"], &answer["phoneNumber"]), (&json!(true), &json!(bought(&story)[0])));
                } else {
                    assert_eq!((&answer["intentId"], &answer["success"]), (&json!(intent.id), &json!(false)));
                }
            }
            assert_eq!(fresh, usize::from(expected == 200), "one of them bought it");
            // What was begun goes on, whether or not anybody waits for it.
            crate::serve::until("bought", async || bought(&story).len() == 1).await;
            story.control("settings", json!({"latency_ms": 0})).await;
            let again = async || serving.post(PATH, &[ACME], "").await.0 == 200;
            crate::serve::until("complete", again).await;
            let (status, answer) = serving.post(PATH, &[ACME], "").await;
            assert_eq!((status, answer), (200, json!({"success": true, "message": "Onboarding already complete",
                "phoneNumber": bought(&story)[0], "alreadyComplete": true})));
            assert_eq!(bought(&story).len(), 1);
            assert_eq!(at_twilio(&story).await.len(), 1);
            crate::numbers::check_requests(&story, 4).await;
            serving.end();
        }
    }

    async fn clicks_and_processes_at_once_buy_one_number(db) {
        let story = begin(db).await;
        story.control("settings", json!({"latency_ms": 100})).await;
        let serving = Serving::start(&story);
        let processes: Vec<_> =
            (0..10).map(|_| story.spawn(&["provision-number", "--tenant", "acme", "--yes"])).collect();
        let clicks = (0..50).map(|_| serving.post(PATH, &[ACME], ""));
        let answers: Vec<(u16, Value)> = futures_util::future::join_all(clicks).await;
        assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 409)), "{answers:?}");
        for process in processes {
            let output = process.wait();
            assert!(matches!(output.code(), Some(0 | 7)), "{output}");
        }
        assert_eq!(bought(&story).len(), 1);
        serving.end();
    }

    async fn one_that_takes_long_is_in_progress_with_its_intent(db) {
        let story = begin(db).await;
        let path = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
        story.sandbox.add_faults(json!({"kind": "refuse_and_drop", "match": {"method": "POST", "path": path}, "times": 1}))
            .expect("a rule");
        let serving = Serving::start(&story);
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let url = format!("{}{PATH}", serving.url);
            let answer = serving.client.post(url).header(ACME.0, ACME.1).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 409);
            let retry_after: u64 = answer.headers()["Retry-After"].to_str().expect("text").parse().expect("seconds");
            assert!((1..=120).contains(&retry_after), "{retry_after}");
            let answer: Value = answer.json().await.expect("JSON");
            assert_eq!((&answer["success"], &answer["inProgress"]), (&json!(false), &json!(true)));
            ids.insert(answer["intentId"].as_str().expect("an id").to_owned());
        }
        assert_eq!(ids.len(), 1);
        assert_eq!(bought(&story), Vec::<String>::new());
        serving.end();
    }

    async fn what_fails_is_said_and_a_new_try_has_to_wait(db) {
        let story = begin(db).await;
        story.sandbox.twilio(json!({"no_numbers_in": ["533"]})).expect("an area code");
        let serving = Serving::start(&story);
        let key = ("Idempotency-Key", "order-1");
        let (status, answer) = serving.post(PATH, &[ACME, key], "{\"areaCode\":\"533\"}").await;
        assert_eq!((status, &answer["success"]), (422, &json!(false)), "{answer}");
        assert!(answer["message"].as_str().expect("why").contains("533"));
        let same = serving.post(PATH, &[ACME, key], "{\"areaCode\":\"802\"}").await;
        assert_eq!(same, (422, answer), "one key is one onboarding");
        let (status, answer) = serving.post(PATH, &[ACME], "{\"areaCode\":\"802\"}").await;
        let expected = json!({"success": false, "message": "Onboarding request rate limit exceeded"});
        assert_eq!((status, answer), (429, expected));
        assert_eq!(bought(&story), Vec::<String>::new());
        serving.end();
    }

    async fn strangers_and_wrong_bodies_buy_nothing(db) {
        let story = begin(db).await;
        put_tenant(&story, "other", named("Other")).await;
        let serving = Serving::start(&story);
        for (path, headers, body, status) in [
            (PATH, vec![], "", 401),
            (PATH, vec![("Authorization", "Bearer wrong")], "", 401),
            (PATH, vec![("Authorization", "Bearer the-token-of-other")], "", 404),
            ("/api/businesses/nobody/complete-onboarding", vec![ACME], "", 404),
            (PATH, vec![ACME], "[]", 400),
            (PATH, vec![ACME], "{", 400),
            (PATH, vec![ACME], "{\"areaCode\":802}", 400),
            (PATH, vec![ACME], "{\"areaCode\":\"80\"}", 400),
            (PATH, vec![ACME], "{\"country\":\"XX\"}", 400),
            (PATH, vec![ACME], "{\"capabilities\":\"sms\"}", 400),
            (PATH, vec![ACME], "{\"capabilities\":[\"fax\"]}", 400),
            (PATH, vec![ACME, ("Idempotency-Key", "a b")], "", 400),
        ] {
            let answer = serving.post(path, &headers, body).await;
            assert_eq!(answer.0, status, "{path} {headers:?} {body}: {answer:?}");
        }
        assert_eq!(bought(&story), Vec::<String>::new());
        assert_eq!(crate::numbers::requests(&story).await.len(), 0, "Twilio was not even asked");
        serving.end();
    }

    async fn a_key_that_twilio_refuses_is_not_told_to_the_page(db) {
        let story = begin(db).await;
        crate::numbers::put_account(&story, "acme-twilio", "env:OTHER_KEY").await;
        let serving = Serving::start(&story);
        let (status, answer) = serving.post(PATH, &[ACME], "").await;
        assert_eq!(status, 503);
        assert!(!answer.to_string().contains("other-key") && !answer.to_string().contains("20003"), "{answer}");
        crate::numbers::put_account(&story, "acme-twilio", "env:ACME_KEY").await;
        let (status, _) = serving.post(PATH, &[ACME], "").await;
        assert_eq!(status, 200, "the intent that stayed is carried out");
        assert_eq!(bought(&story).len(), 1);
        serving.end();
    }
}
