//! What Vapi accepts, as strictly as Vapi: it refuses properties that it does not know.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::sandbox::filter::{Between, Filter};
use crate::sandbox::state::{Service, Wanted};

const CALL_PROPERTIES: &[&str] = &[
    "assistant",
    "assistantId",
    "assistantOverrides",
    "assistantVersion",
    "customer",
    "customerId",
    "customers",
    "name",
    "phoneNumber",
    "phoneNumberId",
    "schedulePlan",
    "squad",
    "squadId",
    "squadOverrides",
    "transport",
    "workflow",
    "workflowId",
    "workflowOverrides",
];

const CUSTOMER_PROPERTIES: &[&str] = &[
    "assistantOverrides",
    "email",
    "extension",
    "externalId",
    "name",
    "number",
    "numberE164CheckEnabled",
    "sipUri",
    "squadOverrides",
];

const OVERRIDE_PROPERTIES: &[&str] = &[
    "analysisPlan",
    "artifactPlan",
    "backgroundSound",
    "backgroundSpeechDenoisingPlan",
    "clientMessages",
    "compliancePlan",
    "credentialIds",
    "credentials",
    "endCallMessage",
    "endCallPhrases",
    "firstMessage",
    "firstMessageInterruptionsEnabled",
    "firstMessageMode",
    "hooks",
    "keypadInputPlan",
    "maxDurationSeconds",
    "metadata",
    "model",
    "modelOutputInMessagesEnabled",
    "monitorPlan",
    "name",
    "observabilityPlan",
    "server",
    "serverMessages",
    "startSpeakingPlan",
    "stopSpeakingPlan",
    "tools:append",
    "transcriber",
    "transportConfigurations",
    "variableValues",
    "voice",
    "voicemailDetection",
    "voicemailMessage",
];

const MAX_ID_CHARS: usize = 40;

/// What a body asks for, or everything that is wrong with it.
pub(super) fn parse_create(body: &[u8]) -> Result<Wanted, Vec<String>> {
    let body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(vec!["the body must be an object".to_owned()]),
        Err(error) => return Err(vec![format!("the body is not JSON: {error}")]),
    };
    let mut check = Check { errors: Vec::new() };
    check.known(&body, "", CALL_PROPERTIES);
    check.text(&body, "", "name", MAX_ID_CHARS);
    for key in ["assistantId", "phoneNumberId"] {
        check.text(&body, "", key, usize::MAX);
    }
    if body.contains_key("customers") {
        check.fail("the sandbox places no batches: customers");
    }
    if !["assistant", "assistantId", "squad", "squadId", "workflow", "workflowId"].iter().any(|k| body.contains_key(*k))
    {
        check.fail("Need one of `assistant`, `assistantId`, `squad`, `squadId`, `workflow` or `workflowId`.");
    }
    if !body.contains_key("phoneNumberId") && !body.contains_key("phoneNumber") {
        check.fail("Need either `phoneNumberId` or `phoneNumber`.");
    }
    if let Some(overrides) = check.object(&body, "", "assistantOverrides") {
        check.known(overrides, "assistantOverrides.", OVERRIDE_PROPERTIES);
        check.object(overrides, "assistantOverrides.", "metadata");
        check.object(overrides, "assistantOverrides.", "variableValues");
    }
    let mut earliest_at = None;
    if let Some(plan) = check.object(&body, "", "schedulePlan") {
        check.known(plan, "schedulePlan.", &["earliestAt", "latestAt"]);
        earliest_at = plan.get("earliestAt").and_then(Value::as_str).and_then(parse_time);
        if earliest_at.is_none() {
            check.fail("schedulePlan.earliestAt must be a valid ISO 8601 date string");
        }
    }
    let mut phone = String::new();
    match check.object(&body, "", "customer") {
        Some(customer) => phone = check.customer(customer),
        None if check.errors.is_empty() => check.fail("Need either `customer` or `customerId`."),
        None => {}
    }
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    let text = |key| body.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Wanted {
        service: Service::Vapi,
        phone,
        name: text("name"),
        assistant: text("assistantId"),
        line: text("phoneNumberId"),
        earliest_at,
        at_once: false,
        echo: Value::Object(body),
    })
}

struct Check {
    errors: Vec<String>,
}

impl Check {
    fn fail(&mut self, error: impl Into<String>) {
        self.errors.push(error.into());
    }

    fn known(&mut self, object: &Map<String, Value>, within: &str, properties: &[&str]) {
        for key in object.keys().filter(|key| !properties.contains(&key.as_str())) {
            self.fail(format!("{within}property {key} should not exist"));
        }
    }

    fn text<'a>(&mut self, object: &'a Map<String, Value>, within: &str, key: &str, most: usize) -> Option<&'a str> {
        let text = object.get(key)?.as_str();
        match text {
            None => self.fail(format!("{within}{key} must be a string")),
            Some(text) if text.chars().count() > most => {
                self.fail(format!("{within}{key} must be shorter than or equal to {most} characters"));
            }
            Some(_) => {}
        }
        text
    }

    fn object<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        within: &str,
        key: &str,
    ) -> Option<&'a Map<String, Value>> {
        let value = object.get(key)?;
        if !value.is_object() {
            self.fail(format!("{within}{key} must be an object"));
        }
        value.as_object()
    }

    /// The phone, if all is well.
    fn customer(&mut self, customer: &Map<String, Value>) -> String {
        self.known(customer, "customer.", CUSTOMER_PROPERTIES);
        for key in ["name", "email", "externalId"] {
            self.text(customer, "customer.", key, MAX_ID_CHARS);
        }
        self.text(customer, "customer.", "extension", 10);
        let number = self.text(customer, "customer.", "number", MAX_ID_CHARS).unwrap_or_default();
        let lenient = customer.get("numberE164CheckEnabled") == Some(&json!(false));
        let sound = if lenient {
            let rest = number.strip_prefix('+').unwrap_or(number);
            rest.len() >= 3 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        } else {
            is_e164(number)
        };
        if !sound {
            self.fail(
                "customer.number must be a valid phone number in the E.164 format. Hot tip, you may be missing the \
                 country code (Eg. US: +1).",
            );
        }
        number.to_owned()
    }
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

/// What a listing's query asks for, or everything that is wrong with it.
pub(super) fn parse_filter(query: Vec<(String, String)>) -> Result<Filter, Vec<String>> {
    let mut filter = Filter { limit: 100, ..Filter::default() };
    let mut errors = Vec::new();
    for (key, value) in query {
        match key.as_str() {
            "id" => filter.id = Some(value),
            "assistantId" => filter.assistant = Some(value),
            "phoneNumberId" => filter.line = Some(value),
            "limit" => match value.parse() {
                Ok(limit @ 0..=1000) => filter.limit = limit,
                Ok(_) => errors.push("limit must not be greater than 1000".to_owned()),
                Err(_) => errors.push("limit must be a number conforming to the specified constraints".to_owned()),
            },
            _ => match (bound(&mut filter, &key), parse_time(&value)) {
                (Some(bound), Some(at)) => *bound = Some(at),
                (Some(_), None) => errors.push(format!("{key} must be a valid ISO 8601 date string")),
                (None, _) => errors.push(format!("property {key} should not exist")),
            },
        }
    }
    if errors.is_empty() { Ok(filter) } else { Err(errors) }
}

/// What a listing of lines asks for, which takes times and a limit only.
pub(super) fn parse_line_filter(query: Vec<(String, String)>) -> Result<Filter, Vec<String>> {
    let others = ["id", "assistantId", "phoneNumberId"];
    match query.iter().find(|(key, _)| others.contains(&key.as_str())) {
        Some((key, _)) => Err(vec![format!("property {key} should not exist")]),
        None => parse_filter(query),
    }
}

/// One thing by its id takes no filter.
pub(super) fn refuse_query(query: &[(String, String)]) -> Result<(), Vec<String>> {
    let errors: Vec<String> = query.iter().map(|(key, _)| format!("property {key} should not exist")).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn bound<'a>(filter: &'a mut Filter, key: &str) -> Option<&'a mut Option<DateTime<Utc>>> {
    let (between, end): (&mut Between, _) = match (key.strip_prefix("createdAt"), key.strip_prefix("updatedAt")) {
        (Some(end), _) => (&mut filter.created, end),
        (_, Some(end)) => (&mut filter.updated, end),
        _ => return None,
    };
    match end {
        "Gt" => Some(&mut between.gt),
        "Ge" => Some(&mut between.ge),
        "Lt" => Some(&mut between.lt),
        "Le" => Some(&mut between.le),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({"assistantId": "a", "phoneNumberId": "p", "name": "n".repeat(40), "customer": {"number": "+14155550100"},
            "assistantOverrides": {"variableValues": {}, "metadata": {}}})
    }

    fn errors(change: impl Fn(&mut Value)) -> String {
        let mut body = good();
        change(&mut body);
        parse_create(body.to_string().as_bytes()).err().unwrap_or_default().join("; ")
    }

    #[test]
    fn it_refuses_what_the_contract_refuses() {
        assert_eq!(errors(|_| {}), "");
        assert_eq!(errors(|b| b["metadata"] = json!({})), "property metadata should not exist");
        assert_eq!(errors(|b| b["customer"]["id"] = json!(1)), "customer.property id should not exist");
        assert_eq!(
            errors(|b| b["assistantOverrides"]["x"] = json!(1)),
            "assistantOverrides.property x should not exist"
        );
        let long = json!("n".repeat(41));
        assert_eq!(errors(|b| b["name"] = long.clone()), "name must be shorter than or equal to 40 characters");
        let error = "customer.externalId must be shorter than or equal to 40 characters";
        assert_eq!(errors(|b| b["customer"]["externalId"] = long.clone()), error);
        for bad in ["4155550100", "+1 415 555 0100", "+0123456789", "+1234567890123456", "", "+1415555O100"] {
            let errors = errors(|b| b["customer"]["number"] = json!(bad));
            assert!(errors.starts_with("customer.number must be a valid phone number"), "{bad}: {errors}");
        }
        assert!(errors(|b| drop(b.as_object_mut().unwrap().remove("assistantId"))).contains("assistantId"));
        assert!(errors(|b| drop(b.as_object_mut().unwrap().remove("phoneNumberId"))).contains("phoneNumberId"));
        assert!(errors(|b| drop(b.as_object_mut().unwrap().remove("customer"))).contains("customer"));
        assert!(parse_create(b"[]").is_err());
        assert!(parse_create(b"{").is_err());
    }

    #[test]
    fn a_listing_takes_no_filter_that_does_not_exist() {
        let parse = |key: &str, value: &str| parse_filter(vec![(key.to_owned(), value.to_owned())]);
        assert_eq!(parse("limit", "1000").unwrap().limit, 1000);
        assert!(parse("createdAtGe", "2026-11-20T12:00:00Z").unwrap().created.ge.is_some());
        assert_eq!(parse("limit", "1001").unwrap_err(), ["limit must not be greater than 1000"]);
        assert_eq!(parse("name", "x").unwrap_err(), ["property name should not exist"]);
        assert!(parse("createdAtGe", "yesterday").is_err());
        assert_eq!(refuse_query(&[]), Ok(()));
        let errors = refuse_query(&[("limit".to_owned(), "1".to_owned())]).unwrap_err();
        assert_eq!(errors, ["property limit should not exist"]);
    }
}
