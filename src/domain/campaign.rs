//! A campaign's rules and a tenant's limits, as they are stored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::{AgentKeys, silent_seconds};
use super::billing::{BillingSettings, DataCenter};
use super::call::{UnknownWord, words};
use super::evidence::RetryPolicy;
use super::numbers::NumberSettings;
use super::phone::CallAlso;
use super::records::RecordMapping;
use super::reminder::Reminders;
use super::schedule::Schedule;
use super::signature::vapi::HmacPlan;
use super::slot::Frequency;
use super::welcome::WelcomeSettings;
use super::zone::Zone;

/// No dial begins when the window closes sooner than this: ringing takes time.
pub const CLOSE_MARGIN_SECONDS: i64 = 120;
/// How long a preferred time stays due unless a campaign says otherwise.
pub const DEFAULT_LOOK_BACK_SECONDS: i64 = 15 * 60;
/// How long after being placed an attempt may go unheard of unless a tenant or campaign says otherwise.
pub const DEFAULT_ANSWER_TIMEOUT_SECONDS: i64 = 10 * 60;
/// How long a conversation may last unless a tenant or campaign says otherwise.
pub const DEFAULT_CALL_TIMEOUT_SECONDS: i64 = 60 * 60;
/// The least time between two calls to one phone unless a tenant or campaign says otherwise.
pub const DEFAULT_MIN_GAP_SECONDS: i64 = 4 * 3600;
/// The most calls that an account may have live at once unless it says otherwise: Vapi's default for an organisation.
pub const DEFAULT_MAX_CONCURRENCY: i64 = 10;

/// Whose wall clock the window is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZonePolicy {
    /// The callee's: a contact without a zone is not called.
    #[default]
    Callee,
    /// The campaign's, which is the tenant's unless the campaign names one.
    Campaign,
}

words!(ZonePolicy, "zone policy", { Callee => "callee", Campaign => "campaign" });

impl Serialize for ZonePolicy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ZonePolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Everything that decides when, how often and by which agent a campaign calls. Stored as JSON; a campaign whose rules
/// cannot be read makes no calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How often one person may be called for the purpose.
    pub frequency: Frequency,
    /// When.
    pub schedule: Schedule,
    /// On whose wall clock.
    pub zone_policy: ZonePolicy,
    /// The campaign's own zone; none: the tenant's.
    #[serde(default)]
    pub timezone: Option<Zone>,
    /// Which agent calls from which line, in the provider's own keys.
    pub agent: Value,
    /// What is tried again.
    pub retry: RetryPolicy,
    /// How long a preferred time stays due, in seconds.
    pub look_back_seconds: i64,
    /// Seconds after being placed by which something should have been heard; none: the tenant's.
    #[serde(default)]
    pub answer_timeout_seconds: Option<i64>,
    /// Seconds after being answered by which a call should be over; none: the tenant's.
    #[serde(default)]
    pub call_timeout_seconds: Option<i64>,
    /// The most calls to start in a minute.
    #[serde(default)]
    pub calls_per_minute: Option<i64>,
    /// The least time between two calls to one phone, in seconds; none: the tenant's.
    #[serde(default)]
    pub min_gap_seconds: Option<i64>,
    /// The most calls to one phone on one of its local days; none: the tenant's.
    #[serde(default)]
    pub max_calls_per_day: Option<i64>,
    /// Of which invoices the campaign reminds; none: of none. The frequency does not matter then.
    #[serde(default)]
    pub reminders: Option<Box<Reminders>>,
    /// The most calls to one phone on seven of its local days in succession; none: the tenant's.
    #[serde(default)]
    pub max_calls_per_week: Option<i64>,
}

impl Rules {
    /// The least time between two calls to one phone, in seconds.
    pub fn min_gap_seconds(&self, tenant: &TenantSettings) -> i64 {
        self.min_gap_seconds.or(tenant.min_gap_seconds).unwrap_or(DEFAULT_MIN_GAP_SECONDS)
    }

    /// Seconds after being placed by which something should have been heard, and who says so. Never less than the phone
    /// may ring without a word from the provider.
    pub fn answer_timeout(&self, tenant: &TenantSettings) -> InForce {
        let set =
            InForce::of(self.answer_timeout_seconds, tenant.answer_timeout_seconds, DEFAULT_ANSWER_TIMEOUT_SECONDS);
        match silent_seconds(&self.agent) {
            Some(least) if least > set.seconds => InForce { seconds: least, whose: Whose::Agent },
            _ => set,
        }
    }

    /// Seconds after being answered by which a call should be over, and who says so.
    pub fn call_timeout(&self, tenant: &TenantSettings) -> InForce {
        InForce::of(self.call_timeout_seconds, tenant.call_timeout_seconds, DEFAULT_CALL_TIMEOUT_SECONDS)
    }

    /// The most calls to one phone on one of its local days; none: no limit.
    pub fn max_calls_per_day(&self, tenant: &TenantSettings) -> Option<i64> {
        self.max_calls_per_day.or(tenant.max_calls_per_day)
    }

    /// The most calls to one phone on seven of its local days in succession; none: no limit.
    pub fn max_calls_per_week(&self, tenant: &TenantSettings) -> Option<i64> {
        self.max_calls_per_week.or(tenant.max_calls_per_week)
    }

    /// The line that calls, in the provider's words, as its records can be filtered by it.
    pub fn line(&self) -> Option<&str> {
        self.agent.get(AgentKeys::of_agent(&self.agent)?.line).and_then(Value::as_str)
    }

    /// The agent that calls, in the provider's words, as its records can be filtered by it.
    pub fn agent_id(&self) -> Option<&str> {
        self.agent.get(AgentKeys::of_agent(&self.agent)?.agent).and_then(Value::as_str)
    }
}

/// A length of time that a campaign or its tenant may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// How long.
    pub seconds: i64,
    /// Who says so.
    pub whose: Whose,
}

impl InForce {
    fn of(campaign: Option<i64>, tenant: Option<i64>, default: i64) -> Self {
        match (campaign, tenant) {
            (Some(seconds), _) => Self { seconds, whose: Whose::Campaign },
            (None, Some(seconds)) => Self { seconds, whose: Whose::Tenant },
            (None, None) => Self { seconds: default, whose: Whose::Default },
        }
    }
}

/// Who set what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The campaign itself.
    Campaign,
    /// Its tenant.
    Tenant,
    /// Nobody.
    Default,
    /// The time for which its agent lets a phone ring.
    Agent,
}

words!(Whose, "setter", {
    Campaign => "campaign", Tenant => "tenant", Default => "default", Agent => "ringing_timeout",
});

/// Limits that hold for all of a tenant's campaigns. Stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// The least time between two calls to one phone, in seconds.
    #[serde(default)]
    pub min_gap_seconds: Option<i64>,
    /// The most calls to one phone on one of its local days.
    #[serde(default)]
    pub max_calls_per_day: Option<i64>,
    /// The most calls to one phone on seven of its local days in succession.
    #[serde(default)]
    pub max_calls_per_week: Option<i64>,
    /// Seconds after being placed by which something should have been heard of an attempt.
    #[serde(default)]
    pub answer_timeout_seconds: Option<i64>,
    /// Seconds after being answered by which a call should be over.
    #[serde(default)]
    pub call_timeout_seconds: Option<i64>,
    /// While testing: the only phones that may ring, E.164. None: no such limit.
    #[serde(default)]
    pub allow_only: Option<Vec<String>>,
    /// The classes of numbers that are called although they cost extra.
    #[serde(default)]
    pub call_also: CallAlso,
    /// Where the secret of its own `call-status` webhooks is.
    #[serde(default)]
    pub webhook_secret: Option<String>,
    /// Where the token is by which its applications tell of sessions.
    #[serde(default)]
    pub api_token: Option<String>,
    /// The account whose provider holds the conversations of its sessions.
    #[serde(default)]
    pub voice_account: Option<String>,
    /// Seconds after which the provider is asked whether a session is over that nobody ended.
    #[serde(default)]
    pub session_timeout_seconds: Option<i64>,
    /// What becomes of conversations.
    #[serde(default)]
    pub records: Option<Box<RecordMapping>>,
    /// Its phone numbers: where they are bought, and by what they are known.
    #[serde(default)]
    pub numbers: Option<Box<NumberSettings>>,
    /// Its bills: where they are, and how often they may be asked for.
    #[serde(default)]
    pub billing: Option<Box<BillingSettings>>,
    /// Its welcome calls: whose payments bring them about.
    #[serde(default)]
    pub welcome: Option<Box<WelcomeSettings>>,
}

/// An account's settings, as stored: secrets by reference only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// Where the API key is: `env:NAME` or `file:PATH`.
    pub api_key: String,
    /// The account's own id, where requests name it: a Twilio account's SID.
    #[serde(default)]
    pub account_sid: Option<String>,
    /// The client that a refresh token was given to, for providers with such tokens: itself, or where it is.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Which of the provider's data centres holds the account, where there are several.
    #[serde(default)]
    pub data_center: Option<DataCenter>,
    /// Where the secret that belongs to the key is, for providers whose keys are pairs.
    #[serde(default)]
    pub api_secret: Option<String>,
    /// Where the secret of its webhooks is.
    #[serde(default)]
    pub webhook_secret: Option<String>,
    /// Where the secret is that was that of its webhooks before, for as long as both sign.
    #[serde(default)]
    pub previous_webhook_secret: Option<String>,
    /// Whether it is about real money, for providers with a mode for tests. None: it is.
    #[serde(default)]
    pub livemode: Option<bool>,
    /// How its webhooks are signed, where a signature is demanded.
    #[serde(default)]
    pub webhook_signature: Option<HmacPlan>,
    /// Another address than the provider's own.
    #[serde(default)]
    pub base_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stored_timeout_is_the_campaigns_own_and_an_absent_one_its_tenants() {
        let rules = |answer_timeout: Value| -> Rules {
            let mut stored = json!({
                "frequency": "daily", "schedule": {"window": "09:00-17:00"}, "zone_policy": "callee", "agent": {},
                "retry": RetryPolicy::default(), "look_back_seconds": 900, "answer_timeout_seconds": answer_timeout,
            });
            if stored["answer_timeout_seconds"].is_null() {
                stored.as_object_mut().unwrap().remove("answer_timeout_seconds");
            }
            serde_json::from_value(stored).unwrap()
        };
        let tenant = TenantSettings { answer_timeout_seconds: Some(300), ..TenantSettings::default() };
        for (stored, tenant, seconds, whose) in [
            (json!(600), &tenant, 600, Whose::Campaign),
            (json!(null), &tenant, 300, Whose::Tenant),
            (json!(null), &TenantSettings::default(), 600, Whose::Default),
        ] {
            let rules = rules(stored);
            assert_eq!(rules.answer_timeout(tenant), InForce { seconds, whose });
            // As it is written now, it reads back.
            let written = serde_json::to_value(&rules).unwrap();
            assert_eq!(serde_json::from_value::<Rules>(written).unwrap(), rules);
        }
    }

    #[test]
    fn nobody_is_given_up_while_the_phone_may_ring() {
        let rules = |agent: Value, answer_timeout: i64| -> Rules {
            let stored = json!({
                "frequency": "daily", "schedule": {"window": "09:00-17:00"}, "zone_policy": "callee", "agent": agent,
                "retry": RetryPolicy::default(), "look_back_seconds": 900, "answer_timeout_seconds": answer_timeout,
            });
            serde_json::from_value(stored).unwrap()
        };
        let elevenlabs =
            |ringing: Value| json!({"agent_id": "a", "agent_phone_number_id": "p", "ringing_timeout": ringing});
        let vapi = json!({"assistant_id": "a", "phone_number_id": "p"});
        for (agent, set, seconds, whose) in [
            (elevenlabs(json!(300)), 120, 360, Whose::Agent),
            (elevenlabs(json!(null)), 60, 120, Whose::Agent),
            (elevenlabs(json!(30)), 120, 120, Whose::Campaign),
            (vapi, 60, 60, Whose::Campaign),
        ] {
            let in_force = rules(agent.clone(), set).answer_timeout(&TenantSettings::default());
            assert_eq!(in_force, InForce { seconds, whose }, "{agent}");
        }
    }
}
