//! Whether what was sent is what the service's own description says: enough of JSON Schema for the schemas in
//! `tests/fixtures/elevenlabs/requests.json`, and stricter: nothing may be sent that they do not name.

use std::sync::LazyLock;

use callops::sandbox::Running;
use serde_json::{Value, json};

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let path = format!("{}/tests/fixtures/elevenlabs/requests.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the contract")).expect("JSON")
});

/// Everything that is wrong with a value.
fn problems(value: &Value, schema: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let known = &CONTRACT["schemas"][name];
        assert!(known.is_object(), "{name}");
        return problems(value, known, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let each: Vec<Vec<String>> = any.iter().map(|one| problems(value, one, place)).collect();
        return if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() };
    }
    if schema.get("not").is_some() {
        return vec![format!("{place} may not be sent")];
    }
    let kind = schema["type"].as_str().unwrap_or("any");
    let is_kind = match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "any" => true,
        other => panic!("{other}"),
    };
    if !is_kind {
        return vec![format!("{place} is no {kind}: {value}")];
    }
    let mut found = Vec::new();
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{place} is no word of the contract: {value}"));
    }
    let number = value.as_f64().unwrap_or_default();
    if schema["minimum"].as_f64().is_some_and(|least| number < least)
        || schema["maximum"].as_f64().is_some_and(|most| number > most)
    {
        found.push(format!("{place} is out of range: {value}"));
    }
    if let (Some(most), Some(text)) = (schema["maxLength"].as_u64(), value.as_str())
        && text.chars().count() as u64 > most
    {
        found.push(format!("{place} is too long"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(problems(item, &schema["items"], &format!("{place}[]")));
    }
    if let Some(object) = value.as_object() {
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(key) {
                found.push(format!("{place}.{key} is missing"));
            }
        }
        for (key, inner) in object {
            match schema["properties"].get(key) {
                Some(schema) => found.extend(problems(inner, schema, &format!("{place}.{key}"))),
                None if schema["additionalProperties"] == true => {}
                None => found.push(format!("{place}.{key} is not in the contract")),
            }
        }
    }
    found
}

/// What is wrong with a request as the sandbox noted it.
fn problems_of(request: &Value) -> Vec<String> {
    let path = request["path"].as_str().expect("a path");
    let method = request["method"].as_str().expect("a method").to_lowercase();
    let fits = |template: &str| {
        let (wanted, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len() && wanted.iter().zip(&given).all(|(w, g)| w == g || w.starts_with('{'))
    };
    let paths = CONTRACT["paths"].as_object().expect("paths");
    let Some(operation) = paths.iter().find(|(template, _)| fits(template)).and_then(|(_, one)| one.get(&method))
    else {
        return vec![format!("{method} {path} is not in the contract")];
    };
    let mut found = match operation.get("body") {
        Some(schema) => problems(&request["body"], schema, "body"),
        None if request["body"].is_null() => Vec::new(),
        None => vec!["a body where none belongs".to_owned()],
    };
    for (key, text) in form_urlencoded::parse(request["query"].as_str().unwrap_or_default().as_bytes()) {
        let Some(schema) = operation["query"].get(&*key) else {
            found.push(format!("query.{key} is not in the contract"));
            continue;
        };
        // A query has only texts, which may stand for numbers.
        let forms = [Some(json!(text)), text.parse::<i64>().ok().map(|n| json!(n)), text.parse().ok().map(Value::Bool)];
        let each = forms.iter().flatten().map(|form| problems(form, schema, &format!("query.{key}")));
        let each: Vec<Vec<String>> = each.collect();
        if !each.iter().any(Vec::is_empty) {
            found.extend(each.concat());
        }
    }
    found
}

/// Insists that the sandbox got so many requests or more, and each is as the contract has it. Yields them.
pub(crate) async fn check_requests(sandbox: &Running, least: usize) -> Vec<Value> {
    let requests = super::requests_of(sandbox).await;
    assert!(requests.len() >= least, "{} requests", requests.len());
    for request in &requests {
        assert_eq!(problems_of(request), Vec::<String>::new(), "{request}");
    }
    requests
}

#[test]
fn what_is_not_as_the_contract_has_it_is_found() {
    let request = |body: Value| json!({"method": "POST", "path": "/v1/convai/twilio/outbound-call", "body": body});
    let good = json!({"agent_id": "a", "agent_phone_number_id": "p", "to_number": "+1",
        "conversation_initiation_client_data": {"user_id": "n", "dynamic_variables": {"x": 1}},
        "telephony_call_config": {"ringing_timeout_secs": 60}});
    assert_eq!(problems_of(&request(good.clone())), Vec::<String>::new());
    let found = |change: fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        problems_of(&request(body)).len()
    };
    assert!(found(|b| b["to_number"] = json!(1)) > 0);
    assert!(found(|b| drop(b.as_object_mut().expect("an object").remove("agent_id"))) > 0);
    assert!(found(|b| b["metadata"] = json!({})) > 0);
    assert!(found(|b| b["telephony_call_config"]["ringing_timeout_secs"] = json!(0)) > 0);
    assert!(found(|b| b["telephony_call_config"]["ringing_timeout_secs"] = json!("60")) > 0);
    assert!(found(|b| b["conversation_initiation_client_data"]["user_id"] = json!(7)) > 0);
    assert!(found(|b| b["conversation_initiation_client_data"]["conversation_config_override"] = json!({})) > 0);
    let read = |query: &str| json!({"method": "GET", "path": "/v1/convai/conversations", "query": query, "body": null});
    assert_eq!(problems_of(&read("user_id=n&page_size=100")), Vec::<String>::new());
    for query in ["user_id=n&page_size=101", "page_size=x", "userId=n"] {
        assert!(!problems_of(&read(query)).is_empty(), "{query}");
    }
    assert!(!problems_of(&json!({"method": "DELETE", "path": "/v1/convai/conversations/c", "body": null})).is_empty());
}
