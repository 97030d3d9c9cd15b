//! How far reading the books of a tenant got, and who reads them.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, debtors, execute, fetch};
use crate::domain::billing::RecordKind;

/// How far one kind of record was read.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Pass {
    /// Which kind.
    pub kind: RecordKind,
    /// Every change until then was read; none: nothing was ever read to its end.
    pub changed_until: Option<DateTime<Utc>>,
    /// When the pass over everything that is under way began.
    pub full_began_at: Option<DateTime<Utc>>,
    /// Until when that pass shows changes.
    pub full_until: Option<DateTime<Utc>>,
    /// Its next page, from 1.
    pub full_page: Option<i64>,
    /// When the last pass over everything that reached its end began.
    pub full_at: Option<DateTime<Utc>>,
    /// When changes were last read to their end.
    pub synced_at: Option<DateTime<Utc>>,
}

/// What came of asking to read a tenant's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They are the asker's to read until the lease ends.
    Mine(Vec<Pass>),
    /// Somebody else reads them, until then at the latest.
    Held(DateTime<Utc>),
}

/// Takes the books of a tenant for one reader. When they are those of another organisation than before, nothing of the
/// former one is kept. `anew` forgets a pass over everything that is under way.
pub async fn begin(
    tx: &mut Tx,
    tenant: &str,
    organization_id: &str,
    owner: &str,
    lease_until: DateTime<Utc>,
    anew: bool,
    now: DateTime<Utc>,
) -> Result<Begun> {
    execute!(
        tx,
        "INSERT INTO billing_syncs (tenant, organization_id, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (tenant) DO NOTHING",
        tenant,
        organization_id,
        now
    )?;
    let taken = execute!(
        tx,
        "UPDATE billing_syncs SET owner = $2, lease_until = $3, updated_at = $4
         WHERE tenant = $1 AND (owner IS NULL OR lease_until <= $4)",
        tenant,
        owner,
        lease_until,
        now
    )?;
    let (held, known): (Option<DateTime<Utc>>, String) = fetch!(
        tx,
        (Option<DateTime<Utc>>, String),
        fetch_one,
        "SELECT lease_until, organization_id FROM billing_syncs WHERE tenant = $1",
        tenant
    )?;
    if taken != 1 {
        return Ok(Begun::Held(held.unwrap_or(now)));
    }
    if known != organization_id {
        debtors::forget(tx, tenant, now).await?;
        execute!(tx, "DELETE FROM billing_customers WHERE tenant = $1", tenant)?;
        execute!(tx, "DELETE FROM billing_invoices WHERE tenant = $1", tenant)?;
        execute!(tx, "DELETE FROM billing_passes WHERE tenant = $1", tenant)?;
        execute!(tx, "UPDATE billing_syncs SET organization_id = $2 WHERE tenant = $1", tenant, organization_id)?;
    }
    if anew {
        execute!(
            tx,
            "UPDATE billing_passes SET full_began_at = NULL, full_until = NULL, full_page = NULL WHERE tenant = $1",
            tenant
        )?;
    }
    for kind in RecordKind::ALL {
        execute!(
            tx,
            "INSERT INTO billing_passes (tenant, kind) VALUES ($1, $2) ON CONFLICT (tenant, kind) DO NOTHING",
            tenant,
            *kind
        )?;
    }
    Ok(Begun::Mine(of_tenant(tx, tenant).await?))
}

/// How far the books of a tenant were read, by kind.
pub async fn of_tenant(tx: &mut Tx, tenant: &str) -> Result<Vec<Pass>> {
    Ok(fetch!(
        tx,
        Pass,
        fetch_all,
        "SELECT kind, changed_until, full_began_at, full_until, full_page, full_at, synced_at
         FROM billing_passes WHERE tenant = $1 ORDER BY kind",
        tenant
    )?)
}

/// The organisation whose books a tenant's are.
pub async fn organization_of(tx: &mut Tx, tenant: &str) -> Result<Option<String>> {
    Ok(super::scalar!(
        tx,
        String,
        fetch_optional,
        "SELECT organization_id FROM billing_syncs WHERE tenant = $1",
        tenant
    )?)
}

/// Goes on reading for another lease. To be called first in every transaction that stores something that was read.
///
/// # Errors
/// When the lease ended and somebody else reads by now: then nothing of this reader's may be stored.
pub async fn keep(
    tx: &mut Tx,
    tenant: &str,
    owner: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    let kept = execute!(
        tx,
        "UPDATE billing_syncs SET lease_until = $3, updated_at = $4 WHERE tenant = $1 AND owner = $2",
        tenant,
        owner,
        lease_until,
        now
    )?;
    if kept != 1 {
        return Err(StoreError::Conflict(format!("another run has taken over reading the books of {tenant}")));
    }
    Ok(())
}

/// Lets others read.
pub async fn leave(tx: &mut Tx, tenant: &str, owner: &str, now: DateTime<Utc>) -> Result<()> {
    // Whoever took over meanwhile goes on.
    execute!(
        tx,
        "UPDATE billing_syncs SET owner = NULL, lease_until = NULL, updated_at = $3 WHERE tenant = $1 AND owner = $2",
        tenant,
        owner,
        now
    )?;
    Ok(())
}

/// Notes that all changes until `until` are stored.
///
/// # Errors
/// When there is no such pass.
pub async fn end_changes(
    tx: &mut Tx,
    tenant: &str,
    kind: RecordKind,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    let ended = execute!(
        tx,
        "UPDATE billing_passes SET synced_at = $4,
             changed_until = CASE WHEN changed_until > $3 THEN changed_until ELSE $3 END
         WHERE tenant = $1 AND kind = $2",
        tenant,
        kind,
        until,
        now
    )?;
    one(ended, tenant, kind)
}

/// Notes that a pass over everything, which began at `began_at` and shows changes until `until`, goes on with `page`.
///
/// # Errors
/// When another such pass is under way.
pub async fn advance_full(
    tx: &mut Tx,
    tenant: &str,
    kind: RecordKind,
    began_at: DateTime<Utc>,
    until: DateTime<Utc>,
    page: i64,
) -> Result<()> {
    let advanced = execute!(
        tx,
        "UPDATE billing_passes SET full_began_at = $3, full_until = $4, full_page = $5
         WHERE tenant = $1 AND kind = $2 AND (full_began_at IS NULL OR full_began_at = $3)",
        tenant,
        kind,
        began_at,
        until,
        page
    )?;
    one(advanced, tenant, kind)
}

/// Notes that the pass over everything that began at `began_at` reached its end.
///
/// # Errors
/// When another such pass is under way.
pub async fn end_full(
    tx: &mut Tx,
    tenant: &str,
    kind: RecordKind,
    began_at: DateTime<Utc>,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    let ended = execute!(
        tx,
        "UPDATE billing_passes SET full_at = $3, synced_at = $5,
             changed_until = CASE WHEN changed_until > $4 THEN changed_until ELSE $4 END,
             full_began_at = NULL, full_until = NULL, full_page = NULL
         WHERE tenant = $1 AND kind = $2 AND (full_began_at IS NULL OR full_began_at = $3)",
        tenant,
        kind,
        began_at,
        until,
        now
    )?;
    one(ended, tenant, kind)
}

fn one(changed: u64, tenant: &str, kind: RecordKind) -> Result<()> {
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("reading the {kind} of {tenant} was begun anew by another run")))
}
