//! Alerts to a chat or any other service that takes JSON by POST.

use serde_json::Value;

use super::http::{Http, NoAnswer, exchange};
use crate::domain::alert::for_chat;
use crate::domain::secret::Secret;

/// The hosts of the chat that takes nothing but text.
const CHAT_HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// Why an alert is not known to have arrived. None of this holds the address, which is a secret, nor the answer, which may
/// repeat it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Nothing was sent.
    #[error("it cannot be reached: {0}")]
    NotConnected(String),
    /// It was not taken.
    #[error("it answered with status {0}")]
    Refused(u16),
    /// The answer was lost: it may have arrived.
    #[error("no answer came, so it may have arrived: {0}")]
    Lost(String),
}

impl NotSent {
    /// Whether another alert may be taken where this one was not: it was read, and refused for what it says.
    pub fn is_about_the_alert(&self) -> bool {
        matches!(self, Self::Refused(400..=499))
            && !matches!(self, Self::Refused(401 | 403 | 404 | 407 | 408 | 410 | 429))
    }
}

/// Sends an alert once.
///
/// # Errors
/// Why it is not known to have arrived.
pub async fn send(http: &Http, url: &Secret, message: &Value) -> Result<(), NotSent> {
    let address = url.expose();
    let client = http.client(address).map_err(|_| NotSent::NotConnected("no client can be built for it".to_owned()))?;
    let is_chat =
        reqwest::Url::parse(address).is_ok_and(|url| url.host_str().is_some_and(|host| CHAT_HOSTS.contains(&host)));
    let body = if is_chat { for_chat(message) } else { message.clone() };
    match exchange(client.post(address).json(&body)).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        // A gateway's own answers: what stands behind it may have taken the alert.
        Ok(answer) if matches!(answer.status, 502 | 504) => Err(NotSent::Lost(format!("status {}", answer.status))),
        Ok(answer) => Err(NotSent::Refused(answer.status)),
        Err(NoAnswer::NotConnected { reason }) => Err(NotSent::NotConnected(reason)),
        Err(NoAnswer::Lost { reason, .. }) => Err(NotSent::Lost(reason)),
    }
}
