//! What was learned about an attempt, and what follows from it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::call::{AttemptState, Evidence, TIMEOUT_REASON};
use super::conversation::Record;
use super::dial::{CallReport, DialAnswer, DialResult, ProviderState, RefusalClass};
use super::outcome::Outcome;

/// How long a claim that came to nothing waits before its call is looked at again, where nothing else says so.
const RETRY_UNSENT_SECONDS: i64 = 30;

/// How long a call waits that failed before it was dialled: the same is likely to happen again.
const RETRY_FAILED_SECONDS: i64 = 300;

/// One thing learned about one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// About which attempt.
    pub attempt_id: String,
    /// On whose word.
    pub by: Evidence,
    /// When it was learned.
    pub at: DateTime<Utc>,
    /// What.
    pub seen: Seen,
}

/// What can be learned about an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing was sent, and nothing will be: the claim is given back.
    Void {
        /// Why.
        reason: String,
    },
    /// The provider took the call.
    Accepted {
        /// The provider's id of it.
        provider_call_id: String,
        /// The organisation it belongs to.
        org_id: Option<String>,
        /// Held back by the provider, to ring later.
        queued: bool,
    },
    /// The provider provably refused.
    Refused {
        /// Whose fault it is.
        class: RefusalClass,
        /// The provider's words.
        reason: String,
        /// When the provider may be asked again.
        retry_at: Option<DateTime<Utc>>,
    },
    /// Provably never sent, or provably absent at the provider.
    NotSent {
        /// How that is known.
        reason: String,
    },
    /// Sent, and the answer was lost.
    Unknown {
        /// What was seen instead of an answer.
        reason: String,
    },
    /// The provider has the call and it is not over.
    Live {
        /// The provider's id of it, where whoever says so knows it.
        provider_call_id: Option<String>,
        /// The organisation it belongs to.
        org_id: Option<String>,
        /// Held back by the provider, to ring later.
        queued: bool,
        /// When somebody picked up, if somebody did.
        answered_at: Option<DateTime<Utc>>,
    },
    /// It is over.
    Ended(Ending),
    /// Unknown for too long, or given up by an operator: the slot stays spent.
    Lost {
        /// Why.
        reason: String,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// The provider's id of the call, where one is known.
    pub provider_call_id: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether it is proven that no phone rang.
    pub never_rang: bool,
    /// The raw reason.
    pub reason: Option<String>,
    /// When it ended, by the provider's record or ours.
    pub ended_at: DateTime<Utc>,
    /// What is known of the conversation.
    pub record: Record,
}

impl Ending {
    /// The end of an attempt of which nothing was heard by its deadline.
    pub fn timeout(at: DateTime<Utc>) -> Self {
        Self {
            provider_call_id: None,
            outcome: Outcome::Timeout,
            never_rang: false,
            reason: Some(TIMEOUT_REASON.to_owned()),
            ended_at: at,
            record: Record::default(),
        }
    }
}

impl Seen {
    /// What the answer to a dial says.
    pub fn from_dial(result: DialResult, now: DateTime<Utc>) -> Self {
        match result.answer {
            DialAnswer::Accepted { provider_call_id, org_id, queued, .. } => {
                Self::Accepted { provider_call_id, org_id, queued }
            }
            DialAnswer::Answered { provider_call_id, .. } => Self::Live {
                provider_call_id: Some(provider_call_id),
                org_id: None,
                queued: false,
                answered_at: Some(now),
            },
            DialAnswer::Ended { provider_call_id, outcome, reason } => Self::Ended(Ending {
                provider_call_id: Some(provider_call_id),
                outcome,
                reason: Some(reason),
                ..Ending::timeout(now)
            }),
            DialAnswer::Refused { class, reason, retry_after, .. } => Self::Refused {
                class,
                reason,
                retry_at: retry_after.and_then(|wait| TimeDelta::from_std(wait).ok()).map(|wait| now + wait),
            },
            DialAnswer::NotSent { reason } => Self::NotSent { reason },
            DialAnswer::Unknown { reason } => Self::Unknown { reason },
        }
    }

    /// What a provider's record of the call says; `None` when it says nothing about the phone.
    pub fn from_report(report: &CallReport, now: DateTime<Utc>) -> Option<Self> {
        match report.state {
            ProviderState::Missing | ProviderState::Other(_) => None,
            ProviderState::Scheduled | ProviderState::Announced | ProviderState::Queued | ProviderState::Ringing => {
                Some(Self::Live {
                    provider_call_id: Some(report.provider_call_id.clone()),
                    org_id: report.org_id.clone(),
                    queued: report.state == ProviderState::Scheduled,
                    answered_at: None,
                })
            }
            ProviderState::InProgress => Some(Self::Live {
                provider_call_id: Some(report.provider_call_id.clone()),
                org_id: report.org_id.clone(),
                queued: false,
                answered_at: Some(report.started_at.unwrap_or(now)),
            }),
            ProviderState::Ended => Some(Self::Ended(Ending {
                provider_call_id: Some(report.provider_call_id.clone()),
                outcome: report.outcome.unwrap_or(Outcome::Unknown),
                never_rang: report.never_rang,
                reason: report.ended_reason.clone(),
                ended_at: report.ended_at.unwrap_or(now),
                record: report.record(),
            })),
        }
    }

    /// The state that this puts an attempt in.
    pub const fn state(&self) -> AttemptState {
        match self {
            Self::Void { .. } => AttemptState::Void,
            Self::Accepted { .. } | Self::Live { answered_at: None, .. } => AttemptState::Placed,
            Self::Live { answered_at: Some(_), .. } => AttemptState::Answered,
            Self::Refused { .. } => AttemptState::Refused,
            Self::NotSent { .. } => AttemptState::NotSent,
            Self::Unknown { .. } => AttemptState::Unknown,
            Self::Ended(_) => AttemptState::Ended,
            Self::Lost { .. } => AttemptState::Lost,
        }
    }

    /// Whether the phone may have rung, as far as this goes.
    pub const fn may_have_rung(&self) -> bool {
        match self {
            Self::Void { .. } | Self::Refused { .. } | Self::NotSent { .. } => false,
            Self::Ended(ending) => !ending.never_rang && ending.outcome.counts_as_called(),
            Self::Accepted { .. } | Self::Unknown { .. } | Self::Live { .. } | Self::Lost { .. } => true,
        }
    }

    /// The outcome to keep beside the attempt.
    pub const fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Ended(ending) => Some(ending.outcome),
            Self::Refused { class: RefusalClass::Number, .. } => Some(Outcome::InvalidNumber),
            Self::Refused { class: RefusalClass::Account | RefusalClass::Campaign, .. } => Some(Outcome::AccountError),
            _ => None,
        }
    }

    /// The words to keep beside the attempt.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Void { reason }
            | Self::Refused { reason, .. }
            | Self::NotSent { reason }
            | Self::Unknown { reason }
            | Self::Lost { reason } => Some(reason),
            Self::Ended(ending) => ending.reason.as_deref(),
            Self::Accepted { .. } | Self::Live { .. } => None,
        }
    }
}

/// Whether an end takes the place of one that a witness of the same standing told, in whatever order the two came: a
/// person who was reached was reached; an agent that failed was there, and is not to call again, whatever the provider
/// makes of the call; and any known end says more than an unknown one. Of two others the first stays.
pub fn says_more(told: Outcome, known: Option<Outcome>) -> bool {
    let rank = |outcome: Outcome| match outcome {
        _ if outcome.reached_person() => 3,
        Outcome::AgentFailed => 2,
        Outcome::Unknown => 0,
        _ => 1,
    };
    known.is_none_or(|known| rank(told) > rank(known))
}

/// Which outcomes are tried again, when, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// The outcomes after which another attempt makes sense.
    pub on: Vec<Outcome>,
    /// How long to wait after the end of the last attempt, in seconds.
    pub after_seconds: i64,
    /// The most attempts of one call that may have rung.
    pub max_attempts: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { on: vec![Outcome::NoAnswer, Outcome::Busy, Outcome::Timeout], after_seconds: 2 * 3600, max_attempts: 3 }
    }
}

/// When the call should be dialled again after its latest attempt turned out like this; `None`: never.
///
/// What provably did not ring costs no attempt. Of what may have rung, only outcomes on the policy's list are tried
/// again, as long as fewer than `max_attempts` may have rung; a timeout only when somebody saw that the call is over.
/// `rang` counts the attempts of the call that may have rung, this one included.
pub fn next_attempt_at(
    policy: &RetryPolicy,
    observation: &Observation,
    rang: usize,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let soon = now + TimeDelta::seconds(RETRY_UNSENT_SECONDS);
    match &observation.seen {
        Seen::Void { .. } => Some(observation.at),
        Seen::NotSent { .. } => Some(soon),
        Seen::Refused { class, retry_at, .. } => (*class != RefusalClass::Number).then(|| retry_at.unwrap_or(soon)),
        Seen::Ended(ending) if !observation.seen.may_have_rung() => {
            // The provider took the call back, or our account was at fault: the callee is still to be called.
            let failed = now + TimeDelta::seconds(RETRY_FAILED_SECONDS);
            Some(if ending.outcome == Outcome::Cancelled { now } else { failed })
        }
        Seen::Ended(ending) => {
            let listed = policy.on.contains(&ending.outcome);
            let proven = ending.outcome != Outcome::Timeout || observation.by != Evidence::Timer;
            let budget_left = i64::try_from(rang).unwrap_or(i64::MAX) < policy.max_attempts;
            (listed && proven && budget_left).then(|| ending.ended_at + TimeDelta::seconds(policy.after_seconds))
        }
        Seen::Accepted { .. } | Seen::Unknown { .. } | Seen::Live { .. } | Seen::Lost { .. } => None,
    }
}

#[cfg(test)]
mod tests;
