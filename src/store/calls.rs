//! Calls: decisions about them, and reading them.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::evidence::refresh;
use super::{Result, Tx, dynamic, execute, fetch, scalar};
use crate::domain::call::{CallStatus, Decision};
use crate::domain::outcome::Outcome;

/// One conversation to be had.
#[derive(Clone, Debug, FromRow)]
pub struct Call {
    /// ULID.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The campaign's id.
    pub campaign_id: String,
    /// The campaign's name.
    pub campaign: String,
    /// The enrollment.
    pub enrollment_id: String,
    /// The contact.
    pub contact_id: String,
    /// The purpose of its slot.
    pub purpose: String,
    /// The phone, E.164.
    pub phone: String,
    /// The key of its slot.
    pub slot_key: String,
    /// Where it stands.
    pub status: CallStatus,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// How many attempts it has had.
    pub attempt_count: i64,
    /// When the next attempt is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What was decided about it.
    pub decision: Option<Decision>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it came to be.
    pub created_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
}

macro_rules! select {
    () => {
        "SELECT c.id, c.tenant, c.campaign_id, m.name AS campaign, c.enrollment_id, c.contact_id, c.purpose, c.phone, \
         c.slot_key, c.status, c.reason, c.outcome, c.attempt_count, c.next_attempt_at, c.decision, c.requested_by, \
         c.created_at, c.ended_at FROM calls c JOIN campaigns m ON m.id = c.campaign_id "
    };
}

/// One call by id.
pub async fn call(tx: &mut Tx, id: &str) -> Result<Option<Call>> {
    Ok(fetch!(tx, Call, fetch_optional, concat!(select!(), "WHERE c.id = $1"), id)?)
}

/// Which calls to list. Every filter that is none lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this campaign, by id.
    pub campaign_id: Option<String>,
    /// To this phone.
    pub phone: Option<String>,
    /// In this status.
    pub status: Option<CallStatus>,
    /// Created at or after.
    pub since: Option<DateTime<Utc>>,
    /// At most this many.
    pub limit: i64,
}

/// Calls, newest first.
pub async fn calls(tx: &mut Tx, filter: &Filter) -> Result<Vec<Call>> {
    Ok(fetch!(
        tx,
        Call,
        fetch_all,
        concat!(
            select!(),
            "WHERE ($1 IS NULL OR c.tenant = $1) AND ($2 IS NULL OR c.campaign_id = $2)
               AND ($3 IS NULL OR c.phone = $3) AND ($4 IS NULL OR c.status = $4)
               AND ($5 IS NULL OR c.created_at >= $5)
             ORDER BY c.created_at DESC, c.id DESC LIMIT $6"
        ),
        filter.tenant.as_deref(),
        filter.campaign_id.as_deref(),
        filter.phone.as_deref(),
        filter.status,
        filter.since,
        filter.limit
    )?)
}

/// What happened to calls that were to be cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Calls that will not be dialled again.
    pub cancelled: u64,
    /// Calls that are being dialled or talked on; they go on.
    pub live: u64,
    /// Slots that are free again, since provably nothing rang for them.
    pub freed: u64,
}

/// Cancels calls that wait; live ones go on. The slot of a call whose phone provably never rang is free again, and its
/// enrollment due for a check.
pub async fn cancel(tx: &mut Tx, call_ids: &[String], now: DateTime<Utc>) -> Result<Cancelled> {
    let mut result = Cancelled::default();
    for batch in call_ids.chunks(200) {
        // The calls are locked before their state is looked at: a dial that commits first makes its call live.
        if matches!(tx, Tx::Postgres(_)) {
            dynamic!(
                tx,
                |q| {
                    q.push("SELECT id FROM calls WHERE id IN (");
                    let mut ids = q.separated(", ");
                    for id in batch {
                        ids.push_bind(id);
                    }
                    q.push(") ORDER BY id FOR UPDATE");
                },
                execute
            )?;
        }
        // A claim that nobody committed to yet is void: its owner will find it so.
        dynamic!(
            tx,
            |q| {
                q.push(
                    "UPDATE attempts SET state = 'void', evidence = 'operator', reason = 'call cancelled', ended_at = ",
                );
                q.push_bind(now);
                q.push(", updated_at = ");
                q.push_bind(now);
                q.push(" WHERE state = 'claimed' AND call_id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            execute
        )?;
        let waiting: Vec<String> = dynamic!(
            tx,
            |q| {
                q.push("UPDATE calls SET decision = 'cancelled', next_attempt_at = NULL, decided_at = ");
                q.push_bind(now);
                q.push(" WHERE status = 'scheduled' AND id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(") RETURNING id");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        result.cancelled += waiting.len() as u64;
        if !waiting.is_empty() {
            refresh(tx, &waiting, now).await?;
            result.freed += free_slots(tx, &waiting, now).await?;
        }
        let live: i64 = dynamic!(
            tx,
            |q| {
                q.push("SELECT count(*) FROM calls WHERE status IN ('calling', 'in_progress') AND id IN (");
                let mut ids = q.separated(", ");
                for id in batch {
                    ids.push_bind(id);
                }
                q.push(")");
            },
            build_query_scalar::<i64>().fetch_one
        )?;
        result.live += u64::try_from(live).unwrap_or(0);
    }
    Ok(result)
}

/// Frees the slots of cancelled calls of which no attempt may have rung.
async fn free_slots(tx: &mut Tx, cancelled: &[String], now: DateTime<Utc>) -> Result<u64> {
    let freed: Vec<String> = dynamic!(
        tx,
        |q| {
            q.push(
                "DELETE FROM slots WHERE NOT EXISTS \
                 (SELECT 1 FROM attempts a WHERE a.call_id = slots.call_id AND a.may_have_rung) AND call_id IN (",
            );
            let mut ids = q.separated(", ");
            for id in cancelled {
                ids.push_bind(id);
            }
            q.push(") RETURNING call_id");
        },
        build_query_scalar::<String>().fetch_all
    )?;
    if freed.is_empty() {
        return Ok(0);
    }
    dynamic!(
        tx,
        |q| {
            q.push("UPDATE enrollments SET next_check_at = ");
            q.push_bind(now);
            // In every campaign: others of the same purpose may have found the slot taken.
            q.push(" WHERE status = 'active' AND contact_id IN (SELECT contact_id FROM calls WHERE id IN (");
            let mut ids = q.separated(", ");
            for id in &freed {
                ids.push_bind(id);
            }
            q.push("))");
        },
        execute
    )?;
    Ok(freed.len() as u64)
}

/// The calls of a campaign that are not over.
pub async fn open_of_campaign(tx: &mut Tx, campaign_id: &str) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT id FROM calls WHERE campaign_id = $1 AND status IN ('scheduled', 'calling', 'in_progress') ORDER BY id",
        campaign_id
    )?)
}

/// The calls of an enrollment that are not over.
pub async fn open_of_contact(tx: &mut Tx, campaign_id: &str, contact_id: &str) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT id FROM calls WHERE campaign_id = $1
           AND enrollment_id IN (SELECT e.id FROM enrollments e WHERE e.contact_id = $2)
           AND status IN ('scheduled', 'calling', 'in_progress') ORDER BY id",
        campaign_id,
        contact_id
    )?)
}

/// The calls of one enrollment that are not over.
pub async fn open_of_enrollment(tx: &mut Tx, enrollment_id: &str) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT id FROM calls WHERE enrollment_id = $1 AND status IN ('scheduled', 'calling', 'in_progress') ORDER BY id",
        enrollment_id
    )?)
}

/// Ends calls that wait for an attempt which their slot's period no longer allows.
pub async fn expire(tx: &mut Tx, call_ids: &[String], now: DateTime<Utc>) -> Result<u64> {
    let mut expired = 0;
    for id in call_ids {
        let done = execute!(
            tx,
            "UPDATE calls SET decision = 'slot_expired', decided_at = $2, next_attempt_at = NULL
             WHERE id = $1 AND status = 'scheduled'",
            id,
            now
        )?;
        if done == 1 {
            refresh(tx, std::slice::from_ref(id), now).await?;
            expired += 1;
        }
    }
    Ok(expired)
}

/// Puts off the next attempt of a call that waits.
pub async fn postpone(tx: &mut Tx, call_id: &str, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE calls SET next_attempt_at = $2, updated_at = $3
         WHERE id = $1 AND status = 'scheduled' AND next_attempt_at IS NOT NULL",
        call_id,
        until,
        now
    )?;
    Ok(())
}

/// Gives a failed call another attempt, due at once, inside its slot; says whether it was one that could have it.
pub async fn retry(tx: &mut Tx, call_id: &str, now: DateTime<Utc>) -> Result<bool> {
    let done = execute!(
        tx,
        "UPDATE calls SET decision = NULL, next_attempt_at = $2, decided_at = $2, ended_at = NULL
         WHERE id = $1 AND status = 'failed'
           AND EXISTS (SELECT 1 FROM slots s WHERE s.call_id = calls.id)
           AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.call_id = calls.id AND a.state IN ('lost', 'unknown'))",
        call_id,
        now
    )?;
    if done == 1 {
        refresh(tx, &[call_id.to_owned()], now).await?;
    }
    Ok(done == 1)
}

/// Whether a call holds a slot.
pub async fn holds_any_slot(tx: &mut Tx, call_id: &str) -> Result<bool> {
    Ok(scalar!(tx, bool, fetch_one, "SELECT EXISTS (SELECT 1 FROM slots WHERE call_id = $1)", call_id)?)
}

/// Whether a slot is spent, and by which call.
pub async fn slot_holder(tx: &mut Tx, tenant: &str, phone: &str, purpose: &str, key: &str) -> Result<Option<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_optional,
        "SELECT call_id FROM slots WHERE tenant = $1 AND phone = $2 AND purpose = $3 AND key = $4",
        tenant,
        phone,
        purpose,
        key
    )?)
}
