//! What came of a dial, in one vocabulary for all providers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How one dial ended. The provider's own reason is kept beside it wherever it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A person picked up.
    Answered,
    /// A machine picked up.
    Voicemail,
    /// It rang and nobody picked up, or the phone could not be reached just then.
    NoAnswer,
    /// The line was engaged.
    Busy,
    /// The callee or a carrier declined the call.
    Rejected,
    /// No phone has this number.
    InvalidNumber,
    /// Taken back by us. The phone may have rung before.
    Cancelled,
    /// No word from the provider within our deadline.
    Timeout,
    /// The provider, the model or the line failed. The phone may have rung.
    ProviderError,
    /// Our own account or set-up was at fault (credits, limits, a missing assistant): the phone did not ring.
    AccountError,
    /// The agent itself says that the call failed, in words of its own.
    AgentFailed,
    /// It ended for a reason that this version does not know.
    Unknown,
}

impl Outcome {
    /// Every outcome, in the order in which listings show them.
    pub const ALL: [Self; 12] = [
        Self::Answered,
        Self::Voicemail,
        Self::NoAnswer,
        Self::Busy,
        Self::Rejected,
        Self::InvalidNumber,
        Self::Cancelled,
        Self::Timeout,
        Self::ProviderError,
        Self::AccountError,
        Self::AgentFailed,
        Self::Unknown,
    ];

    /// The word that is stored and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Voicemail => "voicemail",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::InvalidNumber => "invalid_number",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::ProviderError => "provider_error",
            Self::AccountError => "account_error",
            Self::AgentFailed => "agent_failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a person was on the line, so that a pending retry has lost its point.
    pub const fn reached_person(self) -> bool {
        matches!(self, Self::Answered)
    }

    /// Whether the callee has to be regarded as called. Only a fault of our own account is proof of the contrary;
    /// whatever may have rung counts.
    pub const fn counts_as_called(self) -> bool {
        !matches!(self, Self::AccountError)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no outcome")]
pub struct UnknownOutcome(pub String);

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word).ok_or_else(|| UnknownOutcome(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_reads_back_from_its_word_in_both_forms() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        assert_eq!("no-answer".parse::<Outcome>(), Err(UnknownOutcome("no-answer".into())));
    }

    #[test]
    fn only_our_own_fault_does_not_count_as_called() {
        let uncounted: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| !outcome.counts_as_called()).collect();
        assert_eq!(uncounted, [Outcome::AccountError]);
    }
}
