//! From an account to a client of its provider.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::app::App;
use crate::clock::Clock;
use crate::commands::credentials::Access;
use crate::domain::agent::AgentReport;
use crate::domain::campaign::Rules;
use crate::domain::dial::{CallReport, DialRequest, DialResult};
use crate::domain::numbers::VoiceNumber;
use crate::error::Failure;
use crate::providers::elevenlabs::{self, ElevenLabs};
use crate::providers::http::{LastLook, ReadError};
use crate::providers::livekit::{self, LiveKit};
use crate::providers::vapi::{self, ListFilter, RangeLimits, RangeListing, Vapi};
use crate::store::setup::Account;

/// A client of the provider that an account is with.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Vapi.
    Vapi(Vapi),
    /// LiveKit.
    LiveKit(LiveKit),

    /// ElevenLabs.
    ElevenLabs(ElevenLabs),
}

/// What a first harmless question to a provider shows.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The provider's clock.
    pub date: Option<DateTime<Utc>>,
    /// The organisation that the key belongs to, when the provider shows it.
    pub org_id: Option<String>,
}

/// The provider words that `apply` takes.
pub const PROVIDERS: &[&str] = &["vapi", "elevenlabs", "livekit"];

/// Whether calls can be placed at a provider; the others rent numbers, hold bills, or take payments.
pub fn places_calls(provider: &str) -> bool {
    PROVIDERS.contains(&provider)
}

/// Where the real service of a provider answers.
fn usual_address(provider: &str) -> Option<&'static str> {
    match provider {
        "vapi" => Some(vapi::BASE_URL),
        "elevenlabs" => Some(elevenlabs::BASE_URL),
        // Every project has an address of its own.
        _ => None,
    }
}

impl Provider {
    /// A client for an account, with its key.
    ///
    /// # Errors
    /// Exit 6 when its settings or key cannot be read, the provider is not known, or a rehearsal would reach a real one.
    pub async fn of_account(app: &App, account: &Account, is_rehearsal: bool) -> anyhow::Result<Self> {
        if !PROVIDERS.contains(&account.provider.as_str()) {
            let problem = format!("account {}: there is no provider {:?}", account.name, account.provider);
            return Err(Failure::configuration(problem).into());
        }
        let access = Access::of(app, account, usual_address(&account.provider), is_rehearsal)?;
        let (key, base_url) = (access.key()?, access.base_url.as_str());
        let http = app.http().await.clone();
        Ok(match account.provider.as_str() {
            "elevenlabs" => Self::ElevenLabs(ElevenLabs::new(http, key, base_url)),
            "livekit" => {
                let secret = access.api_secret()?.ok_or_else(|| access.missing("api_secret"))?;
                let clock = app.clock.clone();
                Self::LiveKit(LiveKit::new(http, key.expose(), secret, base_url, move || clock.now()))
            }
            _ => Self::Vapi(Vapi::new(http, key, base_url)),
        })
    }

    /// Whether its answers show which organisation a key belongs to.
    pub const fn shows_organisation(&self) -> bool {
        match self {
            Self::Vapi(_) => true,
            Self::ElevenLabs(_) | Self::LiveKit(_) => false,
        }
    }

    /// Whether the provider can show that it never had a call. Where it cannot, an unknown is settled by what it does show,
    /// and else given up, never dialled again.
    pub const fn proves_absence(&self) -> bool {
        match self {
            Self::Vapi(_) => true,
            // A call that is dialled may be listed only when somebody picks up; nothing says when.
            Self::ElevenLabs(_) | Self::LiveKit(_) => false,
        }
    }

    /// Whether the provider keeps records of calls that are over.
    pub const fn keeps_records(&self) -> bool {
        match self {
            Self::Vapi(_) | Self::ElevenLabs(_) => true,
            Self::LiveKit(_) => false,
        }
    }

    /// Asks something harmless: whether the key is taken, what time it is there, whose key it is.
    ///
    /// # Errors
    /// When the key is refused or there is no usable answer.
    pub async fn probe(&self) -> Result<Probe, ReadError> {
        match self {
            Self::Vapi(vapi) => {
                let page = vapi.list(&ListFilter { limit: Some(1), ..ListFilter::default() }).await?;
                Ok(Probe { date: page.provider_date, org_id: page.calls.into_iter().find_map(|call| call.org_id) })
            }
            // Its answers name no project.
            Self::LiveKit(livekit) => Ok(Probe { date: livekit.probe().await?, org_id: None }),

            Self::ElevenLabs(elevenlabs) => Ok(Probe { date: elevenlabs.probe().await?, org_id: None }),
        }
    }

    /// Asks for a call, once, unless the last look forbids it.
    pub async fn place(&self, request: &DialRequest, last_look: &LastLook) -> DialResult {
        match self {
            Self::Vapi(vapi) => vapi.place_if(request, last_look).await,
            Self::LiveKit(livekit) => livekit.place_if(request, last_look).await,

            Self::ElevenLabs(elevenlabs) => elevenlabs.place_if(request, last_look).await,
        }
    }

    /// The provider's record of one call; none when it does not know it, which may mean not yet.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn fetch(&self, provider_call_id: &str) -> Result<Option<CallReport>, ReadError> {
        match self {
            Self::Vapi(vapi) => vapi.get(provider_call_id).await,
            Self::LiveKit(livekit) => livekit.get(provider_call_id).await,

            Self::ElevenLabs(elevenlabs) => elevenlabs.get(provider_call_id).await,
        }
    }

    /// The provider's record of a call whose id is not known, by the name that it was given when it was placed; none when
    /// the range was read to its end and does not show it. Where the provider can list by name, the range is not needed.
    ///
    /// # Errors
    /// When the listing could not be read to its end.
    pub async fn find(
        &self,
        name: &str,
        line: Option<&str>,
        agent: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Option<CallReport>, ReadError> {
        if let Self::ElevenLabs(elevenlabs) = self {
            return elevenlabs.find(name).await;
        }
        if let Self::LiveKit(livekit) = self {
            // Rooms bear our names.
            return livekit.get(name).await;
        }
        let listing = self.list(line, agent, from, to).await;
        let found = listing.calls.into_iter().find(|call| call.correlation.as_deref() == Some(name));
        match (found, listing.gap) {
            (None, Some(gap)) => Err(gap),
            (found, _) => Ok(found),
        }
    }

    /// Asks the provider to take back a call that it holds. Read the call afterwards to learn what became of it.
    /// ElevenLabs holds none: it dials at once or refuses, and no call of it is ever `queued`.
    ///
    /// # Errors
    /// When there is no usable answer: the call may be taken back nevertheless. When the provider takes none back.
    pub async fn take_back(&self, provider_call_id: &str) -> Result<Option<CallReport>, ReadError> {
        match self {
            Self::Vapi(vapi) => vapi.delete(provider_call_id).await,
            // It holds nothing back: what it takes rings at once. A room is never deleted, since somebody may be in it.
            Self::LiveKit(_) => Ok(None),
            Self::ElevenLabs(_) => Err(ReadError::NotOffered { what: "take a call back" }),
        }
    }

    /// What the provider has of the agent and line of a campaign.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn agent(&self, rules: &Rules) -> Result<AgentReport, ReadError> {
        let (agent, line) = (rules.agent_id().unwrap_or_default(), rules.line().unwrap_or_default());
        match self {
            Self::Vapi(vapi) => vapi.agent(agent, line).await,
            Self::ElevenLabs(elevenlabs) => {
                let via = rules.agent.get("via").and_then(serde_json::Value::as_str).unwrap_or("twilio");
                elevenlabs.agent(agent, line, via).await
            }
            Self::LiveKit(livekit) => livekit.trunk(rules.line().unwrap_or_default()).await,
        }
    }

    /// Every number that the provider knows for the account.
    ///
    /// # Errors
    /// When they could not all be read.
    pub async fn numbers(&self) -> Result<Vec<VoiceNumber>, ReadError> {
        match self {
            Self::Vapi(vapi) => vapi.numbers().await,
            Self::ElevenLabs(elevenlabs) => elevenlabs.numbers().await,
            Self::LiveKit(livekit) => livekit.numbers().await,
        }
    }

    /// Every call of one line and agent that the provider took in a range, where it [`proves_absence`].
    ///
    /// [`proves_absence`]: Self::proves_absence
    pub async fn list(
        &self,
        line: Option<&str>,
        agent: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> RangeListing {
        match self {
            Self::Vapi(vapi) => {
                let filter = ListFilter {
                    assistant_id: agent.map(str::to_owned),
                    phone_number_id: line.map(str::to_owned),
                    ..ListFilter::default()
                };
                vapi.list_range(&filter, from, to, RangeLimits::default()).await
            }
            Self::ElevenLabs(_) | Self::LiveKit(_) => RangeListing {
                calls: Vec::new(),
                gap: Some(ReadError::NotOffered { what: "list calls so that what is missing proves something" }),
                provider_date: None,
                requests: 0,
            },
        }
    }
}

/// How long after its commit a request of an account with this provider may still be under way.
pub fn longest_dial(provider: &str, request_timeout: Duration) -> Duration {
    match provider {
        // It answers when the phone has rung.
        "livekit" => livekit::longest_dial(request_timeout),
        _ => request_timeout,
    }
}

/// Waits for the answer to a question that may be asked again, but no longer than until `stop_at` on the monotonic clock.
///
/// # Errors
/// As the question, and when there is no answer by then.
pub async fn in_time<T>(
    clock: &Clock,
    stop_at: Duration,
    question: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, ReadError> {
    let left = stop_at.saturating_sub(clock.monotonic());
    tokio::time::timeout(left, question).await.unwrap_or_else(|_| {
        Err(ReadError::Unreachable { status: None, reason: "no answer within the time of this run".to_owned() })
    })
}

/// Whether an address leads to this machine.
pub fn is_loopback(base_url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(base_url) else { return false };
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for here in ["http://127.0.0.1:8899", "http://[::1]:1", "http://localhost/x", "https://127.8.0.1"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["https://api.vapi.ai", "http://127.0.0.1.example", "http://localhost.example", "nonsense", ""]
        {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
