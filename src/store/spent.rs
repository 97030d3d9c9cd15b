//! Slots that calls of another system have spent.

use chrono::{DateTime, Utc};

use super::setup::Campaign;
use super::{Result, StoreError, Tx, dynamic};

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
