//! From TOML to accounts, tenants and campaigns, every value checked.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::account::{read_account, secret};
use super::costly::costly;
use super::problems::Problems;
use super::{agent, billing, numbers, records, reminders, welcome};
use crate::config::{Document, Located, Section, nearest};
use crate::domain::campaign::{
    AccountSettings, CLOSE_MARGIN_SECONDS, DEFAULT_LOOK_BACK_SECONDS, Rules, TenantSettings, ZonePolicy,
};
use crate::domain::duration::HumanDuration;
use crate::domain::evidence::RetryPolicy;
use crate::domain::outcome::Outcome;
use crate::domain::phone::{CallAlso, parse_phone};
use crate::domain::region::{Region, RegionProblem};
use crate::domain::schedule::Schedule;
use crate::domain::slot::Frequency;
use crate::domain::window::{Days, Window};
use crate::domain::zone::Zone;

const TENANT_KEYS: &[&str] = &[
    "name",
    "region",
    "timezone",
    "min_gap",
    "max_calls_per_day",
    "max_calls_per_week",
    "answer_timeout",
    "call_timeout",
    "allow_only",
    "call_also",
    "webhook_secret",
    "api_token",
    "voice_account",
    "session_timeout",
    "records",
    "numbers",
    "billing",
    "welcome",
    "campaign",
];
const CAMPAIGN_KEYS: &[&str] = &[
    "account",
    "vapi",
    "elevenlabs",
    "livekit",
    "purpose",
    "frequency",
    "days",
    "window",
    "timezone",
    "zone_policy",
    "starts",
    "ends",
    "exclude_dates",
    "look_back",
    "answer_timeout",
    "call_timeout",
    "calls_per_minute",
    "priority",
    "min_gap",
    "max_calls_per_day",
    "max_calls_per_week",
    "retry",
    "reminders",
];
const RETRY_KEYS: &[&str] = &["on", "after", "max_attempts"];

/// What may be tried again. The rest reached somebody, never can, or is our own doing.
const RETRIABLE: [Outcome; 6] =
    [Outcome::NoAnswer, Outcome::Busy, Outcome::Timeout, Outcome::Voicemail, Outcome::Rejected, Outcome::ProviderError];

const MAX_NAME_CHARS: usize = 63;
const DAY_SECONDS: i64 = 24 * 3600;

/// All that the files ask for.
#[derive(Debug, Default)]
pub(super) struct Wanted<'d> {
    pub(super) accounts: Vec<WantedAccount<'d>>,
    pub(super) tenants: Vec<WantedTenant<'d>>,
    pub(super) campaigns: Vec<WantedCampaign<'d>>,
}

/// An account, and where it stands.
#[derive(Debug)]
pub(super) struct WantedAccount<'d> {
    pub(super) at: Located<'d, String>,
    pub(super) provider: String,
    pub(super) settings: AccountSettings,
    pub(super) base_url: Option<Located<'d, String>>,
    pub(super) max_concurrency: i64,
    pub(super) calls_per_minute: Option<i64>,
}

/// A tenant, and where it stands.
#[derive(Debug)]
pub(super) struct WantedTenant<'d> {
    pub(super) at: Located<'d, String>,
    pub(super) display_name: String,
    pub(super) region: Option<String>,
    pub(super) timezone: Option<Zone>,
    /// The account of its sessions, where it stands.
    pub(super) voice_account: Option<Located<'d, String>>,
    /// The account of its numbers, where it stands.
    pub(super) number_account: Option<Located<'d, String>>,
    /// The account of its bills, where it stands.
    pub(super) billing_account: Option<Located<'d, String>>,
    /// What its welcome names, where it stands.
    pub(super) welcome: Option<welcome::Places<'d>>,
    pub(super) settings: TenantSettings,
}

/// A campaign, and where it stands.
#[derive(Debug)]
pub(super) struct WantedCampaign<'d> {
    pub(super) at: Located<'d, String>,
    pub(super) tenant: Located<'d, String>,
    pub(super) account: Located<'d, String>,
    pub(super) purpose: String,
    pub(super) priority: i64,
    pub(super) rules: Rules,
}

impl<'d> Wanted<'d> {
    /// Adds what a document asks for.
    pub(super) fn read(&mut self, document: &'d Document, problems: &mut Problems) {
        let Some(root) = problems.take(document.root().map(Some)) else { return };
        problems.unknown(&root, &["account", "tenant"]);
        for (at, section) in sections(&root, "account", problems) {
            if let Some(account) = read_account(at, &section, problems) {
                if let Some(other) = self.accounts.iter().find(|other| other.at.value == account.at.value) {
                    problems.add(account.at.failure(format!("it is described already at {}", other.at.place())));
                }
                self.accounts.push(account);
            }
        }
        for (at, section) in sections(&root, "tenant", problems) {
            let described = section.keys().any(|key| key != "campaign");
            problems.unknown(&section, TENANT_KEYS);
            check_name(&at, problems);
            if described {
                if let Some(other) = self.tenants.iter().find(|other| other.at.value == at.value) {
                    problems.add(at.failure(format!("it is described already at {}", other.at.place())));
                }
                self.tenants.push(read_tenant(at.clone(), &section, problems));
            }
            for (campaign_at, campaign) in sections(&section, "campaign", problems) {
                check_name(&campaign_at, problems);
                let twice = self
                    .campaigns
                    .iter()
                    .find(|other| other.tenant.value == at.value && other.at.value == campaign_at.value);
                if let Some(other) = twice {
                    problems.add(campaign_at.failure(format!("it is described already at {}", other.at.place())));
                }
                self.campaigns.extend(read_campaign(&at, campaign_at, &campaign, problems));
            }
        }
    }
}

fn sections<'d>(section: &Section<'d>, key: &str, problems: &mut Problems) -> Vec<(Located<'d, String>, Section<'d>)> {
    problems.take(section.section(key).and_then(|section| section.sections()).map(Some)).unwrap_or_default()
}

pub(super) fn check_name(at: &Located<'_, String>, problems: &mut Problems) {
    if let Err(rule) = is_name(&at.value) {
        problems.add(at.failure(rule));
    }
}

fn is_name(name: &str) -> Result<(), String> {
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        && name.len() <= MAX_NAME_CHARS;
    if sound {
        return Ok(());
    }
    Err(format!("{name:?} is no name: at most {MAX_NAME_CHARS} of a-z, 0-9, - and _, beginning with a letter or digit"))
}

fn read_tenant<'d>(at: Located<'d, String>, section: &Section<'d>, problems: &mut Problems) -> WantedTenant<'d> {
    let display_name = problems.take(section.string("name"));
    let display_name = problems.convert(display_name, |name| {
        if name.trim().is_empty() { Err(format!("{name:?} is no name to show to people")) } else { Ok(name) }
    });
    let region_given = section.has("region");
    let region = problems.take(section.string("region"));
    let region: Option<Region> = problems.convert(region, |text| {
        text.parse().map_err(|problem: RegionProblem| match problem.suggestion {
            Some(region) => format!("{problem}; did you mean {region}?"),
            None => problem.to_string(),
        })
    });
    let timezone = problems.take(section.string("timezone"));
    let timezone = problems.convert(timezone, |name| Zone::parse(&name));
    let call_also: CallAlso = match problems.take(section.texts("call_also")) {
        Some(list) => {
            list.value.into_iter().filter_map(|word| problems.convert(Some(word), |word| costly(&word))).collect()
        }
        None => CallAlso::default(),
    };
    let allow_only = match problems.take(section.texts("allow_only")) {
        // National numbers cannot be read by a region that is wrong, and that is told already.
        Some(_) if region_given && region.is_none() => None,
        Some(list) => {
            let mut phones = BTreeSet::new();
            for phone in list.value {
                let phone = problems.convert(Some(phone), |text| match parse_phone(&text, region, call_also) {
                    Ok(parsed) => Ok(parsed.phone.to_string()),
                    Err(problem) => Err(format!("{text:?}: {problem}")),
                });
                phones.extend(phone);
            }
            Some(phones.into_iter().collect())
        }
        None => None,
    };
    let webhook_secret = problems.take(section.string("webhook_secret"));
    let webhook_secret = problems.convert(webhook_secret, |text| secret(&text));
    let api_token = problems.take(section.string("api_token"));
    let api_token = problems.convert(api_token, |text| secret(&text));
    let voice_account = problems.take(section.string("voice_account"));
    let (number_account, numbers) = numbers::read(&at, section, problems).unzip();
    let (billing_account, billing) = billing::read(&at, section, problems).unzip();
    let (welcome, welcome_settings) = welcome::read(&at, section, problems).unzip();
    let settings = TenantSettings {
        min_gap_seconds: seconds(section, "min_gap", 0..=30 * DAY_SECONDS, problems),
        max_calls_per_day: integer(section, "max_calls_per_day", 1..=1000, problems),
        max_calls_per_week: integer(section, "max_calls_per_week", 1..=1000, problems),
        answer_timeout_seconds: timeout(section, "answer_timeout", problems),
        call_timeout_seconds: timeout(section, "call_timeout", problems),
        allow_only,
        call_also,
        webhook_secret,
        api_token,
        voice_account: voice_account.as_ref().map(|name| name.value.clone()),
        session_timeout_seconds: seconds(section, "session_timeout", 60..=DAY_SECONDS, problems),
        records: records::read(&at, section, problems).map(Box::new),
        numbers: numbers.map(Box::new),
        billing: billing.map(Box::new),
        welcome: welcome_settings.map(Box::new),
    };
    WantedTenant {
        display_name: display_name.unwrap_or_else(|| at.value.clone()),
        at,
        region: region.map(Region::code),
        timezone,
        voice_account,
        number_account,
        billing_account,
        welcome,
        settings,
    }
}

fn read_campaign<'d>(
    tenant: &Located<'d, String>,
    at: Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<WantedCampaign<'d>> {
    problems.unknown(section, CAMPAIGN_KEYS);
    let account = required(&at, section, "account", "the name of an account", problems);
    let agent = agent::read(&at, section, problems);
    let purpose = problems.take(section.string("purpose"));
    let purpose = problems.convert(purpose, |text| is_name(&text).map(|()| text));
    let frequency = problems.take(section.string("frequency"));
    let frequency: Option<Frequency> = problems.convert(frequency, |text| text.parse());
    let timezone = problems.take(section.string("timezone"));
    let timezone = problems.convert(timezone, |name| Zone::parse(&name));
    let zone_policy = problems.take(section.string("zone_policy"));
    let zone_policy = problems.convert(zone_policy, |text| {
        text.parse::<ZonePolicy>().map_err(|_| format!("{text:?} is no zone policy; write callee or campaign"))
    });
    let reminders = reminders::read(&at, section, problems);
    let schedule = read_schedule(&at, section, problems);
    let retry = read_retry(section, problems);
    let look_back = seconds(section, "look_back", 60..=DAY_SECONDS, problems);
    let answer_timeout_seconds = timeout(section, "answer_timeout", problems);
    let call_timeout_seconds = timeout(section, "call_timeout", problems);
    let calls_per_minute = integer(section, "calls_per_minute", 1..=100_000, problems);
    let priority = integer(section, "priority", 0..=9, problems);
    let min_gap_seconds = seconds(section, "min_gap", 0..=30 * DAY_SECONDS, problems);
    let max_calls_per_day = integer(section, "max_calls_per_day", 1..=1000, problems);
    let max_calls_per_week = integer(section, "max_calls_per_week", 1..=1000, problems);
    Some(WantedCampaign {
        purpose: purpose.unwrap_or_else(|| at.value.clone()),
        at,
        tenant: tenant.clone(),
        account: account?,
        priority: priority.unwrap_or_default(),
        rules: Rules {
            frequency: frequency.unwrap_or_default(),
            schedule: schedule?,
            zone_policy: zone_policy.unwrap_or_default(),
            timezone,
            agent: agent?,
            retry: retry.unwrap_or_default(),
            look_back_seconds: look_back.unwrap_or(DEFAULT_LOOK_BACK_SECONDS),
            answer_timeout_seconds,
            call_timeout_seconds,
            calls_per_minute,
            min_gap_seconds,
            max_calls_per_day,
            reminders,
            max_calls_per_week,
        },
    })
}

fn read_schedule(at: &Located<'_, String>, section: &Section<'_>, problems: &mut Problems) -> Option<Schedule> {
    let window = required(at, section, "window", "such as window = \"09:00-17:00\"", problems);
    let window = problems.convert(window, |text| {
        let window: Window = text.parse().map_err(|error: crate::domain::window::WindowError| error.to_string())?;
        if window.is_ambiguous_day() {
            return Err(format!("{text:?} starts where it ends; write 00:00-24:00 for the whole day"));
        }
        let (start, end) = (i64::from(window.start().minute()), i64::from(window.end().minute()));
        if (end - start).rem_euclid(24 * 60) * 60 <= CLOSE_MARGIN_SECONDS && window != Window::ALL_DAY {
            return Err(format!(
                "{text:?} is too short: no call begins in a window's last {} minutes",
                CLOSE_MARGIN_SECONDS / 60
            ));
        }
        Ok(window)
    });
    let mut days = Vec::new();
    for day in problems.take(section.texts("days")).map(|list| list.value).unwrap_or_default() {
        days.extend(problems.convert(Some(day), |text| Days::parse_day(&text)));
    }
    let mut excluded = BTreeSet::new();
    for date in problems.take(section.texts("exclude_dates")).map(|list| list.value).unwrap_or_default() {
        excluded.extend(problems.convert(Some(date), |text| date_of(&text)));
    }
    let starts = problems.take(section.text("starts"));
    let starts = problems.convert(starts, |text| date_of(&text));
    let ends = problems.take(section.text("ends"));
    let ends = problems.convert(ends, |text| {
        let ends = date_of(&text)?;
        match starts {
            Some(starts) if ends < starts => Err(format!("{ends} is before {starts}, on which it starts")),
            _ => Ok(ends),
        }
    });
    Some(Schedule { window: window?, days: Days::new(days), starts, ends, exclude_dates: excluded })
}

fn read_retry(section: &Section<'_>, problems: &mut Problems) -> Option<RetryPolicy> {
    let table = problems.take(section.section("retry").map(Some))?;
    problems.unknown(&table, RETRY_KEYS);
    let mut policy = RetryPolicy::default();
    if let Some(list) = problems.take(table.texts("on")) {
        policy.on.clear();
        for word in list.value {
            let outcome = problems.convert(Some(word), |text| {
                let known = RETRIABLE.iter().map(|outcome| outcome.as_str());
                RETRIABLE.iter().copied().find(|outcome| outcome.as_str() == text).ok_or_else(|| {
                    let guess = nearest(&text, known.clone()).map(|word| format!(" (did you mean {word}?)"));
                    let known: Vec<&str> = known.collect();
                    format!(
                        "{text:?} is no outcome that is tried again; there is {}{}",
                        known.join(", "),
                        guess.unwrap_or_default()
                    )
                })
            });
            policy.on.extend(outcome.filter(|outcome| !policy.on.contains(outcome)));
        }
        policy.on.sort_unstable();
    }
    if let Some(after) = seconds(&table, "after", 60..=30 * DAY_SECONDS, problems) {
        policy.after_seconds = after;
    }
    if let Some(most) = integer(&table, "max_attempts", 1..=20, problems) {
        policy.max_attempts = most;
    }
    Some(policy)
}

fn date_of(text: &str) -> Result<NaiveDate, String> {
    text.parse().map_err(|_| format!("{text:?} is no date; write YYYY-MM-DD, such as 2026-12-24"))
}

/// A text that must be there.
pub(super) fn required<'d>(
    at: &Located<'d, String>,
    section: &Section<'d>,
    key: &str,
    hint: &str,
    problems: &mut Problems,
) -> Option<Located<'d, String>> {
    if !section.has(key) {
        problems.add(at.failure(format!("{key} is missing")).hint(hint));
        return None;
    }
    problems.take(section.string(key))
}

pub(super) fn integer(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<i64> {
    let number = problems.take(section.integer(key));
    problems.convert(number, |number| {
        if range.contains(&number) {
            return Ok(number);
        }
        Err(format!("{number} is not from {} to {}", range.start(), range.end()))
    })
}

/// A deadline of an attempt, which a campaign and a tenant may set.
fn timeout(section: &Section<'_>, key: &str, problems: &mut Problems) -> Option<i64> {
    seconds(section, key, 60..=DAY_SECONDS, problems)
}

/// A length of time in seconds.
pub(super) fn seconds(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<i64> {
    let length = problems.take(section.string(key));
    problems.convert(length, |text| {
        let length: HumanDuration =
            text.parse().map_err(|error: crate::domain::duration::DurationError| error.to_string())?;
        let seconds = i64::from(length.seconds());
        if range.contains(&seconds) {
            return Ok(seconds);
        }
        let shown = |seconds: i64| HumanDuration::from_seconds(u32::try_from(seconds).unwrap_or(u32::MAX));
        Err(format!("{text:?} is not from {} to {}", shown(*range.start()), shown(*range.end())))
    })
}
