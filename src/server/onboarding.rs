//! Onboarding: a business's application asks for its phone number.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::caller::{open, problem};
use super::{Server, reply};
use crate::app::App;
use crate::commands::provision_number::{Wishes, idempotency_key};
use crate::commands::renting::accounts::Setup;
use crate::commands::renting::purchase::{Asking, Provided, SECONDS_BETWEEN_PURCHASES, WAIT, WantedNumber};
use crate::domain::call_status::FieldProblem;
use crate::error::{Exit, classify, message};
use crate::store::numbers;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a request is waited for beyond the time that it itself waits for another one.
const MARGIN: Duration = Duration::from_millis(500);

/// What came of a request.
enum Told {
    Provided(Provided),
    /// The body asks for what cannot be had.
    Refused(String),
    /// The tenant's settings say nothing of numbers.
    NoNumbers(String),
}

/// `POST /api/businesses/{tenant}/complete-onboarding`.
///
/// A client that goes away changes nothing: what was begun goes on to its end.
pub(super) async fn complete(
    State(server): State<Arc<Server>>,
    Path(business): Path<String>,
    request: Request,
) -> Response {
    let key = request.headers().get(IDEMPOTENCY_KEY).cloned();
    let (tenant, body) = match open(&server, request).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    // Which businesses there are is not for those of another one.
    if tenant != business {
        return reply::refusal(StatusCode::NOT_FOUND, "there is no such business");
    }
    let (key, wishes) = match read(key.as_ref(), &body) {
        Ok(read) => read,
        Err(problems) => return reply::wrong_shape(&problems),
    };
    let intent = Arc::new(OnceLock::new());
    let seen = Arc::clone(&intent);
    let work = server.desk.ask(move |app| Box::pin(async move { provide(&app, &tenant, &wishes, key, &seen).await }));
    match tokio::time::timeout(WAIT + MARGIN, work).await.map(Result::flatten) {
        Ok(Ok(told)) => answer(told),
        Ok(Err(error)) => {
            if let (Exit::Unreachable, Some(id)) = (classify(&error), intent.get()) {
                // The intent stays, and whoever asks next goes on with it.
                tracing::warn!(business, error = %message(&error), "a number could not be provided yet");
                return answer(in_progress(id));
            }
            tracing::error!(business, error = %message(&error), "a number could not be provided");
            unavailable()
        }
        // It is being bought, and takes its time.
        Err(_) => match intent.get() {
            Some(id) => answer(in_progress(id)),
            None => unavailable(),
        },
    }
}

/// A moment is enough for most of what takes its time.
fn in_progress(purchase_id: &str) -> Told {
    Told::Provided(Provided::InProgress { purchase_id: purchase_id.to_owned(), retry_after_seconds: 5 })
}

/// What failed is in the log.
fn unavailable() -> Response {
    let said = json!({"success": false, "message": "The phone number could not be provided; try again later"});
    reply::object(StatusCode::SERVICE_UNAVAILABLE, &said)
}

fn read(key: Option<&HeaderValue>, body: &Map<String, Value>) -> Result<(Option<String>, Wishes), Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let key = key.map(|key| key.to_str().map_err(|error| error.to_string()).and_then(idempotency_key));
    let key = key.transpose().unwrap_or_else(|rule| {
        problems.push(problem("Idempotency-Key", &rule));
        None
    });
    let mut text = |field: &str| match body.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            problems.push(problem(field, "must be a text"));
            None
        }
    };
    let (country, area_code) = (text("country"), text("areaCode"));
    let capabilities: Option<Vec<String>> = match body.get("capabilities") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(words)) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let capabilities = capabilities.unwrap_or_else(|| {
        problems.push(problem("capabilities", "must be a list of texts"));
        Vec::new()
    });
    if problems.is_empty() { Ok((key, Wishes { country, area_code, capabilities })) } else { Err(problems) }
}

async fn provide(
    app: &App,
    name: &str,
    wishes: &Wishes,
    idempotency_key: Option<String>,
    intent: &OnceLock<String>,
) -> anyhow::Result<Told> {
    let setup = Setup::read(&mut app.db().await?.read().await?).await?;
    let Some(tenant) = setup.tenants.iter().find(|tenant| tenant.name == name) else {
        return Ok(Told::NoNumbers(format!("{name} has no numbers set up")));
    };
    let mut tx = app.db().await?.read().await?;
    let has = numbers::tenant_number(&mut tx, name).await?;
    drop(tx);
    // What a business has does not depend on what is wished for now.
    let wanted = match (wishes.read(tenant), has) {
        (Ok(wanted), _) => wanted,
        (Err(_), Some(_)) => WantedNumber::default(),
        (Err(failure), None) => return Ok(Told::Refused(failure.to_string())),
    };
    let on_intent = |id: &str| drop(intent.set(id.to_owned()));
    let asking = Asking { app, tenant, wanted, idempotency_key, on_intent: &on_intent };
    Ok(Told::Provided(asking.run(&setup).await?))
}

fn answer(told: Told) -> Response {
    let failed = |status, message: &str| (status, json!({"success": false, "message": message}), None);
    let (status, body, retry_after) = match told {
        Told::Provided(Provided::Number { phone, had, .. }) => {
            let message = if had { "Onboarding already complete" } else { "Onboarding complete" };
            let body = json!({"success": true, "message": message, "phoneNumber": phone, "alreadyComplete": had});
            (StatusCode::OK, body, None)
        }
        Told::Provided(Provided::InProgress { purchase_id, retry_after_seconds }) => {
            let message = "Onboarding is in progress";
            let body = json!({"success": false, "message": message, "inProgress": true, "intentId": purchase_id});
            (StatusCode::CONFLICT, body, Some(retry_after_seconds))
        }
        Told::Provided(Provided::TooSoon { retry_after_seconds }) => {
            let message = "Onboarding request rate limit exceeded";
            let body = json!({"success": false, "message": message});
            (StatusCode::TOO_MANY_REQUESTS, body, Some(retry_after_seconds.min(SECONDS_BETWEEN_PURCHASES)))
        }
        Told::Provided(Provided::Failed { purchase_id, reason }) => {
            let body = json!({"success": false, "message": reason, "intentId": purchase_id});
            (StatusCode::UNPROCESSABLE_ENTITY, body, None)
        }
        Told::Refused(problem) => failed(StatusCode::BAD_REQUEST, &problem),
        Told::NoNumbers(problem) => failed(StatusCode::UNPROCESSABLE_ENTITY, &problem),
    };
    let mut response = reply::object(status, &body);
    if let Some(seconds) = retry_after {
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
