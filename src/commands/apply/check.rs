//! What the files ask for, beside one another and beside what is stored.

use std::collections::{BTreeMap, BTreeSet};

use super::Stored;
use super::problems::Problems;
use super::read::{Wanted, WantedCampaign};
use crate::commands::calling::provider::is_loopback;
use crate::config::nearest;
use crate::domain::agent::AgentKeys;
use crate::domain::campaign::{Rules, ZonePolicy};
use crate::domain::zone::Zone;
use crate::domain::{billing, numbers, welcome};

/// Adds a problem for everything that does not fit together.
pub(super) fn check(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    if stored.is_rehearsal {
        check_rehearsal(wanted, problems);
    }
    check_references(wanted, stored, problems);
    super::numbers::check(wanted, stored, problems);
    super::billing::check(wanted, stored, problems);
    super::reminders::check(wanted, stored, problems);
    super::welcome::check(wanted, stored, problems);
    check_zones(wanted, stored, problems);
    check_purposes(wanted, stored, problems);
}

/// In a rehearsal no phone can ring: nothing but this machine is called.
fn check_rehearsal(wanted: &Wanted<'_>, problems: &mut Problems) {
    for account in &wanted.accounts {
        const HINT: &str = "give base_url = \"http://127.0.0.1:8899\", where `callops sandbox --listen` answers";
        match &account.base_url {
            Some(url) if is_loopback(&url.value) => {}
            Some(url) => problems.add(
                url.failure(format!("this is a rehearsal database, and {} is not on this machine", url.value))
                    .hint(HINT),
            ),
            None => problems.add(
                account
                    .at
                    .failure("this is a rehearsal database, in which no account may lead to the real provider")
                    .hint(HINT),
            ),
        }
    }
}

fn check_references(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    let accounts: BTreeSet<&str> = (wanted.accounts.iter().map(|account| account.at.value.as_str()))
        .chain(stored.accounts.iter().map(|account| account.name.as_str()))
        .collect();
    let tenants: BTreeSet<&str> = (wanted.tenants.iter().map(|tenant| tenant.at.value.as_str()))
        .chain(stored.tenants.iter().map(|tenant| tenant.name.as_str()))
        .collect();
    for tenant in &wanted.tenants {
        if let Some(account) = tenant.voice_account.as_ref().filter(|name| !accounts.contains(name.value.as_str())) {
            let failure = account.failure(format!("there is no account {:?}", account.value));
            problems.add(failure.hint(match nearest(&account.value, accounts.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("describe it: [account.{}] with provider and api_key", account.value),
            }));
        }
    }
    let provider_of = |name: &str| {
        let wanted =
            wanted.accounts.iter().find(|wanted| wanted.at.value == name).map(|wanted| wanted.provider.as_str());
        wanted.or_else(|| stored.accounts.iter().find(|stored| stored.name == name).map(|stored| &*stored.provider))
    };
    for account in wanted.tenants.iter().filter_map(|tenant| tenant.voice_account.as_ref()) {
        if let Some(provider @ ("livekit" | numbers::PROVIDER | billing::PROVIDER | welcome::PROVIDER)) =
            provider_of(&account.value)
        {
            let failure = account
                .failure(format!("{:?} is an account of {provider}, which keeps no conversations", account.value));
            problems.add(failure.hint("name an account of vapi or elevenlabs"));
        }
    }
    let mut told = BTreeSet::new();
    for campaign in &wanted.campaigns {
        let account = campaign.account.value.as_str();
        if !accounts.contains(account) {
            let failure = campaign.account.failure(format!("there is no account {account:?}"));
            problems.add(failure.hint(match nearest(account, accounts.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("describe it: [account.{account}] with provider and api_key"),
            }));
        }
        let of_account = provider_of(account);
        let of_agent = AgentKeys::of_agent(&campaign.rules.agent).map(|keys| keys.provider);
        if let (Some(of_account), Some(of_agent)) = (of_account, of_agent)
            && of_account != of_agent
        {
            let failure = campaign.account.failure(format!("{account:?} is an account of {of_account}"));
            problems.add(failure.hint(format!("its agent is one of {of_agent}: name an account of the same provider")));
        }
        let tenant = campaign.tenant.value.as_str();
        if !tenants.contains(tenant) && told.insert(tenant) {
            let failure = campaign.tenant.failure(format!("there is no tenant {tenant:?}"));
            problems.add(failure.hint(match nearest(tenant, tenants.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("describe it: [tenant.{tenant}] with a name"),
            }));
        }
    }
}

/// A campaign on its own wall clock needs a zone of its own, or its tenant's.
fn check_zones(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    for campaign in &wanted.campaigns {
        if needs_tenant_zone(&campaign.rules) && tenant_zone(wanted, stored, &campaign.tenant.value).is_none() {
            problems.add(
                campaign
                    .at
                    .failure("zone_policy is \"campaign\", and neither the campaign nor its tenant has a timezone")
                    .hint("give one of them a timezone, such as America/New_York"),
            );
        }
    }
    for tenant in wanted.tenants.iter().filter(|tenant| tenant.timezone.is_none()) {
        for campaign in stored.campaigns.iter().filter(|campaign| campaign.tenant == tenant.at.value) {
            if is_wanted(wanted, &campaign.tenant, &campaign.name) {
                continue;
            }
            if campaign.rules().is_ok_and(|rules| needs_tenant_zone(&rules)) {
                problems.add(
                    tenant
                        .at
                        .failure(format!("without a timezone its campaign {} has none either", campaign.full_name()))
                        .hint("keep the timezone, or give that campaign one"),
                );
            }
        }
    }
}

fn needs_tenant_zone(rules: &Rules) -> bool {
    rules.zone_policy == ZonePolicy::Campaign && rules.timezone.is_none()
}

fn tenant_zone(wanted: &Wanted<'_>, stored: &Stored, tenant: &str) -> Option<Zone> {
    if let Some(wanted) = wanted.tenants.iter().find(|wanted| wanted.at.value == tenant) {
        return wanted.timezone;
    }
    let stored = stored.tenants.iter().find(|stored| stored.name == tenant)?;
    stored.timezone.as_deref().and_then(|name| Zone::parse(name).ok())
}

fn is_wanted(wanted: &Wanted<'_>, tenant: &str, name: &str) -> bool {
    wanted.campaigns.iter().any(|campaign| campaign.tenant.value == tenant && campaign.at.value == name)
}

/// Campaigns that share a purpose share its slots, so they must agree on what a slot is and when one opens.
fn check_purposes(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    // The first campaign of each purpose, those that are stored and stay as they are before those of the files.
    let mut first: BTreeMap<(&str, &str), (String, Rules)> = BTreeMap::new();
    for campaign in &stored.campaigns {
        if is_wanted(wanted, &campaign.tenant, &campaign.name) {
            continue;
        }
        if let Ok(rules) = campaign.rules() {
            let name = format!("{}, which is in the database", campaign.full_name());
            first.entry((&campaign.tenant, &campaign.purpose)).or_insert((name, rules));
        }
    }
    for campaign in &wanted.campaigns {
        let key = (campaign.tenant.value.as_str(), campaign.purpose.as_str());
        let Some((other, rules)) = first.get(&key) else {
            let name = format!("{}, at {}", full_name(campaign), campaign.at.place());
            first.insert(key, (name, campaign.rules.clone()));
            continue;
        };
        let differing = differing(&campaign.rules, rules);
        if !differing.is_empty() {
            problems.add(
                campaign
                    .at
                    .failure(format!(
                        "it shares the purpose {:?} with {other}, but not its {}",
                        campaign.purpose,
                        differing.join(", ")
                    ))
                    .hint("campaigns with one purpose never call a person twice for it, so they need the same rules"),
            );
        }
    }
}

fn full_name(campaign: &WantedCampaign<'_>) -> String {
    format!("{}/{}", campaign.tenant.value, campaign.at.value)
}

fn differing(one: &Rules, other: &Rules) -> Vec<&'static str> {
    let on_own_clock = one.zone_policy == ZonePolicy::Campaign && other.zone_policy == ZonePolicy::Campaign;
    [
        ("frequency", one.frequency != other.frequency),
        ("reminders", one.reminders.is_some() != other.reminders.is_some()),
        ("zone_policy", one.zone_policy != other.zone_policy),
        ("timezone", on_own_clock && one.timezone != other.timezone),
        ("window", one.schedule.window != other.schedule.window),
        ("days", one.schedule.days != other.schedule.days),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
