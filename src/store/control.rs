//! The buttons that stop and start all dialling, and what kind of database this is.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, Tx, execute, fetch, scalar};

/// The scope of a pause that stops everybody.
pub const EVERYBODY: &str = "all";

/// A pause in force.
#[derive(Clone, Debug, FromRow)]
pub struct Pause {
    /// `all`, or `tenant:NAME`.
    pub scope: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// The scope of a pause of one tenant.
pub fn tenant_scope(tenant: &str) -> String {
    format!("tenant:{tenant}")
}

/// Waits until nobody is about to commit to dialling, and keeps everybody from it until this transaction ends.
/// SQLite's write lock does so by itself.
pub async fn lock_dialling(tx: &mut Tx) -> Result<()> {
    if let Tx::Postgres(tx) = tx {
        sqlx::query("SELECT value FROM meta WHERE key = 'control' FOR UPDATE").execute(&mut **tx).await?;
    }
    Ok(())
}

/// The other side of [`lock_dialling`]: many may hold it at once, and a pause waits for all of them.
pub(super) async fn share_dialling(tx: &mut Tx) -> Result<()> {
    if let Tx::Postgres(tx) = tx {
        sqlx::query("SELECT value FROM meta WHERE key = 'control' FOR SHARE").execute(&mut **tx).await?;
    }
    Ok(())
}

/// Pauses a scope; pausing it again keeps the first moment and takes the new reason.
pub async fn pause(tx: &mut Tx, scope: &str, reason: Option<&str>, now: DateTime<Utc>) -> Result<()> {
    lock_dialling(tx).await?;
    execute!(
        tx,
        "INSERT INTO pauses (scope, reason, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason",
        scope,
        reason,
        now
    )?;
    Ok(())
}

/// Ends the pause of a scope; says whether there was one.
pub async fn resume(tx: &mut Tx, scope: &str) -> Result<bool> {
    Ok(execute!(tx, "DELETE FROM pauses WHERE scope = $1", scope)? > 0)
}

/// Every pause in force.
pub async fn pauses(tx: &mut Tx) -> Result<Vec<Pause>> {
    Ok(fetch!(tx, Pause, fetch_all, "SELECT scope, reason, created_at FROM pauses ORDER BY scope")?)
}

/// How many attempts were committed to being sent after `since` and nothing was heard of yet, of one tenant or campaign
/// (by its id) or of all.
pub async fn placing_since(
    tx: &mut Tx,
    tenant: Option<&str>,
    campaign_id: Option<&str>,
    since: DateTime<Utc>,
) -> Result<i64> {
    Ok(scalar!(
        tx,
        i64,
        fetch_one,
        "SELECT count(*) FROM attempts WHERE state = 'placing' AND live AND placing_at > $3
           AND ($1 IS NULL OR tenant = $1) AND ($2 IS NULL OR campaign_id = $2)",
        tenant,
        campaign_id,
        since
    )?)
}

/// Marks the database as a rehearsal: the clock may be moved, and no real provider can be configured in it.
pub async fn mark_rehearsal(tx: &mut Tx) -> Result<()> {
    execute!(tx, "INSERT INTO meta (key, value) VALUES ('rehearsal', 'true') ON CONFLICT (key) DO NOTHING")?;
    Ok(())
}

/// Whether the database is a rehearsal.
pub async fn is_rehearsal(tx: &mut Tx) -> Result<bool> {
    Ok(scalar!(tx, String, fetch_optional, "SELECT value FROM meta WHERE key = 'rehearsal'")?.is_some())
}
