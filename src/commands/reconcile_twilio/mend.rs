//! Mending what is safe: adopting, marking released, setting addresses. Nothing is bought or released here.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::compare::{Difference, Differences};
use crate::app::App;
use crate::commands::renting::accounts::{Renter, RentingTenant, Setup, explain};
use crate::domain::numbers::drift::{Drift, differing};
use crate::error::Exit;
use crate::fail_point;
use crate::providers::twilio::Twilio;
use crate::store::{Tx, numbers, releases};

/// How far mending came.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub(super) done: usize,
    /// What was not as it had been seen any more.
    passed: usize,
}

impl Mended {
    /// Exit 4 where something was not mended, 3 where something is left that is not for this command to mend.
    pub(super) fn exit(&self, differences: &Differences) -> Exit {
        let left = differences.findings().saturating_sub(self.done + self.passed);
        let exit = differences.left_out().or(if self.passed > 0 { Exit::Partial } else { Exit::Success });
        exit.or(if left > 0 { Exit::Findings } else { Exit::Success })
    }
}

/// Mends each difference, one at a time, each looked at once more.
///
/// # Errors
/// When the database or Twilio cannot be asked: what was done stands, and the next run goes on.
pub(super) async fn mend(
    app: &App,
    setup: &Setup,
    renters: &[Renter],
    differences: &[&Difference],
    counts: &mut Map<String, Value>,
) -> Result<Mended> {
    let mut mended = Mended::default();
    for difference in differences {
        let Some(renter) = renters.iter().find(|renter| renter.name == difference.account) else { continue };
        let tenant = difference.tenant.as_deref();
        let tenant = tenant.and_then(|name| setup.tenants.iter().find(|tenant| tenant.name == name));
        let is_done = match (difference.kind, tenant) {
            (Drift::TwilioOnly, Some(tenant)) => adopt(app, difference, tenant).await?,
            (Drift::DatabaseOnly, _) => mark_released(app, renter, difference).await?,
            (Drift::VoiceUrl | Drift::StatusCallback, Some(tenant)) => {
                set_url(app, &renter.client, difference, tenant).await?
            }
            _ => false,
        };
        fail_point::hit("reconcile.mended");
        let Difference { phone, kind, .. } = difference;
        if is_done {
            mended.done += 1;
            // Whatever ends the run, it is known how far it came.
            counts.insert("mended".to_owned(), json!(mended.done));
            app.printer.say(format!("{phone}: {}", kind.action()));
        } else {
            mended.passed += 1;
            app.printer.warn(format!("{phone}: {kind} is not as it was seen any more; nothing was done"));
        }
    }
    Ok(mended)
}

async fn adopt(app: &App, difference: &Difference, tenant: &RentingTenant) -> Result<bool> {
    let write = async |tx: &mut Tx| {
        let now = app.clock.now();
        releases::lock_tenant(tx, &tenant.name).await?;
        let is_news = numbers::adopt(tx, &difference.sid, &tenant.name, now).await?;
        if !is_news {
            return Ok(false);
        }
        let detail = json!({"tenant": tenant.name, "phone": difference.phone});
        app.audit(tx, "adopt-number", &format!("number:{}", difference.sid), detail).await?;
        // Of several somebody has to choose, with `release-duplicate-numbers`.
        let owned = numbers::of_tenant(tx, &tenant.name).await?;
        if owned.len() == 1 && numbers::tenant_number(tx, &tenant.name).await?.is_none() {
            numbers::set_tenant_number(tx, &tenant.name, &difference.sid, &difference.phone, now).await?;
        }
        Ok(true)
    };
    Ok(app.db().await?.write(write).await?)
}

async fn mark_released(app: &App, renter: &Renter, difference: &Difference) -> Result<bool> {
    if !difference.is_closed {
        let found = renter.client.number(&difference.account_sid, &difference.sid).await;
        if found.map_err(|error| explain(&renter.name, &error))?.is_some() {
            return Ok(false);
        }
    }
    let write = async |tx: &mut Tx| {
        let is_news = numbers::mark_gone(tx, &difference.sid, &difference.account_sid, app.clock.now()).await?;
        if is_news {
            let detail = json!({"phone": difference.phone, "tenant": difference.tenant, "how": "found gone"});
            app.audit(tx, "mark-released", &format!("number:{}", difference.sid), detail).await?;
        }
        Ok(is_news)
    };
    Ok(app.db().await?.write(write).await?)
}

async fn set_url(app: &App, client: &Twilio, difference: &Difference, tenant: &RentingTenant) -> Result<bool> {
    let explain = |error| explain(&difference.account, &error);
    let Some(number) = client.number(&difference.account_sid, &difference.sid).await.map_err(explain)? else {
        return Ok(false);
    };
    let differing = differing(&number, &tenant.numbers);
    let Some((_, found, wanted)) = differing.into_iter().find(|(kind, ..)| *kind == difference.kind) else {
        return Ok(false);
    };
    let (url, method) = match difference.kind {
        Drift::VoiceUrl => ("VoiceUrl", "VoiceMethod"),
        _ => ("StatusCallback", "StatusCallbackMethod"),
    };
    let urls = [(url, wanted.as_str()), (method, "POST")];
    let Some(number) = client.set_urls(&number.account_sid, &number.sid, &urls).await.map_err(explain)? else {
        return Ok(false);
    };
    let write = async |tx: &mut Tx| {
        let detail =
            json!({"phone": number.phone, "field": difference.kind.as_str(), "before": found, "after": wanted});
        app.audit(tx, "set-url", &format!("number:{}", number.sid), detail).await
    };
    app.db().await?.write(write).await?;
    Ok(true)
}
