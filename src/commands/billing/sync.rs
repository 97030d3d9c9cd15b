//! Keeping up with the books of one tenant.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::accounts::{BillingTenant, Setup};
use super::asking::{Asked, Asker, Purpose};
use super::debtors::{self, Debtors};
use super::reading::{LEASE, Read, Reader};
use crate::app::App;
use crate::domain::billing::RecordKind;
use crate::domain::zone::Zone;
use crate::error::Failure;
use crate::store::billing::passes::{self, Begun, Pass};
use crate::store::billing::{self, budget, customers, invoices};
use crate::store::{self, StoreError, Tx, setup};

/// So many records that a complete pass did not show are looked for in one run.
const MOST_LOOKED_FOR: i64 = 200;
/// So many customers' persons are asked for in one run.
const MOST_PERSONS: i64 = 50;
/// Persons are wanted for invoices that are due within so many days at least, and for all that a campaign reminds of.
const DUE_WITHIN_DAYS: i64 = 3;

/// What was done for a tenant.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// Customers that are new or differ from before.
    pub customers: u64,
    /// Invoices that are new or differ from before.
    pub invoices: u64,
    /// Customers and invoices that were found deleted.
    pub deleted: u64,
    /// Customers whose persons were asked for.
    pub contact_persons: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests of the day so far, whoever sent them.
    pub requests_today: i64,
    /// Whether everything was read, and not only what changed.
    pub full: bool,
    /// What is wrong with records that cannot be read.
    pub unreadable: Vec<String>,
    /// Who was enrolled to be reminded.
    pub debtors: Debtors,
    /// Another run reads these books, until then at the latest: then nothing was done.
    pub held_until: Option<DateTime<Utc>>,
}

impl Synced {
    /// Whether something is stored that was not before.
    pub fn is_news(&self) -> bool {
        self.customers + self.invoices + self.deleted + self.contact_persons + self.debtors.enrolled > 0
    }
}

/// Reads what changed in the books of a tenant, and everything where that is due or `full` asks for it. `done` holds what
/// was done, however it ends.
///
/// # Errors
/// Exit 6 when credentials are refused; exit 7 when there is no answer, or the day's requests are spent: what was read until
/// then is stored.
pub async fn sync(
    app: &App,
    setup: &Setup,
    tenant: &BillingTenant,
    owner: &str,
    full: bool,
    done: &mut Synced,
) -> anyhow::Result<()> {
    let books = setup.books_of(app, tenant).await?;
    let (billing, db) = (&tenant.billing, app.db().await?);
    let begun_at = app.clock.now();
    let begin = async |tx: &mut Tx| {
        let lease_until = begun_at + LEASE;
        passes::begin(tx, &tenant.name, &billing.organization_id, owner, lease_until, full, begun_at).await
    };
    let passes = match db.write(begin).await? {
        Begun::Mine(passes) => passes,
        Begun::Held(until) => {
            done.held_until = Some(until);
            return Ok(());
        }
    };
    let asker = Asker::new(app, &books, &billing.organization_id, billing.limits());
    let reader = Reader { app, asker: &asker, tenant: &tenant.name, owner };
    let result = work(&reader, tenant, &passes, full, done).await.map_err(explain_conflict);
    done.requests = asker.asked();
    let now = app.clock.now();
    let budget = db
        .write(async |tx| {
            passes::leave(tx, &tenant.name, owner, now).await?;
            budget::budget(tx, &billing.organization_id, now).await
        })
        .await;
    // The error that came first says more.
    result?;
    done.requests_today = budget?.map_or(0, |budget| budget.used);
    done.debtors = debtors::enroll(app, &tenant.name).await?;
    Ok(())
}

/// Whoever is overtaken did nothing wrong: the other run goes on.
fn explain_conflict(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Conflict(what)) => Failure::unreachable(what.clone()).hint("the other run goes on").into(),
        _ => error,
    }
}

async fn work(
    reader: &Reader<'_>,
    tenant: &BillingTenant,
    passes: &[Pass],
    full: bool,
    done: &mut Synced,
) -> anyhow::Result<()> {
    let now = reader.app.clock.now();
    for kind in RecordKind::ALL {
        let Some(pass) = passes.iter().find(|pass| pass.kind == *kind) else { continue };
        let full_after = TimeDelta::seconds(tenant.billing.full_sync_after_seconds());
        let full_is_due = full || pass.full_at.is_none_or(|at| now - at >= full_after);
        let Read { stored, unreadable, full } = reader.read(pass, full_is_due).await?;
        match kind {
            RecordKind::Customers => done.customers += stored.changed,
            RecordKind::Invoices => done.invoices += stored.changed,
        }
        done.unreadable.extend(unreadable);
        done.full |= full;
    }
    for kind in RecordKind::ALL {
        if !look_for_unseen(reader, *kind, done).await? {
            return Ok(());
        }
    }
    persons(reader, today(tenant, now), done).await
}

/// Looks for each record that a complete pass did not show: what was deleted while the pass went on may have hidden others
/// from it. Says whether there are requests left.
async fn look_for_unseen(reader: &Reader<'_>, kind: RecordKind, done: &mut Synced) -> anyhow::Result<bool> {
    let (db, tenant) = (reader.app.db().await?, reader.tenant);
    let unseen = billing::unseen(&mut db.read().await?, tenant, kind, MOST_LOOKED_FOR).await?;
    for id in unseen {
        let asked = reader.asker.ask(Purpose::Details, async |zoho, token, org| match kind {
            RecordKind::Customers => {
                let told = zoho.contact(token, org, &id).await?;
                Ok(told.map(|contact| contact.is_some_and(|contact| contact.is_customer)))
            }
            RecordKind::Invoices => zoho.has_invoice(token, org, &id).await,
        });
        let Asked::Told(told) = asked.await? else { return Ok(false) };
        let now = reader.app.clock.now();
        db.write(async |tx| {
            passes::keep(tx, tenant, reader.owner, now + LEASE, now).await?;
            billing::settle_unseen(tx, tenant, kind, &id, told.value, now).await?;
            // What it says was not looked at.
            if kind == RecordKind::Invoices && told.value {
                invoices::put_unread(tx, tenant, std::slice::from_ref(&id), now).await?;
            }
            Ok(())
        })
        .await?;
        done.deleted += u64::from(!told.value);
    }
    Ok(true)
}

/// Asks for the persons of customers with invoices that are due, where they are not known.
async fn persons(reader: &Reader<'_>, today: NaiveDate, done: &mut Synced) -> anyhow::Result<()> {
    let (db, tenant) = (reader.app.db().await?, reader.tenant);
    let mut tx = db.read().await?;
    let earliest = earliest_offset(&mut tx, tenant).await?;
    let due_by = today + TimeDelta::days(DUE_WITHIN_DAYS.max(-earliest));
    let wanted = customers::without_persons(&mut tx, tenant, due_by, MOST_PERSONS).await?;
    drop(tx);
    for (id, last_modified_at) in wanted {
        let ask = async |zoho: &crate::providers::zoho::Zoho, token: &_, org: &str| zoho.contact(token, org, &id).await;
        let Asked::Told(told) = reader.asker.ask(Purpose::Details, ask).await? else { return Ok(()) };
        let now = reader.app.clock.now();
        let write = async |tx: &mut Tx| -> store::Result<bool> {
            passes::keep(tx, tenant, reader.owner, now + LEASE, now).await?;
            if let Some(contact) = &told.value {
                customers::put_persons(tx, tenant, &id, &contact.contact_persons, last_modified_at).await
            } else {
                billing::settle_unseen(tx, tenant, RecordKind::Customers, &id, false, now).await?;
                Ok(false)
            }
        };
        let known = db.write(write).await?;
        done.contact_persons += u64::from(known);
        done.deleted += u64::from(told.value.is_none());
    }
    Ok(())
}

/// The earliest day from the due date on which a campaign of the tenant reminds; 0 where none does.
async fn earliest_offset(tx: &mut Tx, tenant: &str) -> store::Result<i64> {
    let campaigns = setup::campaigns(tx).await?.into_iter().filter(|campaign| campaign.tenant == tenant);
    let rules = campaigns.filter_map(|campaign| campaign.rules().ok()?.reminders);
    Ok(rules.filter_map(|reminders| reminders.offsets.first().copied()).min().unwrap_or_default())
}

/// The tenant's own date; by UTC where its zone is not known.
pub fn today(tenant: &BillingTenant, now: DateTime<Utc>) -> NaiveDate {
    let zone = tenant.timezone.as_deref().and_then(|name| Zone::parse(name).ok());
    zone.map_or_else(|| now.date_naive(), |zone| zone.local(now).date())
}
