//! Intents to release a number. At most one of a number is open at a time: an index forbids a second.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, execute, fetch};
use crate::domain::numbers::IntentState;

/// An intent to release a number.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Release {
    /// ULID.
    pub id: String,
    /// The number's SID.
    pub sid: String,
    /// Whose it is.
    pub tenant: String,
    /// The account here.
    pub account: String,
    /// The SID of the Twilio account that holds it.
    pub account_sid: String,
    /// E.164.
    pub phone: String,
    /// The SID of the number that the tenant keeps.
    pub keeper_sid: String,
    /// What was known of its use, as a JSON object.
    pub evidence: String,
    /// Where it stands.
    pub state: IntentState,
    /// Who acts on it.
    pub owner: String,
    /// Until when nobody else does.
    pub lease_until: DateTime<Utc>,
    /// Why it was not released.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was done or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

macro_rules! columns {
    () => {
        "id, sid, tenant, account, account_sid, phone, keeper_sid, evidence, state, owner, lease_until, reason, \
         created_at, ended_at"
    };
}

/// Keeps everybody else from acting on the numbers of a tenant until this transaction ends.
pub async fn lock_tenant(tx: &mut Tx, tenant: &str) -> Result<()> {
    if let Tx::Postgres(tx) = tx {
        sqlx::query("SELECT name FROM tenants WHERE name = $1 FOR UPDATE").bind(tenant).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Stores an intent; says whether there was none open of its number.
pub async fn open(tx: &mut Tx, release: &Release) -> Result<bool> {
    Ok(execute!(
        tx,
        "INSERT INTO releases (id, sid, tenant, account, account_sid, phone, keeper_sid, evidence, state, owner,
                               lease_until, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9, $10, $11, $11) ON CONFLICT DO NOTHING",
        &release.id,
        &release.sid,
        &release.tenant,
        &release.account,
        &release.account_sid,
        &release.phone,
        &release.keeper_sid,
        &release.evidence,
        &release.owner,
        release.lease_until,
        release.created_at
    )? == 1)
}

/// The intents of a tenant that are open, or of all tenants.
pub async fn open_of(tx: &mut Tx, tenant: Option<&str>) -> Result<Vec<Release>> {
    Ok(fetch!(
        tx,
        Release,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM releases WHERE state = 'open' AND ($1 IS NULL OR tenant = $1) ORDER BY created_at, id"
        ),
        tenant
    )?)
}

/// The intents of a number, newest first.
pub async fn of_number(tx: &mut Tx, sid: &str) -> Result<Vec<Release>> {
    Ok(fetch!(
        tx,
        Release,
        fetch_all,
        concat!("SELECT ", columns!(), " FROM releases WHERE sid = $1 ORDER BY created_at DESC, id DESC"),
        sid
    )?)
}

/// Takes an open intent over from an owner whose lease is over; says whether it is one's own now.
pub async fn take(tx: &mut Tx, id: &str, owner: &str, lease_until: DateTime<Utc>, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE releases SET owner = $2, lease_until = $3, updated_at = $4
         WHERE id = $1 AND state = 'open' AND (owner = $2 OR lease_until <= $4)",
        id,
        owner,
        lease_until,
        now
    )? == 1)
}

/// Records what came of an open intent; whoever knows may. Says whether it was open.
pub async fn end(tx: &mut Tx, id: &str, state: IntentState, reason: Option<&str>, now: DateTime<Utc>) -> Result<bool> {
    Ok(execute!(
        tx,
        "UPDATE releases SET state = $2, reason = $3, ended_at = $4, updated_at = $4 WHERE id = $1 AND state = 'open'",
        id,
        state,
        reason,
        now
    )? == 1)
}
