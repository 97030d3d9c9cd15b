//! Taking an import back.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Change, Import};
use crate::store::contacts::{BATCH_ROWS, Contact};
use crate::store::{Result, Tx, dynamic, execute, fetch, scalar};

/// A contact that an undo leaves as it is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Kept {
    /// The contact.
    pub contact_id: String,
    /// Its phone, E.164.
    pub phone: String,
}

/// Contacts that an import made, changed or enrolled, and for whom a call was made or tried again since, by phone. Calls that
/// were placed elsewhere are none of these.
pub async fn called_since(tx: &mut Tx, import: &Import) -> Result<Vec<Kept>> {
    Ok(fetch!(
        tx,
        Kept,
        fetch_all,
        "SELECT DISTINCT c.contact_id, k.phone FROM calls c JOIN contacts k ON k.id = c.contact_id
         WHERE c.tenant = $1 AND (c.decision IS NULL OR c.decision <> 'called_elsewhere')
           AND (c.created_at >= $2
                OR EXISTS (SELECT 1 FROM attempts a WHERE a.call_id = c.id AND a.claimed_at >= $2))
           AND (k.import_id = $3
                OR EXISTS (SELECT 1 FROM import_changes i WHERE i.import_id = $3 AND i.contact_id = k.id)
                OR EXISTS (SELECT 1 FROM enrollments e
                           WHERE e.id = c.enrollment_id AND e.campaign_id = $4 AND e.created_at = $2))
         ORDER BY k.phone",
        &import.tenant,
        import.created_at,
        &import.id,
        import.campaign_id.as_deref()
    )?)
}

/// What an import changed about contacts, by contact; at most [`BATCH_ROWS`], those behind `after`.
pub async fn changes(tx: &mut Tx, import_id: &str, after: &str) -> Result<Vec<Change>> {
    Ok(fetch!(
        tx,
        Change,
        fetch_all,
        "SELECT contact_id, changes FROM import_changes WHERE import_id = $1 AND contact_id > $2
         ORDER BY contact_id LIMIT $3",
        import_id,
        after,
        i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX)
    )?)
}

/// How many contacts an import changed.
pub async fn changed_count(tx: &mut Tx, import_id: &str) -> Result<i64> {
    Ok(scalar!(tx, i64, fetch_one, "SELECT count(*) FROM import_changes WHERE import_id = $1", import_id)?)
}

/// Takes out of the campaign whom the import put in, but for those that have a call, those that somebody took out by hand,
/// since these must not come back with the next list, those that were enrolled again since, and those by whom a customer is
/// welcomed. Gives how many.
pub async fn remove_enrollments(tx: &mut Tx, import: &Import) -> Result<u64> {
    let Some(campaign_id) = &import.campaign_id else { return Ok(0) };
    Ok(execute!(
        tx,
        "DELETE FROM enrollments WHERE campaign_id = $1 AND created_at = $2 AND status = 'active' AND updated_at = created_at
           AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.enrollment_id = enrollments.id)
           AND NOT EXISTS (SELECT 1 FROM welcomes w WHERE w.enrollment_id = enrollments.id)",
        campaign_id,
        import.created_at
    )?)
}

/// Contacts that the import put into its campaign and that stay there without a call, by phone, each with whether a customer
/// is welcomed by it. To be asked after [`remove_enrollments`].
pub async fn still_enrolled(tx: &mut Tx, import: &Import) -> Result<Vec<(String, String, bool)>> {
    Ok(fetch!(
        tx,
        (String, String, bool),
        fetch_all,
        "SELECT k.id, k.phone, EXISTS (SELECT 1 FROM welcomes w WHERE w.enrollment_id = e.id)
         FROM enrollments e JOIN contacts k ON k.id = e.contact_id
         WHERE e.campaign_id = $1 AND e.created_at = $2 AND e.status = 'active'
           AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.enrollment_id = e.id)
         ORDER BY k.phone",
        import.campaign_id.as_deref(),
        import.created_at
    )?)
}

/// Has enrollments that the import revived be withdrawn again for the reason that they had before, but for those that were
/// changed since and those by whom a customer is welcomed; gives the ids of those that were written.
pub async fn withdraw_again(
    tx: &mut Tx,
    import: &Import,
    ids: &[&str],
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let mut written = Vec::new();
    for batch in ids.chunks(BATCH_ROWS) {
        let done: Vec<(String, String)> = dynamic!(
            tx,
            |q| {
                q.push("UPDATE enrollments SET status = 'withdrawn', next_check_at = NULL, last_reason = ");
                q.push_bind(reason);
                q.push(", updated_at = ");
                q.push_bind(now);
                q.push(" WHERE status = 'active' AND updated_at = ");
                q.push_bind(import.created_at);
                q.push(" AND NOT EXISTS (SELECT 1 FROM welcomes w WHERE w.enrollment_id = enrollments.id) AND id IN (");
                let mut list = q.separated(", ");
                for id in batch {
                    list.push_bind(*id);
                }
                q.push(") RETURNING id, contact_id");
            },
            build_query_as::<(String, String)>().fetch_all
        )?;
        if done.is_empty() {
            continue;
        }
        // A claim that a run is about to make of what it read before must not ring.
        dynamic!(
            tx,
            |q| {
                q.push("UPDATE contacts SET version = version + 1 WHERE id IN (");
                let mut list = q.separated(", ");
                for (_, contact_id) in &done {
                    list.push_bind(contact_id);
                }
                q.push(")");
            },
            execute
        )?;
        written.extend(done.into_iter().map(|(id, _)| id));
    }
    Ok(written)
}

/// Removes the contacts that an import made and that nobody changed, called or enrolled since, and that are no customer
/// whose payment was told of; gives how many. To be asked
/// after [`remove_enrollments`].
pub async fn remove_contacts(tx: &mut Tx, import: &Import) -> Result<u64> {
    Ok(execute!(
        tx,
        "DELETE FROM contacts WHERE tenant = $1 AND import_id = $2 AND updated_at = created_at
           AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.contact_id = contacts.id)
           AND NOT EXISTS (SELECT 1 FROM welcomes w WHERE w.contact_id = contacts.id)",
        &import.tenant,
        &import.id
    )?)
}

/// Contacts that the import put into its campaign and that somebody took out by hand, by phone.
pub async fn withdrawn(tx: &mut Tx, import: &Import) -> Result<Vec<Kept>> {
    Ok(fetch!(
        tx,
        Kept,
        fetch_all,
        "SELECT k.id AS contact_id, k.phone FROM enrollments e JOIN contacts k ON k.id = e.contact_id
         WHERE e.campaign_id = $1 AND e.created_at = $2 AND e.status = 'withdrawn'
           AND (e.last_reason IS NULL
                OR e.last_reason NOT IN
                    ('called_elsewhere', 'failed_elsewhere', 'cancelled_elsewhere', 'unclear_elsewhere'))
         ORDER BY k.phone",
        import.campaign_id.as_deref(),
        import.created_at
    )?)
}

/// The contacts of an import that are still there, by phone: whether each was changed since, and whether it is
/// a customer whose payment was told of.
pub async fn left_contacts(tx: &mut Tx, import: &Import) -> Result<Vec<(String, String, bool, bool)>> {
    Ok(fetch!(
        tx,
        (String, String, bool, bool),
        fetch_all,
        "SELECT id, phone, updated_at <> created_at,
                EXISTS (SELECT 1 FROM welcomes w WHERE w.contact_id = contacts.id)
         FROM contacts WHERE tenant = $1 AND import_id = $2 ORDER BY phone",
        &import.tenant,
        &import.id
    )?)
}

/// The contacts with these ids, at most [`BATCH_ROWS`] of them, and nobody else changes them until the transaction ends.
pub async fn lock_contacts(tx: &mut Tx, ids: &[&str]) -> Result<Vec<Contact>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT * FROM contacts WHERE id IN (");
            let mut values = q.separated(", ");
            for id in ids {
                values.push_bind(*id);
            }
            q.push(") ORDER BY phone");
            q.push(lock);
        },
        build_query_as::<Contact>().fetch_all
    )?)
}

/// Marks an import as undone; says whether it was not yet.
pub async fn mark_undone(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(tx, "UPDATE imports SET undone_at = $2 WHERE id = $1 AND undone_at IS NULL", id, now)? == 1)
}
