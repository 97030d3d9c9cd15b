//! The accounts that take payments, and who is welcomed or cannot be.

use chrono::{DateTime, TimeDelta, Utc};

use super::Report;
use crate::app::{App, check_skew};
use crate::commands::explain::evidence::{length, utc};
use crate::commands::welcoming::{Setup, explain, is_live};
use crate::domain::secret_ref::SecretRef;
use crate::domain::slot::Frequency;
use crate::domain::welcome::{PROVIDER, WelcomeState};
use crate::error::{Exit, Failure};
use crate::store::setup::{self, Account};
use crate::store::welcomes::{self, syncs};
use crate::store::{Result, Tx};

/// Events may have been read last so long ago before it is said.
const FRESH_FOR: TimeDelta = TimeDelta::hours(26);

/// Looks at one account; with `online`, one harmless question is asked with its key.
pub(super) async fn account(app: &App, setup: &Setup, account: &Account, online: bool, report: &mut Report) {
    let check = format!("account:{}", account.name);
    let client = match setup.client(app, account).await {
        Ok(client) => client,
        Err(error) => return report.error(&check, &error),
    };
    if let Err(error) = secrets(app, account) {
        return report.error(&check, &error);
    }
    let live = is_live(account).unwrap_or(true);
    if client.is_test_key() == Some(live) {
        let (is, wants) = if live { ("test", "live") } else { ("live", "test") };
        report.problem(
            Exit::Configuration,
            &check,
            format!("{PROVIDER}: the key is one of {is} mode, and livemode = {live} wants one of {wants} mode"),
            "give the account another key, or another livemode",
        );
        return;
    }
    let key = format!("{PROVIDER}: the key and the webhook secret can be read");
    if !online {
        report.ok(&check, format!("{key}; Stripe was not asked (--online)"));
        return;
    }
    match client.probe().await {
        Ok(date) => {
            let skew = date.map(|date| check_skew(&format!("account {}", account.name), date, app.clock.now()));
            match skew {
                Some(Err(error)) => report.error(&check, &error),
                _ => report.ok(&check, format!("{key}; Stripe answers, and lets the key read events")),
            }
        }
        Err(error) => report.error(&check, &explain(&account.name, &error).into()),
    }
}

/// Whether the secrets of an account's webhooks can be read.
fn secrets(app: &App, account: &Account) -> anyhow::Result<()> {
    let settings = account.settings().map_err(anyhow::Error::from)?;
    for (key, reference) in
        [("webhook_secret", settings.webhook_secret), ("previous_webhook_secret", settings.previous_webhook_secret)]
    {
        let Some(reference) = reference else { continue };
        let reference: SecretRef = reference
            .parse()
            .map_err(|error| Failure::configuration(format!("account {}: {key}: {error}", account.name)))?;
        reference
            .resolve(&app.config.environment)
            .map_err(|error| error.context(format!("account {}: {key}", account.name)))?;
    }
    Ok(())
}

/// Says when an event last came by webhook.
pub(super) async fn webhooks(app: &App, tx: &mut Tx, accounts: &[Account], report: &mut Report) -> Result<()> {
    for account in accounts {
        let check = format!("webhooks:{}", account.name);
        if let Some(at) = syncs::sync(tx, &account.name).await?.webhook_at {
            report.ok(&check, format!("the last event came by webhook at {}", utc(at)));
            continue;
        }
        let base = app.config.public_url.as_deref().unwrap_or("PUBLIC_URL");
        let first = if app.config.public_url.is_some() { "" } else { "set public_url in callops.toml; " };
        report.warning(
            &check,
            "no event ever came by webhook: payments are learned of by `callops sync-stripe` alone",
            format!(
                "{first}add the endpoint {base}/api/webhooks/stripe/{} at Stripe, with the events \
                 checkout.session.completed, checkout.session.async_payment_succeeded, invoice.paid, \
                 customer.subscription.created, customer.subscription.deleted and charge.refunded; see that `callops \
                 serve` runs",
                account.name
            ),
        );
    }
    Ok(())
}

/// Says of each tenant that welcomes whether it can, and how many customers cannot be called.
pub(super) async fn tenants(tx: &mut Tx, setup: &Setup, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    let counts = welcomes::counts(tx).await?;
    for one in &setup.tenants {
        let (name, welcome) = (&one.tenant.name, &one.welcome);
        let check = format!("welcome:{name}");
        let again = "put the tenant in again with `callops apply`";
        if setup.account(&welcome.account).is_none() {
            let what = format!("there is no account {} at {PROVIDER}", welcome.account);
            report.problem(Exit::Configuration, &check, what, again);
            continue;
        }
        let campaign = setup::campaign(tx, name, &welcome.campaign).await?;
        let is_once = campaign
            .as_ref()
            .is_some_and(|campaign| campaign.rules().is_ok_and(|rules| rules.frequency == Frequency::Once));
        if !is_once {
            let what = format!("there is no campaign {name}/{} with frequency = \"once\"", welcome.campaign);
            report.problem(Exit::Configuration, &check, what, again);
            continue;
        }
        let of = |state: WelcomeState| {
            counts.iter().filter(|(tenant, of, _)| tenant == name && *of == state).map(|(.., count)| count).sum::<i64>()
        };
        let mut told: Vec<String> = vec![format!("{} enrolled", of(WelcomeState::Enrolled))];
        let listed: Vec<String> = WelcomeState::LISTED
            .into_iter()
            .filter(|state| of(*state) > 0)
            .map(|state| format!("{} {state}", of(state)))
            .collect();
        told.extend(listed.iter().cloned());
        let synced_at = syncs::sync(tx, &welcome.account).await?.synced_at;
        told.push(match synced_at {
            Some(at) => format!("events read to their end {} ago", length((now - at).num_seconds())),
            None => "events were never read to their end".to_owned(),
        });
        let what = told.join(", ");
        if !listed.is_empty() {
            let hint = format!(
                "they paid and cannot be called: `callops list welcomes --tenant {name}` says why; mend it at Stripe, then \
                 `callops sync-stripe`"
            );
            report.warning(&check, what, hint);
        } else if synced_at.is_none_or(|at| now - at > FRESH_FOR) {
            report.warning(&check, what, "`callops sync-stripe` finds what webhooks missed; put it into the crontab");
        } else if campaign.is_some_and(|campaign| !campaign.active) {
            let hint = format!("start it with `callops start-campaign {name}/{}`", welcome.campaign);
            report.warning(&check, format!("{what}; the campaign is stopped"), hint);
        } else {
            report.ok(&check, what);
        }
    }
    Ok(())
}
