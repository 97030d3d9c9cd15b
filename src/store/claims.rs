//! Claiming what is due, and committing to dial: the two steps that make a second call to a slot impossible.
//!
//! The unique indexes forbid it whatever asked for it; what stands here makes the common races cheap and quiet.

mod capacity;
mod commit;
mod slots;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

pub(super) use self::capacity::count_revived;
pub use self::capacity::{AccountLimits, capacity};
use self::capacity::{campaigns_room, lock_account};
pub use self::commit::commit_to_dial;
use self::slots::{insert_slots, insert_subjects};
use super::{Result, Tx, contacts, dynamic, execute, fetch};

/// No claim becomes a dial later than this after it was made: its lease is over by then.
pub const LONGEST_CLAIM_SECONDS: i64 = 120;

/// A slot of a person and purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotKey {
    /// The subject, such as an invoice; empty for none.
    pub subject: String,
    /// The key, such as a date.
    pub key: String,
}

/// An attempt to be reserved, and for the first one of a call, the call and its slot.
#[derive(Clone, Debug)]
pub struct Claim {
    /// ULID of the attempt.
    pub attempt_id: String,
    /// ULID of the call.
    pub call_id: String,
    /// 1 for a new call, else one more than the attempts that the call has.
    pub number: i64,
    /// The tenant on whose behalf.
    pub tenant: String,
    /// The campaign.
    pub campaign_id: String,
    /// The version of the campaign's rules by which the call was found due.
    pub rules_version: i64,
    /// The enrollment.
    pub enrollment_id: String,
    /// The contact.
    pub contact_id: String,
    /// The version of the contact by which the call was found due.
    pub contact_version: i64,
    /// The phone, E.164.
    pub phone: String,
    /// The purpose of the slot.
    pub purpose: String,
    /// The period in which the call may be dialled, as its slots' key or as dates.
    pub slot_key: String,
    /// The slots that the call takes, at least one; all or none of them.
    pub slots: Vec<SlotKey>,
    /// The first instant at which the window is closed.
    pub window_closes_at: DateTime<Utc>,
    /// The first instant at which it is too late to dial.
    pub dial_before: DateTime<Utc>,
    /// Seconds after being placed by which something should have been heard.
    pub answer_timeout_seconds: i64,
    /// Seconds after being answered by which the call should be over.
    pub call_timeout_seconds: i64,
    /// The line that calls, in the provider's words.
    pub line: Option<String>,
    /// The agent that calls, in the provider's words.
    pub agent: Option<String>,
    /// When the enrollment should next be looked at.
    pub next_check_at: Option<DateTime<Utc>>,
    /// The latest moment at which the plan saw this phone possibly ring, whatever the purpose.
    pub last_rang_seen: Option<DateTime<Utc>>,
    /// The most calls that the campaign may start in a minute.
    pub calls_per_minute: Option<i64>,
    /// Who asked: a command.
    pub requested_by: String,
}

/// What came of a batch of claims.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The attempts that are ours now.
    pub attempts: Vec<String>,
    /// The claims whose slot was spent by somebody else meanwhile, by attempt id.
    pub slot_taken: Vec<String>,
    /// The claims whose phone is occupied, or rang since the plan was made, by attempt id.
    pub phone_taken: Vec<String>,
    /// The claims for which the account had no room left, by attempt id.
    pub no_capacity: Vec<String>,
    /// The claims for which it is too soon by the pace of their campaign, by attempt id.
    pub too_fast: Vec<String>,
    /// The claims of campaigns that were stopped, paused or edited since the plan was made, by attempt id.
    pub outdated: Vec<String>,
    /// The claims of contacts that changed or were withdrawn since the plan was made, by attempt id.
    pub changed: Vec<String>,
}

/// Reserves attempts of one account, as many as its capacity allows, each with its call and slot.
///
/// `owner` is the run that may take them to `placing` until `lease_until`.
///
/// # Errors
/// When the database cannot be asked, or the account does not exist.
pub async fn claim(
    tx: &mut Tx,
    account: &str,
    claims: &[Claim],
    owner: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Claimed> {
    let mut result = Claimed::default();
    let room_of_account = lock_account(tx, account, claims.len(), now).await?;
    let unchanged = unchanged_enrollments(tx, claims).await?;
    let mut room = campaigns_room(tx, account, claims, now).await?;
    let mut batch: Vec<&Claim> = Vec::with_capacity(claims.len());
    for claim in claims {
        if !unchanged.contains(&claim.enrollment_id) {
            result.changed.push(claim.attempt_id.clone());
            continue;
        }
        let left = room.get_mut(&(claim.campaign_id.as_str(), claim.rules_version));
        match left {
            None => result.outdated.push(claim.attempt_id.clone()),
            Some(0) => result.too_fast.push(claim.attempt_id.clone()),
            Some(_) if batch.len() >= room_of_account.free => result.no_capacity.push(claim.attempt_id.clone()),
            Some(left) => {
                *left -= 1;
                batch.push(claim);
            }
        }
    }
    if batch.is_empty() {
        return Ok(result);
    }
    // One order for everybody: two claims for the same phones cannot wait for each other.
    batch.sort_by(|a, b| (&a.tenant, &a.phone).cmp(&(&b.tenant, &b.phone)));

    insert_calls(tx, &batch, now).await?;
    let with_slot = insert_slots(tx, &batch, now).await?;
    let (batch, without): (Vec<&Claim>, Vec<&Claim>) = batch.into_iter().partition(|c| with_slot.contains(&c.call_id));
    result.slot_taken.extend(without.iter().map(|c| c.attempt_id.clone()));
    forget_new_calls(tx, &without).await?;
    if batch.is_empty() {
        return Ok(result);
    }

    let inserted = insert_attempts(tx, account, &batch, owner, lease_until, now).await?;
    let (batch, without): (Vec<&Claim>, Vec<&Claim>) =
        batch.into_iter().partition(|c| inserted.contains(&c.attempt_id));
    // Having won the phone, nobody else can dial it now; whoever did since the plan was made has committed.
    let rang = last_rang(tx, batch.iter().map(|c| (c.tenant.as_str(), c.phone.as_str()))).await?;
    let (batch, rang_since): (Vec<&Claim>, Vec<&Claim>) =
        batch.into_iter().partition(|c| rang.get(&(c.tenant.clone(), c.phone.clone())).copied() == c.last_rang_seen);
    forget_attempts(tx, &rang_since).await?;
    let gone: Vec<&Claim> = without.into_iter().chain(rang_since).collect();
    result.phone_taken.extend(gone.iter().map(|c| c.attempt_id.clone()));
    forget_new_calls(tx, &gone).await?;

    if !batch.is_empty() {
        insert_subjects(tx, &batch).await?;
        mark_claimed(tx, &batch, now).await?;
        room_of_account.take(tx, account, batch.len()).await?;
    }
    result.attempts = batch.iter().map(|c| c.attempt_id.clone()).collect();
    Ok(result)
}

/// The enrollments among the claims' that are still active and whose contact is as it was when the plan was made.
async fn unchanged_enrollments(tx: &mut Tx, claims: &[Claim]) -> Result<HashSet<String>> {
    if claims.is_empty() {
        return Ok(HashSet::new());
    }
    // What wakes somebody changes their version in the same transaction: it is over, or waits until this one is.
    let contacts: Vec<&str> = claims.iter().map(|claim| claim.contact_id.as_str()).collect();
    contacts::hold(tx, &contacts).await?;
    macro_rules! unchanged {
        ($what:literal, $($finish:tt)+) => {
            dynamic!(
                tx,
                |q| {
                    q.push("WITH seen (id, version) AS (");
                    q.push_values(claims, |mut row, c| {
                        row.push_bind(&c.enrollment_id).push_bind(c.contact_version);
                    });
                    q.push(concat!(
                        ") SELECT ",
                        $what,
                        " FROM seen JOIN enrollments e ON e.id = seen.id \
                         JOIN contacts k ON k.id = e.contact_id AND k.version = seen.version WHERE e.status = 'active'"
                    ));
                },
                $($finish)+
            )?
        };
    }
    // Nearly always all of them are, and to count them costs less than to fetch them.
    let count: i64 = unchanged!("count(*)", build_query_scalar::<i64>().fetch_one);
    if usize::try_from(count).is_ok_and(|count| count == claims.len()) {
        return Ok(claims.iter().map(|claim| claim.enrollment_id.clone()).collect());
    }
    let ids: Vec<String> = unchanged!("e.id", build_query_scalar::<String>().fetch_all);
    Ok(ids.into_iter().collect())
}

async fn insert_calls(tx: &mut Tx, claims: &[&Claim], now: DateTime<Utc>) -> Result<()> {
    let new: Vec<&&Claim> = claims.iter().filter(|c| c.number == 1).collect();
    if new.is_empty() {
        return Ok(());
    }
    dynamic!(
        tx,
        |q| {
            q.push(
                "INSERT INTO calls (id, tenant, campaign_id, enrollment_id, contact_id, purpose, phone, slot_key, \
                 status, attempt_count, requested_by, created_at, updated_at) ",
            );
            q.push_values(&new, |mut row, c| {
                row.push_bind(&c.call_id)
                    .push_bind(&c.tenant)
                    .push_bind(&c.campaign_id)
                    .push_bind(&c.enrollment_id)
                    .push_bind(&c.contact_id)
                    .push_bind(&c.purpose)
                    .push_bind(&c.phone)
                    .push_bind(&c.slot_key)
                    .push("'scheduled'")
                    // The attempt that this transaction adds.
                    .push("1")
                    .push_bind(&c.requested_by)
                    .push_bind(now)
                    .push_bind(now);
            });
        },
        execute
    )?;
    Ok(())
}

async fn insert_attempts(
    tx: &mut Tx,
    account: &str,
    claims: &[&Claim],
    owner: &str,
    lease_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<HashSet<String>> {
    let waiting = waiting_calls(tx, claims).await?;
    let claims: Vec<&&Claim> = claims.iter().filter(|c| c.number == 1 || waiting.contains(&c.call_id)).collect();
    if claims.is_empty() {
        return Ok(HashSet::new());
    }
    let inserted = dynamic!(
        tx,
        |q| {
            q.push(
                "INSERT INTO attempts (id, call_id, number, tenant, phone, purpose, contact_id, contact_version, \
                 campaign_id, rules_version, account, state, owner, lease_until, window_closes_at, dial_before, \
                 answer_timeout_seconds, call_timeout_seconds, claimed_at, line, agent, updated_at) ",
            );
            q.push_values(&claims, |mut row, c| {
                row.push_bind(&c.attempt_id)
                    .push_bind(&c.call_id)
                    .push_bind(c.number)
                    .push_bind(&c.tenant)
                    .push_bind(&c.phone)
                    .push_bind(&c.purpose)
                    .push_bind(&c.contact_id)
                    .push_bind(c.contact_version)
                    .push_bind(&c.campaign_id)
                    .push_bind(c.rules_version)
                    .push_bind(account)
                    .push("'claimed'")
                    .push_bind(owner)
                    .push_bind(lease_until)
                    .push_bind(c.window_closes_at)
                    .push_bind(c.dial_before)
                    .push_bind(c.answer_timeout_seconds)
                    .push_bind(c.call_timeout_seconds)
                    .push_bind(now)
                    .push_bind(c.line.as_deref())
                    .push_bind(c.agent.as_deref())
                    .push_bind(now);
            });
            q.push(" ON CONFLICT DO NOTHING");
        },
        execute
    )?;
    if inserted == claims.len() as u64 {
        return Ok(claims.iter().map(|c| c.attempt_id.clone()).collect());
    }
    let ids: Vec<String> = dynamic!(
        tx,
        |q| {
            q.push("SELECT id FROM attempts WHERE id IN (");
            let mut ids = q.separated(", ");
            for c in &claims {
                ids.push_bind(&c.attempt_id);
            }
            q.push(")");
        },
        build_query_scalar::<String>().fetch_all
    )?;
    Ok(ids.into_iter().collect())
}

/// The calls among those of retries that still wait for exactly the attempt that is claimed.
async fn waiting_calls(tx: &mut Tx, claims: &[&Claim]) -> Result<HashSet<String>> {
    let retries: Vec<&&Claim> = claims.iter().filter(|c| c.number > 1).collect();
    if retries.is_empty() {
        return Ok(HashSet::new());
    }
    let waiting: Vec<String> = dynamic!(
        tx,
        |q| {
            q.push("SELECT id FROM calls WHERE status = 'scheduled' AND (id, attempt_count) IN (");
            q.push_values(&retries, |mut row, c| {
                row.push_bind(&c.call_id).push_bind(c.number - 1);
            });
            q.push(")");
        },
        build_query_scalar::<String>().fetch_all
    )?;
    Ok(waiting.into_iter().collect())
}

/// Takes back calls that this transaction created, with the slots they took. Calls that existed before are kept, and
/// lose only a slot taken for a corrected phone.
async fn forget_new_calls(tx: &mut Tx, claims: &[&Claim]) -> Result<()> {
    for claim in claims {
        if claim.number == 1 {
            execute!(tx, "DELETE FROM slots WHERE call_id = $1", &claim.call_id)?;
            execute!(tx, "DELETE FROM calls WHERE id = $1", &claim.call_id)?;
        }
    }
    Ok(())
}

async fn forget_attempts(tx: &mut Tx, claims: &[&Claim]) -> Result<()> {
    for claim in claims {
        execute!(tx, "DELETE FROM attempts WHERE id = $1", &claim.attempt_id)?;
    }
    Ok(())
}

async fn mark_claimed(tx: &mut Tx, claims: &[&Claim], now: DateTime<Utc>) -> Result<()> {
    let retries: Vec<&&Claim> = claims.iter().filter(|c| c.number > 1).collect();
    if !retries.is_empty() {
        dynamic!(
            tx,
            |q| {
                q.push("WITH due (id, number, phone) AS (");
                q.push_values(&retries, |mut row, c| {
                    row.push_bind(&c.call_id).push_bind(c.number).push_bind(&c.phone);
                });
                q.push(
                    ") UPDATE calls SET attempt_count = due.number, phone = due.phone, next_attempt_at = NULL, \
                     updated_at = ",
                );
                q.push_bind(now);
                q.push(" FROM due WHERE calls.id = due.id");
            },
            execute
        )?;
    }
    dynamic!(
        tx,
        |q| {
            q.push("WITH due (id, next_check_at) AS (");
            q.push_values(claims, |mut row, c| {
                row.push_bind(&c.enrollment_id).push_bind(c.next_check_at);
            });
            q.push(") UPDATE enrollments SET last_reason = 'claimed', last_called_at = ");
            q.push_bind(now);
            q.push(", last_checked_at = ");
            q.push_bind(now);
            q.push(", next_check_at = due.next_check_at FROM due WHERE enrollments.id = due.id");
        },
        execute
    )?;
    Ok(())
}

/// The latest moment at which each phone may have rung, whatever the purpose.
pub async fn last_rang<'a>(
    tx: &mut Tx,
    phones: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<HashMap<(String, String), DateTime<Utc>>> {
    let phones: Vec<(&str, &str)> = phones.collect();
    if phones.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String, DateTime<Utc>)> = dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT tenant, phone, max(placing_at) FROM attempts \
                 WHERE may_have_rung AND placing_at IS NOT NULL AND (tenant, phone) IN (",
            );
            q.push_values(&phones, |mut row, (tenant, phone)| {
                row.push_bind(*tenant).push_bind(*phone);
            });
            q.push(") GROUP BY tenant, phone");
        },
        build_query_as::<(String, String, DateTime<Utc>)>().fetch_all
    )?;
    Ok(rows.into_iter().map(|(tenant, phone, at)| ((tenant, phone), at)).collect())
}

/// Claims whose owner let the lease run out without committing to dial, and when it did: nothing was sent for them.
pub async fn abandoned_claims(tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<(String, DateTime<Utc>)>> {
    Ok(fetch!(
        tx,
        (String, DateTime<Utc>),
        fetch_all,
        "SELECT id, lease_until FROM attempts WHERE state = 'claimed' AND live AND lease_until <= $1 LIMIT 500",
        now
    )?)
}

/// The claims that a run still holds.
pub async fn claims_of(tx: &mut Tx, owner: &str) -> Result<Vec<String>> {
    Ok(fetch!(
        tx,
        (String,),
        fetch_all,
        "SELECT id FROM attempts WHERE state = 'claimed' AND live AND owner = $1",
        owner
    )?
    .into_iter()
    .map(|(id,)| id)
    .collect())
}
