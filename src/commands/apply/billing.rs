//! Where a tenant's bills are, from TOML.

use super::Stored;
use super::problems::Problems;
use super::read::{Wanted, integer, required, seconds};
use crate::config::{Located, Section, nearest};
use crate::domain::billing::{BillingSettings, PROVIDER, Plan};

const KEYS: &[&str] = &[
    "account",
    "organization_id",
    "full_sync_after",
    "plan",
    "requests_per_minute",
    "requests_per_day",
    "requests_at_once",
];
const HOUR_SECONDS: i64 = 3600;

/// A tenant's `billing`, and where its account is named.
pub(super) fn read<'d>(
    at: &Located<'d, String>,
    section: &Section<'d>,
    problems: &mut Problems,
) -> Option<(Located<'d, String>, BillingSettings)> {
    if !section.has("billing") {
        return None;
    }
    let table = problems.take(section.section("billing").map(Some))?;
    problems.unknown(&table, KEYS);
    let account = required(at, &table, "account", "the name of an account at zoho", problems);
    let organization_id = if table.has("organization_id") {
        problems.take(table.text("organization_id"))
    } else {
        let failure = at.failure("billing.organization_id is missing");
        problems.add(failure.hint("Zoho Books shows it where organisations are managed"));
        None
    };
    let organization_id = problems.convert(organization_id, |text| {
        let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_id { Ok(text) } else { Err(format!("{text:?} is no id of an organisation, which is digits only")) }
    });
    let plan = problems.take(table.string("plan"));
    let plan = problems.convert(plan, |word| {
        word.parse::<Plan>().map_err(|_| {
            let known: Vec<&str> = Plan::ALL.iter().map(|plan| plan.as_str()).collect();
            format!("{word:?} is no plan; there are {}", known.join(", "))
        })
    });
    let full_sync_after_seconds = seconds(&table, "full_sync_after", HOUR_SECONDS..=90 * 24 * HOUR_SECONDS, problems);
    let requests_per_minute = integer(&table, "requests_per_minute", 1..=100_000, problems);
    let requests_per_day = integer(&table, "requests_per_day", 1..=10_000_000, problems);
    let requests_at_once = integer(&table, "requests_at_once", 1..=1000, problems);
    let account = account?;
    let settings = BillingSettings {
        account: account.value.clone(),
        organization_id: organization_id?,
        full_sync_after_seconds,
        plan,
        requests_per_minute,
        requests_per_day,
        requests_at_once,
    };
    Some((account, settings))
}

/// Adds a problem for each tenant whose bills no account holds.
pub(super) fn check(wanted: &Wanted<'_>, stored: &Stored, problems: &mut Problems) {
    // What a file says wins over what is stored.
    let of_files = wanted.accounts.iter().map(|account| (account.at.value.as_str(), account.provider.as_str()));
    let of_store = stored.accounts.iter().map(|account| (account.name.as_str(), account.provider.as_str()));
    let all: Vec<(&str, &str)> = of_files.chain(of_store).collect();
    for account in wanted.tenants.iter().filter_map(|tenant| tenant.billing_account.as_ref()) {
        let name = account.value.as_str();
        match all.iter().find(|(known, _)| *known == name) {
            Some((_, PROVIDER)) => {}
            Some((_, provider)) => {
                let failure = account.failure(format!("{name:?} is an account of {provider}, which holds no bills"));
                problems.add(failure.hint("name an account of zoho"));
            }
            None => {
                let failure = account.failure(format!("there is no account {name:?}"));
                problems.add(failure.hint(match nearest(name, all.iter().map(|(known, _)| *known)) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("describe it: [account.{name}] with provider = \"zoho\""),
                }));
            }
        }
    }
}
