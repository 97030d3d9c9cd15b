//! Sessions: what applications tell of the conversations that their users have in a browser, or by calling.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::TimeDelta;
use futures_util::future::LocalBoxFuture;
use serde_json::{Map, Value, json};

use super::caller::{open, problem};
use super::{Server, reply};
use crate::app::App;
use crate::commands::calling::records::{self, Processed};
use crate::commands::calling::sessions as calling;
use crate::domain::call_status::{FieldProblem, is_id};
use crate::domain::conversation::ConversationStatus;
use crate::domain::session::{DEFAULT_SESSION_TIMEOUT_SECONDS, SessionStatus};
use crate::error::message;
use crate::store::records::Kind;
use crate::store::sessions::{self, Said, Session};
use crate::store::{self, StoreError, conversations, events, setup};

/// The longest metadata, as JSON.
const MAX_METADATA_BYTES: usize = 64 * 1024;

/// An answer, and its status.
type Told = (StatusCode, Value);

/// `POST /voice/sessions`.
pub(super) async fn begin(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (tenant, body) = match open(&server, request).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    let wanted = match Wanted::read(&body) {
        Ok(wanted) => wanted,
        Err(problems) => return reply::wrong_shape(&problems),
    };
    answer(&server, move |app| Box::pin(async move { begin_session(&app, &tenant, wanted).await })).await
}

/// `POST /voice/sessions/{id}/end`.
pub(super) async fn end(State(server): State<Arc<Server>>, Path(id): Path<String>, request: Request) -> Response {
    let (tenant, body) = match open(&server, request).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    let mut problems = Vec::new();
    let conversation_id = id_in(&body, "conversation_id", &mut problems);
    if !problems.is_empty() {
        return reply::wrong_shape(&problems);
    }
    answer(&server, move |app| Box::pin(async move { end_session(&app, &tenant, &id, conversation_id).await })).await
}

/// `GET /voice/sessions/{id}/status`.
pub(super) async fn status(State(server): State<Arc<Server>>, Path(id): Path<String>, request: Request) -> Response {
    let (tenant, _) = match open(&server, request).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    answer(&server, move |app| Box::pin(async move { status_of(&app, &tenant, &id).await })).await
}

/// `POST /voice/sessions/{id}/process`.
pub(super) async fn process(State(server): State<Arc<Server>>, Path(id): Path<String>, request: Request) -> Response {
    let (tenant, _) = match open(&server, request).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    answer(&server, move |app| Box::pin(async move { process_session(&app, &tenant, &id).await })).await
}

/// Does what needs the database on the app's thread, whether or not the client waits for it.
async fn answer(
    server: &Server,
    work: impl FnOnce(std::rc::Rc<App>) -> LocalBoxFuture<'static, anyhow::Result<Told>> + Send + 'static,
) -> Response {
    match server.desk.ask(work).await.flatten() {
        Ok((status, told)) => reply::object(status, &told),
        Err(error) => {
            // Two were told the same conversation at one moment.
            if error.downcast_ref::<StoreError>().is_some_and(StoreError::is_double) {
                return reply::refusal(StatusCode::CONFLICT, "another session has this conversation");
            }
            tracing::error!(error = %message(&error), "what was told of a session could not be stored");
            reply::failed()
        }
    }
}

/// What a new session holds.
#[derive(Debug)]
struct Wanted {
    external_id: Option<String>,
    conversation_id: Option<String>,
    metadata: String,
}

impl Wanted {
    fn read(body: &Map<String, Value>) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let external_id = id_in(body, "external_id", &mut problems);
        let conversation_id = id_in(body, "conversation_id", &mut problems);
        let metadata = match body.get("metadata") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::Object(metadata)) => Value::Object(metadata.clone()).to_string(),
            Some(_) => {
                problems.push(problem("metadata", "must be an object"));
                String::new()
            }
        };
        if metadata.len() > MAX_METADATA_BYTES {
            problems.push(problem("metadata", "must be at most 64 KiB"));
        }
        if problems.is_empty() { Ok(Self { external_id, conversation_id, metadata }) } else { Err(problems) }
    }
}

fn id_in(body: &Map<String, Value>, key: &str, problems: &mut Vec<FieldProblem>) -> Option<String> {
    match body.get(key) {
        None | Some(Value::Null) => None,
        Some(id) => {
            let id = id.as_str().filter(|id| is_id(id));
            if id.is_none() {
                problems.push(problem(key, "must be an id, as text of at most 200 characters"));
            }
            id.map(str::to_owned)
        }
    }
}

async fn begin_session(app: &App, tenant: &str, wanted: Wanted) -> anyhow::Result<Told> {
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let settings = setup::tenant(&mut tx, tenant).await?.map(|tenant| tenant.settings()).transpose()?;
    drop(tx);
    let Some(settings) = settings else { return Ok(missing("tenant")) };
    let Some(account) = settings.voice_account else {
        let error = "the tenant has no voice_account: nobody could be asked for the conversation";
        return Ok((StatusCode::CONFLICT, json!({"error": error})));
    };
    let timeout = TimeDelta::seconds(settings.session_timeout_seconds.unwrap_or(DEFAULT_SESSION_TIMEOUT_SECONDS));
    let now = app.clock.now();
    let session = Session {
        id: app.new_id(),
        tenant: tenant.to_owned(),
        account,
        external_id: wanted.external_id,
        status: SessionStatus::Active,
        conversation_id: wanted.conversation_id,
        metadata: wanted.metadata,
        started_at: now,
        ended_at: None,
        next_check_at: Some(now + timeout),
        updated_at: now,
    };
    Ok(match db.write(async |tx| sessions::begin(tx, &session).await).await? {
        Said::Done(session) => (StatusCode::CREATED, json!({"id": session.id, "status": word(session.status)})),
        Said::NotIts(why) => (StatusCode::CONFLICT, json!({"error": why})),
        Said::Nobody => missing("session"),
    })
}

async fn end_session(app: &App, tenant: &str, id: &str, conversation_id: Option<String>) -> anyhow::Result<Told> {
    let db = app.db().await?;
    let now = app.clock.now();
    let ended = db
        .write(async |tx| {
            let known = sessions::session(tx, id).await?.filter(|session| session.tenant == tenant);
            if known.is_none() {
                return Ok(Said::Nobody);
            }
            sessions::tell(tx, id, conversation_id.as_deref(), Some(now), now).await
        })
        .await?;
    let session = match ended {
        Said::Done(session) => session,
        Said::NotIts(why) => return Ok((StatusCode::CONFLICT, json!({"error": why}))),
        Said::Nobody => return Ok(missing("session")),
    };
    // It is over whether or not the provider answers; what is missing is asked for by the next runs.
    if let Err(error) = calling::ask_now(app, &session).await {
        tracing::warn!(session = %session.id, error = %message(&error), "a session's conversation is not here yet");
    }
    Ok((StatusCode::OK, json!({"status": "success"})))
}

async fn process_session(app: &App, tenant: &str, id: &str) -> anyhow::Result<Told> {
    let Some(session) = session_of(app, tenant, id).await? else { return Ok(missing("session")) };
    let mut tx = app.db().await?.read().await?;
    let conversation = conversations::conversation(&mut tx, id).await?;
    drop(tx);
    let is_whole = |known: &conversations::Conversation| {
        known.status == ConversationStatus::Completed && known.last_error.is_none()
    };
    let processed = if conversation.as_ref().is_some_and(is_whole) {
        records::process(app, id).await?
    } else {
        calling::ask_now(app, &session).await?
    };
    Ok(match processed {
        Processed::Now | Processed::Before => (StatusCode::OK, json!({"status": "processed"})),
        Processed::NotYet(why) => (StatusCode::OK, json!({"status": "pending", "reason": why})),
    })
}

async fn status_of(app: &App, tenant: &str, id: &str) -> anyhow::Result<Told> {
    let Some(session) = session_of(app, tenant, id).await? else { return Ok(missing("session")) };
    let mut tx = app.db().await?.read().await?;
    let conversation = conversations::conversation(&mut tx, id).await?;
    let booking = store::records::of_conversation(&mut tx, Kind::Booking, id).await?;
    let ticket = store::records::of_conversation(&mut tx, Kind::Ticket, id).await?;
    let webhook_processed = events::told_end_of(&mut tx, id).await?;
    let told = json!({
        "session_status": word(session.status),
        "processing_status": calling::processing_status(conversation.as_ref()).map(ConversationStatus::as_str),
        "has_customer_data": conversation.as_ref().is_some_and(|known| known.contact_id.is_some()),
        "has_booking": booking.is_some(),
        "has_ticket": ticket.is_some(),
        "webhook_processed": webhook_processed,
    });
    Ok((StatusCode::OK, told))
}

async fn session_of(app: &App, tenant: &str, id: &str) -> anyhow::Result<Option<Session>> {
    let mut tx = app.db().await?.read().await?;
    Ok(sessions::session(&mut tx, id).await?.filter(|session| session.tenant == tenant))
}

fn missing(what: &str) -> Told {
    (StatusCode::NOT_FOUND, json!({"error": format!("there is no such {what}")}))
}

fn word(status: SessionStatus) -> String {
    status.as_str().to_uppercase()
}
