//! A request that rings, buys or releases: sent once, and told apart by what is certain of it.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use super::{Answer, LastLook, NoAnswer, chain, exchange};

/// What is certain of a request that was to be sent once.
#[derive(Debug)]
pub(in crate::providers) enum Acted {
    /// It was answered.
    Answered(Answer),
    /// Not a byte of it left, or not all of it.
    NotSent {
        /// Why.
        reason: String,
    },
    /// It may have arrived.
    Lost {
        /// What was seen.
        reason: String,
        /// The service's clock, if it began to answer.
        date: Option<chrono::DateTime<chrono::Utc>>,
    },
}

/// Sends a request with a body exactly once, unless the last look forbids it.
pub(in crate::providers) async fn act(
    request: Result<RequestBuilder, reqwest::Error>,
    (content_type, body): (&'static str, String),
    last_look: &LastLook,
) -> Acted {
    let request = match request {
        Ok(request) => request.header(CONTENT_TYPE, content_type).body(last_look.body(body)),
        Err(error) => return Acted::NotSent { reason: chain(&error) },
    };
    let result = exchange(request).await;
    match last_look.withheld() {
        Some(reason) => Acted::NotSent { reason: reason.to_owned() },
        None => result.into(),
    }
}

impl From<Result<Answer, NoAnswer>> for Acted {
    fn from(result: Result<Answer, NoAnswer>) -> Self {
        match result {
            Ok(answer) => Self::Answered(answer),
            Err(NoAnswer::NotConnected { reason }) => Self::NotSent { reason },
            Err(NoAnswer::Lost { reason, date, .. }) => Self::Lost { reason, date },
        }
    }
}
