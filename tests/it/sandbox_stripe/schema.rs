//! Whether what is asked of Stripe is what its reference has: paths and parameters by their names.

use serde_json::{Value, json};

const KINDS: [&str; 4] = ["customers", "subscriptions", "invoices", "checkout/sessions"];
const LISTING: [&str; 8] = [
    "created",
    "created[gt]",
    "created[gte]",
    "created[lt]",
    "created[lte]",
    "limit",
    "starting_after",
    "ending_before",
];

/// What is wrong with a request as the sandbox noted it.
fn problems_of(request: &Value) -> Vec<String> {
    let (method, path) = (request["method"].as_str().expect("a method"), request["path"].as_str().expect("a path"));
    let below = path.strip_prefix("/v1/").unwrap_or_default();
    let is_id = |id: &str| !id.is_empty() && !id.contains('/');
    let is_one = KINDS
        .iter()
        .chain(&["events"])
        .any(|kind| below.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_id));
    let mut found = Vec::new();
    if method != "GET" || !(is_one || below == "events") {
        found.push(format!("{method} {path} is not of the reference"));
    }
    if !request["body"].is_null() {
        found.push("there is a body".to_owned());
    }
    let query: Vec<(String, String)> =
        form_urlencoded::parse(request["query"].as_str().unwrap_or_default().as_bytes()).into_owned().collect();
    for (name, value) in &query {
        let is_known = !is_one && (LISTING.contains(&name.as_str()) || name == "type" || name == "types[]");
        let is_number = name.starts_with("created") || name == "limit";
        if !is_known {
            found.push(format!("query.{name} is not of the reference"));
        } else if is_number && value.parse::<u64>().is_err() {
            found.push(format!("query.{name} is no number: {value}"));
        }
    }
    let count = |wanted: &str| query.iter().filter(|(name, _)| name == wanted).count();
    if count("types[]") > 20 || (count("types[]") > 0 && count("type") > 0) {
        found.push("query.types[] are 20 at most, and not beside query.type".to_owned());
    }
    if count("limit") > 1 || (count("starting_after") > 0 && count("ending_before") > 0) {
        found.push("query says two things at once".to_owned());
    }
    found
}

/// Insists that each request that the sandbox noted for Stripe is as the reference has it; others are not looked at.
pub(crate) fn check_requests(requests: &[Value]) {
    let is_stripes = |one: &&Value| {
        let path = one["path"].as_str().unwrap_or_default();
        path.starts_with("/v1/events") || KINDS.iter().any(|kind| path.starts_with(&format!("/v1/{kind}")))
    };
    for request in requests.iter().filter(is_stripes) {
        assert_eq!(problems_of(request), Vec::<String>::new(), "{request}");
    }
}

#[test]
fn what_is_not_as_the_reference_has_it_is_found() {
    let asked = |method: &str, path: &str, query: &str, body: Value| {
        problems_of(&json!({"method": method, "path": path, "query": query, "body": body})).len()
    };
    let get = |path: &str, query: &str| asked("GET", path, query, Value::Null);
    let sound = "types[]=invoice.paid&types%5B%5D=charge.refunded&created[gte]=1&limit=100&starting_after=evt_1";
    assert_eq!(get("/v1/events", sound), 0);
    assert_eq!(get("/v1/checkout/sessions/cs_test_1", "") + get("/v1/customers/cus_1", ""), 0);
    for (path, query) in [
        ("/v1/events", "since=1"),
        ("/v1/events", "limit=all"),
        ("/v1/events", "created[gte]=2026-11-20"),
        ("/v1/events", "type=invoice.paid&types[]=charge.refunded"),
        ("/v1/events", "starting_after=evt_1&ending_before=evt_2"),
        ("/v1/events/evt_1", "limit=1"),
        ("/v1/customers", ""),
        ("/v1/charges/ch_1", ""),
    ] {
        assert!(get(path, query) > 0, "{path}?{query}");
    }
    assert!(asked("POST", "/v1/customers/cus_1", "", Value::Null) > 0);
    assert!(asked("GET", "/v1/events", "", json!({"limit": 1})) > 0);
}
