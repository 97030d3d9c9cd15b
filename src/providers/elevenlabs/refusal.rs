//! What ElevenLabs' answer to the request for a call proves.
//!
//! The service asks a carrier in turn, and may say 200 with `"success": false` and the carrier's words. Such words prove
//! that nothing rang where the carrier refused to make the call, and where the service itself refused before it asked
//! anybody. Where they tell how a call went (a SIP status of the callee's side, a failure in the carrier), a phone may
//! have rung.

use serde_json::Value;

use crate::domain::dial::{DialAnswer, RefusalClass};
use crate::providers::http::{Answer, text};

/// What a message of the carrier's proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// It made no call.
    Refused(RefusalClass),
    /// It may have made one.
    Tried,
}

/// What a complete answer proves.
pub(super) fn judge(answer: &Answer) -> DialAnswer {
    let status = answer.status;
    let unknown = |what: &str| DialAnswer::Unknown { reason: format!("status {status}, {what}: {}", answer.excerpt()) };
    let raw: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let class = match status {
        200..=299 => {
            let Some(raw) = raw else { return unknown("not JSON") };
            let id = text(&raw, "/conversation_id");
            match (raw.get("success").and_then(Value::as_bool), id) {
                (Some(false), id) => match class_of_failure(&raw, id.is_some()) {
                    Some(class) => class,
                    None => return unknown("no proof that nothing rang"),
                },
                (_, Some(id)) => {
                    return DialAnswer::Accepted { provider_call_id: id, org_id: None, queued: false, raw };
                }
                (_, None) => return unknown("no conversation id"),
            }
        }
        // These can come from something in between that had passed the request on: no proof of refusal.
        408 | 409 | 499 => return unknown("no proof of refusal"),
        400..=499 => {
            let message = message_of(raw.as_ref(), &answer.body);
            match carrier(&message) {
                Some(Carrier::Tried) => return unknown("the carrier was asked"),
                Some(Carrier::Refused(class)) => class,
                None => class_of_status(status, raw.as_ref(), &message),
            }
        }
        _ => return unknown("no proof either way"),
    };
    DialAnswer::Refused {
        class,
        reason: format!("status {status}: {}", answer.excerpt()),
        http_status: Some(status),
        retry_after: answer.retry_after,
    }
}

/// Whose fault a 4xx is. What is not recognised is the campaign's, so that nothing is spent on numbers.
fn class_of_status(status: u16, raw: Option<&Value>, message: &str) -> RefusalClass {
    let code = raw.and_then(|raw| text(raw, "/detail/code").or_else(|| text(raw, "/detail/status")));
    let words = format!("{} {message}", code.unwrap_or_default().to_lowercase());
    match status {
        401..=403 => RefusalClass::Account,
        404 => RefusalClass::Campaign,
        429 if is_about_money(&words) => RefusalClass::Account,
        429 => RefusalClass::Capacity,
        _ => {
            let param = raw.and_then(|raw| text(raw, "/detail/param"));
            let places = raw.and_then(|raw| raw.pointer("/detail")).and_then(Value::as_array);
            let is_number = match places {
                Some(errors) => !errors.is_empty() && errors.iter().all(is_about_the_number),
                None => param.as_deref().is_some_and(|param| param.rsplit('.').next() == Some("to_number")),
            };
            if is_number { RefusalClass::Number } else { own(&words).unwrap_or(RefusalClass::Campaign) }
        }
    }
}

/// Whether one error of a 422 is about the phone.
fn is_about_the_number(error: &Value) -> bool {
    let place = error.get("loc").and_then(Value::as_array);
    place.and_then(|place| place.last()).and_then(Value::as_str) == Some("to_number")
}

/// Whose fault it is that a call was not made, of which the answer says so; none where a phone may have rung.
fn class_of_failure(raw: &Value, is_a_conversation: bool) -> Option<RefusalClass> {
    // The carrier has a call of it.
    if text(raw, "/callSid").is_some() || text(raw, "/sip_call_id").is_some() {
        return None;
    }
    let message = text(raw, "/message").unwrap_or_default().to_lowercase();
    match carrier(&message) {
        Some(Carrier::Refused(class)) => Some(class),
        Some(Carrier::Tried) => None,
        // With a conversation of it, what the service itself refuses may come later than the call.
        None if is_a_conversation => None,
        None => own(&message),
    }
}

/// What the words of a carrier prove; none where they are none of a carrier's.
fn carrier(message: &str) -> Option<Carrier> {
    if let Some(status) = super::conversation::sip_status(message) {
        return Some(match status {
            // The trunk wants other credentials, before it passes anything on.
            401 | 402 | 407 => Carrier::Refused(RefusalClass::Account),
            404 | 484 | 604 => Carrier::Refused(RefusalClass::Number),
            // Busy, declined, gone: somebody's phone may have said so.
            _ => Carrier::Tried,
        });
    }
    if message.contains("invite failed") || message.contains("sip status") {
        return Some(Carrier::Tried);
    }
    let status: u16 = message.split_once("http ")?.1.get(..3)?.parse().ok()?;
    Some(match status {
        // Another word for "the call was not created", by the carrier itself.
        400..=499 if !matches!(status, 408 | 409 | 499) && message.contains("unable to create record") => {
            Carrier::Refused(class_of_carrier(status, message))
        }
        _ => Carrier::Tried,
    })
}

fn class_of_carrier(status: u16, message: &str) -> RefusalClass {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match status {
        401..=403 => RefusalClass::Account,
        429 => RefusalClass::Capacity,
        // Names the account, and another country may be allowed.
        _ if says(&["international permission", "geo permission"]) => RefusalClass::Campaign,
        _ if says(&["'to' number", "'to' phone number", "number you are attempting to call"]) => RefusalClass::Number,
        _ if says(&["authenticat", "balance", "suspended", "not active", "insufficient"]) => RefusalClass::Account,
        _ => RefusalClass::Campaign,
    }
}

/// Whose fault something is that the service itself refuses; none where its words are not recognised.
fn own(message: &str) -> Option<RefusalClass> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "concurrent",
        "concurrency",
        "rate limit",
        "rate_limit",
        "too many requests",
        "system_busy",
        "system busy",
    ]) {
        Some(RefusalClass::Capacity)
    } else if is_about_money(message) || says(&["api key", "api_key", "unauthorized", "authenticat"]) {
        Some(RefusalClass::Account)
    } else if says(&["to_number", "to number", "destination number"]) && says(&["invalid", "not valid", "not a valid"])
    {
        Some(RefusalClass::Number)
    } else if says(&["agent", "phone number", "phone_number", "document"])
        && says(&["not found", "not_found", "not exist"])
    {
        Some(RefusalClass::Campaign)
    } else {
        None
    }
}

fn is_about_money(message: &str) -> bool {
    ["quota", "credit", "payment", "billing", "subscription"].iter().any(|word| message.contains(word))
}

/// What an error says, in whichever of its forms, in lower case.
fn message_of(raw: Option<&Value>, body: &[u8]) -> String {
    let known = raw.and_then(|raw| {
        ["/detail/message", "/detail", "/detail/status", "/message"].iter().find_map(|place| text(raw, place))
    });
    known.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(status: u16, body: &Value) -> DialAnswer {
        crate::providers::elevenlabs::verdict(status, body.to_string().as_bytes())
    }

    fn class(status: u16, body: &Value) -> Option<RefusalClass> {
        match judged(status, body) {
            DialAnswer::Refused { class, http_status, .. } => {
                assert_eq!(http_status, Some(status));
                Some(class)
            }
            DialAnswer::Unknown { .. } => None,
            other => panic!("{status} {body}: {other:?}"),
        }
    }

    fn failed(message: &str) -> Value {
        json!({"success": false, "message": message, "conversation_id": null, "callSid": null})
    }

    #[test]
    fn the_documented_answer_is_an_acceptance() {
        let path = format!("{}/tests/fixtures/elevenlabs/outbound-call.json", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_json::from_slice(&std::fs::read(path).expect("a sample")).expect("JSON");
        let DialAnswer::Accepted { provider_call_id, org_id, queued, .. } = judged(200, &sample) else {
            panic!("not accepted")
        };
        assert_eq!((provider_call_id.as_str(), org_id, queued), ("conv_abc123", None, false));
    }

    #[test]
    fn an_acceptance_needs_a_conversation() {
        assert!(matches!(judged(200, &json!({"conversation_id": "c"})), DialAnswer::Accepted { .. }));
        for body in [
            json!({}),
            json!([]),
            json!({"success": true, "message": "ok", "conversation_id": null, "callSid": "CA1"}),
            json!({"success": true, "conversation_id": ""}),
            json!({"success": true, "conversation_id": 7}),
        ] {
            assert_eq!(class(200, &body), None, "{body}");
        }
    }

    #[test]
    fn a_failure_is_a_refusal_only_where_it_proves_that_nothing_rang() {
        use RefusalClass::{Account, Campaign, Capacity, Number};
        for (message, expected) in [
            ("HTTP 401 error: Unable to create record: Authenticate", Some(Account)),
            ("HTTP 403 error: Unable to create record: Account not active", Some(Account)),
            ("HTTP 400 error: Unable to create record: Account has insufficient funds", Some(Account)),
            ("HTTP 429 error: Unable to create record: Too Many Requests", Some(Capacity)),
            (
                "HTTP 400 error: Unable to create record: The 'To' number +1555 is not a valid phone number",
                Some(Number),
            ),
            ("HTTP 400 error: Unable to create record: The source phone number provided is not yours", Some(Campaign)),
            (
                "HTTP 400 error: Unable to create record: Account not authorized to call +881. Perhaps you need to \
                 enable some international permissions",
                Some(Campaign),
            ),
            ("HTTP 400 error: Unable to fetch record", None),
            ("HTTP 500 error: Unable to create record: internal", None),
            ("HTTP 409 error: Unable to create record: conflict", None),
            ("INVITE failed: sip status: 486: Busy here (SIP 486)", None),
            ("INVITE failed: sip status: 480: Temporarily unavailable", None),
            ("INVITE failed", None),
            ("INVITE failed: sip status: 407: Proxy Authentication Required", Some(Account)),
            ("INVITE failed: sip status: 404: Not Found", Some(Number)),
            ("Agent not found", Some(Campaign)),
            ("Document with id phnum_1 not found", Some(Campaign)),
            ("Workspace concurrency limit reached", Some(Capacity)),
            ("This request exceeds your quota", Some(Account)),
            ("Invalid to_number", Some(Number)),
            ("Invalid phone number", None),
            ("Request timed out", None),
            ("Something new", None),
            ("", None),
        ] {
            assert_eq!(class(200, &failed(message)), expected, "{message}");
        }
    }

    #[test]
    fn a_failure_of_which_there_is_a_call_proves_nothing() {
        let message = "HTTP 401 error: Unable to create record: Authenticate";
        for (key, id) in [("callSid", "CA1"), ("sip_call_id", "s")] {
            let mut body = failed(message);
            body[key] = json!(id);
            assert_eq!(class(200, &body), None, "{key}");
        }
        // The carrier's own refusal does, even beside a conversation; the service's does not.
        let with_conversation = |message: &str| {
            let mut body = failed(message);
            body["conversation_id"] = json!("conv_1");
            class(200, &body)
        };
        assert_eq!(with_conversation(message), Some(RefusalClass::Account));
        assert_eq!(with_conversation("This request exceeds your quota"), None);
    }

    #[test]
    fn statuses_have_their_class() {
        use RefusalClass::{Account, Campaign, Capacity, Number};
        let coded = |code: &str| json!({"detail": {"type": "x", "code": code, "message": "m", "request_id": "r"}});
        let legacy = |status: &str| json!({"detail": {"status": status, "message": "m"}});
        let invalid = |places: &[&str]| {
            let errors = places.iter().map(|key| json!({"loc": ["body", key], "msg": "Field required", "type": "t"}));
            json!({"detail": errors.collect::<Vec<_>>()})
        };
        for (status, body, expected) in [
            (401, coded("invalid_api_key"), Account),
            (402, coded("insufficient_credits"), Account),
            (403, coded("forbidden"), Account),
            (404, coded("agent_not_found"), Campaign),
            (429, coded("rate_limit_exceeded"), Capacity),
            (429, coded("concurrent_limit_exceeded"), Capacity),
            (429, coded("system_busy"), Capacity),
            (429, legacy("too_many_concurrent_requests"), Capacity),
            (429, json!({}), Capacity),
            (429, legacy("quota_exceeded"), Account),
            (429, coded("insufficient_credits"), Account),
            (422, invalid(&["to_number"]), Number),
            (422, invalid(&["to_number", "agent_id"]), Campaign),
            (422, invalid(&["agent_phone_number_id"]), Campaign),
            (422, invalid(&[]), Campaign),
            (422, json!({"detail": "no"}), Campaign),
            (400, json!({"detail": {"code": "invalid_parameters", "param": "to_number", "message": "m"}}), Number),
            (400, coded("concurrent_limit_exceeded"), Capacity),
            (400, json!({"detail": "Agent not found"}), Campaign),
            (400, json!("what"), Campaign),
        ] {
            assert_eq!(class(status, &body), Some(expected), "{status} {body}");
        }
        let rang = json!({"detail": {"message": "INVITE failed: sip status: 486: Busy here"}});
        assert_eq!(class(400, &rang), None);
        for status in [100, 301, 307, 408, 409, 499, 500, 502, 503, 504, 520] {
            assert_eq!(class(status, &json!({})), None, "{status}");
        }
    }
}
