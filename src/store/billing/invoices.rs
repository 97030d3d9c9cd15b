//! Invoices as they were read last.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;

use super::{Known, Result, StoreError, Stored, Tx, anywhere, debtors, dynamic, execute, fetch, is_news};
use crate::domain::billing::records::{Invoice, amount};

/// An invoice that is stored.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct StoredInvoice {
    /// Whose invoice.
    pub tenant: String,
    /// Its id there.
    pub id: String,
    /// Who is to pay.
    pub customer_id: String,
    /// What the customer is called: by its own record, or, while that was not read, by the invoice.
    pub customer_name: Option<String>,
    /// In Zoho's words, such as `overdue`.
    pub status: String,
    /// What people call it.
    pub number: Option<String>,
    /// When it was written: YYYY-MM-DD.
    pub date: Option<String>,
    /// When it is to be paid: YYYY-MM-DD.
    pub due_date: Option<String>,
    /// Its sum: an exact decimal.
    pub total: Option<String>,
    /// What of that is not paid: an exact decimal.
    pub balance: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// When it was last changed.
    pub last_modified_at: Option<DateTime<Utc>>,
    /// The record as it came: JSON.
    pub raw: String,
    /// When it was last seen there.
    pub seen_at: DateTime<Utc>,
    /// When it was found gone.
    pub deleted_at: Option<DateTime<Utc>>,
}

macro_rules! join {
    () => {
        "LEFT JOIN billing_customers c ON c.tenant = i.tenant AND c.id = i.customer_id AND c.deleted_at IS NULL "
    };
}

macro_rules! select {
    () => {
        concat!(
            "SELECT i.tenant, i.id, i.customer_id, coalesce(c.name, i.customer_name) AS customer_name, i.status, \
             i.number, i.date, i.due_date, i.total, i.balance, i.currency, i.last_modified_at, i.raw, i.seen_at, \
             i.deleted_at FROM billing_invoices i ",
            join!()
        )
    };
}

/// By what invoices are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// When they are to be paid.
    #[default]
    DueDate,
    /// When they were written.
    Date,
    /// What people call them.
    Number,
    /// What their customer is called.
    Customer,
    /// Their sum.
    Total,
    /// What is not paid.
    Balance,
    /// When they were last changed.
    LastModified,
}

/// Which invoices to list. Every filter that is none lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this status.
    pub status: Option<String>,
    /// Of the customer with this id.
    pub customer_id: Option<String>,
    /// Still to be paid, and due on this day or before.
    pub unpaid_by: Option<NaiveDate>,
    /// With this text in the number or the customer's name.
    pub text: Option<String>,
    /// By what they are sorted.
    pub sort: Sort,
    /// The last ones first.
    pub descending: bool,
    /// At most this many.
    pub limit: i64,
    /// After so many others.
    pub offset: i64,
}

/// Stores invoices as they are seen now. A deleted one that is seen is there again.
pub async fn put(tx: &mut Tx, tenant: &str, invoices: &[Invoice], now: DateTime<Utc>) -> Result<Stored> {
    let mut stored = Stored::default();
    // A row has 14 values, and SQLite takes 32,766 for a statement.
    for batch in invoices.chunks(500) {
        // Nobody else writes them between the comparison and what follows from it.
        let lock = tx.lock_clause();
        let known: Vec<Known> = dynamic!(
            tx,
            |q| {
                q.push("SELECT id, raw, last_modified_at, deleted_at FROM billing_invoices WHERE tenant = ");
                q.push_bind(tenant).push(" AND id IN (");
                let mut ids = q.separated(", ");
                for invoice in batch {
                    ids.push_bind(&invoice.id);
                }
                q.push(") ORDER BY id").push(lock);
            },
            build_query_as::<Known>().fetch_all
        )?;
        let known: HashMap<&str, &Known> = known.iter().map(|known| (known.0.as_str(), known)).collect();
        let (news, same): (Vec<&Invoice>, Vec<&Invoice>) =
            batch.iter().partition(|one| is_news(known.get(one.id.as_str()).copied(), &one.raw, one.last_modified_at));
        if !same.is_empty() {
            dynamic!(
                tx,
                |q| {
                    q.push("UPDATE billing_invoices SET unread_since = NULL, seen_at = ").push_bind(now);
                    q.push(" WHERE tenant = ").push_bind(tenant).push(" AND id IN (");
                    let mut ids = q.separated(", ");
                    for invoice in &same {
                        ids.push_bind(&invoice.id);
                    }
                    q.push(")");
                },
                execute
            )?;
        }
        if !news.is_empty() {
            insert(tx, tenant, &news, now).await?;
            let customers: BTreeSet<&str> = news.iter().map(|invoice| invoice.customer_id.as_str()).collect();
            let customers: Vec<String> = customers.into_iter().map(str::to_owned).collect();
            debtors::wake(tx, tenant, &customers, now).await?;
        }
        stored.changed += news.len() as u64;
        stored.unchanged += same.len() as u64;
    }
    Ok(stored)
}

/// Takes note that invoices are there, and that what they say could not be read: nobody is called about them before it is.
pub async fn put_unread(tx: &mut Tx, tenant: &str, ids: &[String], now: DateTime<Utc>) -> Result<()> {
    for id in ids {
        execute!(
            tx,
            "UPDATE billing_invoices SET unread_since = coalesce(unread_since, $3) WHERE tenant = $1 AND id = $2",
            tenant,
            id,
            now
        )?;
    }
    debtors::wake_for(tx, tenant, ids, now).await
}

/// Stores an invoice as it is shown by itself now, which is more than a list shows of it: where it says the same as what is
/// stored, only that it was seen. Says whether it says something else.
pub async fn look_at(tx: &mut Tx, tenant: &str, invoice: &Invoice, now: DateTime<Utc>) -> Result<bool> {
    let lock = tx.lock_clause();
    dynamic!(
        tx,
        |q| {
            q.push("SELECT 1 FROM billing_invoices WHERE tenant = ").push_bind(tenant);
            q.push(" AND id = ").push_bind(&invoice.id).push(lock);
        },
        execute
    )?;
    let stored = fetch!(
        tx,
        StoredInvoice,
        fetch_optional,
        concat!(select!(), "WHERE i.tenant = $1 AND i.id = $2"),
        tenant,
        &invoice.id
    )?;
    let is_known = stored.is_some_and(|stored| {
        // Somebody else may have read it later than this answer was made.
        let is_older =
            matches!((invoice.last_modified_at, stored.last_modified_at), (Some(read), Some(kept)) if read < kept);
        let is_same = stored.customer_id == invoice.customer_id
            && stored.status == invoice.status
            && stored.number == invoice.number
            && stored.due_date == invoice.due_date.map(|date| date.to_string())
            && stored.balance.as_deref().and_then(amount) == invoice.balance
            && stored.currency == invoice.currency;
        stored.deleted_at.is_none() && (is_older || is_same)
    });
    if is_known {
        execute!(
            tx,
            "UPDATE billing_invoices SET seen_at = $3, unread_since = NULL WHERE tenant = $1 AND id = $2",
            tenant,
            &invoice.id,
            now
        )?;
        return Ok(false);
    }
    insert(tx, tenant, &[invoice], now).await?;
    debtors::wake(tx, tenant, std::slice::from_ref(&invoice.customer_id), now).await?;
    Ok(true)
}

async fn insert(tx: &mut Tx, tenant: &str, invoices: &[&Invoice], now: DateTime<Utc>) -> Result<()> {
    let written = dynamic!(
        tx,
        |q| {
            q.push(
                "INSERT INTO billing_invoices (tenant, id, customer_id, customer_name, status, number, date, due_date, \
                 total, balance, currency, last_modified_at, raw, seen_at) ",
            );
            q.push_values(invoices, |mut row, invoice| {
                row.push_bind(tenant)
                    .push_bind(&invoice.id)
                    .push_bind(&invoice.customer_id)
                    .push_bind(&invoice.customer_name)
                    .push_bind(&invoice.status)
                    .push_bind(&invoice.number)
                    .push_bind(invoice.date.map(|date| date.to_string()))
                    .push_bind(invoice.due_date.map(|date| date.to_string()))
                    .push_bind(invoice.total.map(|sum| sum.to_string()))
                    .push_bind(invoice.balance.map(|sum| sum.to_string()))
                    .push_bind(&invoice.currency)
                    .push_bind(invoice.last_modified_at)
                    .push_bind(&invoice.raw)
                    .push_bind(now);
            });
            q.push(
                " ON CONFLICT (tenant, id) DO UPDATE SET customer_id = excluded.customer_id, \
                 customer_name = excluded.customer_name, status = excluded.status, number = excluded.number, \
                 date = excluded.date, due_date = excluded.due_date, total = excluded.total, \
                 balance = excluded.balance, currency = excluded.currency, \
                 last_modified_at = excluded.last_modified_at, raw = excluded.raw, seen_at = excluded.seen_at, \
                 deleted_at = NULL, unread_since = NULL",
            );
        },
        execute
    )?;
    if written != invoices.len() as u64 {
        return Err(StoreError::Conflict(format!("{written} of {} invoices of {tenant} were stored", invoices.len())));
    }
    Ok(())
}

/// Invoices with this id or number, of one tenant or of all.
pub async fn named(tx: &mut Tx, tenant: Option<&str>, name: &str) -> Result<Vec<StoredInvoice>> {
    Ok(fetch!(
        tx,
        StoredInvoice,
        fetch_all,
        concat!(
            select!(),
            "WHERE (i.id = $2 OR i.number = $2) AND ($1 IS NULL OR i.tenant = $1) ORDER BY i.tenant, i.id"
        ),
        tenant,
        name
    )?)
}

/// Lists the invoices that are there.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<StoredInvoice>> {
    let sort = match (filter.sort, &*tx) {
        (Sort::DueDate, _) => "i.due_date",
        (Sort::Date, _) => "i.date",
        (Sort::Number, _) => "i.number",
        (Sort::Customer, _) => "coalesce(c.name, i.customer_name)",
        (Sort::Total, Tx::Sqlite(_)) => "CAST(i.total AS REAL)",
        (Sort::Total, Tx::Postgres(_)) => "i.total::numeric",
        (Sort::Balance, Tx::Sqlite(_)) => "CAST(i.balance AS REAL)",
        (Sort::Balance, Tx::Postgres(_)) => "i.balance::numeric",
        (Sort::LastModified, _) => "i.last_modified_at",
    };
    let direction = if filter.descending { " DESC" } else { "" };
    Ok(dynamic!(
        tx,
        |q| {
            // The page first and its records after it: sorted with them, a late page would drag along all that are before it.
            q.push(
                "SELECT i.tenant, i.id, i.customer_id, page.customer_name, i.status, i.number, i.date, i.due_date, i.total, \
                 i.balance, i.currency, i.last_modified_at, i.raw, i.seen_at, i.deleted_at \
                 FROM (SELECT i.tenant, i.id, coalesce(c.name, i.customer_name) AS customer_name, ",
            );
            q.push(sort).push(" AS sorted_by FROM billing_invoices i ");
            q.push(concat!(join!(), "WHERE i.deleted_at IS NULL"));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND i.tenant = ").push_bind(tenant);
            }
            if let Some(status) = &filter.status {
                q.push(" AND i.status = ").push_bind(status);
            }
            if let Some(customer_id) = &filter.customer_id {
                q.push(" AND i.customer_id = ").push_bind(customer_id);
            }
            if let Some(day) = filter.unpaid_by {
                q.push(concat!(" AND ", owed!(), " AND i.due_date <= "));
                q.push_bind(day.to_string());
            }
            if let Some(text) = filter.text.as_deref().map(anywhere) {
                q.push(" AND (lower(i.number) LIKE ").push_bind(text.clone()).push(" ESCAPE '\\'");
                q.push(" OR lower(coalesce(c.name, i.customer_name)) LIKE ").push_bind(text).push(" ESCAPE '\\')");
            }
            q.push(" ORDER BY ").push(sort).push(direction).push(" NULLS LAST, i.id").push(direction);
            q.push(" LIMIT ").push_bind(filter.limit).push(" OFFSET ").push_bind(filter.offset);
            q.push(") page CROSS JOIN billing_invoices i WHERE i.tenant = page.tenant AND i.id = page.id ");
            q.push("ORDER BY page.sorted_by").push(direction).push(" NULLS LAST, i.id").push(direction);
        },
        build_query_as::<StoredInvoice>().fetch_all
    )?)
}
