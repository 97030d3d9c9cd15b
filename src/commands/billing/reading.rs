//! Reading one kind of record: what changed, and now and then everything.

use chrono::{DateTime, TimeDelta, Utc};

use super::asking::{Asked, Asker, Purpose};
use crate::app::App;
use crate::domain::billing::RecordKind;
use crate::domain::billing::records::{Customer, Invoice};
use crate::error::Failure;
use crate::providers::zoho::{Page, Told};
use crate::store::billing::passes::{self, Pass};
use crate::store::billing::{Stored, customers, invoices, take_stock};
use crate::store::{self, Tx};

/// So much of what was read already is read again: clocks differ, and a change may show late.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
/// No listing is longer than this many pages: a service that never ends one must not hold a run for ever.
const MAX_PAGES: i64 = 20_000;
/// After so many pages of all records the database looks anew at what it has.
const PAGES_OF_A_STOCK: i64 = 25;
/// For how long nobody else reads the books, each time that something was stored.
pub(super) const LEASE: TimeDelta = TimeDelta::minutes(5);

/// What was read of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) stored: Stored,
    /// What is wrong with records that cannot be read.
    pub(super) unreadable: Vec<String>,
    /// Whether everything was read, and not only what changed.
    pub(super) full: bool,
}

/// Who reads, whose books, and by what.
pub(super) struct Reader<'a> {
    pub(super) app: &'a App,
    pub(super) asker: &'a Asker<'a>,
    pub(super) tenant: &'a str,
    pub(super) owner: &'a str,
}

/// A page of either kind.
enum Records {
    Customers(Vec<Customer>),
    /// With the ids of those that are there and cannot be read.
    Invoices(Vec<Invoice>, Vec<String>),
}

/// What is known of a pass when a page of it was stored.
enum Mark {
    /// There are more pages of what changed.
    MoreChanges,
    /// All changes until then are stored.
    ChangesUntil(DateTime<Utc>),
    /// The pass over everything that began then, and shows changes until then, goes on with this page.
    MoreOfAll(DateTime<Utc>, DateTime<Utc>, i64),
    /// It reached its end.
    AllUntil(DateTime<Utc>, DateTime<Utc>),
}

impl Reader<'_> {
    /// Reads what changed since it was last read, and everything where that is due.
    pub(super) async fn read(&self, pass: &Pass, full_is_due: bool) -> anyhow::Result<Read> {
        let mut read = Read::default();
        if let Some(changed_until) = pass.changed_until {
            self.changes(pass.kind, changed_until - OVERLAP, &mut read).await?;
        }
        if full_is_due || pass.changed_until.is_none() || pass.full_began_at.is_some() {
            self.everything(pass, &mut read).await?;
            read.full = true;
        }
        Ok(read)
    }

    async fn changes(&self, kind: RecordKind, since: DateTime<Utc>, read: &mut Read) -> anyhow::Result<()> {
        let began_at = self.app.clock.now();
        let mut until = began_at;
        for page in 1..=MAX_PAGES {
            let (records, has_more) = match kind {
                // Those that were changed last come first, so that the first one that is old enough ends it.
                RecordKind::Customers => {
                    let told = self.customers(page, true, read).await?;
                    until = first_look(page, until, told.date);
                    let reached =
                        told.value.records.iter().any(|one| one.last_modified_at.is_some_and(|at| at < since));
                    (Records::Customers(told.value.records), told.value.has_more && !reached)
                }
                RecordKind::Invoices => {
                    let told = self.invoices(page, Some(since), read).await?;
                    until = first_look(page, until, told.date);
                    (Records::Invoices(told.value.records, told.value.unreadable_ids), told.value.has_more)
                }
            };
            let mark = if has_more { Mark::MoreChanges } else { Mark::ChangesUntil(until) };
            self.store(kind, &records, &mark, read).await?;
            if !has_more {
                return Ok(());
            }
        }
        Err(self.endless(kind))
    }

    /// Reads everything, going on where a pass that was begun ended. A page is no place in a list that others change: the one
    /// before is read again, too, since what was deleted meanwhile moved others there.
    async fn everything(&self, pass: &Pass, read: &mut Read) -> anyhow::Result<()> {
        let now = self.app.clock.now();
        let began_at = pass.full_began_at.unwrap_or(now);
        let mut until = pass.full_until.unwrap_or(began_at);
        let first = pass.full_page.map_or(1, |page| (page - 1).max(1));
        let last = first + MAX_PAGES;
        for page in first..last {
            let (records, date, has_more) = match pass.kind {
                RecordKind::Customers => {
                    let told = self.customers(page, false, read).await?;
                    (Records::Customers(told.value.records), told.date, told.value.has_more)
                }
                RecordKind::Invoices => {
                    let told = self.invoices(page, None, read).await?;
                    let records = Records::Invoices(told.value.records, told.value.unreadable_ids);
                    (records, told.date, told.value.has_more)
                }
            };
            if pass.full_began_at.is_none() {
                until = first_look(page, until, date);
            }
            let mark =
                if has_more { Mark::MoreOfAll(began_at, until, page + 1) } else { Mark::AllUntil(began_at, until) };
            self.store(pass.kind, &records, &mark, read).await?;
            if !has_more || page % PAGES_OF_A_STOCK == 0 {
                self.app.db().await?.write(async |tx| take_stock(tx, pass.kind).await).await?;
            }
            if !has_more {
                return Ok(());
            }
        }
        Err(self.endless(pass.kind))
    }

    async fn customers(&self, page: i64, latest: bool, read: &mut Read) -> anyhow::Result<Told<Page<Customer>>> {
        let asked = self
            .asker
            .ask(Purpose::Keeping, async |zoho, token, org| {
                if latest {
                    zoho.latest_customers(token, org, page).await
                } else {
                    zoho.customers(token, org, page).await
                }
            })
            .await?;
        self.told(asked, read)
    }

    async fn invoices(
        &self,
        page: i64,
        since: Option<DateTime<Utc>>,
        read: &mut Read,
    ) -> anyhow::Result<Told<Page<Invoice>>> {
        let ask = async |zoho: &crate::providers::zoho::Zoho, token: &_, org: &str| {
            zoho.invoices(token, org, page, since).await
        };
        let asked = self.asker.ask(Purpose::Keeping, ask).await?;
        self.told(asked, read)
    }

    fn told<T>(&self, asked: Asked<Page<T>>, read: &mut Read) -> anyhow::Result<Told<Page<T>>> {
        match asked {
            Asked::Told(mut told) => {
                read.unreadable.append(&mut told.value.unreadable);
                Ok(told)
            }
            Asked::Spent(until) => Err(Failure::unreachable(format!(
                "organisation {} has no requests left today; there are new ones at {}",
                self.asker.organization_id,
                until.format("%Y-%m-%d %H:%M UTC")
            ))
            .hint("what was read is stored, and a run after that goes on; a larger plan has more (billing.plan)")
            .into()),
        }
    }

    /// Stores a page together with how far reading got by it.
    async fn store(&self, kind: RecordKind, records: &Records, mark: &Mark, read: &mut Read) -> anyhow::Result<()> {
        let now = self.app.clock.now();
        let write = async |tx: &mut Tx| -> store::Result<Stored> {
            passes::keep(tx, self.tenant, self.owner, now + LEASE, now).await?;
            let stored = match records {
                Records::Customers(records) => customers::put(tx, self.tenant, records, now).await?,
                Records::Invoices(records, unread) => {
                    invoices::put_unread(tx, self.tenant, unread, now).await?;
                    invoices::put(tx, self.tenant, records, now).await?
                }
            };
            match *mark {
                Mark::MoreChanges => {}
                Mark::ChangesUntil(until) => passes::end_changes(tx, self.tenant, kind, until, now).await?,
                Mark::MoreOfAll(began_at, until, page) => {
                    passes::advance_full(tx, self.tenant, kind, began_at, until, page).await?;
                }
                Mark::AllUntil(began_at, until) => {
                    passes::end_full(tx, self.tenant, kind, began_at, until, now).await?;
                }
            }
            Ok(stored)
        };
        let stored = self.app.db().await?.write(write).await?;
        read.stored.changed += stored.changed;
        read.stored.unchanged += stored.unchanged;
        Ok(())
    }

    fn endless(&self, kind: RecordKind) -> anyhow::Error {
        Failure::unreachable(format!("the list of the {kind} of {} has more than {MAX_PAGES} pages", self.tenant))
            .into()
    }
}

/// Until when a pass shows changes: when it began, by the earlier of our clock and the service's.
fn first_look(page: i64, until: DateTime<Utc>, date: Option<DateTime<Utc>>) -> DateTime<Utc> {
    match date {
        Some(date) if page == 1 && date < until => date,
        _ => until,
    }
}
