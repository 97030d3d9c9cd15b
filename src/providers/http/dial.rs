//! A request that rings: sent once, judged once.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use super::{Answer, LastLook, NoAnswer, chain, exchange};
use crate::domain::dial::{DialAnswer, DialResult};

/// Sends the request for a call exactly once, unless the last look forbids it, and says what came of it; `judge` says
/// what a complete answer proves.
pub(in crate::providers) async fn dial(
    request: Result<RequestBuilder, reqwest::Error>,
    body: String,
    last_look: &LastLook,
    judge: impl FnOnce(&Answer) -> DialAnswer,
) -> DialResult {
    let not_sent = |reason| DialResult { answer: DialAnswer::NotSent { reason }, provider_date: None };
    let request = match request {
        Ok(request) => request.header(CONTENT_TYPE, "application/json").body(last_look.body(body)),
        Err(error) => return not_sent(chain(&error)),
    };
    let result = exchange(request).await;
    if let Some(reason) = last_look.withheld() {
        return not_sent(reason.to_owned());
    }
    match result {
        Ok(answer) => DialResult { provider_date: answer.date, answer: judge(&answer) },
        Err(NoAnswer::NotConnected { reason }) => not_sent(reason),
        Err(NoAnswer::Lost { reason, date, .. }) => {
            DialResult { answer: DialAnswer::Unknown { reason }, provider_date: date }
        }
    }
}
