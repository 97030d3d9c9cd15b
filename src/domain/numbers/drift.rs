//! In what a number at Twilio and what is known of it here differ.

use std::fmt;
use std::str::FromStr;

use super::super::call::{UnknownWord, words};
use super::{Number, NumberSettings, tenant_of_purchase_name};

/// A way in which Twilio and the database differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drift {
    /// A tenant says that the number is its own, and the database does not have it.
    TwilioOnly,
    /// No tenant says so.
    Unattributed,
    /// Several tenants say so.
    Contested,
    /// The database has it, and Twilio does not.
    DatabaseOnly,
    /// The database has it for one tenant, and another says that it is its own.
    OtherTenant,
    /// Calls to it are answered by another address than the tenant's.
    VoiceUrl,
    /// What becomes of calls to it is told to another address than the tenant's.
    StatusCallback,
    /// It has another name than the tenant's numbers have.
    FriendlyName,
}

words!(Drift, "drift", {
    TwilioOnly => "twilio_only", Unattributed => "unattributed", Contested => "contested", DatabaseOnly => "database_only",
    OtherTenant => "other_tenant", VoiceUrl => "voice_url", StatusCallback => "status_callback",
    FriendlyName => "friendly_name",
});

impl Drift {
    /// What to do about it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::TwilioOnly => "adopt",
            Self::Unattributed => "none, or claim it",
            Self::DatabaseOnly => "mark released",
            Self::Contested | Self::OtherTenant => "mend the tenants' numbers",
            Self::VoiceUrl | Self::StatusCallback => "set URLs",
            Self::FriendlyName => "rename it at Twilio",
        }
    }

    /// Whether somebody should do something about it. An account may well hold numbers of other businesses.
    pub const fn is_finding(self) -> bool {
        !matches!(self, Self::Unattributed)
    }

    /// Whether `reconcile-twilio --apply` may mend it.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::TwilioOnly | Self::DatabaseOnly | Self::VoiceUrl | Self::StatusCallback)
    }
}

/// In what the settings of a number differ from those of its tenant: what, as it is, as it should be. Where a trunk or an
/// application takes the calls, the URLs count for nothing.
pub fn differing(number: &Number, settings: &NumberSettings) -> Vec<(Drift, Option<String>, String)> {
    let mut differing = Vec::new();
    let mut compare = |drift, found: &Option<String>, wanted: &Option<String>| {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| found.as_ref() != Some(wanted)) {
            differing.push((drift, found.clone(), wanted.clone()));
        }
    };
    if number.follows_voice_url() {
        compare(Drift::VoiceUrl, &number.voice_url, &settings.voice_url);
        compare(Drift::StatusCallback, &number.status_callback, &settings.status_callback);
    }
    if let Some(pattern) = &settings.friendly_name {
        let name = number.friendly_name.as_deref().unwrap_or_default();
        let fits = wildmatch::WildMatchPattern::<'*', '\0'>::new(pattern).matches(name);
        if !fits && tenant_of_purchase_name(name).is_none() {
            differing.push((Drift::FriendlyName, number.friendly_name.clone(), pattern.clone()));
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_tenant_says_and_what_counts_can_differ() {
        let text = |text: &str| Some(text.to_owned());
        let settings = NumberSettings {
            friendly_name: text("Acme *"),
            voice_url: text("https://acme.example/voice"),
            status_callback: text("https://acme.example/status"),
            ..NumberSettings::default()
        };
        let right = Number {
            friendly_name: text("Acme Dental"),
            voice_url: settings.voice_url.clone(),
            status_callback: settings.status_callback.clone(),
            ..Number::default()
        };
        let kinds = |number: &Number, settings: &NumberSettings| -> Vec<Drift> {
            differing(number, settings).into_iter().map(|(drift, ..)| drift).collect()
        };
        assert_eq!(kinds(&right, &settings), []);
        assert_eq!(kinds(&Number::default(), &NumberSettings::default()), []);
        let staging =
            Number { voice_url: text("https://staging.example/voice"), status_callback: None, ..right.clone() };
        assert_eq!(kinds(&staging, &settings), [Drift::VoiceUrl, Drift::StatusCallback]);
        assert_eq!(kinds(&Number { trunk_sid: text("TK1"), ..staging.clone() }, &settings), []);
        assert_eq!(kinds(&Number { voice_application_sid: text("AP1"), ..staging }, &settings), []);
        let named = |name| Number { friendly_name: text(name), ..right.clone() };
        assert_eq!(kinds(&named("(802) 555-0100"), &settings), [Drift::FriendlyName]);
        assert_eq!(kinds(&named("callops acme 01JD5Q3G7V9M2C8K4R6T0W1XYZ"), &settings), []);
    }
}
