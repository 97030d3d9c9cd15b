//! Whom to call about the invoices of a customer.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic, execute, fetch, scalar};

/// So many values at most stand in one list of a statement.
const BATCH: usize = 500;

/// A customer with something to pay, and what was decided about it before.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Debtor {
    /// The customer's id.
    pub customer_id: String,
    /// What it is called.
    pub name: String,
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
    /// A JSON list; none: never asked for.
    pub contact_persons: Option<String>,
    /// By what it was decided last.
    pub decided_by: Option<String>,
}

/// The customers of a tenant, in the order of their ids after this one, who have something to pay.
pub async fn after(tx: &mut Tx, tenant: &str, customer_id: &str, limit: i64) -> Result<Vec<Debtor>> {
    Ok(fetch!(
        tx,
        Debtor,
        fetch_all,
        concat!(
            "SELECT c.id AS customer_id, c.name, c.first_name, c.last_name, c.email, c.phone, c.mobile,
                c.contact_persons, l.decided_by
         FROM billing_customers c LEFT JOIN billing_contacts l ON l.tenant = c.tenant AND l.customer_id = c.id
         WHERE c.tenant = $1 AND c.id > $2 AND c.deleted_at IS NULL
           AND EXISTS (SELECT 1 FROM billing_invoices i WHERE i.tenant = c.tenant AND i.customer_id = c.id
                       AND i.deleted_at IS NULL
                       AND ",
            owed!(),
            ")
         ORDER BY c.id LIMIT $3"
        ),
        tenant,
        customer_id,
        limit
    )?)
}

/// The contact with a person's phone: made under `new_id`, or found and given the name, address and id that it lacks.
#[derive(Clone, Debug)]
pub struct Reached<'a> {
    /// E.164.
    pub phone: &'a str,
    /// Digits to key in once the call is answered.
    pub extension: Option<&'a str>,
    /// How the agent may address the callee.
    pub name: &'a str,
    /// An e-mail address.
    pub email: Option<&'a str>,
}

/// Decides that a customer is called at a phone. Who was called about its invoices before is not any more.
pub async fn link(
    tx: &mut Tx,
    tenant: &str,
    customer_id: &str,
    decided_by: &str,
    reached: &Reached<'_>,
    new_id: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO contacts (id, tenant, phone, extension, name, email, external_id, attributes, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8, $8) ON CONFLICT (tenant, phone) DO NOTHING",
        new_id,
        tenant,
        reached.phone,
        reached.extension,
        reached.name,
        reached.email,
        customer_id,
        now
    )?;
    // Changed by this in any case: an import that made the contact cannot be undone over it.
    execute!(
        tx,
        "UPDATE contacts SET name = coalesce(name, $3), email = coalesce(email, $4),
                external_id = coalesce(external_id, $5), updated_at = $6
         WHERE tenant = $1 AND phone = $2 AND id <> $7",
        tenant,
        reached.phone,
        reached.name,
        reached.email,
        customer_id,
        now,
        new_id
    )?;
    wake(tx, tenant, &[customer_id.to_owned()], now).await?;
    execute!(
        tx,
        "INSERT INTO billing_contacts (tenant, customer_id, decided_by, contact_id, problem, updated_at)
         SELECT $1, $2, $3, k.id, NULL, $5 FROM contacts k WHERE k.tenant = $1 AND k.phone = $4
         ON CONFLICT (tenant, customer_id) DO UPDATE SET decided_by = excluded.decided_by, contact_id = excluded.contact_id,
             problem = NULL, updated_at = excluded.updated_at",
        tenant,
        customer_id,
        decided_by,
        reached.phone,
        now
    )?;
    wake(tx, tenant, &[customer_id.to_owned()], now).await
}

/// Notes why a customer cannot be called.
pub async fn set_problem(
    tx: &mut Tx,
    tenant: &str,
    customer_id: &str,
    decided_by: &str,
    problem: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    wake(tx, tenant, &[customer_id.to_owned()], now).await?;
    execute!(
        tx,
        "INSERT INTO billing_contacts (tenant, customer_id, decided_by, contact_id, problem, updated_at)
         VALUES ($1, $2, $3, NULL, $4, $5)
         ON CONFLICT (tenant, customer_id) DO UPDATE SET decided_by = excluded.decided_by, contact_id = NULL,
             problem = excluded.problem, updated_at = excluded.updated_at",
        tenant,
        customer_id,
        decided_by,
        problem,
        now
    )?;
    Ok(())
}

/// Contacts of customers with something to pay who never were in a campaign, neither enrolled nor withdrawn.
pub async fn not_enrolled(tx: &mut Tx, tenant: &str, campaign_id: &str, limit: i64) -> Result<Vec<String>> {
    Ok(fetch!(
        tx,
        (String,),
        fetch_all,
        concat!(
            "SELECT DISTINCT l.contact_id FROM billing_contacts l
         WHERE l.tenant = $1 AND l.contact_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.contact_id = l.contact_id AND e.campaign_id = $2)
           AND EXISTS (SELECT 1 FROM billing_invoices i WHERE i.tenant = l.tenant AND i.customer_id = l.customer_id
                       AND i.deleted_at IS NULL
                       AND ",
            owed!(),
            ")
         ORDER BY l.contact_id LIMIT $3"
        ),
        tenant,
        campaign_id,
        limit
    )?
    .into_iter()
    .map(|(id,)| id)
    .collect())
}

/// A customer with something to pay, and whom to call about it.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Linked {
    /// Whose customer.
    pub tenant: String,
    /// The customer's id.
    pub customer_id: String,
    /// What it is called.
    pub customer: Option<String>,
    /// How many of its invoices are to be paid.
    pub invoices: i64,
    /// The contact.
    pub contact_id: Option<String>,
    /// The contact's phone, E.164.
    pub phone: Option<String>,
    /// Why there is nobody to call.
    pub problem: Option<String>,
}

/// Customers with something to pay of a tenant, or of all: with a phone that can be called, without one, or both.
pub async fn list(tx: &mut Tx, tenant: Option<&str>, reachable: Option<bool>, limit: i64) -> Result<Vec<Linked>> {
    Ok(fetch!(
        tx,
        Linked,
        fetch_all,
        concat!(
            "SELECT l.tenant, l.customer_id, c.name AS customer, count(*) AS invoices, l.contact_id, k.phone, l.problem
         FROM billing_contacts l
         JOIN billing_invoices i ON i.tenant = l.tenant AND i.customer_id = l.customer_id AND i.deleted_at IS NULL
              AND ",
            owed!(),
            "
         LEFT JOIN billing_customers c ON c.tenant = l.tenant AND c.id = l.customer_id
         LEFT JOIN contacts k ON k.id = l.contact_id
         WHERE ($1 IS NULL OR l.tenant = $1) AND ($2 IS NULL OR (l.contact_id IS NOT NULL) = $2)
         GROUP BY l.tenant, l.customer_id, c.name, l.contact_id, k.phone, l.problem
         ORDER BY l.tenant, c.name, l.customer_id LIMIT $3"
        ),
        tenant,
        reachable,
        limit
    )?)
}

/// How many customers with something to pay cannot be called.
pub async fn count_unreachable(tx: &mut Tx, tenant: &str) -> Result<i64> {
    let (count,) = fetch!(
        tx,
        (i64,),
        fetch_one,
        concat!(
            "SELECT count(*) FROM billing_contacts l
         WHERE l.tenant = $1 AND l.problem IS NOT NULL
           AND EXISTS (SELECT 1 FROM billing_invoices i WHERE i.tenant = l.tenant AND i.customer_id = l.customer_id
                       AND i.deleted_at IS NULL
                       AND ",
            owed!(),
            ")"
        ),
        tenant
    )?;
    Ok(count)
}

/// Takes note that something about the invoices of customers changed: whoever is called about them is looked at again, and
/// a claim that a run is about to make of what it read before does not ring.
pub async fn wake(tx: &mut Tx, tenant: &str, customer_ids: &[String], now: DateTime<Utc>) -> Result<()> {
    for batch in customer_ids.chunks(BATCH) {
        let contacts: Vec<String> = dynamic!(
            tx,
            |q| {
                q.push(
                    "UPDATE contacts SET version = version + 1 WHERE id IN (SELECT contact_id FROM billing_contacts \
                     WHERE contact_id IS NOT NULL AND tenant = ",
                );
                q.push_bind(tenant).push(" AND customer_id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")) RETURNING id");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        crate::store::contacts::recheck(tx, &contacts, now).await?;
    }
    Ok(())
}

/// Forgets whom to call about the customers of a tenant, whose books are others now.
pub(super) async fn forget(tx: &mut Tx, tenant: &str, now: DateTime<Utc>) -> Result<()> {
    let customers: Vec<String> =
        scalar!(tx, String, fetch_all, "SELECT customer_id FROM billing_contacts WHERE tenant = $1", tenant)?;
    wake(tx, tenant, &customers, now).await?;
    execute!(tx, "DELETE FROM billing_contacts WHERE tenant = $1", tenant)?;
    Ok(())
}

/// As [`wake`], for the customers of these invoices.
pub async fn wake_for(tx: &mut Tx, tenant: &str, invoice_ids: &[String], now: DateTime<Utc>) -> Result<()> {
    for batch in invoice_ids.chunks(BATCH) {
        let customers: Vec<String> = dynamic!(
            tx,
            |q| {
                q.push("SELECT DISTINCT customer_id FROM billing_invoices WHERE tenant = ");
                q.push_bind(tenant).push(" AND id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        wake(tx, tenant, &customers, now).await?;
    }
    Ok(())
}
