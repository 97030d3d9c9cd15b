//! Attempts, the calls that they add up to, and who may move what forward.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::outcome::Outcome;

/// Text that names no member of a closed vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no {what}")]
pub struct UnknownWord {
    /// What was expected, such as `attempt state`.
    pub what: &'static str,
    /// What was found.
    pub value: String,
}

/// Gives an enum its stable words: `as_str`, `ALL`, `Display` and `FromStr`.
macro_rules! words {
    ($ty:ident, $what:literal, { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $ty {
            /// Every member.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The stable word, as stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $ty {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|word| word.as_str() == text)
                    .ok_or_else(|| UnknownWord { what: $what, value: text.to_owned() })
            }
        }
    };
}

/// Where one dial at a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// Reserved by a run that has not yet committed to dial; cannot ring.
    Claimed,
    /// The run committed to dial: from here on the phone may ring.
    Placing,
    /// The provider accepted the call and gave it an id.
    Placed,
    /// Somebody or something picked up.
    Answered,
    /// Over, with an outcome.
    Ended,
    /// Given back before anything was sent.
    Void,
    /// The provider provably refused; nothing rang.
    Refused,
    /// Provably never reached the provider, or is provably absent there.
    NotSent,
    /// Sent, and the answer was lost: it may have rung.
    Unknown,
    /// Unknown for too long; its slot stays spent.
    Lost,
}

words!(AttemptState, "attempt state", {
    Claimed => "claimed", Placing => "placing", Placed => "placed", Answered => "answered", Ended => "ended",
    Void => "void", Refused => "refused", NotSent => "not_sent", Unknown => "unknown", Lost => "lost",
});

impl AttemptState {
    /// Whether the attempt occupies its phone: no second attempt to it may exist meanwhile.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Claimed | Self::Placing | Self::Placed | Self::Answered | Self::Unknown)
    }

    /// How far evidence has carried an attempt. Verdicts without sight of the call stand below any sight of it.
    const fn rank(self) -> u8 {
        match self {
            Self::Claimed => 0,
            Self::Placing => 1,
            Self::Unknown => 2,
            Self::Refused | Self::NotSent | Self::Lost => 3,
            Self::Placed => 4,
            Self::Answered => 5,
            Self::Ended => 6,
            Self::Void => u8::MAX,
        }
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The run that placed the attempt, from the answer to its own request.
    Owner,
    /// The provider, by a read or a verified event.
    Provider,
    /// An operator's word.
    Operator,
    /// Only that time has passed.
    Timer,
}

words!(Evidence, "kind of evidence", {
    Owner => "owner", Provider => "provider", Operator => "operator", Timer => "timer",
});

/// Whether an attempt may move from `from`, which `established` put there, to `to` on the word of `by`.
///
/// Attempts move forward only. Only its owner may take a claim to `placing`; before that nothing can have rung, so
/// all else that can become of a claim is void. From `placing` on, evidence is never fenced: whoever brings it may
/// record it, and it replaces the verdict of a timer or an operator, never the reverse.
pub fn may_move(from: AttemptState, established: Option<Evidence>, to: AttemptState, by: Evidence) -> bool {
    use AttemptState as S;
    match (from, to) {
        (S::Claimed, S::Placing) => by == Evidence::Owner,
        (S::Claimed, S::Void) => true,
        (S::Claimed | S::Void, _) | (_, S::Void | S::Placing | S::Claimed) => false,
        (S::Ended, S::Ended) => {
            matches!(established, Some(Evidence::Timer | Evidence::Operator))
                && matches!(by, Evidence::Owner | Evidence::Provider)
        }
        _ if to.rank() <= from.rank() => false,
        _ => match by {
            Evidence::Owner | Evidence::Provider => true,
            Evidence::Operator => matches!(from, S::Placing | S::Unknown | S::Placed | S::Answered),
            Evidence::Timer => matches!(
                (from, to),
                (S::Placing, S::Unknown) | (S::Unknown, S::Lost) | (S::Placed | S::Answered, S::Ended)
            ),
        },
    }
}

/// Where a call stands, as a function of its attempts and decisions: see [`derive()`].
///
/// Other vocabularies map onto it: `pending` of a reminder and `pending`, `retrying` of a queue are `scheduled`;
/// `in_progress` of a reminder is `calling`; `processing` is `in_progress`. The words of a queue that is taken over are in
/// [`super::queue::STATUS_WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallStatus {
    /// Waiting for its first or next attempt.
    Scheduled,
    /// Dialled, and nobody is known to have picked up yet.
    Calling,
    /// Picked up.
    InProgress,
    /// Over; the person, or their voicemail, was reached, or another system had called before.
    Completed,
    /// Over without reaching anybody.
    Failed,
    /// Taken back before anybody was reached.
    Cancelled,
}

words!(CallStatus, "call status", {
    Scheduled => "scheduled", Calling => "calling", InProgress => "in_progress",
    Completed => "completed", Failed => "failed", Cancelled => "cancelled",
});

/// What was decided about a call beside what its attempts brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// An operator, or the end of a campaign, took it back.
    Cancelled,
    /// The period of its slot ended before it could be dialled.
    SlotExpired,
    /// Another system placed it, or may have, before this one took over: it has its slot and never an attempt.
    CalledElsewhere,
}

words!(Decision, "decision", {
    Cancelled => "cancelled", SlotExpired => "slot_expired", CalledElsewhere => "called_elsewhere",
});

/// What a call's status depends on in one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptFacts {
    /// Where it stands.
    pub state: AttemptState,
    /// What came of it, once ended or refused.
    pub outcome: Option<Outcome>,
    /// The provider's words, or ours.
    pub reason: Option<String>,
}

/// The status of a call, with the outcome and reason behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Where it stands.
    pub status: CallStatus,
    /// The outcome of the attempt that decided it.
    pub outcome: Option<Outcome>,
    /// Why it failed or was cancelled, or was never dialled.
    pub reason: Option<String>,
}

/// Derives a call's status from its attempts, oldest first, the decision about it, and whether another attempt is
/// due (`next_attempt_at`).
pub fn derive(
    attempts: &[AttemptFacts],
    decision: Option<Decision>,
    next_attempt_at: Option<DateTime<Utc>>,
) -> Derived {
    use AttemptState as S;
    let plain = |status| Derived { status, outcome: None, reason: None };
    let of =
        |status, attempt: &AttemptFacts| Derived { status, outcome: attempt.outcome, reason: attempt.reason.clone() };

    if attempts.iter().any(|a| a.state == S::Answered) {
        return plain(CallStatus::InProgress);
    }
    if attempts.iter().any(|a| matches!(a.state, S::Placing | S::Placed | S::Unknown)) {
        return plain(CallStatus::Calling);
    }
    let reached = |a: &&AttemptFacts| a.outcome.is_some_and(Outcome::reached_person);
    if let Some(attempt) = attempts.iter().rev().find(reached) {
        return of(CallStatus::Completed, attempt);
    }
    match decision {
        Some(Decision::Cancelled) => {
            return Derived { reason: Some("cancelled".to_owned()), ..plain(CallStatus::Cancelled) };
        }
        Some(Decision::SlotExpired) => {
            let last = attempts.iter().rev().find(|a| a.state != S::Void);
            return Derived {
                status: CallStatus::Failed,
                outcome: last.and_then(|a| a.outcome),
                reason: Some("slot_expired".to_owned()),
            };
        }
        Some(Decision::CalledElsewhere) => {
            return Derived { reason: Some("called_elsewhere".to_owned()), ..plain(CallStatus::Completed) };
        }
        None => {}
    }
    if next_attempt_at.is_some() || attempts.iter().any(|a| a.state == S::Claimed) {
        return plain(CallStatus::Scheduled);
    }
    if let Some(attempt) = attempts.iter().rev().find(|a| a.outcome == Some(Outcome::Voicemail)) {
        return of(CallStatus::Completed, attempt);
    }
    match attempts.iter().rev().find(|a| a.state != S::Void) {
        Some(attempt) => of(CallStatus::Failed, attempt),
        None => Derived { reason: Some("nothing left to do".to_owned()), ..plain(CallStatus::Failed) },
    }
}

/// The reason recorded when nothing was heard of a call by its deadline.
pub const TIMEOUT_REASON: &str = "Call timeout - no agent response";

pub(crate) use words;

#[cfg(test)]
mod tests;
