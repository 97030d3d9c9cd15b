//! The stand-in for Stripe: events are listed as the service lists them, and its ledger tells what it sent.

pub(crate) mod schema;
mod webhooks;

use std::collections::BTreeSet;
use std::time::Duration;

use callops::sandbox::Running;
use chrono::TimeDelta;
use serde_json::{Value, json};

use self::schema::check_requests;
use crate::sandbox::{client, noon, settings, start};

const KEY: &str = "sk_test_51SandboxKey";
const SECRET: &str = "whsec_sandbox";

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/stripe/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every key of an object and of what is in it; of what is null nothing more.
fn keys(value: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut add = |key: String, inner: &Value| {
        all.extend(keys(inner).into_iter().map(|below| format!("{key}.{below}")));
        all.insert(key);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| add(key.clone(), inner)),
        Value::Array(items) => items.iter().for_each(|item| add("[]".to_owned(), item)),
        _ => {}
    }
    all
}

async fn with(given: Value) -> Running {
    let sandbox = start(settings()).await;
    sandbox.stripe(json!({"accounts": [{"key": KEY, "webhook_secret": SECRET}]})).unwrap();
    sandbox.stripe(given).unwrap();
    sandbox
}

struct Api {
    http: reqwest::Client,
    url: String,
    key: &'static str,
}

impl Api {
    fn new(sandbox: &Running) -> Self {
        Self { http: client(Duration::from_secs(20)), url: sandbox.url(), key: KEY }
    }

    /// What the client sees: nothing of an answer that is cut or never comes.
    async fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if !self.key.is_empty() {
            request = request.bearer_auth(self.key);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, serde_json::from_str(&response.text().await.ok()?).ok()?))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.try_get(path).await.expect("an answer");
        assert_eq!(status, 200, "{path} {body}");
        body
    }

    /// The status, and the code or, where there is none, the message.
    async fn error(&self, path: &str) -> (u16, String) {
        let (status, body) = self.try_get(path).await.expect("an answer");
        let error = &body["error"];
        assert!(error["type"].is_string() && error["message"].is_string(), "{path} {body}");
        let told = error.get("code").unwrap_or(&error["message"]);
        (status, told.as_str().unwrap().to_owned())
    }

    /// The ids of a page, and whether there are more.
    async fn ids(&self, query: &str) -> (Vec<String>, bool) {
        let page = self.get(&format!("/v1/events?{query}")).await;
        assert_eq!((&page["object"], &page["url"]), (&json!("list"), &json!("/v1/events")));
        let ids = page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        (ids.collect(), page["has_more"].as_bool().unwrap())
    }
}

async fn requests(sandbox: &Running) -> Vec<Value> {
    let url = format!("{}/_sandbox/requests", sandbox.url());
    client(Duration::from_secs(20)).get(url).send().await.unwrap().json().await.unwrap()
}

/// Events `evt_1` to `evt_N`, a minute apart, the last of them a minute ago.
fn numbered(count: i64) -> Value {
    let created = |n: i64| (noon() - TimeDelta::minutes(count - n + 1)).timestamp();
    let kind = |n: i64| if n % 2 == 0 { "invoice.paid" } else { "charge.refunded" };
    let one = |n: i64| json!({"id": format!("evt_{n}"), "type": kind(n), "created": created(n), "object": {"n": n}});
    json!({"events": (1..=count).map(one).collect::<Vec<_>>()})
}

#[tokio::test]
async fn events_are_listed_page_by_page_the_newest_first() {
    let sandbox = with(numbered(25)).await;
    let api = Api::new(&sandbox);
    let ids = |numbers: &[u32]| numbers.iter().map(|n| format!("evt_{n}")).collect::<Vec<_>>();
    assert_eq!(api.ids("").await, (ids(&[25, 24, 23, 22, 21, 20, 19, 18, 17, 16]), true));
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let (page, has_more) = api.ids(&format!("limit=7{after}")).await;
        after = format!("&starting_after={}", page.last().unwrap());
        seen.push(page.len());
        if !has_more {
            break;
        }
    }
    assert_eq!((seen, after.as_str()), (vec![7, 7, 7, 4], "&starting_after=evt_1"));
    // Of those of one second, the one that was given last comes first.
    let twins = ["evt_a", "evt_b"].map(|id| json!({"id": id, "type": "twin", "object": {}}));
    sandbox.stripe(json!({"events": twins})).unwrap();
    assert_eq!(api.ids("type=twin").await.0, ["evt_b", "evt_a"]);
    // Those before another are the ones next to it.
    assert_eq!(api.ids("ending_before=evt_20&limit=2").await, (ids(&[22, 21]), true));
    assert_eq!(api.ids("ending_before=evt_23&limit=2&type=*").await, (ids(&[25, 24]), true));
    assert_eq!(api.ids("ending_before=evt_23&type=invoice.paid").await, (ids(&[24]), false));
    let at = |n: i64| (noon() - TimeDelta::minutes(25 - n + 1)).timestamp();
    for (query, expected) in [
        (format!("created[gte]={}&created[lt]={}", at(24), noon().timestamp()), &[25, 24][..]),
        (format!("created[gt]={}&created[lt]={}", at(24), noon().timestamp()), &[25]),
        (format!("created[lt]={}&limit=1", at(24)), &[23]),
        (format!("created%5Blte%5D={}&limit=1", at(24)), &[24]),
        (format!("created={}", at(7)), &[7]),
        ("type=invoice.paid&limit=2".to_owned(), &[24, 22]),
        ("type=charge.*&limit=2".to_owned(), &[25, 23]),
        ("types[]=invoice.paid&types[]=charge.refunded&limit=2".to_owned(), &[25, 24]),
        ("types[]=invoice.paid&starting_after=evt_4".to_owned(), &[2]),
        ("type=invoice.voided".to_owned(), &[]),
    ] {
        assert_eq!(api.ids(&query).await.0, ids(expected), "{query}");
    }
    check_requests(&requests(&sandbox).await);
    for (query, code) in [
        ("limit=0", "parameter_invalid_integer"),
        ("limit=101", "parameter_invalid_integer"),
        ("created[gte]=yesterday", "parameter_invalid_integer"),
        ("since=1", "parameter_unknown"),
        ("starting_after=evt_0", "resource_missing"),
        ("starting_after=evt_1&ending_before=evt_2", "parameter_invalid"),
        ("type=a&types[]=b", "parameter_invalid"),
    ] {
        assert_eq!(api.error(&format!("/v1/events?{query}")).await, (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn events_are_there_from_their_time_on_and_for_thirty_days() {
    let hour = noon() + TimeDelta::hours(1);
    let sandbox = with(json!({"events": [
        {"id": "evt_old", "type": "a", "object": {}, "created": (noon() - TimeDelta::days(30)).timestamp() + 1},
        {"id": "evt_later", "type": "a", "object": {}, "created": hour},
    ]}))
    .await;
    let api = Api::new(&sandbox);
    assert_eq!(api.ids("").await.0, ["evt_old"]);
    sandbox.advance(TimeDelta::seconds(1));
    assert_eq!(api.ids("").await.0, [""; 0]);
    assert_eq!(api.error("/v1/events/evt_old").await, (404, "resource_missing".to_owned()));
    assert_eq!(api.error("/v1/events/evt_later").await, (404, "resource_missing".to_owned()));
    sandbox.advance(TimeDelta::hours(1));
    assert_eq!(api.get("/v1/events/evt_later").await["created"], hour.timestamp());
}

#[tokio::test]
async fn whoever_does_not_hold_an_accounts_key_is_a_stranger() {
    let sandbox = with(json!({"accounts": [{"key": "sk_live_51Other", "webhook_secret": "whsec_o", "livemode": true}],
        "customers": [{"id": "cus_1", "name": "Jane"}, {"id": "cus_2", "account": "sk_live_51Other"}],
        "events": [{"id": "evt_1", "type": "a", "object": {}, "account": "sk_live_51Other"}]}))
    .await;
    let mut api = Api::new(&sandbox);
    assert_eq!(api.get("/v1/customers/cus_1").await["livemode"], false);
    assert_eq!(api.error("/v1/customers/cus_2").await.0, 404);
    assert_eq!(api.ids("").await.0, [""; 0]);
    api.key = "sk_live_51Other";
    assert_eq!(api.get("/v1/customers/cus_2").await["livemode"], true);
    assert_eq!(api.get("/v1/events/evt_1").await["livemode"], true);
    api.key = "sk_test_51SandboxKeyy";
    assert_eq!(api.error("/v1/events").await, (401, "Invalid API Key provided: sk_test_****Keyy".to_owned()));
    api.key = "";
    assert_eq!(api.error("/v1/events").await, (401, "You did not provide an API key.".to_owned()));
}

/// The usual event of that kind, and the account's last event that it became.
async fn usual(given: Value, shape: &str) -> (Running, Value) {
    let sandbox = with(json!({"shape": shape})).await;
    let mut usual = json!({"customer": "cus_QXg1o8vcGmoR32", "name": "Jane Example", "email": "jane@example.com",
        "phone": "+15005550006", "country": "US", "customer_created": 1_700_000_000});
    usual.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    sandbox.stripe(json!({"usual": usual})).unwrap();
    let event = Api::new(&sandbox).get("/v1/events").await["data"][0].clone();
    (sandbox, event)
}

#[tokio::test]
async fn usual_events_are_as_the_examples_have_them() {
    for (kind, name, path) in [
        ("checkout_paid", "checkout.session.completed", "checkout/sessions"),
        ("invoice_paid", "invoice.paid", "invoices"),
        ("subscription_active", "customer.subscription.created", "subscriptions"),
    ] {
        let (sandbox, event) = usual(json!({"kind": kind}), "new").await;
        let expected = fixture(name);
        assert_eq!(keys(&event), keys(&expected), "{kind}");
        assert_eq!((&event["type"], &event["api_version"]), (&expected["type"], &expected["api_version"]));
        let (object, example) = (&event["data"]["object"], &expected["data"]["object"]);
        for key in ["object", "customer", "status", "payment_status", "billing_reason", "currency", "mode"] {
            assert_eq!(object[key], example[key], "{kind} {key}");
        }
        let api = Api::new(&sandbox);
        let id = object["id"].as_str().unwrap();
        assert_eq!(&api.get(&format!("/v1/{path}/{id}")).await, object);
        assert_eq!(api.error(&format!("/v1/customers/{id}")).await.0, 404);
        // The customer is there, too.
        let customer = api.get("/v1/customers/cus_QXg1o8vcGmoR32").await;
        let known = [&customer["phone"], &customer["created"], &customer["address"]["country"]];
        assert_eq!(known, [&json!("+15005550006"), &json!(1_700_000_000), &json!("US")]);
    }
}

#[tokio::test]
async fn usual_events_say_what_they_are_asked_to() {
    for (given, kind, path, expected) in [
        (json!({"kind": "checkout_unpaid"}), "checkout.session.completed", "/payment_status", json!("unpaid")),
        (json!({"kind": "checkout_paid", "amount": 0}), "checkout.session.completed", "/amount_total", json!(0)),
        (
            json!({"kind": "async_payment_succeeded"}),
            "checkout.session.async_payment_succeeded",
            "/payment_status",
            json!("paid"),
        ),
        (
            json!({"kind": "invoice_paid", "billing_reason": "subscription_cycle"}),
            "invoice.paid",
            "/billing_reason",
            json!("subscription_cycle"),
        ),
        (json!({"kind": "invoice_paid", "billing_reason": "manual"}), "invoice.paid", "/parent", Value::Null),
        (json!({"kind": "invoice_paid", "amount": 4900}), "invoice.paid", "/amount_paid", json!(4900)),
        (json!({"kind": "subscription_trialing"}), "customer.subscription.created", "/status", json!("trialing")),
        (json!({"kind": "subscription_incomplete"}), "customer.subscription.created", "/status", json!("incomplete")),
        (json!({"kind": "subscription_deleted"}), "customer.subscription.deleted", "/status", json!("canceled")),
        (json!({"kind": "charge_refunded"}), "charge.refunded", "/refunded", json!(true)),
        (json!({"kind": "charge_refunded", "livemode": true}), "charge.refunded", "/livemode", json!(true)),
    ] {
        let (_sandbox, event) = usual(given.clone(), "new").await;
        let object = &event["data"]["object"];
        assert_eq!((&event["type"], object.pointer(path)), (&json!(kind), Some(&expected)), "{given}");
        assert_eq!((&object["customer"], &event["livemode"]), (&json!("cus_QXg1o8vcGmoR32"), &object["livemode"]));
    }
}

#[tokio::test]
async fn what_belongs_to_a_customer_hangs_together_in_either_shape() {
    let subscription = "sub_QXg1o8vcGmoR32";
    let (_sandbox, event) = usual(json!({"kind": "invoice_paid"}), "new").await;
    let invoice = &event["data"]["object"];
    assert_eq!(invoice["parent"]["subscription_details"]["subscription"], subscription);
    for key in ["subscription", "paid", "charge", "payment_intent"] {
        assert_eq!(invoice.get(key), None, "{key}");
    }
    let (_sandbox, event) = usual(json!({"kind": "invoice_paid"}), "old").await;
    let old = &event["data"]["object"];
    assert_eq!((&event["api_version"], &old["id"]), (&json!("2024-06-20"), &invoice["id"]));
    assert_eq!((&old["subscription"], &old["paid"], old.get("parent")), (&json!(subscription), &json!(true), None));
    let (_sandbox, event) = usual(json!({"kind": "subscription_active"}), "new").await;
    let object = &event["data"]["object"];
    let end = object["items"]["data"][0]["current_period_end"].as_i64().unwrap();
    assert_eq!((&object["id"], object.get("current_period_end")), (&json!(subscription), None));
    let (_sandbox, event) = usual(json!({"kind": "subscription_active"}), "old").await;
    let object = &event["data"]["object"];
    assert_eq!(
        (&object["current_period_end"], object["items"]["data"][0].get("current_period_end")),
        (&json!(end), None)
    );
    let (_sandbox, event) = usual(json!({"kind": "checkout_paid", "subscription": "sub_2"}), "new").await;
    let object = &event["data"]["object"];
    assert_eq!((&object["subscription"], &object["invoice"]), (&json!("sub_2"), &invoice["id"]));
    // A customer that is there stays as it is.
    let sandbox = with(json!({"customers": [{"id": "cus_1", "name": "Jane", "metadata": {"zone": "UTC"}}]})).await;
    sandbox.stripe(json!({"usual": {"kind": "checkout_paid", "customer": "cus_1", "name": "J."}})).unwrap();
    let customer = Api::new(&sandbox).get("/v1/customers/cus_1").await;
    assert_eq!((&customer["name"], &customer["metadata"]["zone"]), (&json!("Jane"), &json!("UTC")));
    // A renewal is another invoice of the same subscription.
    let renewal = json!({"kind": "invoice_paid", "billing_reason": "subscription_cycle"});
    let (_sandbox, event) = usual(renewal, "old").await;
    let object = &event["data"]["object"];
    assert_ne!(object["id"], invoice["id"]);
    assert_eq!(object["subscription"], subscription);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_whole() {
    let sandbox = with(numbered(1)).await;
    for wrong in [
        json!({"events": [{"id": "evt_2", "type": "a", "object": {}}, {"id": "evt_1", "type": "a", "object": {}}]}),
        json!({"events": [{"type": "a", "object": "in_1"}]}),
        json!({"events": [{"type": "a", "object": {}, "account": "sk_test_other"}]}),
        json!({"usual": {"kind": "checkout_failed", "customer": "cus_1"}}),
        json!({"usual": [{"kind": "checkout_paid"}]}),
        json!({"webhook": {"url": "https://example.com/"}}),
        json!({"webhook": {"url": "http://127.0.0.1:1/", "lose_percent": 101}}),
        json!({"shape": "newest"}),
        json!({"custommers": []}),
    ] {
        assert!(sandbox.stripe(wrong.clone()).is_err(), "{wrong}");
    }
    assert_eq!(sandbox.stripe_ledger()["events"], 1);
    assert!(start(settings()).await.stripe(numbered(1)).is_err(), "there is no account");
}

#[tokio::test]
async fn what_goes_wrong_does_so_in_the_services_words() {
    for (rule, status, told) in [
        (json!({"kind": "too_many_requests", "retry_after": "3"}), 429, "rate_limit"),
        (json!({"kind": "server_error", "status": 500}), 500, "An unknown error occurred"),
        (json!({"kind": "slow_refuse", "ms": 1}), 503, "The service is not available."),
        (json!({"kind": "unauthorized_all"}), 401, "Invalid API Key provided: sk_test_****xKey"),
        (json!({"kind": "coded", "code": "lock_timeout"}), 429, "lock_timeout"),
    ] {
        let sandbox = with(numbered(1)).await;
        let mut rule = rule.clone();
        rule["match"] = json!({"path": "/v1/events", "nth": 2});
        sandbox.add_faults(rule.clone()).unwrap();
        let api = Api::new(&sandbox);
        assert_eq!(api.ids("").await.0, ["evt_1"]);
        assert_eq!(api.error("/v1/events").await, (status, told.to_owned()), "{rule}");
        assert_eq!(api.ids("").await.0, ["evt_1"]);
    }
    let sandbox = with(numbered(1)).await;
    let api = Api::new(&sandbox);
    for kind in ["accept_and_drop", "refuse_and_drop", "broken_json", "cut_body"] {
        sandbox.add_faults(json!({"kind": kind, "match": {"path": "/v1/"}, "times": 1})).unwrap();
        assert_eq!(api.try_get("/v1/events").await, None, "{kind}");
    }
    // A rule that names neither path nor method is for placing calls.
    sandbox.add_faults(json!({"kind": "accept_and_drop"})).unwrap();
    assert_eq!(api.ids("").await.0, ["evt_1"]);
}

#[tokio::test]
async fn the_control_endpoint_takes_and_tells_the_same() {
    let sandbox = with(json!({})).await;
    let http = client(Duration::from_secs(20));
    let url = format!("{}/_sandbox/stripe", sandbox.url());
    assert_eq!(http.post(&url).json(&numbered(3)).send().await.unwrap().status(), 200);
    let told: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&told, &told["events"]), (&sandbox.stripe_ledger(), &json!(3)));
    assert_eq!(http.post(&url).json(&json!({"charges": []})).send().await.unwrap().status(), 400);
}
