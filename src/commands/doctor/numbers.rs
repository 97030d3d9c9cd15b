//! The accounts that rent numbers, and what is left half done about numbers.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::Report;
use crate::app::App;
use crate::commands::credentials::exit_of;
use crate::commands::explain::evidence::utc;
use crate::commands::renting::accounts::Setup;
use crate::domain::numbers::PROVIDER;
use crate::error::Exit;
use crate::store::setup::Account;
use crate::store::{Result, StoreError, Tx, numbers, purchases, releases};

/// An intent that is older than this was left by a run that ended in the middle.
const LEFT_OVER_AFTER: TimeDelta = TimeDelta::minutes(15);
/// What was seen at Twilio may be so old before it is said.
const FRESH_FOR: TimeDelta = TimeDelta::days(2);

/// Looks at one account; with `online`, Twilio is asked who it is.
pub(super) async fn account(app: &App, setup: &Setup, account: &Account, online: bool, report: &mut Report) {
    let check = format!("account:{}", account.name);
    let client = match setup.renters(app, Some(&account.name)).await {
        Ok(mut renters) => renters.pop().map(|renter| renter.client),
        Err(error) => {
            report.error(&check, &error);
            return;
        }
    };
    let Some(client) = client else { return };
    let key = format!("{PROVIDER}: the key can be read; account {}", client.account_sid());
    if !online {
        report.ok(&check, format!("{key}; Twilio was not asked (--online)"));
        return;
    }
    match client.accounts().await {
        Ok((_, Some(error))) => report.warning(
            &check,
            format!("{key}; Twilio answers, but its subaccounts cannot be listed: {error}"),
            "where there are subaccounts, use the auth token, or an API key that may read accounts",
        ),
        Ok((accounts, None)) => {
            report.ok(&check, format!("{key}; Twilio answers; subaccounts: {}", accounts.len().saturating_sub(1)));
        }
        Err(error) => report.problem(
            exit_of(&error),
            &check,
            format!("{key}; {error}"),
            "compare account_sid and api_key with Twilio's console, and try its address from this machine",
        ),
    }
}

/// Says what was left half done, and how old what is known of Twilio's numbers is.
pub(super) async fn inventory(tx: &mut Tx, setup: &Setup, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    if setup.tenants.is_empty() {
        return Ok(());
    }
    let check = "numbers";
    let mut is_well = true;
    for purchase in purchases::all_open(tx).await?.iter().filter(|one| now - one.created_at > LEFT_OVER_AFTER) {
        is_well = false;
        report.warning(
            check,
            format!("purchase {} of {} is open since {}", purchase.id, purchase.tenant, utc(purchase.created_at)),
            format!("`callops provision-number --tenant {}` goes on with it", purchase.tenant),
        );
    }
    for release in releases::open_of(tx, None).await?.iter().filter(|one| now - one.created_at > LEFT_OVER_AFTER) {
        is_well = false;
        report.warning(
            check,
            format!("it is not known whether {} of {} was released", release.phone, release.tenant),
            format!("`callops release-duplicate-numbers --tenant {}` looks", release.tenant),
        );
    }
    let several = numbers::tenants_with_several(tx).await?;
    if !several.is_empty() {
        is_well = false;
        report.warning(
            check,
            format!("{} with more than one number: {}", several.len(), several.join(", ")),
            "`callops release-duplicate-numbers` shows which would be kept",
        );
    }
    let hint = "`callops reconcile-twilio` reads them; run it daily";
    match numbers::last_seen_at(tx).await? {
        None => report.warning(check, "Twilio's numbers were never read", hint),
        Some(at) if now - at > FRESH_FOR => {
            report.warning(check, format!("Twilio's numbers were last read at {}", utc(at.trunc_subsecs(0))), hint);
        }
        Some(at) if is_well => {
            report.ok(check, format!("each business has one at most, as of {}", utc(at.trunc_subsecs(0))));
        }
        Some(_) => {}
    }
    Ok(())
}

/// Says that whose numbers are cannot be said.
pub(super) fn unreadable(error: &StoreError, report: &mut Report) {
    let hint = "put the tenant in again with `callops apply`";
    report.problem(Exit::Configuration, "numbers", error.to_string(), hint);
}
