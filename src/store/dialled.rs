//! The attempts that a carrier's record of a call may be of.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic};
use crate::domain::call::AttemptState;

/// An attempt that may have rung a phone.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Dialled {
    /// The attempt.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// E.164.
    pub phone: String,
    /// Where it stands.
    pub state: AttemptState,
    /// When its owner committed to dial.
    pub placing_at: DateTime<Utc>,
}

/// The attempts to these phones, of whatever tenant, that were committed to at or after an instant, and that may have rung.
pub async fn to_phones(tx: &mut Tx, phones: &[&str], since: DateTime<Utc>) -> Result<Vec<Dialled>> {
    let mut dialled = Vec::new();
    for batch in phones.chunks(500) {
        let found: Vec<Dialled> = dynamic!(
            tx,
            |q| {
                // The tenants are named since the index begins with them.
                q.push(
                    "SELECT id, tenant, phone, state, placing_at FROM attempts WHERE tenant IN (SELECT name FROM tenants) \
                     AND phone IN (",
                );
                let mut list = q.separated(", ");
                for phone in batch {
                    list.push_bind(*phone);
                }
                q.push(") AND placing_at >= ").push_bind(since);
                q.push(" AND state NOT IN ('refused', 'not_sent') ORDER BY placing_at, id");
            },
            build_query_as::<Dialled>().fetch_all
        )?;
        dialled.extend(found);
    }
    Ok(dialled)
}
