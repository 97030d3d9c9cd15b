//! What goes wrong on demand, and what the ledger says of it.

use std::time::Duration;

use callops::sandbox::Settings;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Api, MAIN, SID, SUB, account, number, numbers, phones, two_numbers};
use crate::sandbox::{settings, start};

/// What a client saw of one request under a fault, and what the ledger says: purchases, deletes by what was done, numbers.
async fn under(rule: &Value, method: &str, form: &[(&str, &str)]) -> (Option<u16>, usize, Vec<String>, u64) {
    let sandbox = start(settings()).await;
    sandbox.twilio(two_numbers()).unwrap();
    let path = if method == "DELETE" { number(MAIN, SID) } else { numbers(MAIN) };
    let mut rule = rule.clone();
    rule["match"] = json!({"method": method, "path": "/2010-04-01/"});
    sandbox.add_faults(rule).unwrap();
    let seen = Api::new(&sandbox).try_send(method, &path, form).await;
    let ledger = sandbox.twilio_ledger();
    let done =
        ledger["deletes"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect();
    let purchases = ledger["purchases"].as_array().unwrap().len();
    (seen.map(|(status, _)| status), purchases, done, ledger["numbers"].as_u64().unwrap())
}

#[tokio::test]
async fn the_ledger_says_what_was_done_whatever_the_answer_says() {
    for (rule, is_done, buying, releasing) in [
        (json!({"kind": "accept_and_drop"}), true, None, None),
        (json!({"kind": "server_error", "status": 500, "rings": true}), true, Some(500), Some(500)),
        (json!({"kind": "server_error", "status": 503, "rings": true}), true, Some(503), Some(503)),
        (json!({"kind": "delay_answer", "ms": 1}), true, Some(201), Some(204)),
        (json!({"kind": "broken_json"}), true, None, Some(204)),
        (json!({"kind": "cut_body"}), true, None, Some(204)),
        (json!({"kind": "refuse_and_drop"}), false, None, None),
        (json!({"kind": "server_error", "status": 500}), false, Some(500), Some(500)),
        (json!({"kind": "server_error", "status": 503}), false, Some(503), Some(503)),
        (json!({"kind": "server_error", "status": 403}), false, Some(403), Some(403)),
        (json!({"kind": "slow_refuse", "ms": 1}), false, Some(503), Some(503)),
        (json!({"kind": "too_many_requests", "retry_after": "30"}), false, Some(429), Some(429)),
        (json!({"kind": "unauthorized_all"}), false, Some(401), Some(401)),
        (json!({"kind": "coded", "code": "21422", "status": 400}), false, Some(400), Some(400)),
        (json!({"kind": "nothing_done"}), false, Some(201), Some(204)),
    ] {
        let done = usize::from(is_done);
        let (seen, purchases, deletes, numbers) = under(&rule, "POST", &[("AreaCode", "802")]).await;
        assert_eq!((seen, purchases, numbers), (buying, done, 2 + done as u64), "{rule}");
        assert_eq!(deletes, [""; 0]);
        let (seen, purchases, deletes, numbers) = under(&rule, "DELETE", &[]).await;
        assert_eq!((seen, purchases, numbers), (releasing, 0, 2 - done as u64), "{rule}");
        assert_eq!(deletes, [if is_done { "released" } else { "nothing" }], "{rule}");
    }
}

#[tokio::test]
async fn faults_are_the_services_own_and_meet_whom_they_name() {
    let sandbox = start(settings()).await;
    sandbox.twilio(two_numbers()).unwrap();
    let sub = json!({"accounts": [{"sid": SUB, "friendly_name": "Sub", "owner": MAIN}]});
    sandbox.twilio(sub).unwrap();
    let api = Api::new(&sandbox);
    // A rule that names neither is for placing calls.
    sandbox.add_faults(json!({"kind": "accept_and_drop"})).unwrap();
    api.buy(&[("AreaCode", "802")]).await;
    sandbox.clear_faults();
    sandbox
        .add_faults(json!([
            {"kind": "too_many_requests", "match": {"path": "/2010-04-01/Accounts.json"}, "times": 1},
            {"kind": "server_error", "status": 403, "match": {"path": format!("/2010-04-01/Accounts/{SUB}/")}},
            {"kind": "nothing_done", "match": {"path": number(MAIN, SID), "method": "DELETE", "nth": 2}},
        ]))
        .unwrap();
    assert_eq!(api.error("GET", "/2010-04-01/Accounts.json", &[]).await, (429, 20429));
    assert_eq!(api.get("/2010-04-01/Accounts.json").await["accounts"].as_array().unwrap().len(), 2);
    assert_eq!(api.error("GET", &numbers(SUB), &[]).await, (403, 20403));
    assert_eq!(phones(&api.get(&numbers(MAIN)).await).len(), 3);
    // A purchase whose answer is lost may be listed late.
    sandbox
        .add_faults(json!({"kind": "list_lag", "seconds": 60, "match": {"path": numbers(MAIN)}, "times": 1}))
        .unwrap();
    let late = api.buy(&[("AreaCode", "802"), ("FriendlyName", "Late")]).await;
    assert_eq!(phones(&api.get(&format!("{}?FriendlyName=Late", numbers(MAIN))).await), [""; 0]);
    sandbox.advance(TimeDelta::seconds(60));
    let listed = phones(&api.get(&format!("{}?FriendlyName=Late", numbers(MAIN))).await);
    assert_eq!(json!(listed), json!([late["phone_number"]]));
    // What was only said to be done shows in the record.
    sandbox.clear_faults();
    sandbox.add_faults(json!({"kind": "nothing_done", "match": {"path": "/2010-04-01/", "method": "POST"}})).unwrap();
    let (_, sham) = api.send("POST", &number(MAIN, SID), &[("FriendlyName", "Other")]).await;
    assert_eq!((&sham["friendly_name"], sandbox.twilio_ledger()["updates"].clone()), (&json!("Other"), json!([])));
    assert_eq!(api.get(&number(MAIN, SID)).await["friendly_name"], "Acme Dental");
}

#[tokio::test]
async fn requests_are_counted_for_as_long_as_they_wait() {
    let sandbox = start(Settings { latency: Duration::from_secs(1), ..settings() }).await;
    let api = Api::new(&sandbox);
    let path = account(MAIN);
    tokio::join!(api.get(&path), api.get(&path), api.get(&path));
    api.get(&path).await;
    assert_eq!(sandbox.twilio_ledger()["most_at_once"], 3);
}
