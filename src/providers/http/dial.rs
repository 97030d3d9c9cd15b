//! A request that rings: sent once, judged once.

use reqwest::RequestBuilder;

use super::{Acted, Answer, LastLook, act};
use crate::domain::dial::{DialAnswer, DialResult};

/// Sends the request for a call exactly once, unless the last look forbids it, and says what came of it; `judge` says
/// what a complete answer proves.
pub(in crate::providers) async fn dial(
    request: Result<RequestBuilder, reqwest::Error>,
    body: String,
    last_look: &LastLook,
    judge: impl FnOnce(&Answer) -> DialAnswer,
) -> DialResult {
    match act(request, ("application/json", body), last_look).await {
        Acted::Answered(answer) => DialResult { provider_date: answer.date, answer: judge(&answer) },
        Acted::NotSent { reason } => DialResult { answer: DialAnswer::NotSent { reason }, provider_date: None },
        Acted::Lost { reason, date } => DialResult { answer: DialAnswer::Unknown { reason }, provider_date: date },
    }
}
