//! Whether what was sent or answered is what a service's own description says: as much of JSON Schema as the descriptions
//! below `tests/fixtures` use, and stricter: nothing may be there that they do not name.

use chrono::{DateTime, NaiveDate};
use serde_json::{Value, json};

/// Everything that is wrong with a value; `schemas` holds what a schema may refer to.
pub(crate) fn problems(schemas: &Value, value: &Value, schema: &Value, place: &str) -> Vec<String> {
    // What is not set is null or empty, whatever it would have to be.
    if schema["nullable"] == true && (value.is_null() || value == "") {
        return Vec::new();
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        let known = &schemas[name];
        assert!(known.is_object(), "{name}");
        return problems(schemas, value, known, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let each: Vec<Vec<String>> = any.iter().map(|one| problems(schemas, value, one, place)).collect();
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
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|least| length < least)
            || schema["maxLength"].as_u64().is_some_and(|most| length > most)
        {
            found.push(format!("{place} is too short or too long: {text}"));
        }
        if schema["pattern"].as_str().is_some_and(|pattern| !is_of_pattern(text, pattern))
            || schema["format"].as_str().is_some_and(|format| !is_of_format(text, format))
        {
            found.push(format!("{place} is not of the form that it must have: {text}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(problems(schemas, item, &schema["items"], &format!("{place}[]")));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(schema) => found.extend(problems(schemas, inner, schema, &format!("{place}.{key}"))),
            None if schema["additionalProperties"] == true => {}
            None if schema["format"] == "uri-map" && inner.as_str().is_some_and(|uri| is_of_format(uri, "uri")) => {}
            None => found.push(format!("{place}.{key} is not in the contract")),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            found.push(format!("{place}.{key} is missing"));
        }
    }
    found
}

/// Everything that is wrong with a text of a query or a form, which may stand for a number or a truth.
pub(crate) fn problems_of_text(schemas: &Value, text: &str, schema: &Value, place: &str) -> Vec<String> {
    let forms = [Some(json!(text)), text.parse::<i64>().ok().map(|n| json!(n)), text.parse().ok().map(Value::Bool)];
    let each: Vec<Vec<String>> = forms.iter().flatten().map(|form| problems(schemas, form, schema, place)).collect();
    if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() }
}

/// Whether a path is one of a template such as `/call/{id}`.
pub(crate) fn is_path_of(path: &str, template: &str) -> bool {
    let (wanted, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len() && wanted.iter().zip(&given).all(|(wanted, given)| parameter(wanted, given).is_some())
}

/// What stands where a part of a template has a name, and its name; two empty texts where the part has none.
pub(crate) fn parameter<'a>(wanted: &'a str, given: &'a str) -> Option<(&'a str, &'a str)> {
    let Some((name, end)) = wanted.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return (wanted == given).then_some(("", ""));
    };
    given.strip_suffix(end).filter(|value| !value.is_empty()).map(|value| (name, value))
}

/// The one kind of pattern that is in use: two letters, and so many hexadecimal digits.
fn is_of_pattern(text: &str, pattern: &str) -> bool {
    let rest = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix("[0-9a-fA-F]{32}$"));
    let prefix = rest.unwrap_or_else(|| panic!("{pattern} is not understood here"));
    text.strip_prefix(prefix).is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_of_format(text: &str, format: &str) -> bool {
    match format {
        // A number of the country that a record shows, or a part of one that a filter looks for.
        "phone-number" => text.bytes().all(|byte| byte.is_ascii_digit() || b"+*()- ".contains(&byte)),
        "uri" => text.is_empty() || text.starts_with('/') || text.contains("://"),
        "date-time" => text.parse::<NaiveDate>().is_ok() || DateTime::parse_from_rfc3339(text).is_ok(),
        "date-time-rfc-2822" => DateTime::parse_from_rfc2822(text).is_ok() && text.ends_with(" +0000"),
        "iso-country-code" => text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        "currency" => text.len() == 3,
        "http-method" => matches!(text, "GET" | "POST"),
        other => panic!("{other} is not understood here"),
    }
}
