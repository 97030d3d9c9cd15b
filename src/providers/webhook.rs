//! The other end of our own webhooks: delivers what an agent reports, and tries whether anybody is there.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::http::{Http, NoAnswer, chain, exchange};
use crate::domain::secret::Secret;
use crate::domain::signature::callops::{SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

/// That the server has an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The server's id of it.
    pub event_id: String,
    /// Whether it changed something.
    pub applied: bool,
    /// Why, or why not.
    pub reason: Option<String>,
}

/// That the server does not have it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// It may take it later: it cannot be reached, is busy, fails, or its answer names no event.
    #[error("{0}")]
    Later(String),
    /// The signature is not taken: the secret is another one.
    #[error("the server refuses the signature (status 401)")]
    Signature,
    /// It will never take it as it is.
    #[error("the server does not take the event (status {status}): {body}")]
    Never {
        /// HTTP status.
        status: u16,
        /// The beginning of its answer.
        body: String,
    },
}

/// Sends a body once, signed at `now`. The same body may be sent again: the server takes each event once.
///
/// # Errors
/// Why the server does not have it now.
pub async fn deliver(
    http: &Http,
    url: &str,
    secret: &Secret,
    body: &str,
    now: DateTime<Utc>,
) -> Result<Delivered, NotDelivered> {
    let client = http.client(url).map_err(|error| NotDelivered::Later(error.to_string()))?;
    let timestamp = now.timestamp().to_string();
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header(SIGNATURE_HEADER, sign(secret, Some(&timestamp), body.as_bytes()))
        .header(TIMESTAMP_HEADER, timestamp)
        .body(body.to_owned());
    let answer = exchange(request).await.map_err(|no_answer| match no_answer {
        NoAnswer::NotConnected { reason } => NotDelivered::Later(format!("the server cannot be reached: {reason}")),
        NoAnswer::Lost { reason, .. } => NotDelivered::Later(format!("the server did not answer: {reason}")),
    })?;
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (answer.status, value["event_id"].as_str()) {
        // An event of an unknown id is kept as well, until its id is known.
        (200 | 404, Some(event_id)) => Ok(Delivered {
            event_id: event_id.to_owned(),
            applied: value["applied"].as_bool().unwrap_or(false),
            reason: value["reason"].as_str().map(str::to_owned),
        }),
        (401, _) => Err(NotDelivered::Signature),
        (400 | 413 | 415 | 422, _) => Err(NotDelivered::Never { status: answer.status, body: answer.excerpt() }),
        (200, None) => {
            Err(NotDelivered::Later("the server's answer names no event: is this the right address?".to_owned()))
        }
        (status, _) => {
            Err(NotDelivered::Later(format!("the server answers with status {status}: {}", answer.excerpt())))
        }
    }
}

/// What an address says to somebody without a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// It answers.
    Answered {
        /// HTTP status.
        status: u16,
        /// Where it leads instead.
        location: Option<String>,
        /// Whether it is `serve` that asks for a signature. A proxy that asks for a password has the same status.
        is_serve: bool,
    },
    /// It cannot be reached: no such name, no connection, no certificate that is trusted.
    NotConnected(String),
    /// It did not answer to the end.
    Silent(String),
}

/// Sends an empty object without a signature, once, which `serve` refuses with 401 before it reads or stores anything.
pub async fn knock(http: &Http, url: &str) -> Knock {
    let client = match http.client(url) {
        Ok(client) => client,
        Err(error) => return Knock::NotConnected(chain(&error)),
    };
    match exchange(client.post(url).header("content-type", "application/json").body("{}")).await {
        Ok(answer) => {
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let is_serve = answer.status == 401 && said == json!({"error": "unauthorized"});
            Knock::Answered { status: answer.status, location: answer.location, is_serve }
        }
        Err(NoAnswer::NotConnected { reason }) => Knock::NotConnected(reason),
        Err(NoAnswer::Lost { reason, .. }) => Knock::Silent(reason),
    }
}
