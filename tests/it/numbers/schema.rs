//! Whether what is asked of Twilio, and what the stand-in answers in its name, is what the service's own description says:
//! `tests/fixtures/twilio/openapi.json`.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::common::schema::{is_path_of, parameter, problems, problems_of_text};

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let path = format!("{}/tests/fixtures/twilio/openapi.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the contract")).expect("JSON")
});

fn schemas() -> &'static Value {
    &CONTRACT["components"]["schemas"]
}

/// The template of a path, and what may be done there by that method.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = CONTRACT["paths"].as_object().expect("paths");
    let (template, one) = paths.iter().find(|(template, _)| is_path_of(path, template))?;
    Some((template, one.get(method.to_lowercase())?))
}

/// What is wrong with a request as the sandbox noted it.
fn problems_of(request: &Value) -> Vec<String> {
    let (method, path) = (request["method"].as_str().expect("a method"), request["path"].as_str().expect("a path"));
    let Some((template, operation)) = operation(method, path) else {
        return vec![format!("{method} {path} is not in the contract")];
    };
    let schema_of = |within: &str, name: &str| {
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.find(|one| one["in"] == within && one["name"] == name).map(|one| &one["schema"])
    };
    let mut found = Vec::new();
    let mut check = |place: String, text: &str, schema: Option<&Value>| match schema {
        Some(schema) => found.extend(problems_of_text(schemas(), text, schema, &place)),
        None => found.push(format!("{place} is not in the contract")),
    };
    for (wanted, given) in template.split('/').zip(path.split('/')) {
        if let Some((name, value)) = parameter(wanted, given).filter(|(name, _)| !name.is_empty()) {
            check(format!("path.{name}"), value, schema_of("path", name));
        }
    }
    for (name, text) in form_urlencoded::parse(request["query"].as_str().unwrap_or_default().as_bytes()) {
        check(format!("query.{name}"), &text, schema_of("query", &name));
    }
    let properties = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["properties"];
    for (name, value) in request["body"].as_object().into_iter().flatten() {
        for one in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            check(format!("body.{name}"), one.as_str().unwrap_or_default(), properties.get(name));
        }
    }
    if !request["body"].is_null() && !request["body"].is_object() {
        found.push("the body is no form".to_owned());
    }
    found
}

/// Insists that each request that the sandbox noted for Twilio is as the contract has it; others are not looked at.
pub(crate) fn check_requests(requests: &[Value]) {
    for request in
        requests.iter().filter(|one| one["path"].as_str().is_some_and(|path| path.starts_with("/2010-04-01/")))
    {
        assert_eq!(problems_of(request), Vec::<String>::new(), "{request}");
    }
}

/// Insists that an answer that is no error is as the contract has it.
pub(crate) fn check_answer(method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().expect("a path");
    let (_, operation) = operation(method, path).unwrap_or_else(|| panic!("{method} {path}"));
    let answer = operation["responses"].get(status.to_string()).unwrap_or_else(|| panic!("{method} {path}: {status}"));
    match answer.pointer("/content/application~1json/schema") {
        Some(schema) => assert_eq!(problems(schemas(), body, schema, "answer"), Vec::<String>::new(), "{body}"),
        None => assert_eq!(*body, Value::Null, "{method} {path}"),
    }
}

#[test]
fn what_is_not_as_the_contract_has_it_is_found() {
    let account = format!("/2010-04-01/Accounts/AC{}", "5a".repeat(16));
    let number = format!("{account}/IncomingPhoneNumbers/PN{}.json", "0".repeat(32));
    let asked = |method: &str, path: &str, query: &str, body: Value| {
        problems_of(&json!({"method": method, "path": path, "query": query, "body": body})).len()
    };
    let numbers = format!("{account}/IncomingPhoneNumbers.json");
    let sound = "PageSize=1000&Page=1&PageToken=PAPN1&FriendlyName=Acme+Dental&PhoneNumber=%2B1802*";
    assert_eq!(asked("GET", &numbers, sound, Value::Null), 0);
    for query in ["PageSize=1001", "PageSize=x", "pageSize=1", "Status=in-use", "PhoneNumber=acme", "Beta=1"] {
        assert!(asked("GET", &numbers, query, Value::Null) > 0, "{query}");
    }
    assert_eq!(asked("GET", "/2010-04-01/Accounts.json", "Status=active", Value::Null), 0);
    assert!(asked("GET", "/2010-04-01/Accounts.json", "Status=open", Value::Null) > 0);
    assert_eq!(asked("GET", &format!("{account}/Calls.json"), "StartTime%3E=2026-11-20", Value::Null), 0);
    assert!(asked("GET", &format!("{account}/Calls.json"), "StartTime%3E=yesterday", Value::Null) > 0);
    assert_eq!(asked("DELETE", &number, "", Value::Null), 0);
    assert!(asked("DELETE", &number.replace("PN", "SK"), "", Value::Null) > 0);
    assert!(asked("DELETE", &number, "", json!({"FriendlyName": "x"})) > 0);
    assert!(asked("DELETE", number.trim_end_matches(".json"), "", Value::Null) > 0);
    assert!(asked("PUT", &number, "", Value::Null) > 0);
    let buy = json!({"PhoneNumber": "+18025550101", "VoiceUrl": "https://a.example/", "VoiceMethod": "POST"});
    assert_eq!(asked("POST", &numbers, "", buy), 0);
    for wrong in [
        json!({"phone_number": "+18025550101"}),
        json!({"PhoneNumber": "acme"}),
        json!({"VoiceMethod": "PUT"}),
        json!({"TrunkSid": "TK1"}),
        json!({"VoiceUrl": ["https://a.example/", "a.example"]}),
        json!("{\"PhoneNumber\": \"+18025550101\"}"),
    ] {
        assert!(asked("POST", &numbers, "", wrong.clone()) > 0, "{wrong}");
    }
}
