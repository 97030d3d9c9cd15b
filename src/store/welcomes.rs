//! What became of customers who paid, or took it back.

pub mod syncs;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::listing::Filter;
use super::{Result, StoreError, Tx, dynamic, execute, fetch};
use crate::domain::welcome::{Standing, WelcomeState};

/// A customer that an event told of.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Welcome {
    /// The tenant.
    pub tenant: String,
    /// The service's id; of a guest, the e-mail address or else the checkout.
    pub customer: String,
    /// The account that was paid.
    pub account: String,
    /// What became of it.
    pub state: WelcomeState,
    /// Why, in words.
    pub reason: Option<String>,
    /// What the customer is called.
    pub name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// The phone, E.164.
    pub phone: Option<String>,
    /// When the customer was made there.
    pub customer_created_at: Option<DateTime<Utc>>,
    /// When it last paid, by the service's clock.
    pub paid_at: Option<DateTime<Utc>>,
    /// When it last took it back, by the service's clock.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// The contact that it is here.
    pub contact_id: Option<String>,
    /// Its place in the campaign.
    pub enrollment_id: Option<String>,
    /// The event of the last payment.
    pub event_id: Option<String>,
    /// When it was first told of.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! columns {
    () => {
        "tenant, customer, account, state, reason, name, email, phone, customer_created_at, paid_at, withdrawn_at, \
         contact_id, enrollment_id, event_id, created_at, updated_at"
    };
}

impl Welcome {
    /// When it paid, and took it back.
    pub fn standing(&self) -> Standing {
        Standing { paid_at: self.paid_at, withdrawn_at: self.withdrawn_at }
    }

    /// The same, with another standing.
    #[must_use]
    pub fn standing_so(self, standing: Standing) -> Self {
        Self { paid_at: standing.paid_at, withdrawn_at: standing.withdrawn_at, ..self }
    }
}

/// A customer, locked until the transaction ends; one who was never told of is made, as somebody who paid nothing.
pub async fn lock(tx: &mut Tx, tenant: &str, customer: &str, account: &str, now: DateTime<Utc>) -> Result<Welcome> {
    execute!(
        tx,
        "INSERT INTO welcomes (tenant, customer, account, state, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (tenant, customer) DO NOTHING",
        tenant,
        customer,
        account,
        WelcomeState::Withdrawn,
        now
    )?;
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM welcomes WHERE tenant = ")).push_bind(tenant);
            q.push(" AND customer = ").push_bind(customer).push(lock);
        },
        build_query_as::<Welcome>().fetch_one
    )?)
}

/// Writes a customer over what was read of it in this transaction.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else changed it meanwhile.
pub async fn save(tx: &mut Tx, was: &Welcome, is: &Welcome, now: DateTime<Utc>) -> Result<()> {
    let written = execute!(
        tx,
        "UPDATE welcomes SET account = $3, state = $4, reason = $5, name = $6, email = $7, phone = $8,
             customer_created_at = $9, paid_at = $10, withdrawn_at = $11, contact_id = $12, enrollment_id = $13,
             event_id = $14, updated_at = $15
         WHERE tenant = $1 AND customer = $2 AND state = $16 AND updated_at = $17",
        &was.tenant,
        &was.customer,
        &is.account,
        is.state,
        is.reason.as_deref(),
        is.name.as_deref(),
        is.email.as_deref(),
        is.phone.as_deref(),
        is.customer_created_at,
        is.paid_at,
        is.withdrawn_at,
        is.contact_id.as_deref(),
        is.enrollment_id.as_deref(),
        is.event_id.as_deref(),
        now,
        was.state,
        was.updated_at
    )?;
    if written == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("customer {} of {} was changed by another", was.customer, was.tenant)))
}

/// A call that holds the one slot of a phone, or of a customer, for a purpose.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Spent {
    /// The call.
    pub call_id: String,
    /// The customer as whom it is made.
    pub subject: Option<String>,
    /// Whether the phone may have rung. Otherwise the slot may be free again some day.
    pub may_have_rung: bool,
}

/// The calls that hold the one slot of a phone (E.164) or of a customer for a purpose; those that may have rung first.
pub async fn spent_by(tx: &mut Tx, tenant: &str, purpose: &str, phone: &str, customer: &str) -> Result<Vec<Spent>> {
    // Two probes of an index each; an OR over both columns would read the whole table.
    Ok(fetch!(
        tx,
        Spent,
        fetch_all,
        "SELECT spent.call_id, spent.subject,
                coalesce(c.decision, '') = 'called_elsewhere'
                OR EXISTS (SELECT 1 FROM attempts a WHERE a.call_id = c.id AND a.may_have_rung) AS may_have_rung
         FROM (
             SELECT call_id, subject FROM slots WHERE tenant = $1 AND phone = $3 AND purpose = $2 AND key = 'once'
             UNION ALL
             SELECT call_id, subject FROM slots WHERE tenant = $1 AND purpose = $2 AND subject = $4 AND key = 'once'
         ) AS spent JOIN calls c ON c.id = spent.call_id
         ORDER BY may_have_rung DESC, spent.call_id",
        tenant,
        purpose,
        phone,
        customer
    )?)
}

/// Which of these customers, and of these phones (E.164), are of somebody who took a payment back, and has not paid since.
pub async fn taken_back(
    tx: &mut Tx,
    tenant: &str,
    customers: &[&str],
    phones: &[&str],
) -> Result<(HashSet<String>, HashSet<String>)> {
    let mut found = [HashSet::new(), HashSet::new()];
    for ((column, values), found) in [("customer", customers), ("phone", phones)].into_iter().zip(&mut found) {
        for values in values.chunks(500) {
            let some: Vec<String> = dynamic!(
                tx,
                |q| {
                    q.push("SELECT ").push(column).push(" FROM welcomes WHERE tenant = ").push_bind(tenant);
                    q.push(" AND state = 'withdrawn' AND withdrawn_at IS NOT NULL AND ").push(column).push(" IN (");
                    let mut list = q.separated(", ");
                    for value in values {
                        list.push_bind(*value);
                    }
                    q.push(")");
                },
                build_query_scalar::<String>().fetch_all
            )?;
            found.extend(some);
        }
    }
    let [customers, phones] = found;
    Ok((customers, phones))
}

/// Those who are not called since the contact was another customer's, if there are any: whoever paid first comes first.
pub async fn waiting_behind(tx: &mut Tx, tenant: &str, contact_id: &str) -> Result<Option<Welcome>> {
    Ok(fetch!(
        tx,
        Welcome,
        fetch_optional,
        concat!(
            "SELECT ",
            columns!(),
            " FROM welcomes WHERE contact_id = $2 AND tenant = $1 AND state = 'same_phone'
              ORDER BY paid_at, customer LIMIT 1"
        ),
        tenant,
        contact_id
    )?)
}

/// How many customers of each tenant are in each state.
pub async fn counts(tx: &mut Tx) -> Result<Vec<(String, WelcomeState, i64)>> {
    Ok(fetch!(
        tx,
        (String, WelcomeState, i64),
        fetch_all,
        "SELECT tenant, state, count(*) FROM welcomes GROUP BY tenant, state ORDER BY tenant, state"
    )?)
}

/// The events of the last payments of an account's customers who cannot be called, those that were looked at longest ago
/// first; of payments since an instant.
pub async fn listed_events(tx: &mut Tx, account: &str, since: DateTime<Utc>, limit: i64) -> Result<Vec<String>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT event_id FROM welcomes WHERE event_id IS NOT NULL AND account = ").push_bind(account);
            q.push(" AND paid_at >= ").push_bind(since).push(" AND state IN (");
            let mut states = q.separated(", ");
            for state in WelcomeState::LISTED {
                states.push_bind(state);
            }
            q.push(") ORDER BY coalesce(looked_at, created_at), customer LIMIT ").push_bind(limit);
        },
        build_query_scalar::<String>().fetch_all
    )?)
}

/// Notes that the customers who paid last by these events are looked at now.
pub async fn looked_at(tx: &mut Tx, account: &str, event_ids: &[String], now: DateTime<Utc>) -> Result<()> {
    if event_ids.is_empty() {
        return Ok(());
    }
    dynamic!(
        tx,
        |q| {
            q.push("UPDATE welcomes SET looked_at = ").push_bind(now).push(" WHERE account = ").push_bind(account);
            q.push(" AND event_id IN (");
            let mut ids = q.separated(", ");
            for id in event_ids {
                ids.push_bind(id);
            }
            q.push(")");
        },
        execute
    )?;
    Ok(())
}

/// A customer with the status of its last call.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Listed {
    /// The customer.
    #[sqlx(flatten)]
    pub welcome: Welcome,
    /// The status of its call; none: there is none.
    pub call_status: Option<String>,
}

/// Customers, those that changed last first.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<Listed>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!(
                "SELECT ",
                columns!(),
                ", (SELECT c.status FROM calls c WHERE c.enrollment_id = welcomes.enrollment_id \
                    ORDER BY c.created_at DESC LIMIT 1) AS call_status FROM welcomes WHERE TRUE"
            ));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant = ").push_bind(tenant.clone());
            }
            if let Some(phone) = &filter.phone {
                q.push(" AND phone = ").push_bind(phone.clone());
            }
            if let Some(state) = &filter.status {
                q.push(" AND state = ").push_bind(state.clone());
            }
            if let Some(since) = filter.since {
                q.push(" AND updated_at >= ").push_bind(since);
            }
            q.push(" ORDER BY updated_at DESC, tenant, customer LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<Listed>().fetch_all
    )?)
}
