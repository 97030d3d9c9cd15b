//! Where a customer is in a campaign, and taking them out of it.

use chrono::{DateTime, Utc};

use super::Known;
use crate::store::{Result, Tx, execute, fetch};

/// The reason of an enrollment that what became of a customer has withdrawn, and nobody by hand: the customer may come back.
pub const TAKEN_OUT: &str = "taken_out";

/// The enrollments in a campaign of a contact, whatever their subject, and of a subject, whatever their contact.
pub async fn of_person(tx: &mut Tx, campaign_id: &str, contact_id: Option<&str>, subject: &str) -> Result<Vec<Known>> {
    // Two probes of an index each; an OR over both columns would read the whole campaign.
    Ok(fetch!(
        tx,
        Known,
        fetch_all,
        "SELECT id, contact_id, subject, status, last_reason FROM enrollments
         WHERE campaign_id = $1 AND contact_id = $2
         UNION
         SELECT id, contact_id, subject, status, last_reason FROM enrollments
         WHERE campaign_id = $1 AND subject = $3 AND subject <> ''
         ORDER BY subject, id",
        campaign_id,
        contact_id,
        subject
    )?)
}

/// Takes one enrollment out of its campaign because of what its customer did; says whether it was in. Calls are not
/// touched: see `calls::cancel`.
pub async fn take_out(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<bool> {
    // A claim that a run is about to make of what it read before must not ring.
    execute!(
        tx,
        "UPDATE contacts SET version = version + 1 WHERE id = (SELECT contact_id FROM enrollments WHERE id = $1)",
        id
    )?;
    Ok(execute!(
        tx,
        "UPDATE enrollments SET status = 'withdrawn', next_check_at = NULL, last_reason = $3, updated_at = $2
         WHERE id = $1 AND status = 'active'",
        id,
        now,
        TAKEN_OUT
    )? > 0)
}
