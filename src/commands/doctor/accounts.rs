//! The accounts: keys, holds, and what the provider says when asked.

use chrono::{DateTime, Utc};

use super::Report;
use crate::app::{App, check_skew};
use crate::commands::calling::provider::Provider;
use crate::commands::explain::evidence::utc;
use crate::domain::secret_ref::SecretRef;
use crate::error::{Exit, Failure};
use crate::providers::http::ReadError;
use crate::store::setup::Account;

/// Looks at one account; with `online`, its provider is asked one harmless question. Yields the provider that answered.
pub(super) async fn check(
    app: &App,
    account: &Account,
    is_rehearsal: bool,
    online: bool,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Option<Provider> {
    let check = format!("account:{}", account.name);
    let provider = match Provider::of_account(app, account, is_rehearsal).await {
        Ok(provider) => provider,
        Err(error) => {
            report.error(&check, &error);
            return None;
        }
    };
    let webhook = match webhook_secret(app, account) {
        Ok(webhook) => webhook,
        Err(error) => {
            report.error(&check, &error);
            return None;
        }
    };
    if let Some(until) = account.held_until.filter(|until| *until > now) {
        report.warning(
            &check,
            format!(
                "the provider refused {} times, so its calls wait until {}: {}",
                account.refusals,
                utc(until),
                account.held_reason.as_deref().unwrap_or("no reason given")
            ),
            "mend what the provider says; the next accepted call ends the wait",
        );
    }
    let organisation = match &account.org_id {
        Some(org) => format!("organisation {org}"),
        None if provider.shows_organisation() => "its organisation is not known before the first call".to_owned(),
        None => "the provider does not say whose key it is".to_owned(),
    };
    let key = format!("{}: the key can be read, {webhook}; {organisation}", account.provider);
    if !online {
        report.ok(&check, format!("{key}; the provider was not asked (--online)"));
        return None;
    }
    match provider.probe().await {
        Err(error) => {
            report.problem(
                match error {
                    ReadError::Unauthorized { .. } => Exit::Configuration,
                    ReadError::Unreachable { .. } | ReadError::RateLimited { .. } => Exit::Unreachable,
                    _ => Exit::Findings,
                },
                &check,
                format!("{key}; {error}"),
                "try the key in the provider's dashboard, and its address from this machine",
            );
            None
        }
        Ok(probe) => {
            if let (Some(known), Some(found)) = (&account.org_id, &probe.org_id)
                && known != found
            {
                report.problem(
                    Exit::Configuration,
                    &check,
                    format!("the key is one of organisation {found}, and calls were placed with one of {known}"),
                    "put the former key back: unknown calls of the other organisation cannot be settled with this one",
                );
                return None;
            }
            // A moved clock is nobody's.
            if let Some(theirs) = probe.date.filter(|_| !app.clock.is_shifted())
                && let Err(error) = check_skew("the provider", theirs, app.clock.now())
            {
                report.error(&check, &error);
                return None;
            }
            report.ok(&check, format!("{key}; the provider answers"));
            Some(provider)
        }
    }
}

fn webhook_secret(app: &App, account: &Account) -> anyhow::Result<&'static str> {
    if account.provider == "livekit" {
        return Ok("which signs its webhooks as well");
    }
    let Some(text) = account.settings()?.webhook_secret else { return Ok("no webhook secret is named") };
    let of = |error: &dyn std::fmt::Display| {
        Failure::configuration(format!("account {}: webhook_secret: {error}", account.name))
            .hint("put the account in again with `callops apply`, or the secret where it names it")
    };
    let reference: SecretRef = text.parse().map_err(|error| of(&error))?;
    reference.resolve(&app.config.environment).map_err(|error| of(&error))?;
    Ok("so can the webhook secret")
}
