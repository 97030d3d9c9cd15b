//! The limits, and what goes wrong on demand.

use std::time::Duration;

use callops::sandbox::Settings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Api, ORGANIZATION, books, example, of_organization, organization, records, requests, with};
use crate::sandbox::{client, settings, start};

fn ledger(sandbox: &callops::sandbox::Running) -> Value {
    sandbox.zoho_ledger()["organizations"][ORGANIZATION].clone()
}

#[tokio::test]
async fn ten_tokens_in_ten_minutes_and_no_more() {
    let sandbox = with(json!({"organizations": [organization()]})).await;
    let mut api = Api::new(&sandbox).await;
    sandbox.advance(TimeDelta::minutes(4));
    for _ in 1..10 {
        assert_eq!(api.refresh().await.0, 200);
    }
    assert_eq!(api.refresh().await, example("oauth-responses", "too many refreshes"));
    sandbox.advance(TimeDelta::minutes(6));
    // Only the first of them is ten minutes old.
    assert_eq!(api.refresh().await.0, 200);
    assert_eq!(api.refresh().await.0, 400);
    let told = &sandbox.zoho_ledger()["tokens"][0];
    let expected = json!({"organizations": [ORGANIZATION], "issued": 11, "refused": 2, "most_in_ten_minutes": 10});
    assert_eq!(told, &expected);
}

#[tokio::test]
async fn a_minute_and_a_day_hold_so_many_requests() {
    let sandbox = with(books()).await;
    let limits = json!({"settings": {"limits": true, "per_minute": 3, "per_day": 6}});
    let api = Api::new(&sandbox).await;
    for _ in 0..4 {
        api.get("/contacts", "").await;
    }
    // Off until somebody sets them on; what came before counts.
    sandbox.zoho(limits).unwrap();
    let too_fast = api.try_get(&of_organization("/contacts", "")).await.unwrap();
    assert_eq!(too_fast, example("api-errors", "per-minute"));
    sandbox.advance(TimeDelta::seconds(60));
    let path = format!("{}/books/v3{}", api.url, of_organization("/contacts", ""));
    let authorization = format!("Zoho-oauthtoken {}", api.token);
    let request = client(Duration::from_secs(20)).get(path).header("authorization", authorization);
    let answer = request.try_clone().unwrap().send().await.unwrap();
    let header = |answer: &reqwest::Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "x-rate-limit-limit"), header(&answer, "x-rate-limit-remaining")),
        (200, "6".to_owned(), "0".to_owned())
    );
    let answer = request.send().await.unwrap();
    // Noon and a minute, in UTC.
    assert_eq!((answer.status().as_u16(), header(&answer, "x-rate-limit-reset")), (429, (12 * 3600 - 60).to_string()));
    let told: Value = answer.json().await.unwrap();
    let (_, expected) = example("api-errors", "daily limit");
    assert_eq!(
        (&told["code"], told["message"].as_str().unwrap()),
        (&expected["code"], &*expected["message"].as_str().unwrap().replace("1000", "6"))
    );
    assert_eq!(
        ledger(&sandbox),
        json!({
            "requests": 7, "requests_by_day": {"2026-11-20": 7}, "most_in_a_minute": 5, "most_at_once": 1,
            "refused": {"per_minute": 1, "per_day": 1, "at_once": 0},
        })
    );
    sandbox.advance(TimeDelta::hours(12));
    let mut api = api;
    api.refresh().await;
    api.get("/contacts", "").await;
}

#[tokio::test]
async fn so_many_requests_wait_at_once() {
    let sandbox = start(Settings { latency: Duration::from_secs(1), ..settings() }).await;
    sandbox.zoho(books()).unwrap();
    sandbox.zoho(json!({"settings": {"limits": true, "at_once": 2}})).unwrap();
    let api = Api::new(&sandbox).await;
    let path = of_organization("/contacts", "");
    let (a, b, c) = tokio::join!(api.try_get(&path), api.try_get(&path), api.try_get(&path));
    let mut answers = [a.unwrap(), b.unwrap(), c.unwrap()];
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers.each_ref().map(|(status, _)| *status), [200, 200, 429]);
    assert_eq!(answers[2], example("api-errors", "too many calls in flight"));
    assert_eq!(api.try_get(&path).await.unwrap().0, 200);
    assert_eq!((&ledger(&sandbox)["most_at_once"], &ledger(&sandbox)["refused"]["at_once"]), (&json!(3), &json!(1)));
}

/// What a client saw of a listing under a fault.
async fn under(rule: &Value) -> Option<(u16, Value)> {
    let sandbox = with(books()).await;
    let api = Api::new(&sandbox).await;
    let mut rule = rule.clone();
    rule["match"] = json!({"path": "/books/v3/"});
    sandbox.add_faults(rule).unwrap();
    let seen = api.try_get(&of_organization("/invoices", "")).await;
    assert_eq!(ledger(&sandbox)["requests"], 1, "what comes to nothing was asked all the same");
    seen
}

#[tokio::test]
async fn what_goes_wrong_does_so_in_the_services_words() {
    for (rule, status, code) in [
        (json!({"kind": "too_many_requests", "retry_after": "30"}), 429, Some(44)),
        (json!({"kind": "payment_required"}), 429, Some(45)),
        (json!({"kind": "server_error", "status": 500}), 500, Some(1000)),
        (json!({"kind": "server_error", "status": 503}), 503, None),
        (json!({"kind": "slow_refuse", "ms": 1}), 503, None),
        (json!({"kind": "unauthorized_all"}), 401, Some(57)),
        (json!({"kind": "coded", "code": "1070"}), 429, Some(1070)),
        (json!({"kind": "delay_answer", "ms": 1}), 200, Some(0)),
    ] {
        let (seen, body) = under(&rule).await.unwrap_or_else(|| panic!("{rule}"));
        assert_eq!((seen, body["code"].as_u64()), (status, code), "{rule}");
    }
    for kind in ["accept_and_drop", "refuse_and_drop", "broken_json", "cut_body"] {
        assert_eq!(under(&json!({"kind": kind})).await, None, "{kind}");
    }
    let (_, body) = under(&json!({"kind": "no_id"})).await.unwrap();
    assert_eq!((body.get("code"), body["invoices"].as_array().unwrap().len()), (None, 3));
}

#[tokio::test]
async fn faults_meet_the_requests_that_they_name() {
    let sandbox = with(books()).await;
    let mut api = Api::new(&sandbox).await;
    // A rule that names neither path nor method is for placing calls.
    sandbox.add_faults(json!({"kind": "accept_and_drop"})).unwrap();
    sandbox
        .add_faults(json!([
            {"kind": "server_error", "status": 500, "match": {"path": "/books/v3/invoices", "nth": 2}},
            {"kind": "coded", "code": "invalid_code", "match": {"path": "/oauth/"}, "times": 1},
        ]))
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        api.get("/contacts", "").await;
        seen.push(api.try_get(&of_organization("/invoices", "")).await.unwrap().0);
    }
    assert_eq!(seen, [200, 500, 200]);
    assert_eq!(api.refresh().await, example("oauth-responses", "refresh token wrong"));
    assert_eq!(api.refresh().await.0, 200);
    let noted = requests(&sandbox).await;
    let failed: Vec<&Value> = noted.iter().filter(|one| one["fault"] == "server_error").collect();
    assert_eq!((failed.len(), &failed[0]["status"], &failed[0]["org"]), (1, &json!(500), &json!(ORGANIZATION)));
    assert_eq!(records(&sandbox, "customers").await.len(), 3);
}
