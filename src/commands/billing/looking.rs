//! Reading single invoices again: before somebody is called about them, and when somebody says that they are paid.

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::{BillingTenant, Setup};
use super::asking::{Asked, Asker, Purpose};
use crate::app::App;
use crate::commands::calling::counts::Counts;
use crate::domain::billing::RecordKind;
use crate::error::{classify, message};
use crate::fail_point;
use crate::store::StoreError;
use crate::store::billing::{self, invoices, reminders};

/// Nobody waits longer for a turn to ask.
const PATIENCE: TimeDelta = TimeDelta::seconds(15);
/// So many invoices that are said to be paid are read in one run.
const MOST_SAID_TO_BE_PAID: i64 = 50;

/// What reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Invoices that were read.
    pub read: u64,
    /// Those of them that say something else than before, or are gone.
    pub changed: u64,
    /// The day's requests are spent, and there are new ones then: not all were read.
    pub spent_until: Option<DateTime<Utc>>,
}

/// Reads invoices of a tenant again, and stores what they say.
///
/// # Errors
/// Exit 6 when credentials are refused; exit 7 when there is no answer; when the database fails.
pub async fn look_at(
    app: &App,
    setup: &Setup,
    tenant: &BillingTenant,
    ids: &[String],
    purpose: Purpose,
) -> anyhow::Result<Looked> {
    let books = setup.books_of(app, tenant).await?;
    let (billing, db) = (&tenant.billing, app.db().await?);
    let asker = Asker::new(app, &books, &billing.organization_id, billing.limits()).with_patience(PATIENCE);
    let mut looked = Looked::default();
    for id in ids {
        fail_point::hit("invoice.look_at");
        let told = match asker.ask(purpose, async |zoho, token, org| zoho.invoice(token, org, id).await).await? {
            Asked::Told(told) => told,
            Asked::Spent(until) => {
                looked.spent_until = Some(until);
                return Ok(looked);
            }
        };
        let now = app.clock.now();
        let changed = db
            .write(async |tx| match &told.value {
                Some(invoice) => invoices::look_at(tx, &tenant.name, invoice, now).await,
                None => match billing::settle_unseen(tx, &tenant.name, RecordKind::Invoices, id, false, now).await {
                    // Somebody else found it gone.
                    Ok(()) | Err(StoreError::Conflict(_)) => Ok(true),
                    Err(error) => Err(error),
                },
            })
            .await?;
        looked.read += 1;
        looked.changed += u64::from(changed);
    }
    Ok(looked)
}

/// Reads the invoices that somebody says are paid and that were not read since. What cannot be read is counted as a problem
/// and tried again by the next run.
///
/// # Errors
/// When the database cannot be asked.
pub async fn look_at_those_said_to_be_paid(app: &App, counts: &mut Counts) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let said = reminders::said_to_be_paid(&mut tx, MOST_SAID_TO_BE_PAID).await?;
    if said.is_empty() {
        return Ok(());
    }
    let setup = Setup::read(&mut tx).await?;
    drop(tx);
    for tenant in &setup.tenants {
        let ids: Vec<String> =
            said.iter().filter(|(owner, _)| *owner == tenant.name).map(|(_, id)| id.clone()).collect();
        if ids.is_empty() {
            continue;
        }
        match look_at(app, &setup, tenant, &ids, Purpose::Details).await {
            Ok(looked) => counts.add("invoices_read", looked.read),
            Err(error) if error.downcast_ref::<StoreError>().is_some() => return Err(error),
            Err(error) => {
                let problem = format!("invoices of {} that are said to be paid: {}", tenant.name, message(&error));
                counts.problem(classify(&error), problem);
            }
        }
    }
    Ok(())
}
