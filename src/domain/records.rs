//! What becomes of a conversation: a contact, a booking, a ticket, by a tenant's mapping of what was extracted from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::phone::{CallAlso, parse_phone};
use super::region::Region;

/// The longest text that is taken from an extraction.
const MAX_CHARS: usize = 2000;
/// What people and models say instead of a name. Compared in lower case.
const NO_NAMES: &[&str] = &[
    "n/a",
    "na",
    "n.a.",
    "none",
    "null",
    "nil",
    "nan",
    "undefined",
    "unknown",
    "anonymous",
    "not provided",
    "not given",
    "not available",
    "not applicable",
    "not mentioned",
    "not specified",
    "no name",
    "unnamed",
    "name",
    "user",
    "customer",
    "caller",
    "client",
    "guest",
    "test",
    "tbd",
    "x",
    "xx",
    "xxx",
];

/// Which extracted field is what, for one tenant. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordMapping {
    /// The field with the person's name.
    pub name: String,
    /// The field with their phone.
    pub phone: String,
    /// The field with their e-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// The field that says what they want: one word, or a list of words.
    #[serde(default)]
    pub intent: Option<String>,
    /// What makes a booking.
    #[serde(default)]
    pub booking: Option<KindMapping>,
    /// What makes a ticket.
    #[serde(default)]
    pub ticket: Option<KindMapping>,
}

/// What makes one kind of record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindMapping {
    /// The intents that make one; none: any of its fields that was extracted does.
    #[serde(default)]
    pub intents: Vec<String>,
    /// Its fields, and which extracted field each comes from.
    pub fields: BTreeMap<String, String>,
}

/// A person who was spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their name, which is one.
    pub name: String,
    /// Their phone, E.164.
    pub phone: String,
    /// Digits to key in once a call is answered.
    pub extension: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
}

/// What a conversation comes to. Any of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// A contact; only with a real name and a valid phone.
    pub person: Option<Person>,
    /// A booking's fields, at least one.
    pub booking: Option<Map<String, Value>>,
    /// A ticket's fields, at least one.
    pub ticket: Option<Map<String, Value>>,
    /// Why something that was extracted came to nothing. It repeats no value.
    pub problems: Vec<String>,
}

/// What an extraction comes to. A phone without a country code is read by `region`.
pub fn records_of(
    mapping: &RecordMapping,
    extracted: &Map<String, Value>,
    region: Option<Region>,
    call_also: CallAlso,
) -> Records {
    let mut records = Records::default();
    let text = |field: &str| extracted.get(field).and_then(text_of);
    let name = text(&mapping.name).filter(|name| is_name(name));
    let phone = text(&mapping.phone).map(|phone| parse_phone(&phone, region, call_also));
    records.person = match (name, phone) {
        (Some(name), Some(Ok(parsed))) => Some(Person {
            name,
            phone: parsed.phone.to_string(),
            extension: parsed.extension,
            email: mapping.email.as_deref().and_then(text).filter(|email| email.contains('@')),
        }),
        (_, Some(Err(problem))) => {
            records.problems.push(format!("{}: {problem}", mapping.phone));
            None
        }
        (None, Some(Ok(_))) => {
            records.problems.push(format!("{}: there is no name to the phone", mapping.name));
            None
        }
        (_, None) => None,
    };
    let intents: Vec<String> = match mapping.intent.as_deref().and_then(|field| extracted.get(field)) {
        Some(Value::Array(words)) => words.iter().filter_map(text_of).map(|word| word.to_lowercase()).collect(),
        Some(word) => text_of(word).map(|word| word.to_lowercase()).into_iter().collect(),
        None => Vec::new(),
    };
    for (what, kind, record) in
        [("booking", &mapping.booking, &mut records.booking), ("ticket", &mapping.ticket, &mut records.ticket)]
    {
        let Some(kind) = kind else { continue };
        let is_wanted = |intent: &String| kind.intents.iter().any(|known| known.to_lowercase() == *intent);
        if !kind.intents.is_empty() && !intents.iter().any(is_wanted) {
            continue;
        }
        let fields: Map<String, Value> = kind
            .fields
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), Value::String(extracted.get(field).and_then(text_of)?))))
            .collect();
        if !fields.is_empty() {
            *record = Some(fields);
        } else if !kind.intents.is_empty() {
            records.problems.push(format!("a {what} is wanted, and none of its fields was extracted"));
        }
    }
    records
}

/// A value as text; none of what says nothing.
fn text_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.replace('\0', "").trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(answer) => answer.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let says_nothing = text.is_empty() || ["null", "none", "n/a", "undefined"].contains(&text.to_lowercase().as_str());
    (!says_nothing).then(|| text.chars().take(MAX_CHARS).collect())
}

/// Whether a text can be somebody's name.
pub fn is_name(text: &str) -> bool {
    let text = text.trim();
    text.chars().any(char::is_alphabetic)
        && !text.chars().any(char::is_control)
        && !NO_NAMES.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mapping() -> RecordMapping {
        serde_json::from_value(json!({
            "name": "name", "phone": "phone", "email": "email", "intent": "intent",
            "booking": {"intents": ["Booking", "appointment"], "fields": {"service": "service", "day": "day"}},
            "ticket": {"fields": {"subject": "complaint"}},
        }))
        .expect("a mapping")
    }

    fn records(extracted: &Value) -> Records {
        let us = "US".parse().expect("a region");
        records_of(&mapping(), extracted.as_object().expect("an object"), Some(us), CallAlso::default())
    }

    #[test]
    fn a_whole_extraction_comes_to_all_three() {
        let all = records(&json!({"name": " Ada Lovelace ", "phone": "(802) 223-6942", "email": "ada@example.com",
            "intent": "BOOKING", "service": "Cleaning", "day": "Friday", "complaint": "the door is stuck"}));
        let person = all.person.expect("a person");
        assert_eq!((person.name.as_str(), person.phone.as_str()), ("Ada Lovelace", "+18022236942"));
        assert_eq!(person.email.as_deref(), Some("ada@example.com"));
        assert_eq!(json!(all.booking), json!({"day": "Friday", "service": "Cleaning"}));
        assert_eq!(json!(all.ticket), json!({"subject": "the door is stuck"}));
        assert!(all.problems.is_empty());
    }

    #[test]
    fn nobody_is_made_of_half_a_person() {
        assert_eq!(records(&json!({})), Records::default());
        assert_eq!(records(&json!({"name": null, "phone": "", "intent": [], "day": "n/a"})), Records::default());
        for half in [
            json!({"name": "Ada"}),
            json!({"phone": "+18022236942"}),
            json!({"name": "Ada", "phone": "12"}),
            json!({"name": "unknown", "phone": "+18022236942"}),
            json!({"name": "  ", "phone": "+18022236942"}),
            json!({"name": "12345", "phone": "+18022236942"}),
            json!({"name": "Not Provided", "phone": "+18022236942"}),
            json!({"name": {"first": "Ada"}, "phone": "+18022236942"}),
        ] {
            let records = records(&half);
            assert_eq!(records.person, None, "{half}");
            assert!(!format!("{:?}", records.problems).contains("8022236942"), "{records:?}");
        }
    }

    #[test]
    fn what_only_looks_like_something_is_nothing() {
        assert_eq!(records(&json!({"intent": "booking", "day": "\u{0} \u{0}"})).booking, None);
    }

    #[test]
    fn intents_decide_where_there_are_any() {
        assert_eq!(records(&json!({"intent": "question", "service": "Cleaning"})).booking, None);
        assert!(records(&json!({"intent": ["question", "appointment"], "service": "Cleaning"})).booking.is_some());
        let empty = records(&json!({"intent": "booking"}));
        assert!(empty.booking.is_none() && empty.problems.len() == 1, "a booking of nothing is none: {empty:?}");
    }

    proptest! {
        #[test]
        fn no_extraction_makes_a_blank_record(name in ".{0,30}", phone in ".{0,20}", day in ".{0,10}") {
            let records = records(&json!({"name": name, "phone": phone, "intent": "booking", "day": day}));
            if let Some(person) = records.person {
                prop_assert!(person.name.chars().any(char::is_alphabetic) && person.phone.starts_with('+'));
            }
            for record in [records.booking, records.ticket].into_iter().flatten() {
                prop_assert!(record.values().all(|value| value.as_str().is_some_and(|text| !text.trim().is_empty())));
                prop_assert!(!record.is_empty());
            }
        }
    }
}
