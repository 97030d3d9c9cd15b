//! What providers recorded of conversations, one for each attempt that is over.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::attempts::{self, Attempt};
use super::listing::Filter;
use super::{Result, StoreError, Tx, dynamic, execute, fetch, scalar};
use crate::domain::call::AttemptState;
use crate::domain::conversation::{Asked, ConversationStatus, Record, Unfinished, asked, wait_after};
use crate::domain::evidence::{Observation, Seen};

/// The record of one conversation.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Conversation {
    /// The attempt, or the session, whose conversation it is.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The account that the call was placed with.
    pub account: String,
    /// How far the record is.
    pub status: ConversationStatus,
    /// How often the provider was asked for it, and it was not complete.
    pub tries: i64,
    /// When the provider is asked next.
    pub next_try_at: Option<DateTime<Utc>>,
    /// What was wrong when it was last asked; of one that is completed, why it was taken though it lacks something.
    pub last_error: Option<String>,
    /// When the conversation began, by the provider's record.
    pub started_at: Option<DateTime<Utc>>,
    /// When the call ended, by the provider's record.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its length in seconds.
    pub duration_seconds: Option<i64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// What was said, in short.
    pub summary: Option<String>,
    /// What was said, word for word.
    pub transcript: Option<String>,
    /// What the provider made of it, as JSON text.
    pub analysis: Option<String>,
    /// The provider's record as it came, as JSON text.
    pub raw: Option<String>,
    /// When a contact, a booking and a ticket were made of it, as far as it holds any.
    pub processed_at: Option<DateTime<Utc>>,
    /// Whom it was with: who was called, or the contact that was found or made.
    pub contact_id: Option<String>,
    /// When it was first known to be wanted: when the call was known to be over.
    pub created_at: DateTime<Utc>,
    /// When anything about it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What an observation did to the record of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// It added something.
    Something,
    /// It completed it.
    TheRest,
}

impl Conversation {
    /// One of which nothing is known yet.
    pub(super) fn wanted(id: &str, tenant: &str, account: &str, now: DateTime<Utc>) -> Self {
        Self {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            account: account.to_owned(),
            status: ConversationStatus::Pending,
            tries: 0,
            next_try_at: Some(now + wait_after(now, now)),
            last_error: None,
            started_at: None,
            ended_at: None,
            duration_seconds: None,
            cost_usd: None,
            summary: None,
            transcript: None,
            analysis: None,
            raw: None,
            processed_at: None,
            contact_id: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Takes in what somebody knows of it. The first record that is complete stays, and any other fills its gaps; until
    /// then the latest counts, in whatever order they come.
    pub(super) fn take_in(&mut self, record: &Record, now: DateTime<Utc>) {
        // One that was taken as it was is not complete, and gives way.
        let is_whole = self.status == ConversationStatus::Completed && self.last_error.is_none();
        let is_settled = is_whole || record.raw.is_none();
        let keeps = |is_known: bool| is_known && is_settled;
        macro_rules! take {
            ($($field:ident),+) => { $(
                if record.$field.is_some() && !keeps(self.$field.is_some()) {
                    self.$field.clone_from(&record.$field);
                }
            )+ };
        }
        take!(started_at, ended_at, duration_seconds, cost_usd, summary, transcript, analysis, raw);
        if record.is_complete {
            if !is_whole {
                // What was made of a part of it is made of the whole: of each kind there is one.
                self.processed_at = None;
            }
            self.status = ConversationStatus::Completed;
            self.next_try_at = None;
            self.last_error = None;
        } else if record.raw.is_some() && self.status != ConversationStatus::Completed {
            // It is there after all, or in part.
            self.status = ConversationStatus::Processing;
            self.next_try_at = self.next_try_at.or(Some(now + wait_after(now, now)));
            self.last_error = None;
        }
    }
}

macro_rules! columns {
    () => {
        "id, tenant, account, status, tries, next_try_at, last_error, started_at, ended_at, duration_seconds, cost_usd, summary, transcript, \
         analysis, raw, processed_at, contact_id, created_at, updated_at"
    };
}

/// Conversations of a tenant that are completed and of which nothing was made yet, oldest first.
pub async fn unprocessed(tx: &mut Tx, tenant: &str, limit: i64) -> Result<Vec<String>> {
    Ok(scalar!(
        tx,
        String,
        fetch_all,
        "SELECT id FROM conversations WHERE tenant = $1 AND status = 'completed' AND processed_at IS NULL
         ORDER BY created_at LIMIT $2",
        tenant,
        limit
    )?)
}

/// Whether there are completed conversations of which nothing was made yet.
pub async fn any_unprocessed(tx: &mut Tx) -> Result<bool> {
    Ok(scalar!(
        tx,
        bool,
        fetch_one,
        "SELECT EXISTS (SELECT 1 FROM conversations WHERE status = 'completed' AND processed_at IS NULL)"
    )?)
}

/// The conversation of one attempt or session, locked until the transaction ends.
pub async fn locked(tx: &mut Tx, id: &str) -> Result<Option<Conversation>> {
    Ok(lock(tx, &[id]).await?.pop())
}

/// The conversation of one attempt or session.
pub async fn conversation(tx: &mut Tx, attempt_id: &str) -> Result<Option<Conversation>> {
    Ok(fetch!(
        tx,
        Conversation,
        fetch_optional,
        concat!("SELECT ", columns!(), " FROM conversations WHERE id = $1"),
        attempt_id
    )?)
}

/// The conversations of these attempts, locked until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, attempt_ids: &[&str]) -> Result<Vec<Conversation>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM conversations WHERE id IN ("));
            let mut ids = q.separated(", ");
            for id in attempt_ids {
                ids.push_bind(*id);
            }
            q.push(") ORDER BY id").push(lock);
        },
        build_query_as::<Conversation>().fetch_all
    )?)
}

/// Writes conversations that were read, or found to be missing, under the lock of their calls.
pub(super) async fn put(tx: &mut Tx, conversations: &[Conversation], now: DateTime<Utc>) -> Result<()> {
    // 19 binds a row: well inside SQLite's and PostgreSQL's limits.
    for batch in conversations.chunks(200) {
        let written = dynamic!(
            tx,
            |q| {
                q.push(concat!("INSERT INTO conversations (", columns!(), ") "));
                q.push_values(batch, |mut row, c| {
                    row.push_bind(&c.id)
                        .push_bind(&c.tenant)
                        .push_bind(&c.account)
                        .push_bind(c.status)
                        .push_bind(c.tries)
                        .push_bind(c.next_try_at)
                        .push_bind(c.last_error.as_deref())
                        .push_bind(c.started_at)
                        .push_bind(c.ended_at)
                        .push_bind(c.duration_seconds)
                        .push_bind(c.cost_usd)
                        .push_bind(c.summary.as_deref())
                        .push_bind(c.transcript.as_deref())
                        .push_bind(c.analysis.as_deref())
                        .push_bind(c.raw.as_deref())
                        .push_bind(c.processed_at)
                        .push_bind(c.contact_id.as_deref())
                        .push_bind(c.created_at)
                        .push_bind(now);
                });
                q.push(
                    " ON CONFLICT (id) DO UPDATE SET status = excluded.status, tries = excluded.tries, \
                     next_try_at = excluded.next_try_at, last_error = excluded.last_error, \
                     started_at = excluded.started_at, ended_at = excluded.ended_at, \
                     duration_seconds = excluded.duration_seconds, cost_usd = excluded.cost_usd, \
                     summary = excluded.summary, transcript = excluded.transcript, analysis = excluded.analysis, \
                     raw = excluded.raw, processed_at = excluded.processed_at, updated_at = excluded.updated_at",
                );
            },
            execute
        )?;
        if written != batch.len() as u64 {
            return Err(StoreError::Conflict(format!("{written} of {} conversations could be written", batch.len())));
        }
    }
    Ok(())
}

/// Whether there is, or may be, something that the provider recorded of an attempt that is over.
fn has_conversation(attempt: &Attempt) -> bool {
    let is_named = attempt.provider_call_id.is_some() && attempt.state != AttemptState::Void;
    !attempt.state.is_live() && (attempt.state == AttemptState::Ended || is_named)
}

/// Takes what the observations say of conversations into their records, and has the provider asked for the rest. Yields
/// what this did to the records of attempts.
pub(super) async fn tell(
    tx: &mut Tx,
    attempts: &[&Attempt],
    observations: &[Observation],
    now: DateTime<Utc>,
) -> Result<HashMap<String, Told>> {
    let mut told = HashMap::new();
    let over: Vec<&Attempt> = attempts.iter().copied().filter(|attempt| has_conversation(attempt)).collect();
    if over.is_empty() {
        return Ok(told);
    }
    let ids: Vec<&str> = over.iter().map(|attempt| attempt.id.as_str()).collect();
    let known = lock(tx, &ids).await?;
    let mut written = Vec::new();
    for attempt in over {
        let before = known.iter().find(|conversation| conversation.id == attempt.id);
        let wanted = before
            .cloned()
            .unwrap_or_else(|| Conversation::wanted(&attempt.id, &attempt.tenant, &attempt.account, now));
        let mut conversation = wanted.clone();
        for observation in observations.iter().filter(|observation| observation.attempt_id == attempt.id) {
            if let Seen::Ended(ending) = &observation.seen {
                conversation.take_in(&ending.record, now);
            }
        }
        if conversation != wanted {
            let is_complete = |one: &Conversation| one.status == ConversationStatus::Completed;
            let rest = is_complete(&conversation) && !is_complete(&wanted);
            told.insert(attempt.id.clone(), if rest { Told::TheRest } else { Told::Something });
        }
        if before != Some(&conversation) {
            written.push(conversation);
        }
    }
    put(tx, &written, now).await?;
    Ok(told)
}

/// Attempts of an account that are over, and of whose conversation the provider should be asked now, at most `limit`:
/// those first that wait longest.
pub async fn due(tx: &mut Tx, account: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Attempt>> {
    Ok(fetch!(
        tx,
        Attempt,
        fetch_all,
        concat!(
            "SELECT ",
            attempts::columns!(),
            " FROM attempts WHERE id IN (SELECT c.id FROM conversations c JOIN attempts a ON a.id = c.id
                                         WHERE c.account = $1 AND c.next_try_at <= $2
                                         ORDER BY c.next_try_at LIMIT $3)
              ORDER BY ended_at"
        ),
        account,
        now,
        limit
    )?)
}

/// Records that the provider was asked for a record and that this did not complete it, under the lock of its call. Yields
/// where it stands now; none when it is not wanted, was completed, or was asked for by somebody else meanwhile.
pub async fn unfinished(tx: &mut Tx, id: &str, what: Unfinished, now: DateTime<Utc>) -> Result<Option<Asked>> {
    let known = lock(tx, &[id]).await?.pop();
    let is_due = |known: &Conversation| known.next_try_at.is_some_and(|at| at <= now);
    let Some(known) = known.filter(is_due) else { return Ok(None) };
    // Somebody may say that it is over while it goes on.
    let wanted_since = known.ended_at.map_or(known.created_at, |ended_at| ended_at.max(known.created_at)).min(now);
    let asked = asked(wanted_since, known.tries, what, now);
    let written = execute!(
        tx,
        "UPDATE conversations SET status = $2, tries = $3, next_try_at = $4, last_error = $5, updated_at = $6
         WHERE id = $1 AND next_try_at <= $6",
        id,
        asked.status,
        asked.tries,
        asked.next_try_at,
        asked.last_error.as_deref(),
        now
    )?;
    if written == 1 {
        Ok(Some(asked))
    } else {
        Err(StoreError::Conflict(format!("the conversation of attempt {id} was asked for by another")))
    }
}

/// Has the provider asked for a record at the next opportunity, if it is still asked for.
pub async fn ask_soon(tx: &mut Tx, id: &str, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE conversations SET next_try_at = $2, updated_at = $2 WHERE id = $1 AND next_try_at > $2",
        id,
        now
    )?;
    Ok(())
}

/// Conversations that somebody should look at, of one account.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Neglected {
    /// The account.
    pub account: String,
    /// How many should have been asked for before a moment, and were not.
    pub overdue: i64,
    /// How many were given up, of those wanted since another moment.
    pub failed: i64,
    /// How many were taken though they lack something, of the same.
    pub incomplete: i64,
}

/// Counts, for each account that has any, conversations that were to be asked for before `due_before`, and of those wanted
/// since `since` those that were given up or taken as they were.
pub async fn neglected(tx: &mut Tx, due_before: DateTime<Utc>, since: DateTime<Utc>) -> Result<Vec<Neglected>> {
    Ok(fetch!(
        tx,
        Neglected,
        fetch_all,
        "SELECT account, CAST(sum(overdue) AS BIGINT) AS overdue, CAST(sum(failed) AS BIGINT) AS failed,
                CAST(sum(incomplete) AS BIGINT) AS incomplete
         FROM (SELECT account, 1 AS overdue, 0 AS failed, 0 AS incomplete
               FROM conversations WHERE next_try_at < $1
               UNION ALL
               SELECT account, 0, CASE WHEN status = 'failed' THEN 1 ELSE 0 END,
                      CASE WHEN status = 'failed' THEN 0 ELSE 1 END
               FROM conversations
               WHERE created_at >= $2 AND next_try_at IS NULL AND last_error IS NOT NULL) AS found
         GROUP BY account ORDER BY account",
        due_before,
        since
    )?)
}

/// A conversation as it is listed.
#[derive(Clone, Debug, FromRow)]
pub struct ConversationRow {
    /// The attempt whose conversation it is.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The phone that was called, E.164; none of a session.
    pub phone: Option<String>,
    /// The account that the call was placed with.
    pub account: String,
    /// The provider's id of the call.
    pub provider_call_id: Option<String>,
    /// How far the record is.
    pub status: ConversationStatus,
    /// How often the provider was asked for it, and it was not complete.
    pub tries: i64,
    /// What was wrong when it was last asked.
    pub last_error: Option<String>,
    /// Its length in seconds.
    pub duration_seconds: Option<i64>,
    /// What it cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// What was said, in short.
    pub summary: Option<String>,
    /// When it was first known to be wanted.
    pub created_at: DateTime<Utc>,
}

/// Conversations, newest first.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<ConversationRow>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(
                "SELECT c.id, c.tenant, a.phone, c.account, coalesce(a.provider_call_id, s.conversation_id) AS \
                 provider_call_id, c.status, c.tries, c.last_error, \
                 c.duration_seconds, c.cost_usd, c.summary, c.created_at \
                 FROM conversations c LEFT JOIN attempts a ON a.id = c.id LEFT JOIN sessions s ON s.id = c.id WHERE TRUE",
            );
            for (condition, value) in [
                (" AND c.tenant = ", &filter.tenant),
                (" AND a.campaign_id = ", &filter.campaign_id),
                (" AND a.phone = ", &filter.phone),
                (" AND c.status = ", &filter.status),
            ] {
                if let Some(value) = value {
                    q.push(condition).push_bind(value.clone());
                }
            }
            if let Some(since) = filter.since {
                q.push(" AND c.created_at >= ").push_bind(since);
            }
            q.push(" ORDER BY c.created_at DESC, c.id DESC LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<ConversationRow>().fetch_all
    )?)
}
