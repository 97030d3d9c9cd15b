//! Enrollments that are taken over from another system, some of them as not to be called.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use crate::store::{Result, StoreError, Tx, dynamic};

/// An enrollment of a campaign that is there, without what it waits for.
#[derive(Clone, Debug, FromRow)]
pub struct Known {
    /// The enrollment.
    pub id: String,
    /// The contact.
    pub contact_id: String,
    /// The subject; empty for none.
    pub subject: String,
    /// `active` or `withdrawn`.
    pub status: String,
    /// Why the contact was not called at the last check, or was never to be.
    pub last_reason: Option<String>,
}

/// The enrollments of these contacts in a campaign, whatever their subject; of at most 500 contacts.
pub async fn known(tx: &mut Tx, campaign_id: &str, contact_ids: &[&str]) -> Result<Vec<Known>> {
    if contact_ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT id, contact_id, subject, status, last_reason FROM enrollments WHERE campaign_id = ");
            q.push_bind(campaign_id);
            q.push(" AND contact_id IN (");
            let mut ids = q.separated(", ");
            for id in contact_ids {
                ids.push_bind(*id);
            }
            q.push(") ORDER BY contact_id, subject");
        },
        build_query_as::<Known>().fetch_all
    )?)
}

/// Makes enrollments that are not there: those that are withdrawn are never looked at, the others at once. Gives how many
/// were made.
pub async fn take_over(
    tx: &mut Tx,
    campaign_id: &str,
    rules_version: i64,
    enrollments: &[Known],
    now: DateTime<Utc>,
) -> Result<u64> {
    let mut made = 0;
    for batch in enrollments.chunks(500) {
        made += dynamic!(
            tx,
            |q| {
                q.push(
                    "INSERT INTO enrollments (id, campaign_id, contact_id, subject, status, next_check_at, last_reason, \
                     last_called_at, rules_version, created_at, updated_at) ",
                );
                q.push_values(batch, |mut row, one| {
                    row.push_bind(&one.id)
                        .push_bind(campaign_id)
                        .push_bind(&one.contact_id)
                        .push_bind(&one.subject)
                        .push_bind(&one.status)
                        .push_bind(Some(now).filter(|_| one.status == "active"))
                        .push_bind(one.last_reason.as_deref())
                        .push_bind(DateTime::UNIX_EPOCH)
                        .push_bind(rules_version)
                        .push_bind(now)
                        .push_bind(now);
                });
                q.push(" ON CONFLICT DO NOTHING");
            },
            execute
        )?;
    }
    Ok(made)
}

/// Gives enrollments that have no subject one, each by its id. A claim made of what was read before must not ring without it.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else changed one of them meanwhile.
pub async fn name_subjects(tx: &mut Tx, named: &[(&str, &str)]) -> Result<()> {
    for batch in named.chunks(500) {
        let written = dynamic!(
            tx,
            |q| {
                q.push("WITH new (id, subject) AS (");
                q.push_values(batch, |mut row, (id, subject)| {
                    row.push_bind(*id).push_bind(*subject);
                });
                q.push(") UPDATE enrollments SET subject = new.subject FROM new WHERE enrollments.id = new.id AND enrollments.subject = ''");
            },
            execute
        )?;
        if written != batch.len() as u64 {
            return Err(StoreError::Conflict("an enrollment was changed meanwhile".to_owned()));
        }
        dynamic!(
            tx,
            |q| {
                q.push("UPDATE contacts SET version = version + 1 WHERE id IN (");
                q.push("SELECT contact_id FROM enrollments WHERE id IN (");
                let mut ids = q.separated(", ");
                for (id, _) in batch {
                    ids.push_bind(*id);
                }
                q.push("))");
            },
            execute
        )?;
    }
    Ok(())
}

/// Has withdrawn enrollments count again, due at once; gives how many of them were withdrawn.
pub async fn revive(tx: &mut Tx, ids: &[&str], now: DateTime<Utc>) -> Result<u64> {
    let mut revived = 0;
    for batch in ids.chunks(500) {
        revived += dynamic!(
            tx,
            |q| {
                q.push("UPDATE enrollments SET status = 'active', last_reason = NULL, next_check_at = ");
                q.push_bind(now);
                q.push(", updated_at = ");
                q.push_bind(now);
                q.push(" WHERE status = 'withdrawn' AND id IN (");
                let mut list = q.separated(", ");
                for id in batch {
                    list.push_bind(*id);
                }
                q.push(")");
            },
            execute
        )?;
    }
    Ok(revived)
}
