//! Sessions, as the applications behind them tell of them.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::conversations::{self, Conversation, Told};
use super::listing::Filter;
use super::{Result, Tx, attempts, dynamic, execute, fetch};
use crate::domain::conversation::{ConversationStatus, Record};
use crate::domain::session::SessionStatus;

/// One session.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Session {
    /// ULID; the name by which the provider may know the conversation (its user id).
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The account whose provider holds the conversation.
    pub account: String,
    /// The application's own id of it.
    pub external_id: Option<String>,
    /// Whether it goes on.
    pub status: SessionStatus,
    /// The provider's id of the conversation.
    pub conversation_id: Option<String>,
    /// What the application says of it, as a JSON object.
    pub metadata: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// When the provider is asked whether one that nobody ended is over.
    pub next_check_at: Option<DateTime<Utc>>,
    /// When anything about it last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! columns {
    () => {
        "id, tenant, account, external_id, status, conversation_id, metadata, started_at, ended_at, next_check_at, updated_at"
    };
}

/// Stores a session that begins. One that was begun before, by the same tenant with the same ids, is given back instead:
/// the answer to the first request may have been lost.
pub async fn begin(tx: &mut Tx, session: &Session) -> Result<Said> {
    if let Some(conversation_id) = &session.conversation_id {
        let known = of_conversation(tx, &session.account, conversation_id).await?;
        let is_same = |known: &Session| known.tenant == session.tenant && known.external_id == session.external_id;
        if let Some(known) = known.filter(is_same) {
            return Ok(Said::Done(known));
        }
        if let Some(why) = why_taken(tx, &session.account, conversation_id).await? {
            return Ok(Said::NotIts(why));
        }
    }
    let stored = execute!(
        tx,
        "INSERT INTO sessions (id, tenant, account, external_id, status, conversation_id, metadata, started_at,
                               next_check_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8) ON CONFLICT DO NOTHING",
        &session.id,
        &session.tenant,
        &session.account,
        session.external_id.as_deref(),
        session.status,
        session.conversation_id.as_deref(),
        &session.metadata,
        session.started_at,
        session.next_check_at
    )?;
    Ok(if stored == 1 { Said::Done(session.clone()) } else { Said::NotIts("another session has this conversation") })
}

/// One session by id.
pub async fn session(tx: &mut Tx, id: &str) -> Result<Option<Session>> {
    Ok(fetch!(tx, Session, fetch_optional, concat!("SELECT ", columns!(), " FROM sessions WHERE id = $1"), id)?)
}

/// A session, locked until the transaction ends.
async fn lock(tx: &mut Tx, id: &str) -> Result<Option<Session>> {
    let lock = tx.lock_clause();
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM sessions WHERE id = ")).push_bind(id).push(lock);
        },
        build_query_as::<Session>().fetch_optional
    )?)
}

/// The session with this conversation at an account.
pub async fn of_conversation(tx: &mut Tx, account: &str, conversation_id: &str) -> Result<Option<Session>> {
    Ok(fetch!(
        tx,
        Session,
        fetch_optional,
        concat!("SELECT ", columns!(), " FROM sessions WHERE conversation_id = $1 AND account = $2"),
        conversation_id,
        account
    )?)
}

/// What became of telling a session something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It stands so now.
    Done(Session),
    /// There is no such session.
    Nobody,
    /// It cannot have that conversation, and nothing was changed.
    NotIts(&'static str),
}

/// Why a session cannot have a conversation; none when it can.
async fn why_not_its(tx: &mut Tx, session: &Session, conversation_id: &str) -> Result<Option<&'static str>> {
    match &session.conversation_id {
        Some(known) if known == conversation_id => return Ok(None),
        Some(_) => return Ok(Some("the session has another conversation")),
        None => {}
    }
    why_taken(tx, &session.account, conversation_id).await
}

/// Whose a conversation is already; none when it is nobody's.
pub async fn why_taken(tx: &mut Tx, account: &str, conversation_id: &str) -> Result<Option<&'static str>> {
    if of_conversation(tx, account, conversation_id).await?.is_some() {
        return Ok(Some("another session has this conversation"));
    }
    let calls = attempts::of_provider_call(tx, conversation_id).await?;
    Ok(calls.iter().any(|attempt| attempt.account == account).then_some("a call has this conversation"))
}

/// Says which conversation a session is, where that was not known, and ends it, if `ended_at` is given; its conversation is
/// wanted from then on.
pub async fn tell(
    tx: &mut Tx,
    id: &str,
    conversation_id: Option<&str>,
    ended_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Said> {
    let Some(mut session) = lock(tx, id).await? else { return Ok(Said::Nobody) };
    if let Some(told) = conversation_id {
        if let Some(why) = why_not_its(tx, &session, told).await? {
            return Ok(Said::NotIts(why));
        }
        session.conversation_id = Some(told.to_owned());
    }
    if let (SessionStatus::Active, Some(ended_at)) = (session.status, ended_at) {
        session.status = SessionStatus::Completed;
        session.ended_at = Some(ended_at);
        session.next_check_at = None;
    }
    let written = execute!(
        tx,
        "UPDATE sessions SET conversation_id = $2, status = $3, ended_at = $4, next_check_at = $5, updated_at = $6
         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM sessions other WHERE other.conversation_id = $2
                                       AND other.account = sessions.account AND other.id <> $1)",
        &session.id,
        session.conversation_id.as_deref(),
        session.status,
        session.ended_at,
        session.next_check_at,
        now
    )?;
    if written != 1 {
        return Ok(Said::NotIts("another session has this conversation"));
    }
    if session.status == SessionStatus::Completed && conversations::lock(tx, &[id]).await?.is_empty() {
        let wanted = Conversation::wanted(&session.id, &session.tenant, &session.account, now);
        conversations::put(tx, &[wanted], now).await?;
    }
    Ok(Said::Done(session))
}

/// Takes what the provider recorded of a session's conversation into its record. Yields what that did.
pub async fn record(tx: &mut Tx, session: &Session, record: &Record, now: DateTime<Utc>) -> Result<Told> {
    let known = conversations::lock(tx, &[&session.id]).await?.pop();
    let wanted =
        known.clone().unwrap_or_else(|| Conversation::wanted(&session.id, &session.tenant, &session.account, now));
    let mut conversation = wanted.clone();
    conversation.take_in(record, now);
    if known.as_ref() == Some(&conversation) {
        return Ok(Told::Nothing);
    }
    let is_complete = |one: &Conversation| one.status == ConversationStatus::Completed;
    let rest = is_complete(&conversation) && !is_complete(&wanted);
    conversations::put(tx, &[conversation], now).await?;
    Ok(if rest { Told::TheRest } else { Told::Something })
}

/// Sessions of an account that are over, and of whose conversation the provider should be asked now, at most `limit`.
pub async fn due(tx: &mut Tx, account: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Session>> {
    Ok(fetch!(
        tx,
        Session,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM sessions WHERE id IN (SELECT c.id FROM conversations c JOIN sessions s ON s.id = c.id
                                         WHERE c.account = $1 AND c.next_try_at <= $2
                                         ORDER BY c.next_try_at LIMIT $3)
              ORDER BY ended_at"
        ),
        account,
        now,
        limit
    )?)
}

/// Sessions of an account that nobody ended by their deadline, at most `limit`.
pub async fn overdue(tx: &mut Tx, account: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Session>> {
    Ok(fetch!(
        tx,
        Session,
        fetch_all,
        concat!(
            "SELECT ",
            columns!(),
            " FROM sessions WHERE account = $1 AND next_check_at <= $2 ORDER BY next_check_at LIMIT $3"
        ),
        account,
        now,
        limit
    )?)
}

/// Has the provider asked later whether a session is over.
pub async fn check_later(tx: &mut Tx, id: &str, next_check_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE sessions SET next_check_at = $2, updated_at = $3 WHERE id = $1 AND status = 'active'",
        id,
        next_check_at,
        now
    )?;
    Ok(())
}

/// Sessions, newest first.
pub async fn list(tx: &mut Tx, filter: &Filter) -> Result<Vec<Session>> {
    Ok(dynamic!(
        tx,
        |q| {
            q.push(concat!("SELECT ", columns!(), " FROM sessions WHERE TRUE"));
            if let Some(tenant) = &filter.tenant {
                q.push(" AND tenant = ").push_bind(tenant.clone());
            }
            if let Some(status) = &filter.status {
                q.push(" AND status = ").push_bind(status.clone());
            }
            if let Some(since) = filter.since {
                q.push(" AND started_at >= ").push_bind(since);
            }
            q.push(" ORDER BY started_at DESC, id DESC LIMIT ").push_bind(filter.limit);
        },
        build_query_as::<Session>().fetch_all
    )?)
}
