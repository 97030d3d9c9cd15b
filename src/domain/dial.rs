//! One dial, as every provider sees it: what is asked, what came of asking, and what the provider reports later.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conversation::Record;
use super::outcome::Outcome;

/// A call to be placed, for an attempt whose intent is already recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct DialRequest {
    /// The attempt's ULID (26 characters): the only thing by which a provider's record can be matched to it.
    pub attempt_id: String,
    /// The phone, E.164.
    pub to: String,
    /// Digits to dial once the call is answered.
    pub extension: Option<String>,
    /// How the agent may address the callee.
    pub customer_name: Option<String>,
    /// Which agent calls from which line, in the provider's own keys (for Vapi `assistant_id`, `phone_number_id`).
    pub agent: Value,
    /// Values for the agent's template.
    pub variables: Map<String, Value>,
}

/// What came of asking a provider to place a call.
#[derive(Clone, Debug, PartialEq)]
pub struct DialResult {
    /// The verdict.
    pub answer: DialAnswer,
    /// The provider's clock, where an answer came that carried it.
    pub provider_date: Option<DateTime<Utc>>,
}

/// Whether the phone may ring.
#[derive(Clone, Debug, PartialEq)]
pub enum DialAnswer {
    /// The provider took the call and named it.
    Accepted {
        /// The provider's id of the call.
        provider_call_id: String,
        /// The organisation at the provider that owns the call, where the answer says it.
        org_id: Option<String>,
        /// The provider holds the call back (its concurrency limit) and rings later.
        queued: bool,
        /// The answer as it came.
        raw: Value,
    },
    /// The provider placed the call, and answers only now that somebody or something picked up.
    Answered {
        /// The provider's id of the call.
        provider_call_id: String,
        /// The answer as it came.
        raw: Value,
    },
    /// The provider tried to place the call, and answers only now that it is over.
    Ended {
        /// The provider's id of the call.
        provider_call_id: String,
        /// What came of it.
        outcome: Outcome,
        /// The provider's words.
        reason: String,
    },
    /// The provider proved that it will not place the call.
    Refused {
        /// What has to change before the next try.
        class: RefusalClass,
        /// The provider's words.
        reason: String,
        /// The HTTP status.
        http_status: Option<u16>,
        /// How long the provider asks us to wait; at most an hour.
        retry_after: Option<Duration>,
    },
    /// The request certainly never left: no connection was made.
    NotSent {
        /// Why not.
        reason: String,
    },
    /// The request may have been carried out; no answer proves either.
    Unknown {
        /// What was seen instead of an answer.
        reason: String,
    },
}

/// Whose fault a refusal is, which decides what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalClass {
    /// Key, credits or permissions: every call of the account waits.
    Account,
    /// Agent, line or request: every call of the campaign waits.
    Campaign,
    /// This number: the call fails and nobody else is affected.
    Number,
    /// Too many at once or too fast: wait and go on.
    Capacity,
}

impl RefusalClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Account, Self::Campaign, Self::Number, Self::Capacity];

    /// The word that is stored and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Campaign => "campaign",
            Self::Number => "number",
            Self::Capacity => "capacity",
        }
    }
}

impl fmt::Display for RefusalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no refusal class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no refusal class")]
pub struct UnknownRefusalClass(pub String);

impl FromStr for RefusalClass {
    type Err = UnknownRefusalClass;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.as_str() == word).ok_or_else(|| UnknownRefusalClass(word.to_owned()))
    }
}

/// Where a call stands in a provider's own record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProviderState {
    /// Held back; has not rung.
    Scheduled,
    /// There is a record of it, which goes on saying no more than that where nobody picks up.
    Announced,
    /// About to be dialled.
    Queued,
    /// The phone rings.
    Ringing,
    /// Somebody or something picked up.
    InProgress,
    /// Over.
    Ended,
    /// The provider does not find its own record: says nothing about the phone.
    Missing,
    /// A word that this version does not know.
    Other(String),
}

impl ProviderState {
    /// A word for logs and listings.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Announced => "announced",
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::InProgress => "in_progress",
            Self::Ended => "ended",
            Self::Missing => "missing",
            Self::Other(word) => word,
        }
    }
}

/// What a provider's record says about a call. Everything but the id may be absent.
#[derive(Clone, Debug, PartialEq)]
pub struct CallReport {
    /// The provider's id.
    pub provider_call_id: String,
    /// The organisation at the provider that owns the call.
    pub org_id: Option<String>,
    /// The attempt id that the request carried.
    pub correlation: Option<String>,
    /// The phone that was called, as the provider writes it.
    pub to: Option<String>,
    /// The line that calls, in the provider's words (for Vapi `phoneNumberId`).
    pub line: Option<String>,
    /// The agent that calls (for Vapi `assistantId`).
    pub agent: Option<String>,
    /// Where the call stands.
    pub state: ProviderState,
    /// The provider's reason for the end, as it came.
    pub ended_reason: Option<String>,
    /// What came of it; only when the call has ended.
    pub outcome: Option<Outcome>,
    /// The record proves that no phone rang: the call ended before it was dialled.
    pub never_rang: bool,
    /// When the provider made the record.
    pub created_at: Option<DateTime<Utc>>,
    /// When the conversation began.
    pub started_at: Option<DateTime<Utc>>,
    /// When the call ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// The provider's summary of the conversation.
    pub summary: Option<String>,
    /// The conversation as text.
    pub transcript: Option<String>,
    /// What the provider made of the conversation, as JSON text.
    pub analysis: Option<String>,
    /// Whether the call has ended and the provider has nothing to add to the record.
    pub is_complete: bool,
    /// The record as it came.
    pub raw: Value,
}

/// A webhook of a provider's, read as far as it concerns calls.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderMessage {
    /// The id that the provider gave the message, where it gives them ids: the same id is the same message.
    pub event_id: Option<String>,
    /// Its type, in the provider's words.
    pub kind: String,
    /// The status that it tells, where the type alone does not say what it tells.
    pub status: Option<String>,
    /// What tells it from another message of its type about the same call, where the provider gives it such a thing.
    pub stamp: Option<String>,
    /// The provider's id of the call that it is about.
    pub call_id: Option<String>,
    /// The name that the call was given when it was placed.
    pub correlation: Option<String>,
    /// What it says of the call; none of types that say nothing of it.
    pub report: Option<CallReport>,
    /// It says that the call is over and not why: the provider is to be asked for the rest.
    pub is_half: bool,
}

impl CallReport {
    /// What it says of the conversation.
    pub fn record(&self) -> Record {
        Record {
            started_at: self.started_at,
            ended_at: self.ended_at,
            duration_seconds: self
                .started_at
                .zip(self.ended_at)
                .map(|(started_at, ended_at)| (ended_at - started_at).num_seconds().max(0)),
            cost_usd: self.cost_usd,
            summary: self.summary.clone(),
            transcript: self.transcript.clone(),
            analysis: self.analysis.clone(),
            raw: Some(self.raw.to_string()),
            is_complete: self.is_complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_class_reads_back_from_its_word() {
        for class in RefusalClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        assert!("Account".parse::<RefusalClass>().is_err());
    }
}
