//! What is asked of LiveKit, held against a description of its requests: the service drops names that it does not know
//! without a word, so that a slip of the pen would go unnoticed.

use std::collections::BTreeSet;

use callops::domain::campaign::Rules;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::shown;
use super::stories::{ADA, begin, rules};
use crate::common::on_both_databases;

fn methods() -> Value {
    let text = include_str!("../../fixtures/livekit/requests.schema.json");
    serde_json::from_str::<Value>(text).expect("JSON")["methods"].clone()
}

/// What of a value is not as it is described, by the few words of JSON Schema that the description uses.
fn offences(value: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    for (word, rule) in schema.as_object().unwrap_or_else(|| panic!("{schema}")) {
        let number = || rule.as_i64().unwrap_or_else(|| panic!("{word} {rule}"));
        let length = |text: &str| i64::try_from(text.chars().count()).expect("a length");
        let holds = match word.as_str() {
            "type" => match rule.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("{other}"),
            },
            "required" => {
                rule.as_array().expect("names").iter().all(|name| value.get(name.as_str().expect("a name")).is_some())
            }
            "properties" => {
                for (name, schema) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        offences(value, schema, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    match rule {
                        Value::Bool(false) => found.push(format!("{at}: {name} is not known")),
                        schema => offences(value, schema, &format!("{at}/{name}"), found),
                    }
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    offences(value, rule, &format!("{at}/{index}"), found);
                }
                true
            }
            "minItems" => value.as_array().is_none_or(|list| i64::try_from(list.len()).expect("a length") >= number()),
            "maxItems" => value.as_array().is_none_or(|list| i64::try_from(list.len()).expect("a length") <= number()),
            "minLength" => value.as_str().is_none_or(|text| length(text) >= number()),
            "maxLength" => value.as_str().is_none_or(|text| length(text) <= number()),
            "minimum" => value.as_i64().is_none_or(|value| value >= number()),
            "maximum" => value.as_i64().is_none_or(|value| value <= number()),
            "format" => {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let text = value.as_str().unwrap_or_default();
                match rule.as_str().expect("a format") {
                    "e164" => text.strip_prefix('+').is_some_and(|rest| digits(rest) && rest.len() <= 15),
                    "duration" => text.strip_suffix('s').is_some_and(digits),
                    other => panic!("{other}"),
                }
            }
            other => panic!("{other} is not understood here"),
        };
        if !holds {
            found.push(format!("{at}: {word} {rule}: {value}"));
        }
    }
}

fn offences_of(path: &str, body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match methods().get(path) {
        Some(schema) => offences(body, schema, path, &mut found),
        None => found.push(format!("{path} is not described")),
    }
    found
}

#[test]
fn a_request_that_is_not_as_described_is_found() {
    let call = "/twirp/livekit.SIP/CreateSIPParticipant";
    let sound = json!({"sip_trunk_id": "ST", "sip_call_to": "+12025550101", "room_name": "0".repeat(26),
        "participant_identity": "i", "ringing_timeout": "30s", "wait_until_answered": true});
    assert_eq!(offences_of(call, &sound), [""; 0]);
    for (key, value) in [
        ("sip_call_to", json!("sip:+12025550101@example.com")),
        ("sip_call_to", json!("2025550101")),
        ("ringing_timeout", json!(30)),
        ("ringing_timeout", json!("30")),
        ("room_name", json!("short")),
        ("wait_until_answerd", json!(true)),
        ("participant_attributes", json!({"a": 1})),
        ("sip_trunk_id", json!("")),
    ] {
        let mut body = sound.clone();
        body[key] = value.clone();
        assert!(!offences_of(call, &body).is_empty(), "{key} {value}");
    }
    assert_eq!(offences_of(call, &json!({})).len(), 1);
    assert_eq!(offences_of("/twirp/livekit.SIP/Nope", &json!({})).len(), 1);
}

on_both_databases! {
    async fn every_request_is_as_described(db) {
        let agent = json!({"agent_name": "reminder", "sip_trunk_id": "ST_1", "sip_number": "+15005550001"});
        let story = begin(db, &Rules { agent, ..rules() }, &[]).await;
        let dressed = |contact: &mut callops::store::contacts::Contact| contact.extension = Some("12".to_owned());
        story.contact(ADA, dressed, &["reminder"]).await;
        story.people(&["+12025550102".to_owned(), "+12025550103".to_owned()], "reminder").await;
        story.fault(json!({"kind": "accept_and_drop", "match": {"phone_prefix": "+12025550103"}}));
        story.process(&[]).await;
        story.wait(TimeDelta::minutes(2));
        story.sweep().await;
        story.collect().await;
        story.run(&["doctor", "--online", "--format", "json"]);
        let requests = shown(&story.sandbox.url(), "requests").await;
        let mut asked = BTreeSet::new();
        for request in requests.as_array().expect("a list") {
            let path = request["path"].as_str().expect("a path");
            if path.starts_with("/twirp/") {
                assert_eq!(offences_of(path, &request["body"]), [""; 0], "{request}");
                asked.insert(path.to_owned());
            }
        }
        let described: BTreeSet<String> = methods().as_object().expect("methods").keys().cloned().collect();
        assert_eq!(asked, described, "each is asked for, and nothing else");
    }
}
