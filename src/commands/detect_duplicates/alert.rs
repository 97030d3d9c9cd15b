//! Telling somebody what is new: each finding in one alert, and no alert twice.

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::app::App;
use crate::commands::telling::count;
use crate::domain::alert::{AlertState, MAX_FINDINGS, message};
use crate::domain::duplicates::Finding;
use crate::domain::secret::Secret;
use crate::error::Exit;
use crate::fail_point;
use crate::providers::alert::{NotSent, send};
use crate::store::{StoreError, alerts};

/// The most alerts that one run sends: each run makes one at most, so more have failed for weeks.
const MAX_SENT: i64 = 20;
/// How much longer than a request takes somebody who sends an alert is waited for.
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// For how long an alert that may not have arrived is told of.
const TOLD_FOR: TimeDelta = TimeDelta::days(7);

/// What came of it.
pub(super) struct Told {
    pub(super) sent: u64,
    pub(super) exit: Exit,
}

/// Puts what is new into an alert, and sends all that wait.
pub(super) async fn tell(app: &App, url: &Secret, fresh: Vec<Finding>, now: DateTime<Utc>) -> Result<Told> {
    gather(app, &fresh, now).await?;
    drop(fresh);
    let mut told = Told { sent: 0, exit: Exit::Success };
    let db = app.db().await?;
    let longest = app.config.request_timeout.to_delta() + GRACE;
    let given_up = db.write(async |tx| alerts::give_up(tx, now - longest, now).await).await?;
    if given_up > 0 {
        told.exit = told.exit.or(Exit::Findings);
    }
    let mut tx = db.read().await?;
    let waiting = alerts::waiting(&mut tx, MAX_SENT).await?;
    drop(tx);
    for alert in &waiting {
        let now = app.clock.now();
        if !db.write(async |tx| alerts::take(tx, alert, now).await).await? {
            continue;
        }
        fail_point::hit("alert.taken");
        let body: Value =
            serde_json::from_str(&alert.body).with_context(|| format!("alert {} is no JSON", alert.id))?;
        let result = send(app.http().await, url, &body).await;
        fail_point::hit("alert.answered");
        let (state, error) = match &result {
            Ok(()) => (AlertState::Sent, None),
            Err(error @ NotSent::Lost(_)) => (AlertState::Unclear, Some(error.to_string())),
            Err(error) => (AlertState::Waiting, Some(error.to_string())),
        };
        let now = app.clock.now();
        let is_recorded = db.write(async |tx| alerts::settle(tx, alert, state, error.as_deref(), now).await).await?;
        if !is_recorded {
            return Err(StoreError::Conflict(format!("alert {} was taken by two", alert.id)).into());
        }
        let Some(error) = error else {
            told.sent += 1;
            continue;
        };
        let next = if state == AlertState::Waiting { "; the next run with --alert sends it again" } else { "" };
        app.printer.warn(format!("alert {} is not delivered: {error}{next}", alert.id));
        told.exit = told.exit.or(Exit::Unreachable);
        // Whoever cannot be reached will not be for the next one, and each may take as long as a request may.
        if !result.is_err_and(|error| error.is_about_the_alert()) {
            break;
        }
    }
    if told.sent > 0 {
        app.printer.say(format!("{} sent", count(told.sent, "alert")));
    }
    let mut tx = db.read().await?;
    let unclear = alerts::unclear(&mut tx, now - TOLD_FOR).await?;
    if unclear > 0 {
        let alerts = count(unclear.unsigned_abs(), "alert");
        app.printer
            .warn(format!("{alerts} of the last 7 days may not have arrived, and nobody is told twice: look here"));
    }
    Ok(told)
}

/// Makes an alert of what none told of, in one transaction with the record that this one does.
async fn gather(app: &App, fresh: &[Finding], now: DateTime<Utc>) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let id = app.new_id();
    let all: Vec<(&str, &str)> = fresh
        .iter()
        .flat_map(|finding| finding.identities.iter().map(|identity| (finding.kind.as_str(), identity.as_str())))
        .collect();
    let db = app.db().await?;
    // The inner error rolls back: another run was faster with each of them.
    let _ = db
        .write_unless(async |tx| {
            let gathered = alerts::gather(tx, &id, &all, now).await?;
            let is_new = |finding: &&Finding| {
                let kind = finding.kind.to_string();
                finding.identities.iter().any(|identity| gathered.contains(&(kind.clone(), identity.clone())))
            };
            let total = fresh.iter().filter(is_new).count();
            if total == 0 {
                return Ok(Err(()));
            }
            let told: Vec<Finding> = fresh.iter().filter(is_new).take(MAX_FINDINGS).cloned().collect();
            alerts::write(tx, &id, &message(&told, total).to_string(), now).await?;
            Ok(Ok(()))
        })
        .await?;
    Ok(())
}
