//! Whether a customer can be called, and where and when.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{WelcomeSettings, WelcomeState};
use crate::domain::campaign::{Rules, ZonePolicy};
use crate::domain::contact_row::preferred_time;
use crate::domain::phone::{CallAlso, ParsedPhone, Phone, parse_phone};
use crate::domain::preferred::PreferredTime;
use crate::domain::region::Region;
use crate::domain::zone::{Zone, zones_of_callee};

/// The longest text of a customer's that is repeated.
const MOST_SHOWN_CHARS: usize = 60;

/// What is said of a person, by an event or by the customer itself. Empty texts are as if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// What they are called.
    pub name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// A phone, as somebody wrote it.
    pub phone: Option<String>,
    /// The country of their address: two letters.
    pub country: Option<String>,
    /// What the business keeps beside it.
    pub metadata: BTreeMap<String, String>,
}

impl Details {
    /// The same, with what another source says in place of what is not known.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        // A phone is read by the country that was said with it.
        if self.phone.is_none() {
            self.phone.clone_from(&other.phone);
            self.country.clone_from(&other.country);
        }
        self.name = self.name.or_else(|| other.name.clone());
        self.email = self.email.or_else(|| other.email.clone());
        for (key, value) in &other.metadata {
            self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

/// A customer as the service shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// When it was made there; none for one that was deleted.
    pub created: Option<DateTime<Utc>>,
    /// What is known of it.
    pub details: Details,
}

/// A person who can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    /// The phone.
    pub phone: Phone,
    /// Digits to key in once the call is answered.
    pub extension: Option<String>,
    /// The zone that they, or the business, gave.
    pub timezone: Option<Zone>,
    /// When they want to be called.
    pub preferred_time: Option<PreferredTime>,
}

/// By what a person's details are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// What the tenant says of its welcome calls.
    pub settings: &'a WelcomeSettings,
    /// The tenant's region, for phones of which no country is known.
    pub region: Option<Region>,
    /// What the tenant calls although it costs extra.
    pub call_also: CallAlso,
    /// The rules of the campaign that welcomes.
    pub rules: &'a Rules,
}

/// The phone of a person, by what is known of them.
///
/// # Errors
/// That there is none that can be called, and in words why.
pub fn phone(details: &Details, reading: Reading<'_>) -> Result<ParsedPhone, (WelcomeState, String)> {
    let text = details.phone.as_deref().ok_or((WelcomeState::NoPhone, "there is no phone".to_owned()))?;
    let region = details.country.as_deref().and_then(|country| country.parse().ok()).or(reading.region);
    parse_phone(text, region, reading.call_also)
        .map_err(|problem| (WelcomeState::NoPhone, format!("{}: {problem}", shown(text))))
}

/// Whether a person with this phone can be called. `known_timezone` is the zone that is known of them here, which counts
/// where they give none.
///
/// # Errors
/// What stands in the way, and in words what is wrong with it.
pub fn callee(
    parsed: ParsedPhone,
    details: &Details,
    reading: Reading<'_>,
    known_timezone: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Callee, (WelcomeState, String)> {
    let Reading { settings, rules, .. } = reading;
    let phone = parsed.phone;
    let said = |key: &str| details.metadata.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    let timezone = match said(settings.timezone_key()) {
        Some(text) => Some(
            Zone::from_cell(text, &phone)
                .map_err(|error| (WelcomeState::NoTimezone, format!("{}: {error}", settings.timezone_key())))?,
        ),
        None => None,
    };
    let preferred_time = match said(settings.preferred_time_key()) {
        Some(text) => Some(preferred_time(text).map_err(|_| {
            let key = settings.preferred_time_key();
            (WelcomeState::UnreadableTime, format!("{key}: {} is no time; write HH:MM", shown(text)))
        })?),
        None => None,
    };
    if rules.zone_policy == ZonePolicy::Callee {
        has_window(timezone.map(Zone::name).or(known_timezone), &phone, rules, now)?;
    }
    Ok(Callee { phone, extension: parsed.extension, timezone, preferred_time })
}

fn has_window(
    timezone: Option<&str>,
    phone: &Phone,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Result<(), (WelcomeState, String)> {
    let Some((zones, _)) = zones_of_callee(timezone, phone.as_str()) else {
        return Err((WelcomeState::NoTimezone, "no time zone is given, and the phone says none".to_owned()));
    };
    if rules.schedule.has_common_window(&zones, now) {
        return Ok(());
    }
    let window = rules.schedule.window;
    let problem = format!("the phone may be in {}, where {window} is at no moment in all of them", zones.summary());
    Err((WelcomeState::NoTimezone, problem))
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(MOST_SHOWN_CHARS).collect::<String>())
}
