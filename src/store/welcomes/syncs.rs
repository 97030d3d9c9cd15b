//! How far the events of an account were read, and what was the first event about each thing.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::super::{Result, StoreError, Tx, execute, fetch, scalar};

/// How far the events of an account were read.
#[derive(Clone, Debug, Default, FromRow, PartialEq, Eq)]
pub struct Sync {
    /// Every event until then was read; none: they were never read to their end.
    pub synced_until: Option<DateTime<Utc>>,
    /// When they were last read to their end.
    pub synced_at: Option<DateTime<Utc>>,
    /// When the last one came by webhook.
    pub webhook_at: Option<DateTime<Utc>>,
}

/// What came of asking to read an account's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They are the asker's to read until the lease ends.
    Mine(Sync),
    /// Somebody else reads them, until then at the latest.
    Held(DateTime<Utc>),
}

/// How far the events of an account were read.
pub async fn sync(tx: &mut Tx, account: &str) -> Result<Sync> {
    Ok(fetch!(
        tx,
        Sync,
        fetch_optional,
        "SELECT synced_until, synced_at, webhook_at FROM event_syncs WHERE account = $1",
        account
    )?
    .unwrap_or_default())
}

/// Takes the events of an account for one reader.
pub async fn begin(
    tx: &mut Tx,
    account: &str,
    owner: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Begun> {
    execute!(
        tx,
        "INSERT INTO event_syncs (account, updated_at) VALUES ($1, $2) ON CONFLICT (account) DO NOTHING",
        account,
        now
    )?;
    let taken = execute!(
        tx,
        "UPDATE event_syncs SET owner = $2, lease_until = $3, updated_at = $4
         WHERE account = $1 AND (owner IS NULL OR lease_until <= $4)",
        account,
        owner,
        lease_until,
        now
    )?;
    if taken == 1 {
        return Ok(Begun::Mine(sync(tx, account).await?));
    }
    let held = scalar!(
        tx,
        Option<DateTime<Utc>>,
        fetch_one,
        "SELECT lease_until FROM event_syncs WHERE account = $1",
        account
    )?;
    Ok(Begun::Held(held.unwrap_or(now)))
}

/// Goes on reading for another lease. To be called first in every transaction that stores something that was read.
///
/// # Errors
/// When the lease ended and somebody else reads by now.
pub async fn keep(
    tx: &mut Tx,
    account: &str,
    owner: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    let kept = execute!(
        tx,
        "UPDATE event_syncs SET lease_until = $3, updated_at = $4 WHERE account = $1 AND owner = $2",
        account,
        owner,
        lease_until,
        now
    )?;
    one(kept, account)
}

/// Notes that every event until `until` is stored, and lets others read.
///
/// # Errors
/// As [`keep`].
pub async fn end(tx: &mut Tx, account: &str, owner: &str, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    let ended = execute!(
        tx,
        "UPDATE event_syncs SET owner = NULL, lease_until = NULL, synced_at = $4, updated_at = $4,
             synced_until = CASE WHEN synced_until > $3 THEN synced_until ELSE $3 END
         WHERE account = $1 AND owner = $2",
        account,
        owner,
        until,
        now
    )?;
    one(ended, account)
}

/// Lets others read; nothing was read to its end.
pub async fn leave(tx: &mut Tx, account: &str, owner: &str, now: DateTime<Utc>) -> Result<()> {
    // Whoever took over meanwhile goes on.
    execute!(
        tx,
        "UPDATE event_syncs SET owner = NULL, lease_until = NULL, updated_at = $3 WHERE account = $1 AND owner = $2",
        account,
        owner,
        now
    )?;
    Ok(())
}

fn one(changed: u64, account: &str) -> Result<()> {
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("another run has taken over reading the events of {account}")))
}

/// Notes that an event of an account came by webhook.
pub async fn heard(tx: &mut Tx, account: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "INSERT INTO event_syncs (account, webhook_at, updated_at) VALUES ($1, $2, $2)
         ON CONFLICT (account) DO UPDATE SET
             webhook_at = CASE WHEN event_syncs.webhook_at > $2 THEN event_syncs.webhook_at ELSE $2 END",
        account,
        now
    )?;
    Ok(())
}

/// Notes that an event that is stored is about something, unless another one of its type was first; yields that one.
pub async fn first_about(tx: &mut Tx, scope: &str, object: &str, kind: &str, event_id: &str) -> Result<Option<String>> {
    let is_first = execute!(
        tx,
        "INSERT INTO event_objects (scope, object, kind, event_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (scope, object, kind) DO NOTHING",
        scope,
        object,
        kind,
        event_id
    )? == 1;
    if is_first {
        return Ok(None);
    }
    Ok(scalar!(
        tx,
        String,
        fetch_optional,
        "SELECT event_id FROM event_objects WHERE scope = $1 AND object = $2 AND kind = $3",
        scope,
        object,
        kind
    )?
    .filter(|first| first != event_id))
}
