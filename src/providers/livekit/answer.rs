//! What answers prove. An error is Twirp's (`code`, `msg`, `meta`); where the call itself failed, the status that the
//! carrier gave stands in `meta`, and it alone says how: a busy line comes as 429, like too many requests.

use serde_json::Value;

use super::text;
use crate::domain::dial::{DialAnswer, RefusalClass};
use crate::domain::outcome::Outcome;
use crate::providers::http::Answer;

/// What a complete answer to the request that rings proves.
pub(super) fn judge(answer: &Answer, room: &str) -> DialAnswer {
    let (status, raw) = (answer.status, body_of(answer));
    let unknown = |what: &str| DialAnswer::Unknown { reason: format!("status {status}, {what}: {}", answer.excerpt()) };
    if (200..300).contains(&status) {
        return match text(&raw, "sip_call_id").or_else(|| text(&raw, "sipCallId")) {
            Some(_) => DialAnswer::Answered { provider_call_id: room.to_owned(), raw },
            None => unknown("no id of a call"),
        };
    }
    if let Some(code) = sip_status(&raw) {
        return match outcome_of(code) {
            Some(outcome) => DialAnswer::Ended {
                provider_call_id: room.to_owned(),
                outcome,
                reason: format!("sip status {code}: {}", sip_words(&raw)),
            },
            None => unknown("no proof either way"),
        };
    }
    // Without its own words an answer does not say whether the service or the carrier refused, after the phone rang.
    match class_of(status, &raw).filter(|_| is_of_the_service(&raw)) {
        Some(class) => refused(answer, class),
        None => unknown("no proof either way"),
    }
}

/// What follows where the room was not made: nobody was called.
pub(super) fn room_refused(answer: &Answer) -> DialAnswer {
    match class_of(answer.status, &body_of(answer)) {
        // A name that is no phone is not the phone's fault.
        Some(RefusalClass::Number) => refused(answer, RefusalClass::Campaign),
        Some(class) => refused(answer, class),
        None => DialAnswer::NotSent {
            reason: format!("nobody was called, as there is no room: status {}: {}", answer.status, answer.excerpt()),
        },
    }
}

fn refused(answer: &Answer, class: RefusalClass) -> DialAnswer {
    DialAnswer::Refused {
        class,
        reason: format!("status {}: {}", answer.status, answer.excerpt()),
        http_status: Some(answer.status),
        retry_after: answer.retry_after,
    }
}

fn body_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Whose fault an error is that has no SIP status; none where it proves nothing.
fn class_of(status: u16, raw: &Value) -> Option<RefusalClass> {
    // Something in between may answer as well, and has no code.
    let code = code_of(raw).unwrap_or(match status {
        401 | 403 => "unauthenticated",
        404 | 405 => "bad_route",
        429 => "resource_exhausted",
        400 | 413 | 415 | 422 => "malformed",
        _ => "",
    });
    Some(match code {
        // A grant that is missing comes as `unauthenticated` too. A wrong path is a wrong address.
        "unauthenticated" | "permission_denied" | "bad_route" | "unimplemented" => RefusalClass::Account,
        "resource_exhausted" => RefusalClass::Capacity,
        "invalid_argument" | "out_of_range" if is_about_the_number(raw) => RefusalClass::Number,
        "invalid_argument" | "out_of_range" | "malformed" | "not_found" | "failed_precondition" => {
            RefusalClass::Campaign
        }
        // The rest, `unavailable` among them, does not say how far it came.
        _ => return None,
    })
}

/// Whether the service itself refused, before it called anybody. A carrier's refusal, after the phone rang, comes by some of
/// the same codes, and its SIP status may be lost on the way.
fn is_of_the_service(raw: &Value) -> bool {
    let message = raw.get("msg").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let says = |any: &[&str]| any.iter().any(|word| message.contains(word));
    match code_of(raw) {
        Some("unauthenticated" | "bad_route" | "unimplemented" | "malformed" | "invalid_argument" | "out_of_range") => {
            true
        }
        Some("not_found") => says(&["trunk"]),
        Some("permission_denied") => says(&["permissions denied", "limits"]),
        Some("resource_exhausted") => says(&["rate limit", "too many requests", "quota", "limit exceeded"]),
        _ => false,
    }
}

fn code_of(raw: &Value) -> Option<&str> {
    raw.get("code").and_then(Value::as_str)
}

fn is_about_the_number(raw: &Value) -> bool {
    let message = raw.get("msg").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    ["sip_call_to", "sipcallto", "call_to", "callto"].iter().any(|name| message.contains(name))
        && !message.contains("missing")
}

/// The carrier's status; 0 where there is one that cannot be read.
fn sip_status(raw: &Value) -> Option<u16> {
    let message = raw.get("msg").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let in_words = |word: &str| message.split_once(word).map(|(_, rest)| leading_number(rest));
    match raw.pointer("/meta/sip_status_code") {
        Some(Value::String(code)) => Some(leading_number(code)),
        Some(code) => Some(code.as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0)),
        // The words say the same, should the rest get lost.
        None => in_words("sip status")
            .or_else(|| in_words("(sip "))
            .or_else(|| raw.pointer("/meta/sip_status").map(|_| 0))
            .or_else(|| message.contains("invite failed").then_some(0)),
    }
}

fn leading_number(text: &str) -> u16 {
    let text = text.trim_start_matches([':', ' ']);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

fn sip_words(raw: &Value) -> String {
    let words = raw.pointer("/meta/sip_status").and_then(Value::as_str).filter(|words| !words.is_empty());
    let words = words.or_else(|| raw.get("msg").and_then(Value::as_str)).unwrap_or("no words");
    words.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What a carrier's last word on a call means; none where it may ring on: somebody gave up waiting.
fn outcome_of(sip_status: u16) -> Option<Outcome> {
    Some(match sip_status {
        // The carrier refused the trunk's credentials or credit.
        401 | 402 | 407 => Outcome::AccountError,
        404 | 410 | 484 | 604 => Outcome::InvalidNumber,
        480 | 487 => Outcome::NoAnswer,
        486 | 600 => Outcome::Busy,
        403 | 603 | 607 | 608 => Outcome::Rejected,
        408 | 504 => return None,
        300..=699 => Outcome::ProviderError,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn failed(status: u16, sip: &str) -> DialAnswer {
        let body = json!({"code": "x", "msg": "m", "meta": {"sip_status_code": sip, "sip_status": "words"}});
        judge(&answer(status, &body.to_string()), "room")
    }

    #[test]
    fn the_carriers_status_comes_before_that_of_the_answer() {
        for (status, sip, outcome) in [
            (429, "486", Outcome::Busy),
            (429, "600", Outcome::Busy),
            (429, "480", Outcome::NoAnswer),
            (408, "487", Outcome::NoAnswer),
            (403, "603", Outcome::Rejected),
            (403, "403", Outcome::Rejected),
            (404, "404", Outcome::InvalidNumber),
            (400, "484", Outcome::InvalidNumber),
            (404, "604", Outcome::InvalidNumber),
            (412, "503", Outcome::ProviderError),
            (500, "500", Outcome::ProviderError),
            (401, "407", Outcome::AccountError),
        ] {
            let DialAnswer::Ended { outcome: seen, reason, .. } = failed(status, sip) else { panic!("{status} {sip}") };
            assert_eq!((seen, reason), (outcome, format!("sip status {sip}: words")), "{status}");
        }
        for (status, sip) in [(408, "504"), (412, "504"), (408, "408"), (429, "7"), (500, "999"), (429, ""), (429, "x")]
        {
            assert!(matches!(failed(status, sip), DialAnswer::Unknown { .. }), "{status} {sip}");
        }
        let in_words = json!({"code": "resource_exhausted", "msg": "twirp error: sip status 486: Busy here"});
        assert!(matches!(
            judge(&answer(429, &in_words.to_string()), "room"),
            DialAnswer::Ended { outcome: Outcome::Busy, .. }
        ));
    }

    #[test]
    fn without_it_the_class_is_that_of_the_code() {
        for (status, code, message, class) in [
            (401, "unauthenticated", "permissions denied", Some(RefusalClass::Account)),
            (403, "permission_denied", "", Some(RefusalClass::Account)),
            (404, "bad_route", "no handler", Some(RefusalClass::Account)),
            (404, "not_found", "requested sip trunk does not exist", Some(RefusalClass::Campaign)),
            (400, "invalid_argument", "missing room name", Some(RefusalClass::Campaign)),
            (400, "invalid_argument", "missing sip_call_to", Some(RefusalClass::Campaign)),
            (400, "invalid_argument", "sip_call_to must be a number", Some(RefusalClass::Number)),
            (412, "failed_precondition", "", Some(RefusalClass::Campaign)),
            (429, "resource_exhausted", "rate limit", Some(RefusalClass::Capacity)),
            (408, "deadline_exceeded", "context deadline exceeded", None),
            (408, "canceled", "", None),
            (409, "aborted", "", None),
            (409, "already_exists", "", None),
            (500, "internal", "", None),
            (500, "unknown", "", None),
            (503, "unavailable", "no response from servers", None),
        ] {
            let raw = json!({"code": code, "msg": message});
            assert_eq!(class_of(status, &raw), class, "{code} {message}");
            // A decline and a failing carrier come by these codes too, after the phone rang.
            let may_have_rung = class.is_none() || ["permission_denied", "failed_precondition"].contains(&code);
            let judged = judge(&answer(status, &raw.to_string()), "room");
            assert_eq!(matches!(judged, DialAnswer::Unknown { .. }), may_have_rung, "{judged:?}");
            // Where the room is not made nothing rang, whatever the reason.
            let without = room_refused(&answer(status, &raw.to_string()));
            assert_eq!(matches!(without, DialAnswer::NotSent { .. }), class.is_none(), "{without:?}");
        }
        for message in ["INVITE failed: Busy here", "twirp error: SIP status: ", "dial failed (SIP 4xx)", "busy", ""] {
            let raw = json!({"code": "resource_exhausted", "msg": message});
            assert!(matches!(judge(&answer(429, &raw.to_string()), "room"), DialAnswer::Unknown { .. }), "{message}");
        }
        // A busy line comes as 429: if that cannot be read, the phone may have rung.
        for status in [400, 401, 403, 404, 412, 429] {
            for body in ["", "<html>", "{}", r#"{"code": 7}"#, r#"{"message": "slow down"}"#] {
                assert!(matches!(judge(&answer(status, body), "room"), DialAnswer::Unknown { .. }), "{status} {body}");
            }
        }
        assert_eq!(class_of(502, &Value::Null), None);
        assert_eq!(class_of(302, &Value::Null), None);
        assert_eq!(class_of(403, &json!("<html>")), Some(RefusalClass::Account));
    }

    #[test]
    fn only_the_id_of_a_call_shows_that_it_was_answered() {
        for body in ["{}", "[]", "", "null", r#"{"sip_call_id": ""}"#, r#"{"sip_call_id": 7}"#, "<html>"] {
            assert!(matches!(judge(&answer(200, body), "room"), DialAnswer::Unknown { .. }), "{body}");
        }
        let answered = judge(&answer(200, r#"{"sip_call_id": "SCL_1"}"#), "room");
        assert!(matches!(answered, DialAnswer::Answered { ref provider_call_id, .. } if provider_call_id == "room"));
    }

    #[test]
    fn no_answer_however_spoilt_proves_more_than_it_says() {
        let sound = [
            json!({"sip_call_id": "SCL_1", "participant_id": "PA_1"}),
            json!({"code": "resource_exhausted", "msg": "x", "meta": {"sip_status_code": "486", "sip_status": "Busy"}}),
            json!({"code": "unauthenticated", "msg": "permissions denied"}),
            json!({"code": "invalid_argument", "msg": "sip_call_to"}),
        ];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let mut bytes = sound[random.usize(..sound.len())].to_string().into_bytes();
            for _ in 0..random.usize(..4) {
                let at = random.usize(..bytes.len().max(1));
                match random.u8(..3) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at.min(bytes.len()), random.u8(32..127)),
                    _ if at < bytes.len() => bytes[at] = random.u8(32..127),
                    _ => {}
                }
            }
            let status = [200, 201, 400, 401, 403, 404, 408, 412, 429, 500, 503][random.usize(..11)];
            let raw: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let judged = judge(&answer(status, &String::from_utf8_lossy(&bytes)), "room");
            let holds = match &judged {
                DialAnswer::Answered { .. } => {
                    status < 300 && (text(&raw, "sip_call_id").is_some() || text(&raw, "sipCallId").is_some())
                }
                DialAnswer::Ended { .. } => status >= 400 && sip_status(&raw).is_some_and(|code| code >= 300),
                DialAnswer::Refused { .. } => status >= 400 && code_of(&raw).is_some() && sip_status(&raw).is_none(),
                DialAnswer::Unknown { .. } => true,
                DialAnswer::Accepted { .. } | DialAnswer::NotSent { .. } => false,
            };
            assert!(holds, "{status} {raw}: {judged:?}");
        }
    }
}
