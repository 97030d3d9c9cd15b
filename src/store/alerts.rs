//! Alerts: the outbox from which findings are told, each in one alert and no alert twice.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::alert::AlertState;

/// What is told to somebody.
#[derive(Clone, Debug, FromRow)]
pub struct Alert {
    /// ULID.
    pub id: String,
    /// What it says, as JSON.
    pub body: String,
    /// Where it stands.
    pub state: AlertState,
    /// How often it was sent, or nearly.
    pub tries: i64,
    /// What was wrong when it was last sent.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last touched.
    pub updated_at: DateTime<Utc>,
}

/// Puts those of these findings into a new alert that are in none yet, by kind and identity, and yields them. Where that
/// leaves none, the caller rolls back. Two that do so at once wait for each other.
pub async fn gather(
    tx: &mut Tx,
    id: &str,
    findings: &[(&str, &str)],
    now: DateTime<Utc>,
) -> Result<HashSet<(String, String)>> {
    execute!(
        tx,
        "INSERT INTO alerts (id, body, state, created_at, updated_at) VALUES ($1, '{}', 'waiting', $2, $2)",
        id,
        now
    )?;
    // In one order, so that two do not wait for each other in a ring.
    let mut sorted = findings.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut gathered = HashSet::new();
    for batch in sorted.chunks(500) {
        let inserted: Vec<(String, String)> = dynamic!(
            tx,
            |q| {
                q.push("INSERT INTO alerted (kind, subject, alert_id) ");
                q.push_values(batch, |mut row, (kind, subject)| {
                    row.push_bind(*kind).push_bind(*subject).push_bind(id);
                });
                q.push(" ON CONFLICT (kind, subject) DO NOTHING RETURNING kind, subject");
            },
            build_query_as::<(String, String)>().fetch_all
        )?;
        gathered.extend(inserted);
    }
    Ok(gathered)
}

/// Says what a new alert tells.
pub async fn write(tx: &mut Tx, id: &str, body: &str, now: DateTime<Utc>) -> Result<()> {
    let written = execute!(
        tx,
        "UPDATE alerts SET body = $2, updated_at = $3 WHERE id = $1 AND state = 'waiting' AND tries = 0",
        id,
        body,
        now
    )?;
    if written == 1 { Ok(()) } else { Err(StoreError::Conflict(format!("alert {id} is not new any more"))) }
}

/// The alerts that wait, oldest first.
pub async fn waiting(tx: &mut Tx, limit: i64) -> Result<Vec<Alert>> {
    // The states of the index as well: SQLite does not see that one of them is among them.
    Ok(fetch!(
        tx,
        Alert,
        fetch_all,
        "SELECT id, body, state, tries, last_error, created_at, updated_at FROM alerts
         WHERE state IN ('waiting', 'sending') AND state = 'waiting' ORDER BY created_at, id LIMIT $1",
        limit
    )?)
}

/// One alert.
pub async fn alert(tx: &mut Tx, id: &str) -> Result<Option<Alert>> {
    Ok(fetch!(
        tx,
        Alert,
        fetch_optional,
        "SELECT id, body, state, tries, last_error, created_at, updated_at FROM alerts WHERE id = $1",
        id
    )?)
}

/// Takes an alert that waits, to be sent by the caller and nobody else. False when somebody else was faster.
pub async fn take(tx: &mut Tx, alert: &Alert, now: DateTime<Utc>) -> Result<bool> {
    let taken = execute!(
        tx,
        "UPDATE alerts SET state = 'sending', tries = tries + 1, updated_at = $3
         WHERE id = $1 AND state = 'waiting' AND tries = $2",
        &alert.id,
        alert.tries,
        now
    )?;
    Ok(taken == 1)
}

/// Records what came of the sending of an alert that was taken as this one. It replaces the verdict of somebody who gave the
/// sender up meanwhile. False when the alert is another's by now.
pub async fn settle(
    tx: &mut Tx,
    taken: &Alert,
    state: AlertState,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let settled = execute!(
        tx,
        "UPDATE alerts SET state = $3, last_error = $4, updated_at = $5
         WHERE id = $1 AND state IN ('sending', 'unclear') AND tries = $2 + 1",
        &taken.id,
        taken.tries,
        state,
        error,
        now
    )?;
    Ok(settled == 1)
}

/// Gives up alerts whose sender took them before this moment and never said what came of it: they may have arrived. Yields
/// how many.
pub async fn give_up(tx: &mut Tx, taken_before: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64> {
    Ok(execute!(
        tx,
        "UPDATE alerts SET state = 'unclear', last_error = 'whoever sent it ended before the answer was recorded',
             updated_at = $2
         WHERE state = 'sending' AND updated_at < $1",
        taken_before,
        now
    )?)
}

/// How many alerts are unclear that were touched since a moment.
pub async fn unclear(tx: &mut Tx, since: DateTime<Utc>) -> Result<i64> {
    Ok(scalar!(tx, i64, fetch_one, "SELECT count(*) FROM alerts WHERE state = 'unclear' AND updated_at >= $1", since)?)
}
