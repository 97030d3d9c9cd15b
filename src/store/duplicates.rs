//! What is there more than once, read by one statement for each kind of thing.
//!
//! Rows are handed on as they come, in the order of tenant and subject, so that no more of them is held than whoever takes
//! them keeps.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::FromRow;

use super::claims::LONGEST_CLAIM_SECONDS;
use super::{Result, Tx, scalar};
use crate::domain::duplicates::SameBy;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Only this tenant's.
    pub tenant: Option<&'a str>,
    /// Only what came about since, at least one of several.
    pub since: Option<DateTime<Utc>>,
}

/// Builds a statement for whichever database `$tx` is, and hands each of its rows on as it comes.
macro_rules! each {
    ($tx:expr, |$q:ident| $build:block, $row:ty, $take:expr) => {
        match $tx {
            Tx::Sqlite(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Sqlite>::new("");
                $build
                let mut rows = $q.build_query_as::<$row>().fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    $take(row);
                }
            }
            Tx::Postgres(tx) => {
                let mut $q = sqlx::QueryBuilder::<sqlx::Postgres>::new("");
                $build
                let mut rows = $q.build_query_as::<$row>().fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    $take(row);
                }
            }
        }
    };
}

/// A number of a business that has several.
#[derive(Clone, Debug, FromRow)]
pub struct NumberRow {
    /// Whose it is.
    pub owner: String,
    /// Its SID.
    pub sid: String,
    /// E.164.
    pub phone: String,
    /// When it was bought, if the service says so.
    pub bought_at: Option<DateTime<Utc>>,
    /// When it was first seen.
    pub first_seen_at: DateTime<Utc>,
    /// Whether an alert told of it.
    pub is_known: bool,
}

/// The active numbers of each tenant, in the order of purchase. What is one tenant's by purchase and another's by what they
/// say of their numbers is neither's.
pub async fn numbers(tx: &mut Tx, tenant: Option<&str>, mut take: impl FnMut(NumberRow)) -> Result<()> {
    each!(
        tx,
        |q| {
            q.push(
                "SELECT n.owner, n.sid, n.phone, n.bought_at, n.first_seen_at,
                     EXISTS (SELECT 1 FROM alerted k
                             WHERE k.kind = 'numbers' AND k.subject = n.owner || ' ' || n.sid) AS is_known
                 FROM (SELECT coalesce(tenant, claimed_by) AS owner, sid, phone, bought_at, first_seen_at
                       FROM numbers
                       WHERE status = 'active' AND coalesce(tenant, claimed_by) IS NOT NULL
                         AND (tenant IS NULL OR claimed_by IS NULL OR tenant = claimed_by)
                         AND (claim IS NULL OR claim <> 'contested')) AS n",
            );
            if let Some(tenant) = tenant {
                q.push(" WHERE n.owner = ").push_bind(tenant);
            }
            q.push(" ORDER BY n.owner, n.bought_at IS NULL, n.bought_at, n.sid");
        },
        NumberRow,
        take
    );
    Ok(())
}

/// When the numbers were last read from the service; none when they never were.
pub async fn inventory_seen_at(tx: &mut Tx) -> Result<Option<DateTime<Utc>>> {
    Ok(scalar!(tx, Option<DateTime<Utc>>, fetch_one, "SELECT max(last_seen_at) FROM numbers")?)
}

/// Contacts of a tenant that are the same by a key.
#[derive(Clone, Debug, FromRow)]
pub struct ContactGroup {
    /// The tenant.
    pub tenant: String,
    /// The key's value, without what makes no difference.
    pub value: String,
    /// How many contacts.
    pub count: i64,
    /// When the first one was made.
    pub first_at: DateTime<Utc>,
    /// When the last one was made.
    pub last_at: DateTime<Utc>,
    /// The least of their ids.
    pub first_id: String,
    /// The greatest of their ids.
    pub last_id: String,
    /// Whether an alert told of it.
    pub is_known: bool,
}

/// What a key is of a row of `contacts`, and which rows have one. Both databases read it alike, but that SQLite knows the
/// lower case of ASCII letters only.
const fn key_of(by: SameBy) -> (&'static str, &'static str) {
    match by {
        SameBy::Email => ("lower(trim(email))", "email IS NOT NULL AND trim(email) <> ''"),
        SameBy::ExternalId => (
            "lower(replace(replace(replace(external_id, ' ', ''), '-', ''), '.', ''))",
            "external_id IS NOT NULL AND replace(replace(replace(external_id, ' ', ''), '-', ''), '.', '') <> ''",
        ),
        // By its length only a number with the prefix can be told from one that has the same digits in its place.
        SameBy::Phone => (
            "CASE WHEN length(phone) = 14 AND phone LIKE '+521%' THEN '+52' || substr(phone, 5) \
             WHEN length(phone) = 14 AND phone LIKE '+549%' THEN '+54' || substr(phone, 5) ELSE phone END",
            "(phone LIKE '+52%' OR phone LIKE '+54%')",
        ),
    }
}

/// The contacts of each tenant that are the same by a key.
pub async fn contacts(tx: &mut Tx, by: SameBy, scope: Scope<'_>, mut take: impl FnMut(ContactGroup)) -> Result<()> {
    let (key, filter) = key_of(by);
    each!(
        tx,
        |q| {
            q.push(
                "SELECT g.tenant, g.value, g.count, g.first_at, g.last_at, g.first_id, g.last_id,
                     EXISTS (SELECT 1 FROM alerted k WHERE k.kind = 'contacts' AND k.subject = g.tenant || ' ' || ",
            );
            q.push(format!("'{by}:' || g.value) AS is_known FROM (SELECT tenant, {key}"));
            q.push(
                " AS value, count(*) AS count, min(created_at) AS first_at, max(created_at) AS last_at, \
                 min(id) AS first_id, max(id) AS last_id FROM contacts WHERE ",
            );
            q.push(filter);
            if let Some(tenant) = scope.tenant {
                q.push(" AND tenant = ").push_bind(tenant);
            }
            q.push(" GROUP BY tenant, ").push(key).push(" HAVING count(*) > 1");
            if let Some(since) = scope.since {
                q.push(" AND max(created_at) >= ").push_bind(since);
            }
            q.push(") AS g ORDER BY g.tenant, g.value");
        },
        ContactGroup,
        take
    );
    Ok(())
}

/// The ids of the contacts in these groups: tenant, the key's value, id.
pub async fn contacts_in(
    tx: &mut Tx,
    by: SameBy,
    groups: &[(&str, &str)],
    mut take: impl FnMut((String, String, String)),
) -> Result<()> {
    let (key, filter) = key_of(by);
    if groups.is_empty() {
        return Ok(());
    }
    each!(
        tx,
        |q| {
            q.push("SELECT tenant, ").push(key).push(" AS value, id FROM contacts WHERE ").push(filter);
            q.push(" AND (tenant, ").push(key).push(") IN (");
            q.push_values(groups, |mut row, (tenant, value)| {
                row.push_bind(*tenant).push_bind(*value);
            });
            q.push(") ORDER BY id");
        },
        (String, String, String),
        take
    );
    Ok(())
}

/// A dial that may have rung a phone at which others may have rung soon before or after.
#[derive(Clone, Debug, FromRow)]
pub struct RingRow {
    /// The tenant.
    pub tenant: String,
    /// E.164.
    pub phone: String,
    /// The call.
    pub call_id: String,
    /// For which purpose.
    pub purpose: String,
    /// When it was sent.
    pub placing_at: DateTime<Utc>,
    /// Whether an alert told of a burst that begins with this call.
    pub is_known: bool,
}

/// All dials that may have rung of each phone at which two may have rung within so many seconds, in the order of tenant,
/// phone and time. With `since`, of phones at which one of the two was claimed since.
///
/// Which phones these may be is read off the index of claims alone. A claim is committed, or void, within
/// [`LONGEST_CLAIM_SECONDS`].
pub async fn rings(tx: &mut Tx, within_seconds: i64, scope: Scope<'_>, mut take: impl FnMut(RingRow)) -> Result<()> {
    // Instants are compared by whole seconds on SQLite, so one more.
    let seconds = within_seconds + LONGEST_CLAIM_SECONDS + 1;
    let is_near = match tx {
        Tx::Sqlite(_) => format!("unixepoch(next_at) - unixepoch(claimed_at) <= {seconds}"),
        Tx::Postgres(_) => format!("next_at - claimed_at <= interval '{seconds} seconds'"),
    };
    let claimed_since = scope.since.map(|since| since - chrono::TimeDelta::seconds(seconds + LONGEST_CLAIM_SECONDS));
    prefer_indexes(tx).await?;
    each!(
        tx,
        |q| {
            q.push(
                "SELECT a.tenant, a.phone, a.call_id, a.purpose, a.placing_at,
                     EXISTS (SELECT 1 FROM alerted k WHERE k.kind = 'calls'
                             AND k.subject = a.tenant || ' ' || a.phone || ' ' || a.call_id) AS is_known
                 FROM (SELECT DISTINCT tenant, phone FROM (
                         SELECT t.tenant, t.phone, t.claimed_at, lead(t.claimed_at)
                             OVER (PARTITION BY t.tenant, t.phone ORDER BY t.claimed_at) AS next_at FROM ",
            );
            if let Some(claimed_since) = claimed_since {
                // Claims are in the order of time by account.
                q.push("accounts CROSS JOIN attempts t WHERE t.account = accounts.name AND t.claimed_at >= ");
                q.push_bind(claimed_since);
            } else {
                q.push("attempts t WHERE TRUE");
            }
            if let Some(tenant) = scope.tenant {
                q.push(" AND t.tenant = ").push_bind(tenant);
            }
            q.push(") AS pairs WHERE ").push(&is_near);
            q.push(
                ") AS near CROSS JOIN attempts a
                 WHERE a.tenant = near.tenant AND a.phone = near.phone
                   AND a.may_have_rung AND a.placing_at IS NOT NULL
                 ORDER BY a.tenant, a.phone, a.placing_at, a.id",
            );
        },
        RingRow,
        take
    );
    Ok(())
}

/// A conversation of a provider that an attempt and a session have.
#[derive(Clone, Debug, FromRow)]
pub struct SharedConversation {
    /// The attempt's tenant.
    pub tenant: String,
    /// The account.
    pub account: String,
    /// The provider's id.
    pub provider_id: String,
    /// The attempt.
    pub attempt_id: String,
    /// The session.
    pub session_id: String,
    /// When the attempt was claimed.
    pub claimed_at: DateTime<Utc>,
    /// When the session began.
    pub started_at: DateTime<Utc>,
    /// Whether an alert told of it.
    pub is_known: bool,
}

/// Conversations of a provider that are an attempt's and a session's.
pub async fn shared_conversations(
    tx: &mut Tx,
    scope: Scope<'_>,
    mut take: impl FnMut(SharedConversation),
) -> Result<()> {
    prefer_indexes(tx).await?;
    each!(
        tx,
        |q| {
            q.push(
                "SELECT a.tenant, a.account, a.provider_call_id AS provider_id, a.id AS attempt_id,
                     s.id AS session_id, a.claimed_at, s.started_at,
                     EXISTS (SELECT 1 FROM alerted k WHERE k.kind = 'conversations'
                             AND k.subject = a.tenant || ' ' || a.account || ' ' || a.provider_call_id) AS is_known
                 FROM sessions s CROSS JOIN attempts a
                 WHERE s.conversation_id IS NOT NULL AND a.provider_call_id = s.conversation_id
                   AND a.provider_call_id IS NOT NULL AND a.account = s.account",
            );
            if let Some(tenant) = scope.tenant {
                q.push(" AND a.tenant = ").push_bind(tenant);
            }
            if let Some(since) = scope.since {
                q.push(" AND (s.started_at >= ").push_bind(since).push(" OR a.claimed_at >= ");
                q.push_bind(since).push(")");
            }
            q.push(" ORDER BY a.tenant, a.provider_call_id, a.account");
        },
        SharedConversation,
        take
    );
    Ok(())
}

/// Records of a tenant with one start, length and transcript.
#[derive(Clone, Debug, FromRow)]
pub struct EqualRecords {
    /// The tenant.
    pub tenant: String,
    /// When the conversation began.
    pub started_at: DateTime<Utc>,
    /// Its length in seconds.
    pub duration_seconds: i64,
    /// How many records.
    pub count: i64,
    /// Their ids, with a blank between them, in no order.
    pub ids: String,
    /// When the first one was recorded.
    pub first_at: DateTime<Utc>,
    /// When the last one was recorded.
    pub last_at: DateTime<Utc>,
    /// Whether an alert told of it.
    pub is_known: bool,
}

/// Records of a tenant that say the same, but for those that [`shared_conversations`] finds. Start and length are read off
/// an index; transcripts are compared only where both are equal.
pub async fn equal_records(tx: &mut Tx, scope: Scope<'_>, mut take: impl FnMut(EqualRecords)) -> Result<()> {
    prefer_indexes(tx).await?;
    each!(
        tx,
        |q| {
            q.push(
                "SELECT g.tenant, g.started_at, g.duration_seconds, g.count, g.ids, g.first_at, g.last_at,
                     EXISTS (SELECT 1 FROM alerted k WHERE k.kind = 'conversations'
                             AND k.subject = g.tenant || ' record:' || g.first_id) AS is_known
                 FROM (SELECT r.tenant, r.started_at, r.duration_seconds, count(*) AS count,
                           string_agg(r.id, ' ') AS ids, min(r.id) AS first_id,
                           min(r.created_at) AS first_at, max(r.created_at) AS last_at
                       FROM (SELECT c.id, c.tenant, c.started_at, c.duration_seconds, c.transcript, c.created_at,
                                 coalesce(c.account || ' ' || coalesce(a.provider_call_id, s.conversation_id), c.id)
                                     AS provider_id
                             FROM (",
            );
            if let Some(since) = scope.since {
                q.push(
                    "SELECT DISTINCT tenant, started_at, duration_seconds FROM conversations n
                     WHERE n.started_at IS NOT NULL AND n.duration_seconds IS NOT NULL
                       AND (SELECT count(*) FROM conversations o WHERE o.tenant = n.tenant
                            AND o.started_at = n.started_at AND o.duration_seconds = n.duration_seconds) > 1
                       AND n.created_at >= ",
                );
                q.push_bind(since);
            } else {
                q.push(
                    "SELECT tenant, started_at, duration_seconds FROM conversations n
                     WHERE n.started_at IS NOT NULL AND n.duration_seconds IS NOT NULL",
                );
            }
            if let Some(tenant) = scope.tenant {
                q.push(" AND n.tenant = ").push_bind(tenant);
            }
            if scope.since.is_none() {
                q.push(" GROUP BY tenant, started_at, duration_seconds HAVING count(*) > 1");
            }
            q.push(
                ") AS m CROSS JOIN conversations c LEFT JOIN attempts a ON a.id = c.id
                             LEFT JOIN sessions s ON s.id = c.id
                             WHERE c.tenant = m.tenant AND c.started_at = m.started_at
                               AND c.duration_seconds = m.duration_seconds
                               AND c.transcript IS NOT NULL AND trim(c.transcript) <> '') AS r
                       GROUP BY r.tenant, r.started_at, r.duration_seconds, r.transcript
                       HAVING count(DISTINCT r.provider_id) > 1) AS g
                 ORDER BY g.tenant, g.first_id",
            );
        },
        EqualRecords,
        take
    );
    Ok(())
}

/// Has the server walk indexes for the rest of a transaction: it cannot know how few rows are near to one another, and would
/// rather read whole tables with all that they hold.
async fn prefer_indexes(tx: &mut Tx) -> Result<()> {
    if let Tx::Postgres(tx) = tx {
        sqlx::raw_sql(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; \
             SET LOCAL enable_mergejoin = off",
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
