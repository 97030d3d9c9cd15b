//! What ElevenLabs accepts: it minds the types of what it knows, and passes over what it does not know.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::sandbox::filter::{Between, Filter};
use crate::sandbox::state::{Service, Wanted};

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    place: Vec<String>,
    kind: &'static str,
    message: String,
}

impl Wrong {
    pub(super) fn new(place: &[&str], kind: &'static str, message: impl Into<String>) -> Self {
        Self { place: place.iter().map(|part| (*part).to_owned()).collect(), kind, message: message.into() }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"loc": self.place, "msg": self.message, "type": self.kind})
    }
}

/// What a body asks for, or everything that is wrong with it.
pub(super) fn parse_create(body: &[u8], by_trunk: bool) -> Result<Wanted, Vec<Wrong>> {
    let body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => {
            return Err(vec![Wrong::new(&["body"], "model_attributes_type", "Input should be a valid dictionary")]);
        }
        Err(error) => return Err(vec![Wrong::new(&["body"], "json_invalid", format!("JSON decode error: {error}"))]),
    };
    let mut check = Check { wrong: Vec::new() };
    let mut required = |key: &str| {
        if !body.contains_key(key) {
            check.wrong.push(Wrong::new(&["body", key], "missing", "Field required"));
        }
        check.text(&body, &["body"], key, false)
    };
    let (agent, line, phone) =
        (required("agent_id"), required("agent_phone_number_id"), required("to_number").unwrap_or_default());
    if !by_trunk {
        check.truth(&body, &["body"], "call_recording_enabled", true);
    }
    if let Some(config) = check.object(&body, &["body"], "telephony_call_config", false) {
        let place = ["body", "telephony_call_config"];
        match config.get("ringing_timeout_secs") {
            None => {}
            Some(seconds) => match seconds.as_i64() {
                Some(1..=999) => {}
                Some(_) => check.fail(&place, "ringing_timeout_secs", "less_than_equal", "Input should be 1 to 999"),
                None => check.fail(&place, "ringing_timeout_secs", "int_type", "Input should be a valid integer"),
            },
        }
        check.truth(config, &place, "twilio_call_recording_enabled", false);
    }
    let mut name = None;
    let mut data = Value::Null;
    if let Some(given) = check.object(&body, &["body"], "conversation_initiation_client_data", true) {
        let place = ["body", "conversation_initiation_client_data"];
        name = check.text(given, &place, "user_id", true);
        for key in ["branch_id", "environment", "starting_workflow_node_id"] {
            check.text(given, &place, key, true);
        }
        for key in ["custom_llm_extra_body", "source_info", "conversation_config_override"] {
            check.object(given, &place, key, false);
        }
        if let Some(variables) = check.object(given, &place, "dynamic_variables", false) {
            for (key, value) in variables {
                if key.starts_with("system__") {
                    check.fail(&place, "dynamic_variables", "value_error", format!("{key} is a reserved name"));
                }
                if value.is_array() || value.is_object() {
                    check.fail(&place, "dynamic_variables", "value_error", format!("{key} is no plain value"));
                }
            }
        }
        data = Value::Object(given.clone());
    }
    if check.wrong.is_empty() && !is_phone(&phone) {
        check.fail(&["body"], "to_number", "value_error", "Value is no phone number");
    }
    if !check.wrong.is_empty() {
        return Err(check.wrong);
    }
    let echo = json!({"client_data": data, "by_trunk": by_trunk});
    Ok(Wanted {
        service: Service::ElevenLabs,
        phone,
        name,
        assistant: agent,
        line,
        earliest_at: None,
        at_once: false,
        echo,
    })
}

fn is_phone(phone: &str) -> bool {
    phone.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

struct Check {
    wrong: Vec<Wrong>,
}

impl Check {
    fn fail(&mut self, place: &[&str], key: &str, kind: &'static str, message: impl Into<String>) {
        let place: Vec<&str> = place.iter().copied().chain([key]).collect();
        self.wrong.push(Wrong::new(&place, kind, message));
    }

    fn text(&mut self, object: &Map<String, Value>, place: &[&str], key: &str, may_be_null: bool) -> Option<String> {
        match object.get(key) {
            None => None,
            Some(Value::Null) if may_be_null => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fail(place, key, "string_type", "Input should be a valid string");
                None
            }
        }
    }

    fn truth(&mut self, object: &Map<String, Value>, place: &[&str], key: &str, may_be_null: bool) {
        match object.get(key) {
            None | Some(Value::Bool(_)) => {}
            Some(Value::Null) if may_be_null => {}
            Some(_) => self.fail(place, key, "bool_type", "Input should be a valid boolean"),
        }
    }

    fn object<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        place: &[&str],
        key: &str,
        may_be_null: bool,
    ) -> Option<&'a Map<String, Value>> {
        match object.get(key) {
            None => None,
            Some(Value::Null) if may_be_null => None,
            Some(Value::Object(found)) => Some(found),
            Some(_) => {
                self.fail(place, key, "dict_type", "Input should be a valid dictionary");
                None
            }
        }
    }
}

/// A page of a listing.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) filter: Filter,
    pub(super) page_size: usize,
    /// The last conversation of the page before.
    pub(super) cursor: Option<String>,
}

/// What a listing's query asks for, or everything that is wrong with it.
pub(super) fn parse_listing(query: Vec<(String, String)>) -> Result<Listing, Vec<Wrong>> {
    let mut listing = Listing {
        filter: Filter { service: Service::ElevenLabs, limit: usize::MAX, ..Filter::default() },
        page_size: 30,
        cursor: None,
    };
    let mut wrong = Vec::new();
    for (key, value) in query {
        let seconds = |text: &str| text.parse().ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
        let Between { gt, lt, .. } = &mut listing.filter.created;
        match key.as_str() {
            "cursor" => listing.cursor = Some(value),
            "user_id" => listing.filter.name = Some(value),
            "agent_id" => listing.filter.assistant = Some(value),
            "page_size" => match value.parse() {
                Ok(size @ 1..=100) => listing.page_size = size,
                Ok(_) => wrong.push(Wrong::new(&["query", "page_size"], "less_than_equal", "Input should be 1 to 100")),
                Err(_) => {
                    wrong.push(Wrong::new(&["query", "page_size"], "int_parsing", "Input should be a valid integer"));
                }
            },
            "call_start_after_unix" | "call_start_before_unix" => match seconds(&value) {
                Some(at) if key.contains("after") => *gt = Some(at),
                Some(at) => *lt = Some(at),
                None => wrong.push(Wrong::new(&["query", &key], "int_parsing", "Input should be a valid integer")),
            },
            _ => {}
        }
    }
    if wrong.is_empty() { Ok(listing) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({"agent_id": "a", "agent_phone_number_id": "p", "to_number": "+14155550100", "something": "else",
            "conversation_initiation_client_data": {"user_id": "n", "dynamic_variables": {"x": 1, "y": null}, "z": 1},
            "telephony_call_config": {"ringing_timeout_secs": 60}})
    }

    fn errors(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut body = good();
        change(&mut body);
        let wrong = parse_create(body.to_string().as_bytes(), false).err().unwrap_or_default();
        wrong.iter().map(|wrong| wrong.place.join(".")).collect()
    }

    #[test]
    fn it_minds_types_and_passes_over_what_it_does_not_know() {
        let wanted = parse_create(good().to_string().as_bytes(), false).expect("a call");
        assert_eq!((wanted.phone.as_str(), wanted.name.as_deref()), ("+14155550100", Some("n")));
        let data = "body.conversation_initiation_client_data";
        assert_eq!(errors(|b| drop(b.as_object_mut().unwrap().remove("agent_id"))), ["body.agent_id"]);
        assert_eq!(errors(|b| b["to_number"] = json!(14_155_550_100_i64)), ["body.to_number"]);
        assert_eq!(errors(|b| b["to_number"] = json!("4155550100")), ["body.to_number"]);
        assert_eq!(errors(|b| b["call_recording_enabled"] = json!("yes")), ["body.call_recording_enabled"]);
        assert_eq!(
            errors(|b| b["conversation_initiation_client_data"]["user_id"] = json!(7)),
            [format!("{data}.user_id")]
        );
        for bad in [json!({"system__time": "x"}), json!({"x": []})] {
            let seen = errors(|b| b["conversation_initiation_client_data"]["dynamic_variables"] = bad.clone());
            assert_eq!(seen, [format!("{data}.dynamic_variables")]);
        }
        for bad in [json!(0), json!(1000), json!("60"), json!(1.5), json!(null)] {
            let seen = errors(|b| b["telephony_call_config"]["ringing_timeout_secs"] = bad.clone());
            assert_eq!(seen, ["body.telephony_call_config.ringing_timeout_secs"], "{bad}");
        }
        assert!(parse_create(b"[]", false).is_err() && parse_create(b"{", false).is_err());
    }

    #[test]
    fn a_listing_has_a_page_and_passes_over_other_filters() {
        let parse = |key: &str, value: &str| parse_listing(vec![(key.to_owned(), value.to_owned())]);
        assert_eq!(parse("page_size", "100").expect("a page").page_size, 100);
        assert_eq!(parse("user_id", "n").expect("a page").filter.name.as_deref(), Some("n"));
        assert!(parse("colour", "red").is_ok());
        for (key, value) in
            [("page_size", "0"), ("page_size", "101"), ("page_size", "x"), ("call_start_after_unix", "x")]
        {
            assert!(parse(key, value).is_err(), "{key}={value}");
        }
    }
}
