//! Customers as they were read last.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;

use super::{Known, Result, StoreError, Stored, Tx, anywhere, dynamic, execute, fetch, is_news};
use crate::domain::billing::records::Customer;

/// A customer that is stored.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct StoredCustomer {
    /// Whose customer.
    pub tenant: String,
    /// Its id there.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its company.
    pub company_name: Option<String>,
    /// `active`, `inactive` or what else there is.
    pub status: Option<String>,
    /// Of the person who is asked first.
    pub first_name: Option<String>,
    /// Of the person who is asked first.
    pub last_name: Option<String>,
    /// Of the person who is asked first.
    pub email: Option<String>,
    /// As somebody typed it.
    pub phone: Option<String>,
    /// As somebody typed it.
    pub mobile: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// What is to be paid in sum: an exact decimal.
    pub outstanding: Option<String>,
    /// When it was last changed.
    pub last_modified_at: Option<DateTime<Utc>>,
    /// A JSON list; none: never asked for.
    pub contact_persons: Option<String>,
    /// When the customer had last been changed when they were asked for.
    pub persons_of: Option<DateTime<Utc>>,
    /// The record as it came: JSON.
    pub raw: String,
    /// When it was last seen there.
    pub seen_at: DateTime<Utc>,
    /// When it was found gone.
    pub deleted_at: Option<DateTime<Utc>>,
}

macro_rules! columns {
    () => {
        "tenant, id, name, company_name, status, first_name, last_name, email, phone, mobile, currency, outstanding, \
         last_modified_at, contact_persons, persons_of, raw, seen_at, deleted_at"
    };
}

/// By what customers are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What they are called.
    #[default]
    Name,
    /// What they are to pay.
    Outstanding,
    /// When they were last changed.
    LastModified,
}

/// Which customers to list. Every filter that is none lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this status.
    pub status: Option<String>,
    /// With this text in a name, an address or a phone.
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

/// Stores customers as they are seen now. A deleted one that is seen is there again.
pub async fn put(tx: &mut Tx, tenant: &str, customers: &[Customer], now: DateTime<Utc>) -> Result<Stored> {
    let mut stored = Stored::default();
    // A row has 16 values, and SQLite takes 32,766 for a statement.
    for batch in customers.chunks(500) {
        let known: Vec<Known> = dynamic!(
            tx,
            |q| {
                q.push("SELECT id, raw, last_modified_at, deleted_at FROM billing_customers WHERE tenant = ");
                q.push_bind(tenant).push(" AND id IN (");
                let mut ids = q.separated(", ");
                for customer in batch {
                    ids.push_bind(&customer.id);
                }
                q.push(")");
            },
            build_query_as::<Known>().fetch_all
        )?;
        let known: HashMap<&str, &Known> = known.iter().map(|known| (known.0.as_str(), known)).collect();
        let (news, same): (Vec<&Customer>, Vec<&Customer>) =
            batch.iter().partition(|one| is_news(known.get(one.id.as_str()).copied(), &one.raw, one.last_modified_at));
        if !same.is_empty() {
            dynamic!(
                tx,
                |q| {
                    q.push("UPDATE billing_customers SET seen_at = ").push_bind(now);
                    q.push(" WHERE tenant = ").push_bind(tenant).push(" AND id IN (");
                    let mut ids = q.separated(", ");
                    for customer in &same {
                        ids.push_bind(&customer.id);
                    }
                    q.push(")");
                },
                execute
            )?;
        }
        if !news.is_empty() {
            insert(tx, tenant, &news, now).await?;
        }
        stored.changed += news.len() as u64;
        stored.unchanged += same.len() as u64;
    }
    Ok(stored)
}

async fn insert(tx: &mut Tx, tenant: &str, customers: &[&Customer], now: DateTime<Utc>) -> Result<()> {
    let written = dynamic!(
        tx,
        |q| {
            q.push(
                "INSERT INTO billing_customers (tenant, id, name, company_name, status, first_name, last_name, email, \
                 phone, mobile, currency, outstanding, last_modified_at, raw, seen_at) ",
            );
            q.push_values(customers, |mut row, customer| {
                row.push_bind(tenant)
                    .push_bind(&customer.id)
                    .push_bind(&customer.name)
                    .push_bind(&customer.company_name)
                    .push_bind(&customer.status)
                    .push_bind(&customer.first_name)
                    .push_bind(&customer.last_name)
                    .push_bind(&customer.email)
                    .push_bind(&customer.phone)
                    .push_bind(&customer.mobile)
                    .push_bind(&customer.currency)
                    .push_bind(customer.outstanding.map(|sum| sum.to_string()))
                    .push_bind(customer.last_modified_at)
                    .push_bind(&customer.raw)
                    .push_bind(now);
            });
            q.push(
                " ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, company_name = excluded.company_name, \
                 status = excluded.status, first_name = excluded.first_name, last_name = excluded.last_name, \
                 email = excluded.email, phone = excluded.phone, mobile = excluded.mobile, \
                 currency = excluded.currency, outstanding = excluded.outstanding, \
                 last_modified_at = excluded.last_modified_at, raw = excluded.raw, seen_at = excluded.seen_at, \
                 deleted_at = NULL",
            );
        },
        execute
    )?;
    if written != customers.len() as u64 {
        return Err(StoreError::Conflict(format!(
            "{written} of {} customers of {tenant} were stored",
            customers.len()
        )));
    }
    Ok(())
}

/// The customers whose contact persons are to be asked for: with an invoice that is to be paid and due by `due_by`, and never
/// asked for since they were last changed. Gives each with when it was last changed; the one whose invoice became due last
/// comes first.
pub async fn without_persons(
    tx: &mut Tx,
    tenant: &str,
    due_by: NaiveDate,
    limit: i64,
) -> Result<Vec<(String, Option<DateTime<Utc>>)>> {
    Ok(fetch!(
        tx,
        (String, Option<DateTime<Utc>>),
        fetch_all,
        concat!(
            "SELECT c.id, c.last_modified_at
         FROM billing_invoices i JOIN billing_customers c ON c.tenant = i.tenant AND c.id = i.customer_id
         WHERE i.tenant = $1 AND i.due_date <= $2 AND i.deleted_at IS NULL AND c.deleted_at IS NULL
           AND ",
            owed!(),
            "
           AND (c.contact_persons IS NULL OR c.persons_of <> c.last_modified_at)
         GROUP BY c.id, c.last_modified_at ORDER BY max(i.due_date) DESC, c.id LIMIT $3"
        ),
        tenant,
        due_by.to_string(),
        limit
    )?)
}

/// Remembers the contact persons of a customer, as it was when it had last been changed at `persons_of`. Says whether it
/// still is.
pub async fn put_persons(
    tx: &mut Tx,
    tenant: &str,
    id: &str,
    contact_persons: &str,
    persons_of: Option<DateTime<Utc>>,
) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE billing_customers SET contact_persons = $3, persons_of = $4
         WHERE tenant = $1 AND id = $2 AND (last_modified_at = $4 OR (last_modified_at IS NULL AND $4 IS NULL))",
        tenant,
        id,
        contact_persons,
        persons_of
    )? > 0)
}

/// Customers with this id, of one tenant or of all.
pub async fn with_id(tx: &mut Tx, tenant: Option<&str>, id: &str) -> Result<Vec<StoredCustomer>> {
    Ok(fetch!(
        tx,
        StoredCustomer,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM billing_customers WHERE id = $2 AND ($1 IS NULL OR tenant = $1) ORDER BY tenant"
        ),
        tenant,
        id
    )?)
}

/// Lists the customers that are there.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<StoredCustomer>> {
    let sort = match (filter.sort, &*tx) {
        (Sort::Name, _) => "name",
        (Sort::Outstanding, Tx::Sqlite(_)) => "CAST(outstanding AS REAL)",
        (Sort::Outstanding, Tx::Postgres(_)) => "outstanding::numeric",
        (Sort::LastModified, _) => "last_modified_at",
    };
    let direction = if filter.descending { " DESC" } else { "" };
    Ok(dynamic!(
        tx,
        |q| {
            // The page first and its records after it: sorted with them, a late page would drag along all that are before it.
            q.push("WITH page AS (SELECT tenant AS of_tenant, id AS of_id, ").push(sort);
            q.push(" AS sorted_by FROM billing_customers WHERE deleted_at IS NULL");
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant = ").push_bind(tenant);
            }
            if let Some(status) = &filter.status {
                q.push(" AND status = ").push_bind(status);
            }
            if let Some(text) = filter.text.as_deref().map(anywhere) {
                q.push(" AND (");
                let columns = ["name", "company_name", "first_name", "last_name", "email", "phone", "mobile"];
                for (index, column) in columns.into_iter().enumerate() {
                    q.push(if index == 0 { "lower(" } else { " OR lower(" }).push(column).push(") LIKE ");
                    q.push_bind(text.clone()).push(" ESCAPE '\\'");
                }
                q.push(")");
            }
            q.push(" ORDER BY ").push(sort).push(direction).push(" NULLS LAST, id").push(direction);
            q.push(" LIMIT ").push_bind(filter.limit).push(" OFFSET ").push_bind(filter.offset);
            q.push(concat!(") SELECT ", columns!(), " FROM page CROSS JOIN billing_customers "));
            q.push("WHERE tenant = of_tenant AND id = of_id ORDER BY sorted_by").push(direction);
            q.push(" NULLS LAST, id").push(direction);
        },
        build_query_as::<StoredCustomer>().fetch_all
    )?)
}
