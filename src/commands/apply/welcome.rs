//! Whom a tenant welcomes, from TOML.

use chrono::{DateTime, Utc};

use super::Stored;
use super::problems::Problems;
use super::read::{Wanted, required};
use crate::config::{Located, Section, nearest};
use crate::domain::slot::Frequency;
use crate::domain::welcome::{PROVIDER, WelcomeSettings};

const KEYS: &[&str] = &["account", "campaign", "welcome_since", "trialing", "timezone_key", "preferred_time_key"];
/// Stripe's own limit for a key of metadata.
const MAX_KEY_CHARS: usize = 40;

/// Where a tenant's welcome names an account and a campaign.
#[derive(Debug)]
pub(super) struct Places<'d> {
    account: Located<'d, String>,
    campaign: Located<'d, String>,
}

/// A tenant's `welcome`, and what it names.
pub(super) fn read<'d>(
    at: &Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<(Places<'d>, WelcomeSettings)> {
    if !section.has("welcome") {
        return None;
    }
    let table = problems.take(section.section("welcome").map(Some))?;
    problems.unknown(&table, KEYS);
    let account = required(at, &table, "account", "the name of an account at stripe", problems);
    let campaign = required(at, &table, "campaign", "the name of a campaign of this tenant, which welcomes", problems);
    let since_hint = "from when on new customers are welcomed, such as welcome_since = \"2026-11-20T00:00:00Z\"";
    let welcome_since = required(at, &table, "welcome_since", since_hint, problems);
    let welcome_since = problems.convert(welcome_since, |text| {
        text.parse::<DateTime<Utc>>()
            .map_err(|_| format!("{text:?} is no instant; write it as 2026-11-20T00:00:00Z, or with an offset"))
    });
    let trialing = problems.take(table.boolean("trialing")).is_some_and(|trialing| trialing.value);
    let mut key = |name: &str| {
        let text = problems.take(table.string(name));
        problems.convert(text, |text| {
            let is_key = !text.trim().is_empty() && text.chars().count() <= MAX_KEY_CHARS;
            if is_key {
                Ok(text)
            } else {
                Err(format!("{text:?} is no key of metadata: 1 to {MAX_KEY_CHARS} characters"))
            }
        })
    };
    let (timezone_key, preferred_time_key) = (key("timezone_key"), key("preferred_time_key"));
    let (account, campaign) = (account?, campaign?);
    let settings = WelcomeSettings {
        account: account.value.clone(),
        campaign: campaign.value.clone(),
        welcome_since: welcome_since?,
        trialing,
        timezone_key,
        preferred_time_key,
    };
    Some((Places { account, campaign }, settings))
}

/// Adds a problem for each tenant whose welcome leads to no payments, or to a campaign that calls more than once.
pub(super) fn check(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    // What a file says wins over what is stored.
    let of_files = wanted.accounts.iter().map(|account| (account.at.value.as_str(), account.provider.as_str()));
    let of_store = stored.accounts.iter().map(|account| (account.name.as_str(), account.provider.as_str()));
    let all: Vec<(&str, &str)> = of_files.chain(of_store).collect();
    for tenant in &wanted.tenants {
        let Some(Places { account, campaign }) = &tenant.welcome else { continue };
        let name = account.value.as_str();
        match all.iter().find(|(known, _)| *known == name) {
            Some((_, PROVIDER)) => {}
            Some((_, provider)) => {
                let failure = account.failure(format!("{name:?} is an account of {provider}, which takes no payments"));
                problems.add(failure.hint("name an account of stripe"));
            }
            None => {
                let failure = account.failure(format!("there is no account {name:?}"));
                problems.add(failure.hint(match nearest(name, all.iter().map(|(known, _)| *known)) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("describe it: [account.{name}] with provider = \"stripe\""),
                }));
            }
        }
        let name = campaign.value.as_str();
        match frequency_of(wanted, stored, &tenant.at.value, name) {
            None => {
                let failure = campaign.failure(format!("{} has no campaign {name:?}", tenant.at.value));
                problems.add(failure.hint(format!(
                    "describe it: [tenant.{}.campaign.{name}] with frequency = \"once\"",
                    tenant.at.value
                )));
            }
            Some(Frequency::Once) => {}
            Some(frequency) => {
                let failure = campaign.failure(format!("{name:?} calls {frequency}, and a welcome comes once"));
                problems.add(failure.hint("give it frequency = \"once\", or name another campaign"));
            }
        }
    }
    // Campaigns that a tenant which stays as it is welcomes with.
    for campaign in wanted.campaigns.iter().filter(|campaign| campaign.rules.frequency != Frequency::Once) {
        let tenant = campaign.tenant.value.as_str();
        let stays = !wanted.tenants.iter().any(|wanted| wanted.at.value == tenant);
        let stored = stored.tenants.iter().find(|stored| stays && stored.name == tenant);
        let welcome = stored.and_then(|stored| stored.settings().ok()?.welcome);
        if welcome.is_some_and(|welcome| welcome.campaign == campaign.at.value) {
            let failure =
                campaign.at.failure(format!("{tenant} welcomes with it, which has to be frequency = \"once\""));
            problems.add(failure.hint("give the tenant's welcome another campaign first"));
        }
    }
}

fn frequency_of(wanted: &Wanted<'_>, stored: &Stored, tenant: &str, name: &str) -> Option<Frequency> {
    let of_file = wanted.campaigns.iter().find(|one| one.tenant.value == tenant && one.at.value == name);
    let of_store = || stored.campaigns.iter().find(|one| one.tenant == tenant && one.name == name);
    match of_file {
        Some(campaign) => Some(campaign.rules.frequency),
        // One that cannot be read is told elsewhere, and calls nobody.
        None => of_store().map(|campaign| campaign.rules().map_or(Frequency::Once, |rules| rules.frequency)),
    }
}
