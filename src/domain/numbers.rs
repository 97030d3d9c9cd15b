//! Phone numbers that businesses rent: whose each is, which of several is kept, and what is not as it should be.

pub mod calls;
pub mod claims;
pub mod drift;
pub mod evidence;
pub mod keeper;
pub mod purchase;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::call::{UnknownWord, words};

/// The provider word of accounts that rent numbers.
pub const PROVIDER: &str = "twilio";

/// What a tenant says of its numbers. Stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberSettings {
    /// The Twilio account, by its name here, that its numbers are bought with.
    pub account: String,
    /// The subaccount that holds its numbers and nobody else's: a SID that begins with `AC`.
    #[serde(default)]
    pub subaccount: Option<String>,
    /// The friendly name of its numbers, with `*` for anything.
    #[serde(default)]
    pub friendly_name: Option<String>,
    /// The voice URL of its numbers, with `*` for anything.
    #[serde(default)]
    pub voice_url_pattern: Option<String>,
    /// Whom Twilio asks what to do with a call to its number.
    #[serde(default)]
    pub voice_url: Option<String>,
    /// Whom Twilio hands a text message to its number.
    #[serde(default)]
    pub sms_url: Option<String>,
    /// Whom Twilio tells what became of a call to its number.
    #[serde(default)]
    pub status_callback: Option<String>,
    /// What one number costs a month, in the currency of the bill.
    #[serde(default)]
    pub monthly_cost: Option<Decimal>,
}

/// A number as Twilio shows it. Absent and empty texts are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// Its SID, which begins with `PN`.
    pub sid: String,
    /// The SID of the Twilio account that holds it.
    pub account_sid: String,
    /// E.164.
    pub phone: String,
    /// What people call it.
    pub friendly_name: Option<String>,
    /// Whom Twilio asks about calls to it.
    pub voice_url: Option<String>,
    /// Whom Twilio hands text messages to it.
    pub sms_url: Option<String>,
    /// Whom Twilio tells what became of calls to it.
    pub status_callback: Option<String>,
    /// The application that takes its text messages; the SMS URL then counts for nothing.
    pub sms_application_sid: Option<String>,
    /// The SIP trunk that takes its calls; the voice URL then counts for nothing.
    pub trunk_sid: Option<String>,
    /// The application that takes its calls; the voice URL then counts for nothing.
    pub voice_application_sid: Option<String>,
    /// When it was bought.
    pub bought_at: Option<DateTime<Utc>>,
}

impl Number {
    /// Whether the voice URL is what decides about calls to it.
    pub fn follows_voice_url(&self) -> bool {
        self.trunk_sid.is_none() && self.voice_application_sid.is_none()
    }
}

/// A number as a voice provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceNumber {
    /// The provider's id of it, or of the trunk that it is of.
    pub id: String,
    /// E.164, as far as the provider writes it so.
    pub phone: String,
}

/// Whether a number is at Twilio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberStatus {
    /// It was there when it was looked for last.
    Active,
    /// It was released, by callops or by somebody else.
    Gone,
}

words!(NumberStatus, "number status", { Active => "active", Gone => "gone" });

/// Where an intent to buy or to release a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntentState {
    /// It was not carried out yet, as far as is known.
    Open,
    /// It was carried out.
    Done,
    /// It was given up: nothing was bought or released.
    Failed,
}

words!(IntentState, "intent state", { Open => "open", Done => "done", Failed => "failed" });

/// By what a number belongs to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// The subaccount that holds it.
    Subaccount,
    /// The name that a purchase gave it.
    Purchase,
    /// Its friendly name.
    FriendlyName,
    /// Its voice URL.
    VoiceUrl,
    /// Several tenants claim it, so that it is nobody's.
    Contested,
}

words!(Claim, "claim", {
    Subaccount => "subaccount", Purchase => "purchase", FriendlyName => "friendly_name", VoiceUrl => "voice_url",
    Contested => "contested",
});

/// The friendly name of a number that is bought for a tenant: by it the number is found again, whatever became of the
/// answer to the purchase.
pub fn purchase_name(tenant: &str, purchase_id: &str) -> String {
    let name = format!("{PURCHASE_PREFIX} {tenant} {purchase_id}");
    // The id alone is unique as well.
    if name.len() <= MAX_NAME_CHARS { name } else { format!("{PURCHASE_PREFIX} {purchase_id}") }
}

/// The tenant that a friendly name was given for by [`purchase_name`].
pub fn tenant_of_purchase_name(friendly_name: &str) -> Option<&str> {
    let (prefix, rest) = friendly_name.split_once(' ')?;
    let (tenant, id) = rest.split_once(' ')?;
    (prefix == PURCHASE_PREFIX && id.len() == ID_CHARS).then_some(tenant)
}

/// The longest friendly name that the service takes.
pub const MAX_NAME_CHARS: usize = 64;
const PURCHASE_PREFIX: &str = "callops";
const ID_CHARS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_name_says_whose_it_is_and_fits_the_service() {
        let id = "01JD5Q3G7V9M2C8K4R6T0W1XYZ";
        assert_eq!(tenant_of_purchase_name(&purchase_name("acme", id)), Some("acme"));
        for length in [29, 30, 63] {
            let name = purchase_name(&"t".repeat(length), id);
            assert!(name.len() <= MAX_NAME_CHARS && name.contains(id), "{name}");
        }
        for other in ["callops acme", "callops acme 1", "Acme Dental", "", "callopsx acme 01JD5Q3G7V9M2C8K4R6T0W1XYZ"] {
            assert_eq!(tenant_of_purchase_name(other), None, "{other}");
        }
    }
}
