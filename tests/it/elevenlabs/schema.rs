//! Whether what was sent is what the service's own description says, in `tests/fixtures/elevenlabs/requests.json`.

use std::sync::LazyLock;

use callops::sandbox::Running;
use serde_json::{Value, json};

use crate::common::schema::{is_path_of, problems, problems_of_text};

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let path = format!("{}/tests/fixtures/elevenlabs/requests.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the contract")).expect("JSON")
});

/// What is wrong with a request as the sandbox noted it.
fn problems_of(request: &Value) -> Vec<String> {
    let path = request["path"].as_str().expect("a path");
    let method = request["method"].as_str().expect("a method").to_lowercase();
    let paths = CONTRACT["paths"].as_object().expect("paths");
    let Some(operation) =
        paths.iter().find(|(template, _)| is_path_of(path, template)).and_then(|(_, one)| one.get(&method))
    else {
        return vec![format!("{method} {path} is not in the contract")];
    };
    let mut found = match operation.get("body") {
        Some(schema) => problems(&CONTRACT["schemas"], &request["body"], schema, "body"),
        None if request["body"].is_null() => Vec::new(),
        None => vec!["a body where none belongs".to_owned()],
    };
    for (key, text) in form_urlencoded::parse(request["query"].as_str().unwrap_or_default().as_bytes()) {
        let Some(schema) = operation["query"].get(&*key) else {
            found.push(format!("query.{key} is not in the contract"));
            continue;
        };
        found.extend(problems_of_text(&CONTRACT["schemas"], &text, schema, &format!("query.{key}")));
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
