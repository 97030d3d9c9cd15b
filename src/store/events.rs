//! The inbox: webhooks as they came, and what became of them.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::listing::Filter;
use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::event::{ENDING_KINDS, EventSource, EventState};

/// A verified webhook.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Event {
    /// ULID.
    pub id: String,
    /// Who sent it.
    pub source: EventSource,
    /// Whose events the sender may send; see [`crate::domain::event::Scope`].
    pub scope: String,
    /// Its type, in the sender's words.
    pub kind: String,
    /// What makes it the same as one that came before, as a hash.
    pub dedupe_key: String,
    /// The attempt or call that it names.
    pub named: Option<String>,
    /// The provider's id of the call that it names.
    pub provider_call_id: Option<String>,
    /// The attempt that it is about, once that is known.
    pub attempt_id: Option<String>,
    /// What became of it.
    pub state: EventState,
    /// Why it is not applied.
    pub reason: Option<String>,
    /// How often it could not be applied.
    pub tries: i64,
    /// How often it came.
    pub deliveries: i64,
    /// When it came first.
    pub received_at: DateTime<Utc>,
    /// When it was applied or given up.
    pub settled_at: Option<DateTime<Utc>>,
    /// The names of the fields that it holds.
    pub fields: String,
    /// Its body as it came.
    pub payload: String,
}

macro_rules! columns {
    () => {
        "id, source, scope, kind, dedupe_key, named, provider_call_id, attempt_id, state, reason, tries, deliveries, \
         received_at, settled_at, fields, payload"
    };
}

/// Stores an event that came for the first time. One that came before is counted instead, and given back as it stands.
pub async fn store(tx: &mut Tx, event: &Event) -> Result<Option<Event>> {
    let stored = execute!(
        tx,
        "INSERT INTO events (id, source, scope, kind, dedupe_key, named, provider_call_id, attempt_id, state, reason,
                             received_at, fields, payload)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (dedupe_key) DO NOTHING",
        &event.id,
        event.source,
        &event.scope,
        &event.kind,
        &event.dedupe_key,
        event.named.as_deref(),
        event.provider_call_id.as_deref(),
        event.attempt_id.as_deref(),
        event.state,
        event.reason.as_deref(),
        event.received_at,
        &event.fields,
        &event.payload
    )?;
    if stored == 1 {
        return Ok(None);
    }
    let known = fetch!(
        tx,
        Event,
        fetch_optional,
        concat!("UPDATE events SET deliveries = deliveries + 1 WHERE dedupe_key = $1 RETURNING ", columns!()),
        &event.dedupe_key
    )?;
    // Nothing removes events.
    known.map(Some).ok_or_else(|| StoreError::Conflict(format!("event {} is there and is not", event.dedupe_key)))
}

/// Whether an event came before, by what makes it the same.
pub async fn is_known(tx: &mut Tx, dedupe_key: &str) -> Result<bool> {
    Ok(scalar!(tx, bool, fetch_one, "SELECT EXISTS (SELECT 1 FROM events WHERE dedupe_key = $1)", dedupe_key)?)
}

/// One event by id.
pub async fn event(tx: &mut Tx, id: &str) -> Result<Option<Event>> {
    Ok(fetch!(tx, Event, fetch_optional, concat!("SELECT ", columns!(), " FROM events WHERE id = $1"), id)?)
}

/// An event, locked until the transaction ends.
pub async fn lock(tx: &mut Tx, id: &str) -> Result<Option<Event>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM events WHERE id = "));
            q.push_bind(id);
            q.push(lock);
        },
        build_query_as::<Event>().fetch_optional
    )?)
}

/// Records what became of an event that was read in this transaction, and how often it was tried by now.
///
/// # Errors
/// [`StoreError::Conflict`] when somebody else settled it meanwhile.
pub async fn settle(
    tx: &mut Tx,
    event: &Event,
    state: EventState,
    reason: Option<&str>,
    attempt_id: Option<&str>,
    tries: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    let settled_at = matches!(state, EventState::Applied | EventState::Ignored).then_some(now);
    let written = execute!(
        tx,
        "UPDATE events SET state = $2, reason = $3, attempt_id = coalesce($4, attempt_id), settled_at = $5, tries = $6
         WHERE id = $1 AND state = $7",
        &event.id,
        state,
        reason,
        attempt_id,
        settled_at,
        tries,
        event.state
    )?;
    if written == 1 { Ok(()) } else { Err(StoreError::Conflict(format!("event {} was settled by another", event.id))) }
}

/// Records that a waiting event could not be applied, and why. It goes on waiting.
pub async fn failed(tx: &mut Tx, id: &str, problem: &str) -> Result<()> {
    execute!(
        tx,
        "UPDATE events SET state = 'pending', tries = tries + 1, reason = $2
         WHERE id = $1 AND state IN ('pending', 'unmatched')",
        id,
        problem
    )?;
    Ok(())
}

/// Whether the same words came before about a call that is named by its own id, and with which event.
pub async fn same_words(tx: &mut Tx, named: &str, kind: &str, payload: &str) -> Result<Option<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_optional,
        "SELECT dedupe_key FROM events WHERE named = $1 AND kind = $2 AND payload = $3 ORDER BY id LIMIT 1",
        named,
        kind,
        payload
    )?)
}

/// How often an event is matched anew before it is taken to be about something of somebody else.
const MOST_MATCHES: i64 = 3;

/// Events of calls that could not be applied, and those of which there is now something that they may be about: oldest first,
/// at most `limit`, received at or after `since`. What failed before waits behind what did not.
pub async fn due(tx: &mut Tx, since: DateTime<Utc>, limit: i64) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT e.id FROM events e
         WHERE e.state IN ('pending', 'unmatched') AND e.source <> 'stripe' AND e.received_at >= $1
           AND (e.state = 'pending'
                OR (e.tries < $3
                    AND (EXISTS (SELECT 1 FROM attempts a WHERE a.id = e.named)
                         OR EXISTS (SELECT 1 FROM calls c WHERE c.id = e.named)
                         OR EXISTS (SELECT 1 FROM attempts a WHERE a.provider_call_id = e.provider_call_id)
                         OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = e.named)
                         OR EXISTS (SELECT 1 FROM sessions s WHERE s.conversation_id = e.provider_call_id))))
         ORDER BY e.tries, e.received_at, e.id LIMIT $2",
        since,
        limit,
        MOST_MATCHES
    )?)
}

/// Payments that could not be applied, with their accounts: oldest first, at most `limit`, received at or after `since`.
/// What failed before waits behind what did not.
pub async fn due_payments(tx: &mut Tx, since: DateTime<Utc>, limit: i64) -> Result<Vec<(String, String)>> {
    Ok(fetch!(
        tx,
        (String, String),
        fetch_all,
        "SELECT id, scope FROM events WHERE state = 'pending' AND source = 'stripe' AND received_at >= $1
         ORDER BY tries, received_at, id LIMIT $2",
        since,
        limit
    )?)
}

/// Unmatched events about calls that a provider knows by these ids.
pub async fn unmatched_of(tx: &mut Tx, provider_call_ids: &[&str]) -> Result<Vec<String>> {
    if provider_call_ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT id FROM events WHERE state = 'unmatched' AND provider_call_id IS NOT NULL \
                 AND provider_call_id IN (",
            );
            let mut ids = q.separated(", ");
            for id in provider_call_ids {
                ids.push_bind(*id);
            }
            q.push(") ORDER BY received_at, id");
        },
        build_query_scalar::<String>().fetch_all
    )?)
}

/// Events in these states, oldest first, after the one with this id.
pub async fn page(
    tx: &mut Tx,
    states: &[EventState],
    since: Option<DateTime<Utc>>,
    after: &str,
    limit: i64,
) -> Result<Vec<String>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push("SELECT id FROM events WHERE id > ").push_bind(after).push(" AND state IN (");
            let mut words = q.separated(", ");
            for state in states {
                words.push_bind(*state);
            }
            q.push(")");
            if let Some(since) = since {
                q.push(" AND received_at >= ").push_bind(since);
            }
            q.push(" ORDER BY id LIMIT ").push_bind(limit);
        },
        build_query_scalar::<String>().fetch_all
    )?)
}

/// How many events there are in each state that waits, and when the oldest of them came.
pub async fn waiting(tx: &mut Tx) -> Result<Vec<(EventState, i64, DateTime<Utc>)>> {
    Ok(fetch!(
        tx,
        (EventState, i64, DateTime<Utc>),
        fetch_all,
        "SELECT state, count(*), min(received_at) FROM events WHERE state IN ('pending', 'unmatched')
         GROUP BY state ORDER BY state"
    )?)
}

/// Events that could not be applied.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Stuck {
    /// How many.
    pub count: i64,
    /// When the oldest came.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Why the newest of those that were tried failed.
    pub reason: Option<String>,
}

/// The events whose application failed, and those that came before `before` and were never tried: their server died.
pub async fn stuck(tx: &mut Tx, before: DateTime<Utc>) -> Result<Stuck> {
    // Both conditions on the state: SQLite uses the index only where its own condition stands in the query.
    Ok(fetch!(
        tx,
        Stuck,
        fetch_one,
        "SELECT count(*) AS count, min(received_at) AS oldest_at,
                (SELECT reason FROM events
                 WHERE state IN ('pending', 'unmatched') AND state = 'pending' AND reason IS NOT NULL
                 ORDER BY received_at DESC, id DESC LIMIT 1) AS reason
         FROM events
         WHERE state IN ('pending', 'unmatched') AND state = 'pending' AND (tries > 0 OR received_at < $1)",
        before
    )?)
}

/// How many events that came since are about nothing that is known.
pub async fn unmatched(tx: &mut Tx, since: DateTime<Utc>) -> Result<i64> {
    Ok(scalar!(
        tx,
        i64,
        fetch_one,
        "SELECT count(*) FROM events
         WHERE state IN ('pending', 'unmatched') AND state = 'unmatched' AND received_at >= $1",
        since
    )?)
}

/// How an account's outcomes became known.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
pub struct Outcomes {
    /// Attempts that ended.
    pub ended: i64,
    /// Those of them whose end a webhook of the provider's told, first or second.
    pub by_webhook: i64,
}

/// How the outcomes of an account's attempts that ended from `since` to `until` became known, of those claimed at or
/// after `claimed_since`: it is by that time that an account's attempts are found.
pub async fn outcomes(
    tx: &mut Tx,
    account: &str,
    claimed_since: DateTime<Utc>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Outcomes> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT count(*) AS ended, count(told) AS by_webhook FROM (
                     SELECT CASE WHEN EXISTS (SELECT 1 FROM events e WHERE e.attempt_id = a.id
                                              AND e.state IN ('applied', 'ignored') AND e.kind IN (",
            );
            let mut kinds = q.separated(", ");
            for kind in ENDING_KINDS {
                kinds.push_bind(*kind);
            }
            q.push(")) THEN 1 END AS told FROM attempts a WHERE a.state = 'ended' AND a.account = ");
            q.push_bind(account);
            q.push(" AND a.claimed_at >= ").push_bind(claimed_since);
            q.push(" AND a.ended_at >= ").push_bind(since);
            q.push(" AND a.ended_at <= ").push_bind(until).push(") AS ended");
        },
        build_query_as::<Outcomes>().fetch_one
    )?)
}

/// Whether a webhook told of any of an account's attempts claimed at or after `claimed_since`.
pub async fn told_of_any(tx: &mut Tx, account: &str, claimed_since: DateTime<Utc>) -> Result<bool> {
    Ok(scalar!(
        tx,
        bool,
        fetch_one,
        "SELECT EXISTS (SELECT 1 FROM attempts a JOIN events e ON e.attempt_id = a.id
                        WHERE a.account = $1 AND a.claimed_at >= $2
                          AND e.state IN ('applied', 'ignored') AND e.source <> 'call-status')",
        account,
        claimed_since
    )?)
}

/// Whether an event that tells the end of this attempt or session was applied.
pub async fn told_end_of(tx: &mut Tx, id: &str) -> Result<bool> {
    let kinds: Vec<String> = scalar!(
        tx,
        String,
        fetch_all,
        "SELECT DISTINCT kind FROM events WHERE attempt_id = $1 AND state = 'applied'",
        id
    )?;
    Ok(kinds.iter().any(|kind| ENDING_KINDS.contains(&kind.as_str())))
}

/// Events, newest first. Those about calls of a tenant or campaign, or to a phone, where the filter says so.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<Event>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM events WHERE TRUE"));
            if let Some(status) = &filter.status {
                q.push(" AND state = ").push_bind(status.clone());
            }
            if let Some(since) = filter.since {
                q.push(" AND received_at >= ").push_bind(since);
            }
            for (column, value) in
                [("tenant", &filter.tenant), ("campaign_id", &filter.campaign_id), ("phone", &filter.phone)]
            {
                if let Some(value) = value {
                    q.push(" AND attempt_id IN (SELECT id FROM attempts WHERE ").push(column).push(" = ");
                    q.push_bind(value.clone());
                    q.push(")");
                }
            }
            q.push(" ORDER BY received_at DESC, id DESC LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<Event>().fetch_all
    )?)
}
