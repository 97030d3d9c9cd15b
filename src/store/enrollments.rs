//! Who is in which campaign, who is due for a check, and what is known about them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;

use super::{Result, Tx, dynamic, execute, fetch};

mod once;
mod people;
mod taken_over;

use crate::domain::reminder::Debt;
pub use once::mark_once_slots;
pub use people::{TAKEN_OUT, of_person, take_out};
pub use taken_over::{Known, known, name_subjects, revive, take_over};

/// An enrollment that is due for a check, with its contact.
#[derive(Clone, Debug, FromRow)]
pub struct Candidate {
    /// The enrollment.
    pub enrollment_id: String,
    /// The subject, such as an invoice; empty for none.
    pub subject: String,
    /// `active` or `withdrawn`.
    pub enrollment_status: String,
    /// Since when enrolled.
    pub enrolled_at: DateTime<Utc>,
    /// Why the contact was not called at the last check.
    pub last_reason: Option<String>,
    /// When the next check is due.
    pub next_check_at: Option<DateTime<Utc>>,
    /// The contact.
    pub contact_id: String,
    /// The contact's version.
    pub contact_version: i64,
    /// The phone, E.164.
    pub phone: String,
    /// Digits to dial once the call is answered.
    pub extension: Option<String>,
    /// How the agent may address the callee.
    pub name: Option<String>,
    /// The zone that was given.
    pub timezone: Option<String>,
    /// The preferred local time.
    pub preferred_time: Option<String>,
    /// Values for the agent, as a JSON object.
    pub attributes: String,
}

/// A call that waits for another attempt, with its contact.
#[derive(Clone, Debug, FromRow)]
pub struct Waiting {
    /// The call.
    pub call_id: String,
    /// The key of its slot.
    pub slot_key: String,
    /// How many attempts it has had.
    pub attempt_count: i64,
    /// When the next one is due.
    pub next_attempt_at: DateTime<Utc>,
    /// The phone that was dialled before.
    pub call_phone: String,
    /// The enrollment and the contact.
    #[sqlx(flatten)]
    pub candidate: Candidate,
}

macro_rules! candidate_columns {
    () => {
        "e.id AS enrollment_id, e.subject, e.status AS enrollment_status, e.created_at AS enrolled_at, e.last_reason, \
         e.next_check_at, k.id AS contact_id, k.version AS contact_version, k.phone, k.extension, k.name, k.timezone, \
         k.preferred_time, k.attributes"
    };
}

/// The enrollments of a campaign that are due for a check, those unserved longest first: in the order of their index, so
/// that a batch costs a batch and not a sort of all that are due.
pub async fn due(tx: &mut Tx, campaign_id: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Candidate>> {
    Ok(fetch!(
        tx,
        Candidate,
        fetch_all,
        concat!(
            "SELECT ",
            candidate_columns!(),
            " FROM enrollments e JOIN contacts k ON k.id = e.contact_id
              WHERE e.campaign_id = $1 AND e.status = 'active' AND e.next_check_at IS NOT NULL AND e.next_check_at <= $2
              ORDER BY e.next_check_at, e.last_called_at LIMIT $3"
        ),
        campaign_id,
        now,
        limit
    )?)
}

/// Makes enrollments that were last checked by older rules due for a check, at most `limit` of them; says how many.
pub async fn refresh_stale(
    tx: &mut Tx,
    campaign_id: &str,
    rules_version: i64,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    Ok(execute!(
        tx,
        "UPDATE enrollments SET next_check_at = $3, rules_version = $2 WHERE id IN (
             SELECT id FROM enrollments
             WHERE campaign_id = $1 AND status = 'active' AND rules_version < $2 LIMIT $4)",
        campaign_id,
        rules_version,
        now,
        limit
    )?)
}

/// The calls of a campaign that wait for another attempt which is due.
pub async fn waiting(tx: &mut Tx, campaign_id: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Waiting>> {
    Ok(fetch!(
        tx,
        Waiting,
        fetch_all,
        concat!(
            "SELECT c.id AS call_id, c.slot_key, c.attempt_count, c.next_attempt_at, c.phone AS call_phone, ",
            candidate_columns!(),
            " FROM calls c JOIN enrollments e ON e.id = c.enrollment_id JOIN contacts k ON k.id = e.contact_id
              WHERE c.campaign_id = $1 AND c.status = 'scheduled' AND c.next_attempt_at <= $2
              ORDER BY c.next_attempt_at, c.id LIMIT $3"
        ),
        campaign_id,
        now,
        limit
    )?)
}

/// The call of an enrollment that waits for another attempt, due or not; of several the one that is due first.
pub async fn waiting_of(tx: &mut Tx, enrollment_id: &str) -> Result<Option<Waiting>> {
    Ok(fetch!(
        tx,
        Waiting,
        fetch_optional,
        concat!(
            "SELECT c.id AS call_id, c.slot_key, c.attempt_count, c.next_attempt_at, c.phone AS call_phone, ",
            candidate_columns!(),
            " FROM calls c JOIN enrollments e ON e.id = c.enrollment_id JOIN contacts k ON k.id = e.contact_id
              WHERE c.enrollment_id = $1 AND c.status = 'scheduled' AND c.next_attempt_at IS NOT NULL
              ORDER BY c.next_attempt_at, c.id LIMIT 1"
        ),
        enrollment_id
    )?)
}

/// One enrollment with its contact.
pub async fn candidate(tx: &mut Tx, campaign_id: &str, contact_id: &str) -> Result<Option<Candidate>> {
    Ok(fetch!(
        tx,
        Candidate,
        fetch_optional,
        concat!(
            "SELECT ",
            candidate_columns!(),
            " FROM enrollments e JOIN contacts k ON k.id = e.contact_id
              WHERE e.campaign_id = $1 AND e.contact_id = $2 ORDER BY e.subject LIMIT 1"
        ),
        campaign_id,
        contact_id
    )?)
}

/// How far back each call counts by itself: seven local dates, and a day that a clock change made longer.
const RECENT_DAYS: i64 = 8;

/// What is known about one phone's past.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When the person may last have rung for the purpose.
    pub last_for_purpose: Option<DateTime<Utc>>,
    /// When the phone may last have rung for any purpose.
    pub last: Option<DateTime<Utc>>,
    /// When it may have rung for any purpose in the last eight days: the last time for each call.
    pub recent: Vec<DateTime<Utc>>,
    /// Whether an attempt to it is live.
    pub live: bool,
    /// Whether it is suppressed.
    pub suppressed: bool,
    /// The invoices of the contact; only where a campaign reminds of them.
    pub debts: Vec<Debt>,
    /// The call that holds the person's `once` slot of the purpose; only [`mark_once_slots`] looks for it.
    pub once_call: Option<String>,
}

/// The past of contacts of one tenant, by contact id. `except_calls` are left out of the rings: the gap does not hold
/// between attempts of one call.
///
/// `people` are contact ids with their phones. A ring counts for the purpose when it was to the phone or to the
/// contact under an earlier phone.
pub async fn histories(
    tx: &mut Tx,
    tenant: &str,
    purpose: &str,
    people: &[(String, String)],
    except_calls: &[String],
    now: DateTime<Utc>,
) -> Result<HashMap<String, History>> {
    let mut histories: HashMap<String, History> =
        people.iter().map(|(contact, _)| (contact.clone(), History::default())).collect();
    let except: HashSet<&str> = except_calls.iter().map(String::as_str).collect();
    let by_phone: HashMap<&str, &str> =
        people.iter().map(|(contact, phone)| (phone.as_str(), contact.as_str())).collect();
    // A phone that stands in two batches is asked for twice.
    let mut counted: HashSet<(String, String)> = HashSet::new();
    for batch in people.chunks(500) {
        let rings: Vec<(String, String, String, String, DateTime<Utc>)> = dynamic!(
            tx,
            |q| {
                // Two probes of an index each; an OR over both columns would read the whole table.
                for (index, column) in ["phone", "contact_id"].into_iter().enumerate() {
                    if index > 0 {
                        q.push(" UNION ");
                    }
                    q.push(
                        "SELECT phone, contact_id, purpose, call_id, max(placing_at) FROM attempts \
                         WHERE may_have_rung AND placing_at IS NOT NULL AND ",
                    );
                    if index == 0 {
                        // A contact is of one tenant; asked for it again, SQLite would read all that the tenant has.
                        q.push("tenant = ");
                        q.push_bind(tenant);
                        q.push(" AND ");
                    }
                    q.push(column);
                    q.push(" IN (");
                    let mut values = q.separated(", ");
                    for (contact, phone) in batch {
                        values.push_bind(if index == 0 { phone } else { contact });
                    }
                    q.push(") GROUP BY phone, contact_id, purpose, call_id");
                }
            },
            build_query_as::<(String, String, String, String, DateTime<Utc>)>().fetch_all
        )?;
        for (phone, contact, its_purpose, call_id, at) in rings {
            if except.contains(call_id.as_str()) {
                continue;
            }
            let owner = by_phone.get(phone.as_str()).copied();
            if let Some(history) = owner.and_then(|owner| histories.get_mut(owner)) {
                history.last = history.last.max(Some(at));
                if at > now - TimeDelta::days(RECENT_DAYS) && counted.insert((phone.clone(), call_id)) {
                    history.recent.push(at);
                }
            }
            if its_purpose == purpose {
                for id in [owner, Some(contact.as_str())].into_iter().flatten() {
                    if let Some(history) = histories.get_mut(id) {
                        history.last_for_purpose = history.last_for_purpose.max(Some(at));
                    }
                }
            }
        }
        let live: Vec<String> = dynamic!(
            tx,
            |q| {
                q.push("SELECT phone FROM attempts WHERE tenant = ");
                q.push_bind(tenant);
                q.push(" AND live AND phone IN (");
                let mut values = q.separated(", ");
                for (_, phone) in batch {
                    values.push_bind(phone);
                }
                q.push(")");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        for phone in live {
            if let Some(history) = by_phone.get(phone.as_str()).and_then(|owner| histories.get_mut(*owner)) {
                history.live = true;
            }
        }
    }
    mark_suppressed(tx, tenant, people, &mut histories, now).await?;
    Ok(histories)
}

async fn mark_suppressed(
    tx: &mut Tx,
    tenant: &str,
    people: &[(String, String)],
    histories: &mut HashMap<String, History>,
    now: DateTime<Utc>,
) -> Result<()> {
    let prefixes: Vec<(String,)> = fetch!(
        tx,
        (String,),
        fetch_all,
        "SELECT pattern FROM suppressions
         WHERE is_prefix AND tenant IN ('', $1) AND (expires_at IS NULL OR expires_at > $2)",
        tenant,
        now
    )?;
    let mut numbers: HashSet<String> = HashSet::new();
    for batch in people.chunks(500) {
        let found: Vec<String> = dynamic!(
            tx,
            |q| {
                q.push("SELECT pattern FROM suppressions WHERE NOT is_prefix AND tenant IN ('', ");
                q.push_bind(tenant);
                q.push(") AND (expires_at IS NULL OR expires_at > ");
                q.push_bind(now);
                q.push(") AND pattern IN (");
                let mut values = q.separated(", ");
                for (_, phone) in batch {
                    values.push_bind(phone);
                }
                q.push(")");
            },
            build_query_scalar::<String>().fetch_all
        )?;
        numbers.extend(found);
    }
    for (contact, phone) in people {
        let is_suppressed = numbers.contains(phone) || prefixes.iter().any(|(prefix,)| phone.starts_with(prefix));
        if let Some(history) = histories.get_mut(contact) {
            history.suppressed = is_suppressed;
        }
    }
    Ok(())
}

/// Why an enrollment was not called, and when to look at it again.
#[derive(Clone, Debug)]
pub struct CheckResult {
    /// The enrollment.
    pub enrollment_id: String,
    /// The version of the contact that was looked at: a contact changed meanwhile keeps its earlier check.
    pub contact_version: i64,
    /// The reason.
    pub reason: &'static str,
    /// When to look again; none: not until something changes.
    pub next_check_at: Option<DateTime<Utc>>,
}

/// Records why enrollments were not called. `rules_version` is that of the rules by which they were checked.
pub async fn record_checks(tx: &mut Tx, results: &[CheckResult], rules_version: i64, now: DateTime<Utc>) -> Result<()> {
    for batch in results.chunks(500) {
        hold_contacts(tx, batch).await?;
        dynamic!(
            tx,
            |q| {
                q.push("WITH seen (id, contact_version, reason, next_check_at) AS (");
                q.push_values(batch, |mut row, result| {
                    row.push_bind(&result.enrollment_id)
                        .push_bind(result.contact_version)
                        .push_bind(result.reason)
                        .push_bind(result.next_check_at);
                });
                q.push(") UPDATE enrollments SET last_reason = seen.reason, next_check_at = seen.next_check_at, ");
                q.push("last_checked_at = ");
                q.push_bind(now);
                q.push(" FROM seen WHERE enrollments.id = seen.id AND enrollments.rules_version <= ");
                q.push_bind(rules_version);
                q.push(" AND EXISTS (SELECT 1 FROM contacts k WHERE k.id = enrollments.contact_id ");
                q.push("AND k.version = seen.contact_version)");
            },
            execute
        )?;
    }
    Ok(())
}

/// Keeps the contacts of enrollments as they are until the transaction ends. On PostgreSQL the statement that compares their
/// versions may wait for somebody who wakes one of them, and would then see the enrollment as that one left it, but the
/// contact as it was before.
async fn hold_contacts(tx: &mut Tx, results: &[CheckResult]) -> Result<()> {
    if matches!(tx, Tx::Sqlite(_)) {
        return Ok(());
    }
    dynamic!(
        tx,
        |q| {
            q.push("SELECT 1 FROM contacts WHERE id IN (SELECT contact_id FROM enrollments WHERE id IN (");
            let mut values = q.separated(", ");
            for result in results {
                values.push_bind(&result.enrollment_id);
            }
            q.push(")) ORDER BY id FOR SHARE");
        },
        execute
    )?;
    Ok(())
}

/// Enrolls contacts in a campaign, each with the id of its enrollment before it; those enrolled already stay so, and
/// withdrawn ones come back. Says how many were not enrolled before.
pub async fn enroll(
    tx: &mut Tx,
    campaign_id: &str,
    rules_version: i64,
    contacts: &[(String, String)],
    now: DateTime<Utc>,
) -> Result<u64> {
    let rows: Vec<Enrolling<'_>> = contacts.iter().map(|(id, contact)| (id.as_str(), contact.as_str(), "")).collect();
    enroll_subjects(tx, campaign_id, rules_version, &rows, now).await
}

/// Who is to be enrolled: the id of the enrollment, that of the contact, and the subject, empty for none.
pub type Enrolling<'a> = (&'a str, &'a str, &'a str);

/// As [`enroll`], each contact with a subject: whoever has one is not called twice for it, whatever their phone.
pub async fn enroll_subjects(
    tx: &mut Tx,
    campaign_id: &str,
    rules_version: i64,
    rows: &[Enrolling<'_>],
    now: DateTime<Utc>,
) -> Result<u64> {
    let mut added = 0;
    for batch in rows.chunks(500) {
        added += dynamic!(
            tx,
            |q| {
                q.push(
                    "INSERT INTO enrollments (id, campaign_id, contact_id, subject, status, next_check_at, \
                     last_called_at, rules_version, created_at, updated_at) ",
                );
                q.push_values(batch, |mut row, (enrollment_id, contact_id, subject)| {
                    row.push_bind(*enrollment_id)
                        .push_bind(campaign_id)
                        .push_bind(*contact_id)
                        .push_bind(*subject)
                        .push("'active'")
                        .push_bind(now)
                        .push_bind(DateTime::UNIX_EPOCH)
                        .push_bind(rules_version)
                        .push_bind(now)
                        .push_bind(now);
                });
                q.push(
                    " ON CONFLICT (campaign_id, contact_id, subject) DO UPDATE SET status = 'active', \
                     next_check_at = excluded.next_check_at, updated_at = excluded.updated_at \
                     WHERE enrollments.status = 'withdrawn'",
                );
            },
            execute
        )?;
    }
    Ok(added)
}

/// Takes a contact out of a campaign; says whether it was in. Calls are not touched: see `calls::cancel`.
pub async fn withdraw(tx: &mut Tx, campaign_id: &str, contact_id: &str, now: DateTime<Utc>) -> Result<bool> {
    // A claim that a run is about to make of what it read before must not ring.
    execute!(tx, "UPDATE contacts SET version = version + 1 WHERE id = $1", contact_id)?;
    Ok(execute!(
        tx,
        "UPDATE enrollments SET status = 'withdrawn', next_check_at = NULL, last_reason = 'withdrawn', updated_at = $3
         WHERE campaign_id = $1 AND contact_id = $2 AND status = 'active'",
        campaign_id,
        contact_id,
        now
    )? > 0)
}

/// Makes every enrollment of a contact due for a check, since the contact changed.
pub async fn recheck_contact(tx: &mut Tx, contact_id: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE enrollments SET next_check_at = $2 WHERE contact_id = $1 AND status = 'active'",
        contact_id,
        now
    )?;
    Ok(())
}

/// How many active enrollments of a campaign there are by the reason of their last check.
pub async fn reasons(tx: &mut Tx, campaign_id: &str) -> Result<Vec<(Option<String>, i64)>> {
    Ok(fetch!(
        tx,
        (Option<String>, i64),
        fetch_all,
        "SELECT last_reason, count(*) FROM enrollments WHERE campaign_id = $1 AND status = 'active'
         GROUP BY last_reason ORDER BY count(*) DESC, last_reason",
        campaign_id
    )?)
}
