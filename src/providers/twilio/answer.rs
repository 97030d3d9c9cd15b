//! What the service's refusals mean, and what an answer to a purchase or a release proves.

use serde::Deserialize;

use super::super::http::{Acted, Answer, ReadError};
use super::numbers::NumberRecord;
use crate::domain::numbers::Number;

/// What came of a request to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bought {
    /// It was bought.
    Yes(Box<Number>),
    /// Somebody else has it by now; another may be had.
    Taken {
        /// The service's words.
        reason: String,
    },
    /// It was not bought, and asking again in the same way does not help.
    Refused {
        /// The service's words, and what they mean.
        reason: String,
        /// Whether the credentials were refused.
        is_key: bool,
    },
    /// It was not bought since the request was not sent, or not carried out; it may be sent again.
    NotSent {
        /// Why.
        reason: String,
    },
    /// It may have been bought.
    Unknown {
        /// What was seen.
        reason: String,
    },
}

/// What came of a request to release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// The service says that it did. Whether the number is gone shows when it is looked for.
    Yes,
    /// It was gone already.
    Gone,
    /// It was not released, and asking again in the same way does not help.
    Refused {
        /// The service's words, and what they mean.
        reason: String,
    },
    /// The request was not sent, or not carried out.
    NotSent {
        /// Why.
        reason: String,
    },
    /// It may have been released.
    Unknown {
        /// What was seen.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: Option<i64>,
    #[serde(default)]
    message: Option<String>,
}

/// The codes that mean that a number cannot be had by whoever asked: not available, or none of the area code.
const TAKEN: [i64; 2] = [21422, 21452];

/// What the service's error codes mean for whoever has to mend it.
///
/// Source: <https://www.twilio.com/docs/api/errors>
pub const fn meaning(code: i64) -> Option<&'static str> {
    Some(match code {
        20003 => "the account SID, the auth token or the API key is wrong",
        20005 => "the account is not active",
        20008 => "these are test credentials, which reach nothing real",
        20404 => "there is no such thing in this account",
        20429 => "too many requests at once",
        21404 => "a trial account has no room for another number",
        21421 => "that is no phone number",
        21422 => "somebody else has the number by now",
        21452 => "there is no number with this area code",
        21615 | 21631 | 21651 => "numbers of this country want an address, which the account does not have",
        21649 => "numbers of this country want a bundle of documents, which the account does not have",
        _ => return None,
    })
}

/// The service's own words with what they mean; the beginning of the answer where it is none of its errors.
fn words(body: &str) -> (Option<i64>, String) {
    match serde_json::from_str::<Problem>(body) {
        Ok(Problem { code: Some(code), message }) => {
            let message = message.unwrap_or_default();
            let meaning = meaning(code).map(|meaning| format!(": {meaning}")).unwrap_or_default();
            (Some(code), format!("{code} {message}{meaning}"))
        }
        Ok(Problem { code: None, message: Some(message) }) => (None, message),
        _ => (None, body.to_owned()),
    }
}

/// An error with the service's own words instead of its JSON.
pub(super) fn told(error: ReadError) -> ReadError {
    match error {
        ReadError::Unauthorized { status, body } => ReadError::Unauthorized { status, body: words(&body).1 },
        ReadError::NotFound { body } => ReadError::NotFound { body: words(&body).1 },
        ReadError::Broken { status, body } => ReadError::Broken { status, body: words(&body).1 },
        other => other,
    }
}

/// What an answer to a purchase proves.
pub(super) fn bought(acted: Acted) -> Bought {
    let answer = match acted {
        Acted::Answered(answer) => answer,
        Acted::NotSent { reason } => return Bought::NotSent { reason },
        Acted::Lost { reason, .. } => return Bought::Unknown { reason },
    };
    let status = answer.status;
    if matches!(status, 200..=299) {
        return match serde_json::from_slice::<NumberRecord>(&answer.body) {
            Ok(record) => Bought::Yes(Box::new(record.into())),
            Err(error) => Bought::Unknown { reason: format!("status {status} with no number in it: {error}") },
        };
    }
    let (code, reason) = refusal(&answer);
    match status {
        429 => Bought::NotSent { reason },
        400..=499 if code.is_some_and(|code| TAKEN.contains(&code)) => Bought::Taken { reason },
        // 408 says that the service did not get all of it in time, which proves nothing.
        400..=407 | 409..=499 => Bought::Refused { reason, is_key: matches!(status, 401..=403) },
        _ => Bought::Unknown { reason },
    }
}

/// What an answer to a release proves.
pub(super) fn released(acted: Acted) -> Released {
    let answer = match acted {
        Acted::Answered(answer) => answer,
        Acted::NotSent { reason } => return Released::NotSent { reason },
        Acted::Lost { reason, .. } => return Released::Unknown { reason },
    };
    let (_, reason) = refusal(&answer);
    match answer.status {
        200..=299 => Released::Yes,
        404 => Released::Gone,
        429 => Released::NotSent { reason },
        400..=407 | 409..=499 => Released::Refused { reason },
        _ => Released::Unknown { reason },
    }
}

fn refusal(answer: &Answer) -> (Option<i64>, String) {
    let (code, words) = words(&String::from_utf8_lossy(&answer.body));
    let words = words.chars().take(300).collect::<String>();
    (code, format!("status {}: {words}", answer.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Acted {
        Acted::Answered(Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() })
    }

    #[test]
    fn only_what_proves_it_is_taken_for_bought_or_not_bought() {
        let error = |code: i64| format!(r#"{{"code":{code},"message":"No","more_info":"","status":400}}"#);
        let number = r#"{"sid":"PN1","account_sid":"AC1","phone_number":"+18025550100"}"#;
        let kind = |acted| match bought(acted) {
            Bought::Yes(_) => "yes",
            Bought::Taken { .. } => "taken",
            Bought::Refused { is_key: true, .. } => "key",
            Bought::Refused { .. } => "refused",
            Bought::NotSent { .. } => "not sent",
            Bought::Unknown { .. } => "unknown",
        };
        for (status, body, expected) in [
            (201, number, "yes"),
            (200, number, "yes"),
            (201, "{}", "unknown"),
            (201, "{\"sid\":", "unknown"),
            (400, &error(21422), "taken"),
            (400, &error(21452), "taken"),
            (400, &error(21421), "refused"),
            (400, "<html>", "refused"),
            (401, &error(20003), "key"),
            (429, &error(20429), "not sent"),
            (408, "", "unknown"),
            (302, "", "unknown"),
            (500, &error(20500), "unknown"),
            (503, "", "unknown"),
        ] {
            assert_eq!(kind(answered(status, body)), expected, "{status} {body}");
        }
        assert_eq!(kind(Acted::NotSent { reason: String::new() }), "not sent");
        assert_eq!(kind(Acted::Lost { reason: String::new(), date: None }), "unknown");
    }

    #[test]
    fn a_release_is_not_believed_without_an_answer() {
        let kind = |acted| match released(acted) {
            Released::Yes => "yes",
            Released::Gone => "gone",
            Released::Refused { .. } => "refused",
            Released::NotSent { .. } => "not sent",
            Released::Unknown { .. } => "unknown",
        };
        for (status, expected) in
            [(204, "yes"), (404, "gone"), (400, "refused"), (429, "not sent"), (500, "unknown"), (302, "unknown")]
        {
            assert_eq!(kind(answered(status, "")), expected, "{status}");
        }
    }

    #[test]
    fn an_error_is_told_in_the_services_words_with_their_meaning() {
        let body = r#"{"code":20003,"message":"Authenticate","more_info":"x","status":401}"#.to_owned();
        let ReadError::Unauthorized { body, .. } = told(ReadError::Unauthorized { status: 401, body }) else {
            panic!("another error")
        };
        assert_eq!(body, "20003 Authenticate: the account SID, the auth token or the API key is wrong");
        assert_eq!(words("<html>").1, "<html>");
        assert_eq!(words(r#"{"message":"m"}"#).1, "m");
    }
}
