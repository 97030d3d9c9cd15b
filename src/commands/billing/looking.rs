//! Reading single invoices again: before somebody is called about them, and when somebody says that they are paid.

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::{BillingTenant, Setup};
use super::asking::{Asked, Asker, Purpose};
use crate::app::App;
use crate::commands::calling::counts::Counts;
use crate::domain::billing::RecordKind;
use crate::error::{Exit, classify, message};
use crate::fail_point;
use crate::store::StoreError;
use crate::store::billing::{self, invoices, reminders};

/// Nobody waits longer for a turn to ask.
const PATIENCE: TimeDelta = TimeDelta::seconds(15);
/// After so many failures in a row nobody is asked any more.
pub const FAILED_IN_A_ROW: u32 = 3;
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
    let now = app.clock.now();
    let mut tx = app.db().await?.read().await?;
    let tenants = reminders::any_said_to_be_paid(&mut tx, now).await?;
    if tenants.is_empty() {
        return Ok(());
    }
    let setup = Setup::read(&mut tx).await?;
    let mut said = Vec::new();
    for tenant in setup.tenants.iter().filter(|tenant| tenants.contains(&tenant.name)) {
        said.push((tenant, reminders::said_to_be_paid(&mut tx, &tenant.name, now, MOST_SAID_TO_BE_PAID).await?));
    }
    drop(tx);
    for (tenant, ids) in said {
        let mut failed = 0;
        for id in ids {
            match look_at(app, &setup, tenant, &[id], Purpose::Details).await {
                Ok(Looked { read, spent_until, .. }) => {
                    counts.add("invoices_read", read);
                    failed = 0;
                    if spent_until.is_some() {
                        break;
                    }
                }
                Err(error) if error.downcast_ref::<StoreError>().is_some() => return Err(error),
                Err(error) => {
                    let exit = classify(&error);
                    let problem = format!("an invoice of {} that is said to be paid: {}", tenant.name, message(&error));
                    counts.problem(exit, problem);
                    failed += 1;
                    // One record that cannot be read keeps no other from being read.
                    if exit == Exit::Configuration || failed >= FAILED_IN_A_ROW {
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}
