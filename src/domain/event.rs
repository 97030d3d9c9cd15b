//! Where a webhook that was stored stands.

use std::fmt;
use std::str::FromStr;

use super::call::{UnknownWord, words};

/// Who sends events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// An agent, by our own `call-status` webhook.
    CallStatus,
    /// Vapi.
    Vapi,
    /// ElevenLabs.
    ElevenLabs,
    /// LiveKit.
    LiveKit,
    /// Stripe.
    Stripe,
}

words!(EventSource, "source of events", {
    CallStatus => "call-status", Vapi => "vapi", ElevenLabs => "elevenlabs", LiveKit => "livekit",
    Stripe => "stripe",
});

/// The kinds of provider's events that tell the end of a call.
pub const ENDING_KINDS: &[&str] = &[
    "end-of-call-report",
    "status-update ended",
    "post_call_transcription",
    "call_initiation_failure",
    "participant_left",
    "participant_connection_aborted",
];

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventState {
    /// Stored, and not applied yet, or not with success.
    Pending,
    /// It told something.
    Applied,
    /// It is about nothing that is known yet.
    Unmatched,
    /// It told nothing new, or is of a kind that says nothing about a call.
    Ignored,
}

words!(EventState, "event state", {
    Pending => "pending", Applied => "applied", Unmatched => "unmatched", Ignored => "ignored",
});

/// Whose events a sender may send, as its secret showed: everybody's, or those of certain tenants or accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's: the operator's own secret.
    Everybody,
    /// Those of these tenants or accounts, which share a secret.
    Of(Vec<String>),
}

impl Scope {
    /// Whether something of this tenant or account is inside.
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Of(names) => names.iter().any(|known| known == name),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            // Names hold no blanks.
            Self::Of(names) => f.write_str(&names.join(" ")),
        }
    }
}

impl From<&str> for Scope {
    fn from(text: &str) -> Self {
        if text == "*" { Self::Everybody } else { Self::Of(text.split_whitespace().map(str::to_owned).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_and_holds_its_own() {
        for scope in [Scope::Everybody, Scope::Of(vec!["acme".to_owned(), "b-2".to_owned()]), Scope::Of(vec![])] {
            assert_eq!(Scope::from(scope.to_string().as_str()), scope);
        }
        let scope = Scope::from("acme b-2");
        assert!(scope.holds("acme") && scope.holds("b-2") && !scope.holds("b") && !scope.holds("*"));
        assert!(Scope::Everybody.holds("acme") && !Scope::from("").holds("acme"));
    }
}
