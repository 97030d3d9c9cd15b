//! What can be put in: stories, and the numbers that agents' services know.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Api, MAIN, OTHER, SUB, calls, http, numbers};
use crate::sandbox::{settings, start};

#[tokio::test]
async fn the_story_of_five_numbers_is_one_business_among_others() {
    let sandbox = start(settings()).await;
    let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
    sandbox.advance(now - sandbox.now());
    sandbox.twilio(json!({"story": "five-numbers"})).unwrap();
    let api = Api::new(&sandbox);
    let all = api.get(&numbers(MAIN)).await;
    let all = all["incoming_phone_numbers"].as_array().unwrap().clone();
    let (mut names, mut urls) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, usize>::new());
    for one in &all {
        *names.entry(one["friendly_name"].as_str().unwrap()).or_default() += 1;
        *urls.entry(one["voice_url"].as_str().unwrap()).or_default() += 1;
    }
    for (counted, five) in [(&names, "Acme Dental"), (&urls, "https://voice.acme.example/twilio")] {
        assert_eq!((counted.len(), counted[five], counted.values().sum::<usize>()), (13, 5, 17));
    }
    let acme: Vec<&Value> = all.iter().filter(|one| one["friendly_name"] == "Acme Dental").rev().collect();
    assert!(acme.iter().all(|one| one["status_callback"] == "https://voice.acme.example/twilio/status"));
    let bought = |one: &Value| DateTime::parse_from_rfc2822(one["date_created"].as_str().unwrap()).unwrap().to_utc();
    let minutes: Vec<i64> = acme.iter().map(|one| (bought(one) - bought(acme[0])).num_minutes()).collect();
    assert_eq!(
        (bought(acme[0]).to_rfc3339(), minutes),
        ("2026-11-20T15:00:00+00:00".to_owned(), vec![0, 2, 7, 13, 25])
    );
    let mut called = Vec::new();
    for one in &all {
        let phone = one["phone_number"].as_str().unwrap().replace('+', "%2B");
        let query = format!("StartTime%3E=2026-11-19&To={phone}");
        called.push(api.get(&calls(&query)).await["calls"].as_array().unwrap().len());
    }
    assert_eq!(called.iter().sum::<usize>(), 2);
    let third = acme[2]["phone_number"].as_str().unwrap();
    assert_eq!(
        api.get(&calls(&format!("To={}", third.replace('+', "%2B")))).await["calls"].as_array().unwrap().len(),
        2
    );
    let lines = http().get(format!("{}/phone-number", sandbox.url())).bearer_auth("sandbox-key");
    let lines: Value = lines.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["number"], lines.as_array().unwrap().len()),
        (&json!("pn-acme"), &json!(third), 1)
    );
    // A story is told once, and what makes no sense is not taken in at all.
    for bad in [
        json!({"story": "five-numbers"}),
        json!({"story": "six-numbers"}),
        json!({"numbers": [{"account": "AC1", "phone": "+18025550190"}]}),
        json!({"numbers": [{"account": MAIN, "phone": "+18025550190"}, {"account": MAIN, "phone": "8025550191"}]}),
        json!({"numbers": [{"account": MAIN, "phone": "+18025550190", "sid": "PN1"}]}),
        json!({"numbers": [{"account": MAIN, "phone": "+18025550190", "sid": "PN00000000000000000000000000000001"}]}),
        json!({"accounts": [{"sid": SUB, "friendly_name": "Sub", "owner": OTHER}]}),
        json!({"no_numbers_in": ["1"]}),
        json!({"taken": ["1"]}),
    ] {
        assert!(sandbox.twilio(bad.clone()).is_err(), "{bad}");
    }
    assert_eq!(sandbox.twilio_ledger()["numbers"], 17);
}

#[tokio::test]
async fn agents_services_know_the_numbers_that_they_are_given() {
    let sandbox = start(settings()).await;
    let ask = async |path: &str| {
        let request = http().get(format!("{}{path}", sandbox.url())).bearer_auth("sandbox-key");
        let response = request.header("xi-api-key", "sandbox-key").send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for path in ["/phone-number", "/v1/convai/phone-numbers"] {
        assert_eq!(ask(path).await, (200, json!([])));
    }
    let ids: Vec<String> = (0..150).map(|n| format!("pn-{n}")).collect();
    let given: Vec<Value> = ids.iter().map(|id| json!({"id": id, "number": "+18025550103"})).collect();
    let post = http().post(format!("{}/_sandbox/twilio", sandbox.url())).json(&json!({
        "vapi_numbers": given, "elevenlabs_numbers": [{"phone_number_id": "phnum_1", "phone_number": "+18025550104"}],
    }));
    assert_eq!(post.send().await.unwrap().status(), 200);
    // The newest first, a hundred at a time.
    let (_, first) = ask("/phone-number").await;
    assert_eq!((first.as_array().unwrap().len(), &first[0]["id"]), (100, &json!("pn-149")));
    let before = first[99]["createdAt"].as_str().unwrap();
    let (_, rest) = ask(&format!("/phone-number?createdAtLt={before}")).await;
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["id"]), (50, &json!("pn-49")));
    assert_eq!(ask("/phone-number?limit=1000").await.1.as_array().unwrap().len(), 150);
    for query in ["limit=1001", "assistantId=a", "page=2"] {
        assert_eq!(ask(&format!("/phone-number?{query}")).await.0, 400, "{query}");
    }
    assert_eq!(ask("/phone-number/pn-7").await.1["number"], "+18025550103");
    assert_eq!(ask("/phone-number/any").await.1["number"], Value::Null);
    let (_, lines) = ask("/v1/convai/phone-numbers?provider=twilio").await;
    assert_eq!((&lines[0]["phone_number_id"], &lines[0]["phone_number"]), (&json!("phnum_1"), &json!("+18025550104")));
    assert_eq!(ask("/v1/convai/phone-numbers?provider=sip_trunk").await.1, json!([]));
    assert_eq!(ask("/v1/convai/phone-numbers/phnum_1").await.1["phone_number"], "+18025550104");
    assert_eq!(ask("/v1/convai/phone-numbers/any").await.1["phone_number"], "+14155550000");
    let (status, ledger) = ask("/_sandbox/twilio").await;
    assert_eq!((status, ledger), (200, sandbox.twilio_ledger()));
}
