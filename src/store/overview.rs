//! What `explain`, `doctor` and `status` read: single people closely, and everything at a glance.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::enrollments::Candidate;
use super::{Db, Result, Tx, dynamic, fetch, scalar};
use crate::domain::call::{AttemptState, CallStatus};

/// One contact's enrollment in one campaign.
#[derive(Clone, Debug, FromRow)]
pub struct Enrolled {
    /// The campaign.
    pub campaign_id: String,
    /// When it was last checked.
    pub last_checked_at: Option<DateTime<Utc>>,
    /// The enrollment with its contact.
    #[sqlx(flatten)]
    pub candidate: Candidate,
}

macro_rules! select_enrolled {
    () => {
        "SELECT e.campaign_id, e.last_checked_at, e.id AS enrollment_id, e.subject, e.status AS enrollment_status, \
         e.created_at AS enrolled_at, e.last_reason, e.next_check_at, k.id AS contact_id, \
         k.version AS contact_version, k.phone, k.extension, k.name, k.timezone, k.preferred_time, k.attributes \
         FROM enrollments e JOIN contacts k ON k.id = e.contact_id "
    };
}

/// The enrollments of a contact, withdrawn ones included.
pub async fn enrollments_of(tx: &mut Tx, contact_id: &str) -> Result<Vec<Enrolled>> {
    Ok(fetch!(
        tx,
        Enrolled,
        fetch_all,
        concat!(select_enrolled!(), "WHERE e.contact_id = $1 ORDER BY e.campaign_id, e.subject"),
        contact_id
    )?)
}

/// The active enrollments of a campaign behind this contact and subject, in their order; begin with two empty texts.
pub async fn enrollments_after(
    tx: &mut Tx,
    campaign_id: &str,
    (contact_id, subject): (&str, &str),
    limit: i64,
) -> Result<Vec<Enrolled>> {
    Ok(fetch!(
        tx,
        Enrolled,
        fetch_all,
        concat!(
            select_enrolled!(),
            "WHERE e.campaign_id = $1 AND e.status = 'active' AND (e.contact_id, e.subject) > ($2, $3)
             ORDER BY e.contact_id, e.subject LIMIT $4"
        ),
        campaign_id,
        contact_id,
        subject,
        limit
    )?)
}

/// A call that waits for another attempt.
#[derive(Clone, Debug, FromRow)]
pub struct WaitingCall {
    /// Of which enrollment.
    pub enrollment_id: String,
    /// The call.
    pub call_id: String,
    /// The key of its slot.
    pub slot_key: String,
    /// How many attempts it has had.
    pub attempt_count: i64,
    /// When the next one is due.
    pub next_attempt_at: DateTime<Utc>,
}

/// The calls of these enrollments that wait for another attempt, by enrollment; of several the one that is due first.
pub async fn waiting_calls(tx: &mut Tx, enrollment_ids: &[&str]) -> Result<HashMap<String, WaitingCall>> {
    let mut calls = HashMap::new();
    for batch in enrollment_ids.chunks(500) {
        let found: Vec<WaitingCall> = dynamic!(
            tx,
            |q| {
                q.push(
                    "SELECT enrollment_id, id AS call_id, slot_key, attempt_count, next_attempt_at FROM calls \
                     WHERE status = 'scheduled' AND next_attempt_at IS NOT NULL AND enrollment_id IN (",
                );
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(*id);
                }
                q.push(") ORDER BY next_attempt_at DESC, id DESC");
            },
            build_query_as::<WaitingCall>().fetch_all
        )?;
        calls.extend(found.into_iter().map(|call| (call.enrollment_id.clone(), call)));
    }
    Ok(calls)
}

/// A moment at which a phone may have rung.
#[derive(Clone, Debug, FromRow)]
pub struct Ring {
    /// The attempt.
    pub attempt_id: String,
    /// Its call.
    pub call_id: String,
    /// For which purpose.
    pub purpose: String,
    /// The phone, which may be an earlier one of the contact.
    pub phone: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The latest moments at which a phone, or an earlier phone of the same contact, may have rung; the newest first.
pub async fn rings(tx: &mut Tx, tenant: &str, phone: &str, contact_id: &str) -> Result<Vec<Ring>> {
    Ok(fetch!(
        tx,
        Ring,
        fetch_all,
        "SELECT attempt_id, call_id, purpose, phone, at FROM (
             SELECT id AS attempt_id, call_id, purpose, phone, placing_at AS at FROM attempts
             WHERE tenant = $1 AND phone = $2 AND may_have_rung AND placing_at IS NOT NULL
             UNION
             SELECT id AS attempt_id, call_id, purpose, phone, placing_at AS at FROM attempts
             WHERE contact_id = $3 AND may_have_rung AND placing_at IS NOT NULL
         ) AS rung ORDER BY at DESC, attempt_id DESC LIMIT 200",
        tenant,
        phone,
        contact_id
    )?)
}

/// An attempt that occupies its phone.
#[derive(Clone, Debug, FromRow)]
pub struct LiveAttempt {
    /// The attempt.
    pub id: String,
    /// Its call.
    pub call_id: String,
    /// Where it stands.
    pub state: AttemptState,
    /// Since when it exists.
    pub claimed_at: DateTime<Utc>,
}

/// The attempt that occupies a phone; there is at most one.
pub async fn live_attempt(tx: &mut Tx, tenant: &str, phone: &str) -> Result<Option<LiveAttempt>> {
    Ok(fetch!(
        tx,
        LiveAttempt,
        fetch_optional,
        "SELECT id, call_id, state, claimed_at FROM attempts
         WHERE tenant = $1 AND phone = $2 AND live",
        tenant,
        phone
    )?)
}

/// The enrollments of each active campaign that the next run looks at: those whose check is due, and those last
/// checked by older rules. By campaign id.
pub async fn due_enrollments(tx: &mut Tx, now: DateTime<Utc>) -> Result<HashMap<String, i64>> {
    let mut due: HashMap<String, i64> = fetch!(
        tx,
        (String, i64),
        fetch_all,
        "SELECT campaign_id, count(*) FROM enrollments
         WHERE status = 'active' AND next_check_at IS NOT NULL AND next_check_at <= $1
           AND campaign_id IN (SELECT id FROM campaigns WHERE active)
         GROUP BY campaign_id",
        now
    )?
    .into_iter()
    .collect();
    let stale = fetch!(
        tx,
        (String, i64),
        fetch_all,
        "SELECT e.campaign_id, count(*) FROM campaigns c JOIN enrollments e
           ON e.campaign_id = c.id AND e.status = 'active' AND e.rules_version < c.rules_version
         WHERE c.active AND (e.next_check_at IS NULL OR e.next_check_at > $1)
         GROUP BY e.campaign_id",
        now
    )?;
    for (campaign, count) in stale {
        *due.entry(campaign).or_default() += count;
    }
    Ok(due)
}

/// How many calls of each campaign wait for another attempt that is due. By campaign id.
pub async fn due_retries(tx: &mut Tx, now: DateTime<Utc>) -> Result<HashMap<String, i64>> {
    Ok(fetch!(
        tx,
        (String, i64),
        fetch_all,
        "SELECT campaign_id, count(*) FROM calls WHERE status = 'scheduled' AND next_attempt_at <= $1
         GROUP BY campaign_id",
        now
    )?
    .into_iter()
    .collect())
}

/// How many attempts of each campaign occupy a phone, by campaign id: those under way, and those unknown.
pub async fn live_attempts(tx: &mut Tx) -> Result<HashMap<String, (i64, i64)>> {
    let mut live: HashMap<String, (i64, i64)> = HashMap::new();
    let counted = fetch!(
        tx,
        (String, AttemptState, i64),
        fetch_all,
        "SELECT campaign_id, state, count(*) FROM attempts WHERE live GROUP BY campaign_id, state"
    )?;
    for (campaign, state, count) in counted {
        let (under_way, unknown) = live.entry(campaign).or_default();
        *(if state == AttemptState::Unknown { unknown } else { under_way }) += count;
    }
    Ok(live)
}

/// How many calls of a campaign were over between two moments, by their status.
pub async fn ended_between(
    tx: &mut Tx,
    campaign_id: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<HashMap<CallStatus, i64>> {
    Ok(fetch!(
        tx,
        (CallStatus, i64),
        fetch_all,
        "SELECT status, count(*) FROM calls
         WHERE campaign_id = $1 AND ended_at IS NOT NULL AND ended_at >= $2 AND ended_at <= $3 GROUP BY status",
        campaign_id,
        from,
        to
    )?
    .into_iter()
    .collect())
}

/// How many enrollments of each campaign missed their preferred time at the last check. By campaign id.
pub async fn missed(tx: &mut Tx) -> Result<HashMap<String, i64>> {
    Ok(fetch!(
        tx,
        (String, i64),
        fetch_all,
        "SELECT campaign_id, count(*) FROM enrollments
         WHERE status = 'active' AND last_reason = 'missed_preferred_time' GROUP BY campaign_id"
    )?
    .into_iter()
    .collect())
}

/// Whether anybody is enrolled in a campaign.
pub async fn has_enrollments(tx: &mut Tx, campaign_id: &str) -> Result<bool> {
    Ok(scalar!(
        tx,
        i64,
        fetch_one,
        "SELECT count(*) FROM (
             SELECT 1 FROM enrollments WHERE campaign_id = $1 AND status = 'active' LIMIT 1) AS found",
        campaign_id
    )? > 0)
}

/// How many active enrollments of a campaign had one of these reasons at the last check, by reason.
pub async fn blocked_by(tx: &mut Tx, campaign_id: &str, reasons: [&str; 2]) -> Result<HashMap<String, i64>> {
    Ok(fetch!(
        tx,
        (String, i64),
        fetch_all,
        "SELECT last_reason, count(*) FROM enrollments
         WHERE campaign_id = $1 AND status = 'active' AND last_reason IN ($2, $3) GROUP BY last_reason",
        campaign_id,
        reasons[0],
        reasons[1]
    )?
    .into_iter()
    .collect())
}

/// The database's own settings that durability and correctness stand on, read back from it: name and value. On SQLite
/// those of a connection as the pool makes it.
pub async fn pragmas(db: &Db) -> Result<Vec<(&'static str, String)>> {
    let mut tx = db.read().await?;
    let mut settings = Vec::new();
    match &mut tx {
        Tx::Sqlite(tx) => {
            settings.push((
                "journal_mode",
                sqlx::query_scalar::<_, String>("PRAGMA journal_mode").fetch_one(&mut **tx).await?,
            ));
            for (name, sql) in [("synchronous", "PRAGMA synchronous"), ("foreign_keys", "PRAGMA foreign_keys")] {
                let value = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut **tx).await?;
                settings.push((name, value.to_string()));
            }
        }
        Tx::Postgres(tx) => {
            for name in ["server_version_num", "fsync", "full_page_writes"] {
                let value = sqlx::query_scalar::<_, String>("SELECT current_setting($1)")
                    .bind(name)
                    .fetch_one(&mut **tx)
                    .await?;
                settings.push((name, value));
            }
        }
    }
    Ok(settings)
}

/// How many bytes the database takes.
pub async fn size_bytes(db: &Db) -> Result<i64> {
    let mut tx = db.read().await?;
    Ok(match &mut tx {
        Tx::Sqlite(tx) => {
            let pages = sqlx::query_scalar::<_, i64>("PRAGMA page_count").fetch_one(&mut **tx).await?;
            pages * sqlx::query_scalar::<_, i64>("PRAGMA page_size").fetch_one(&mut **tx).await?
        }
        Tx::Postgres(tx) => {
            sqlx::query_scalar::<_, i64>("SELECT pg_database_size(current_database())").fetch_one(&mut **tx).await?
        }
    })
}
