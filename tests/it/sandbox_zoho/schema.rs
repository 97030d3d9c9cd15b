//! Whether what is asked of Zoho is what the service's own description says: `tests/fixtures/zoho/openapi.json`.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::common::schema::{is_path_of, parameter, problems_of_text};

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let path = format!("{}/tests/fixtures/zoho/openapi.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the contract")).expect("JSON")
});

const ROOT: &str = "/books/v3";
const TOKEN: &str = "/oauth/v2/token";

/// The parameters of an operation, those of its path and those that it only refers to among them.
fn parameters(template: &str) -> Vec<&'static Value> {
    let path = &CONTRACT["paths"][template];
    let all = [&path["parameters"], &path["get"]["parameters"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten();
    all.map(|one| match one["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        Some(name) => &CONTRACT["components"]["parameters"][name],
        None => one,
    })
    .collect()
}

/// What a query's parameter must be: one that the description names, or a variant that it mentions in the text of one.
fn schema_of(template: &str, name: &str) -> Option<Value> {
    let parameters = parameters(template);
    let named = parameters.iter().find(|one| one["in"] == "query" && one["name"] == name);
    let mentioned = || {
        let is_of = |one: &&&Value| {
            let text = one["description"].as_str().unwrap_or_default();
            one["name"].as_str().is_some_and(|known| name.starts_with(known))
                && text.contains(&format!("<code>{name}</code>"))
        };
        parameters.iter().find(is_of)
    };
    // Of this one only examples tell.
    if name == "sort_order" && parameters.iter().any(|one| one["name"] == "sort_column") {
        return Some(json!({"type": "string", "enum": ["A", "D"]}));
    }
    named.or_else(mentioned).map(|one| one["schema"].clone())
}

/// What is wrong with a request as the sandbox noted it.
fn problems_of(request: &Value) -> Vec<String> {
    let (method, path) = (request["method"].as_str().expect("a method"), request["path"].as_str().expect("a path"));
    let query: Vec<(String, String)> =
        form_urlencoded::parse(request["query"].as_str().unwrap_or_default().as_bytes()).into_owned().collect();
    if path == TOKEN {
        let form = request["body"].as_object().cloned().unwrap_or_default();
        let mut names: Vec<&str> = form.keys().map(String::as_str).collect();
        names.sort_unstable();
        let is_sound = method == "POST"
            && query.is_empty()
            && names == ["client_id", "client_secret", "grant_type", "refresh_token"]
            && form["grant_type"] == "refresh_token";
        return if is_sound { Vec::new() } else { vec![format!("{method} {path} with {names:?}")] };
    }
    let templates = CONTRACT["paths"].as_object().expect("paths");
    let below = path.strip_prefix(ROOT).unwrap_or_default();
    let Some((template, _)) = templates.iter().find(|(template, _)| method == "GET" && is_path_of(below, template))
    else {
        return vec![format!("{method} {path} is not in the contract")];
    };
    let mut found = Vec::new();
    for (wanted, given) in template.split('/').zip(below.split('/')) {
        let id = parameter(wanted, given).filter(|(name, _)| !name.is_empty());
        if id.is_some_and(|(_, value)| !value.bytes().all(|byte| byte.is_ascii_digit())) {
            found.push(format!("path.{wanted} has not digits alone: {given}"));
        }
    }
    for (name, text) in &query {
        match schema_of(template, name) {
            // An id may be written as a number there; in a query it is digits either way.
            Some(schema) => found.extend(problems_of_text(&CONTRACT, text, &schema, &format!("query.{name}"))),
            None => found.push(format!("query.{name} is not in the contract")),
        }
    }
    let has_organization = query.iter().any(|(name, _)| name == "organization_id");
    if has_organization == (*template == "/organizations") {
        found.push("query.organization_id is in every query but that for organisations".to_owned());
    }
    if !request["body"].is_null() {
        found.push("there is a body".to_owned());
    }
    found
}

/// Insists that each request that the sandbox noted for Zoho is as the contract has it; others are not looked at.
pub(crate) fn check_requests(requests: &[Value]) {
    let is_zohos = |one: &&Value| one["path"].as_str().is_some_and(|path| path.starts_with(ROOT) || path == TOKEN);
    for request in requests.iter().filter(is_zohos) {
        assert_eq!(problems_of(request), Vec::<String>::new(), "{request}");
    }
}

#[test]
fn what_is_not_as_the_contract_has_it_is_found() {
    let asked = |method: &str, path: &str, query: &str, body: Value| {
        problems_of(&json!({"method": method, "path": path, "query": query, "body": body})).len()
    };
    let get = |path: &str, query: &str| asked("GET", &format!("{ROOT}{path}"), query, Value::Null);
    let list = "organization_id=10229182&page=2&per_page=200&sort_column=created_time&sort_order=A";
    let incremental = "last_modified_time=2026-10-01T00:00:00%2B0530&status=paid&due_date_before=2026-11-20";
    assert_eq!(get("/invoices", &format!("{list}&{incremental}")), 0);
    assert_eq!(get("/contacts", &format!("{list}&contact_type=customer&contact_name_contains=a")), 0);
    assert_eq!(get("/contacts/460000000026049", "organization_id=10229182"), 0);
    assert_eq!(get("/organizations", ""), 0);
    for (path, query) in [
        ("/invoices", "page=1"),
        ("/invoices", "organization_id=1&page=x"),
        ("/invoices", "organization_id=1&sort_order=ASC"),
        ("/invoices", "organization_id=1&due_date_since=2026-11-20"),
        ("/contacts", "organization_id=1&last_modified_time=2026-10-01T00:00:00-0700"),
        ("/contacts/first", "organization_id=1"),
        ("/contacts/1", "organization_id=1&page=1"),
        ("/organizations", "organization_id=1"),
        ("/bills", "organization_id=1"),
    ] {
        assert!(get(path, query) > 0, "{path}?{query}");
    }
    assert!(asked("POST", "/books/v3/contacts", "organization_id=1", json!({})) > 0);
    let form = json!({"refresh_token": "r", "client_id": "c", "client_secret": "s", "grant_type": "refresh_token"});
    assert_eq!(asked("POST", TOKEN, "", form.clone()), 0);
    let mut other = form.clone();
    other["grant_type"] = json!("authorization_code");
    assert!(asked("POST", TOKEN, "", other) > 0);
    assert!(asked("POST", TOKEN, "refresh_token=r", form) > 0);
    assert!(asked("POST", TOKEN, "", Value::Null) > 0);
}
