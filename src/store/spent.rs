//! Slots that calls of another system have spent.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::imports::Import;
use super::setup::Campaign;
use super::{Result, StoreError, Tx, dynamic, execute};

/// A call that another system placed, or may have placed, for somebody who is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// ULID of the call.
    pub call_id: String,
    /// The enrollment that it counts for.
    pub enrollment_id: String,
    /// The contact.
    pub contact_id: String,
    /// The phone, E.164.
    pub phone: String,
    /// The subject whose slot it takes too, such as a customer's id.
    pub subject: Option<String>,
}

/// Records calls that were placed elsewhere: each is over, has no attempt, and holds the slot `key` of the campaign's
/// purpose. When they ended nobody knows, so that no count of a day's calls has them.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else took one of the slots meanwhile: then nothing of it may be committed.
pub async fn spend(
    tx: &mut Tx,
    campaign: &Campaign,
    key: &str,
    spent: &[Spent],
    requested_by: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    for batch in spent.chunks(500) {
        dynamic!(
            tx,
            |q| {
                q.push(
                    "INSERT INTO calls (id, tenant, campaign_id, enrollment_id, contact_id, purpose, phone, slot_key, \
                     status, reason, attempt_count, decision, decided_at, requested_by, created_at, updated_at) ",
                );
                q.push_values(batch, |mut row, one| {
                    row.push_bind(&one.call_id)
                        .push_bind(&campaign.tenant)
                        .push_bind(&campaign.id)
                        .push_bind(&one.enrollment_id)
                        .push_bind(&one.contact_id)
                        .push_bind(&campaign.purpose)
                        .push_bind(&one.phone)
                        .push_bind(key)
                        .push("'completed'")
                        .push("'called_elsewhere'")
                        .push("0")
                        .push("'called_elsewhere'")
                        .push_bind(now)
                        .push_bind(requested_by)
                        .push_bind(now)
                        .push_bind(now);
                });
            },
            execute
        )?;
        let taken = dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO slots (tenant, phone, purpose, key, subject, call_id, created_at) ");
                q.push_values(batch, |mut row, one| {
                    row.push_bind(&campaign.tenant)
                        .push_bind(&one.phone)
                        .push_bind(&campaign.purpose)
                        .push_bind(key)
                        .push_bind(one.subject.as_deref())
                        .push_bind(&one.call_id)
                        .push_bind(now);
                });
                q.push(" ON CONFLICT DO NOTHING");
            },
            execute
        )?;
        if taken != batch.len() as u64 {
            return Err(StoreError::Conflict(format!(
                "{} of {} slots of {} were taken by somebody else meanwhile",
                batch.len() as u64 - taken,
                batch.len(),
                campaign.full_name()
            )));
        }
    }
    Ok(())
}

/// What of the slots `key` of a purpose is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// For these phones.
    pub phones: HashSet<String>,
    /// For these of the phones, and for no subject.
    pub without_subject: HashSet<String>,
    /// For these subjects.
    pub subjects: HashSet<String>,
}

/// Which of these phones, E.164, and subjects hold the slot `key` of the campaign's purpose.
pub async fn held(tx: &mut Tx, campaign: &Campaign, key: &str, phones: &[&str], subjects: &[&str]) -> Result<Held> {
    let mut held = Held::default();
    for (column, values) in [("phone", phones), ("subject", subjects)] {
        for values in values.chunks(500) {
            let found: Vec<(String, bool)> = dynamic!(
                tx,
                |q| {
                    q.push("SELECT ").push(column).push(", subject IS NULL FROM slots WHERE tenant = ");
                    q.push_bind(&campaign.tenant);
                    q.push(" AND purpose = ");
                    q.push_bind(&campaign.purpose);
                    q.push(" AND key = ");
                    q.push_bind(key);
                    q.push(" AND ").push(column).push(" IN (");
                    let mut list = q.separated(", ");
                    for value in values {
                        list.push_bind(*value);
                    }
                    q.push(")");
                },
                build_query_as::<(String, bool)>().fetch_all
            )?;
            if column == "phone" {
                held.without_subject
                    .extend(found.iter().filter(|(_, is_without)| *is_without).map(|(one, _)| one.clone()));
                held.phones.extend(found.into_iter().map(|(phone, _)| phone));
            } else {
                held.subjects.extend(found.into_iter().map(|(subject, _)| subject));
            }
        }
    }
    Ok(held)
}

/// A slot and the subject that it is to hold too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borne<'a> {
    /// The slot's phone, E.164.
    pub phone: &'a str,
    /// The subject, such as a customer's id.
    pub subject: &'a str,
}

/// Has slots `key` of the campaign's purpose that hold no subject hold one: whoever had the call was that customer.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else changed one of the slots meanwhile.
pub async fn bear(tx: &mut Tx, campaign: &Campaign, key: &str, borne: &[Borne<'_>]) -> Result<()> {
    for batch in borne.chunks(500) {
        let written = dynamic!(
            tx,
            |q| {
                q.push("WITH new (phone, subject) AS (");
                q.push_values(batch, |mut row, one| {
                    row.push_bind(one.phone).push_bind(one.subject);
                });
                q.push(") UPDATE slots SET subject = new.subject FROM new WHERE slots.phone = new.phone AND slots.tenant = ");
                q.push_bind(&campaign.tenant);
                q.push(" AND slots.purpose = ");
                q.push_bind(&campaign.purpose);
                q.push(" AND slots.key = ");
                q.push_bind(key);
                q.push(" AND slots.subject IS NULL");
            },
            execute
        )?;
        if written != batch.len() as u64 {
            return Err(StoreError::Conflict(format!("slots of {} were changed meanwhile", campaign.full_name())));
        }
    }
    Ok(())
}

/// Takes back the calls that an import recorded as placed elsewhere, with their slots, and whom it took over as not to be
/// called; gives how many slots that were. Whoever was blocked by them is due for a check.
pub async fn take_back(tx: &mut Tx, import: &Import, now: DateTime<Utc>) -> Result<u64> {
    let Some(campaign_id) = &import.campaign_id else { return Ok(0) };
    macro_rules! spent_calls {
        () => {
            "SELECT c.id FROM calls c WHERE c.campaign_id = $1 AND c.created_at = $2
               AND c.decision = 'called_elsewhere' AND c.attempt_count = 0"
        };
    }
    execute!(
        tx,
        "UPDATE enrollments SET next_check_at = $3 WHERE status = 'active' AND contact_id IN (
             SELECT c.contact_id FROM calls c WHERE c.campaign_id = $1 AND c.created_at = $2
                AND c.decision = 'called_elsewhere' AND c.attempt_count = 0)",
        campaign_id,
        import.created_at,
        now
    )?;
    let freed = execute!(
        tx,
        concat!("DELETE FROM slots WHERE call_id IN (", spent_calls!(), ")"),
        campaign_id,
        import.created_at
    )?;
    execute!(tx, concat!("DELETE FROM calls WHERE id IN (", spent_calls!(), ")"), campaign_id, import.created_at)?;
    execute!(
        tx,
        "DELETE FROM enrollments WHERE campaign_id = $1 AND created_at = $2 AND status = 'withdrawn'
           AND last_reason IN ('called_elsewhere', 'failed_elsewhere', 'cancelled_elsewhere', 'unclear_elsewhere')
           AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.enrollment_id = enrollments.id)
           AND NOT EXISTS (SELECT 1 FROM welcomes w WHERE w.enrollment_id = enrollments.id)",
        campaign_id,
        import.created_at
    )?;
    Ok(freed)
}
