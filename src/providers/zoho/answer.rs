//! What answers mean: each has a code of its own beside HTTP's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Raw;
use crate::providers::http::{Answer, NoAnswer, ReadError};

/// The longest time until a day ends that is believed.
const LONGEST_DAY: Duration = Duration::from_hours(25);

/// Why a question brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The access token is worn, or may not do this: the same is said of both.
    #[error("Zoho refuses the access token (code 57): {message}")]
    TokenRefused {
        /// What it says.
        message: String,
    },
    /// More than 100 requests a minute, whoever sent them.
    #[error("the organisation got too many requests in a minute (code 44)")]
    TooManyInMinute {
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The day's requests are spent, whoever sent them.
    #[error("the organisation's requests of this day are spent (code 45)")]
    DaySpent {
        /// How long it is until there are new ones, if it says so.
        day_ends_in: Option<Duration>,
    },
    /// Too many requests at once.
    #[error("the organisation has too many requests under way (code 1070)")]
    TooManyAtOnce,
    /// There is no such record (code 1002).
    #[error("there is no such record (code 1002)")]
    Unknown {
        /// The service's clock.
        date: Option<DateTime<Utc>>,
        /// How long it is until the day's requests are to be had again.
        day_ends_in: Option<Duration>,
    },
    /// The token reaches no such organisation (code 6041).
    #[error("Zoho refuses the organisation (code 6041): {message}")]
    WrongOrganization {
        /// What it says.
        message: String,
    },
    /// Anything else.
    #[error(transparent)]
    Read(ReadError),
}

/// An answer with what it is about.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    page_context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contacts: Option<Vec<Raw<'a>>>,
    #[serde(borrow, default)]
    pub(super) invoices: Option<Vec<Raw<'a>>>,
    #[serde(borrow, default)]
    pub(super) organizations: Option<Vec<Raw<'a>>>,
    #[serde(borrow, default)]
    pub(super) contact: Option<Raw<'a>>,
    #[serde(borrow, default)]
    pub(super) invoice: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct PageContext {
    has_more_page: bool,
}

impl<'a> Envelope<'a> {
    /// Reads an answer of success.
    pub(super) fn of(answer: &'a Answer) -> Result<Self, AskError> {
        serde_json::from_slice(&answer.body).map_err(|error| broken(answer, &error.to_string()))
    }

    /// Whether there is another page. The service's description shows a list of one here; answers show an object.
    pub(super) fn has_more_page(&self) -> Result<bool, String> {
        let context = self.page_context.map(RawValue::get).ok_or("no `page_context`")?;
        let context = if context.starts_with('[') {
            serde_json::from_str::<Vec<PageContext>>(context).map(|list| list.into_iter().next())
        } else {
            serde_json::from_str(context).map(Some)
        };
        let context: Option<PageContext> = context.map_err(|error| format!("`page_context`: {error}"))?;
        context.map(|context| context.has_more_page).ok_or_else(|| "an empty `page_context`".to_owned())
    }
}

/// What is said of a refusal.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    message: Option<String>,
}

/// Takes an answer of success, or says what another one means.
pub(super) fn judge(answer: Result<Answer, NoAnswer>) -> Result<Answer, AskError> {
    let answer = answer.map_err(|error| match error {
        NoAnswer::NotConnected { reason } | NoAnswer::Lost { reason, .. } => {
            AskError::Read(ReadError::Unreachable { status: None, reason })
        }
    })?;
    let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let (code, message) = refusal.map_or((None, None), |refusal| (Some(refusal.code), refusal.message));
    let message = message.unwrap_or_else(|| answer.excerpt());
    let status = answer.status;
    let error = match (status, code) {
        (200..=299, Some(0)) => return Ok(answer),
        (401, _) | (_, Some(57)) => AskError::TokenRefused { message },
        (_, Some(45)) => AskError::DaySpent { day_ends_in: day_ends_in(&answer.headers) },
        (_, Some(1070)) => AskError::TooManyAtOnce,
        // What is not known to be another limit is over in a minute.
        (429, _) | (_, Some(44)) => AskError::TooManyInMinute { retry_after: answer.retry_after },
        (_, Some(1002)) => AskError::Unknown { date: answer.date, day_ends_in: day_ends_in(&answer.headers) },
        (_, Some(6041)) => AskError::WrongOrganization { message },
        (408 | 500..=599, _) | (_, Some(1000)) => {
            let reason = format!("status {status}: {message}");
            AskError::Read(ReadError::Unreachable { status: Some(status), reason })
        }
        _ => AskError::Read(ReadError::Broken { status, body: answer.excerpt() }),
    };
    Err(error)
}

/// An answer of success that cannot be used.
pub(super) fn broken(answer: &Answer, problem: &str) -> AskError {
    AskError::Read(ReadError::Broken { status: answer.status, body: format!("{problem}: {}", answer.excerpt()) })
}

/// How long it is until the day's requests are to be had again, as far as an answer says so.
pub(super) fn day_ends_in(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("x-rate-limit-reset")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|length| *length <= LONGEST_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn judged(status: u16, body: &str) -> Result<(), AskError> {
        judge(Ok(answer(status, body))).map(drop)
    }

    #[test]
    fn the_code_decides_and_the_status_helps() {
        assert_eq!(judged(200, r#"{"code": 0, "message": "success"}"#), Ok(()));
        let message = "m".to_owned();
        for (status, body, error) in [
            (401, r#"{"code": 57, "message": "m"}"#, AskError::TokenRefused { message: message.clone() }),
            (401, "m", AskError::TokenRefused { message: message.clone() }),
            (429, r#"{"code": 44}"#, AskError::TooManyInMinute { retry_after: None }),
            (429, "", AskError::TooManyInMinute { retry_after: None }),
            (429, r#"{"code": 45}"#, AskError::DaySpent { day_ends_in: None }),
            (429, r#"{"code": 1070}"#, AskError::TooManyAtOnce),
            (404, r#"{"code": 1002}"#, AskError::Unknown { date: None, day_ends_in: None }),
            (400, r#"{"code": 1002}"#, AskError::Unknown { date: None, day_ends_in: None }),
            (400, r#"{"code": 6041, "message": "m"}"#, AskError::WrongOrganization { message }),
        ] {
            assert_eq!(judged(status, body), Err(error), "{status} {body}");
        }
        for (status, body) in [(500, r#"{"code": 1000}"#), (503, ""), (200, r#"{"code": 1000}"#)] {
            let error = judged(status, body).expect_err(body);
            assert!(matches!(&error, AskError::Read(error) if error.is_transient()), "{status} {body}: {error}");
        }
        // A page that is no answer of the service's, and a path that is none.
        for (status, body) in [(200, "<html>"), (200, "{}"), (404, r#"{"code": 5}"#), (400, r#"{"code": 2}"#)] {
            let error = judged(status, body).expect_err(body);
            assert!(matches!(error, AskError::Read(ReadError::Broken { .. })), "{status} {body}: {error}");
        }
    }

    #[test]
    fn a_page_context_is_an_object_or_a_list_of_one() {
        let more = |context: &str| {
            let answer = answer(200, &format!(r#"{{"code": 0, "invoices": [], "page_context": {context}}}"#));
            Envelope::of(&answer).expect("an envelope").has_more_page()
        };
        assert_eq!(more(r#"{"page": 1, "has_more_page": true}"#), Ok(true));
        assert_eq!(more(r#"[{"page": 1, "has_more_page": true}]"#), Ok(true));
        assert_eq!(more(r#" [ {"has_more_page": false} ]"#), Ok(false));
        for wrong in ["[]", "{}", "null", "1"] {
            assert!(more(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_length_that_a_day_can_have_is_believed() {
        let told = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("X-Rate-Limit-Reset", text.parse().expect("a header"));
            day_ends_in(&headers).map(|length| length.as_secs())
        };
        assert_eq!(told("3600"), Some(3600));
        for wrong in ["-1", "soon", "100000", ""] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
        assert_eq!(day_ends_in(&HeaderMap::new()), None);
    }
}
