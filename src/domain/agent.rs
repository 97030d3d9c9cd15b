//! Which agent calls from which line, in each provider's own words, and what the provider has of them.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// What a key of a campaign's agent may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentValue {
    /// An id or a name, as the provider shows it.
    Id,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A length of time from 1 to so many seconds, kept in seconds.
    Seconds(i64),
}

/// How the agent and line of a campaign are named at one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentKeys {
    /// The provider, and the key of the campaign that holds the others.
    pub provider: &'static str,
    /// The key of the agent.
    pub agent: &'static str,
    /// The key of the line that calls.
    pub line: &'static str,
    /// Keys that may be left out.
    pub optional: &'static [(&'static str, AgentValue)],
}

/// Every provider's. No two share the key of their agent or their line.
pub const AGENT_KEYS: &[AgentKeys] = &[
    AgentKeys { provider: "vapi", agent: "assistant_id", line: "phone_number_id", optional: &[] },
    AgentKeys {
        provider: "elevenlabs",
        agent: "agent_id",
        line: "agent_phone_number_id",
        // The service takes 1 to 999 seconds.
        optional: &[("via", AgentValue::Word(&["twilio", "sip_trunk"])), ("ringing_timeout", AgentValue::Seconds(300))],
    },
    AgentKeys {
        provider: "livekit",
        agent: "agent_name",
        line: "sip_trunk_id",
        // The service gives up a dial after 80 seconds.
        optional: &[("sip_number", AgentValue::Id), ("ringing_timeout", AgentValue::Seconds(80))],
    },
];

impl AgentKeys {
    /// The keys of a provider's agents.
    pub fn of_provider(provider: &str) -> Option<&'static Self> {
        AGENT_KEYS.iter().find(|keys| keys.provider == provider)
    }

    /// The keys by which an agent is named.
    pub fn of_agent(agent: &Value) -> Option<&'static Self> {
        AGENT_KEYS.iter().find(|keys| agent.get(keys.agent).is_some())
    }
}

/// How long ElevenLabs rings unless it is told otherwise.
const USUAL_RINGING_SECONDS: i64 = 60;
/// From the last ring to the news that nobody picked up, at the most.
const RINGING_MARGIN_SECONDS: i64 = 60;

/// For how many seconds an agent of ElevenLabs lets a phone ring.
pub fn ringing_seconds(agent: &Value) -> i64 {
    agent.get("ringing_timeout").and_then(Value::as_i64).unwrap_or(USUAL_RINGING_SECONDS)
}

/// Seconds after a call was placed before which its phone may ring on with nothing said of it; none where the provider
/// says how far a call is.
pub fn silent_seconds(agent: &Value) -> Option<i64> {
    let is_silent = AgentKeys::of_agent(agent).is_some_and(|keys| keys.provider == "elevenlabs");
    is_silent.then(|| ringing_seconds(agent) + RINGING_MARGIN_SECONDS)
}

/// Whether a provider has a campaign's agent and line, and where it sends what becomes of their calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentReport {
    /// It does not have the one that this key of the campaign's settings names.
    Missing(&'static str),
    /// It has both, and this line does not call in the way that the campaign's settings say.
    OtherWay {
        /// The way in which it calls, in the words of those settings.
        via: String,
    },
    /// It has both.
    Present {
        /// Where their webhooks go, as far as agent or line say so.
        webhook_url: Option<String>,
        /// Whether the end of a call is among what webhooks tell.
        tells_ends: bool,
    },
    /// It has both, and sends nothing: their webhook is turned off.
    Unheard {
        /// Where it went.
        webhook_url: String,
        /// The provider turned it off after failures, and nobody did by hand.
        by_itself: bool,
        /// The status of its last failure.
        last_failure: Option<i64>,
        /// When that was.
        failed_at: Option<DateTime<Utc>>,
    },
}
