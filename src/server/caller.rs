//! The tenant whose application asks, by its token.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use serde_json::{Map, Value};

use super::{Server, body, reply};
use crate::domain::call_status::FieldProblem;
use crate::domain::signature::vapi::bearer;
use crate::error::message;

/// The tenant whose token a request shows, and its body: an object, which an absent body is too.
pub(super) async fn open(server: &Arc<Server>, request: Request) -> Result<(String, Map<String, Value>), Response> {
    let (parts, body) = request.into_parts();
    let body = body::read(server, body).await?;
    let tenant = match tenant_of(server, &parts.headers).await {
        Ok(Some(tenant)) => tenant,
        Ok(None) => return Err(reply::stranger()),
        Err(error) => {
            tracing::warn!(error = %message(&error), "a token could not be looked up");
            return Err(reply::failed());
        }
    };
    if body.bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok((tenant, Map::new()));
    }
    match serde_json::from_slice(&body.bytes) {
        Ok(Value::Object(body)) => Ok((tenant, body)),
        _ => Err(reply::wrong_shape(&[problem("", "the body must be a JSON object")])),
    }
}

async fn tenant_of(server: &Arc<Server>, headers: &HeaderMap) -> anyhow::Result<Option<String>> {
    let Some(token) = headers.get(AUTHORIZATION).and_then(|header| bearer(header.to_str().ok()?)) else {
        return Ok(None);
    };
    if let Some(tenant) = server.keyring.keys(server).await?.tenant_of(token) {
        return Ok(Some(tenant));
    }
    Ok(server.keyring.newer_keys(server).await?.and_then(|keys| keys.tenant_of(token)))
}

/// What is wrong with a field of a body.
pub(super) fn problem(field: &str, problem: &str) -> FieldProblem {
    FieldProblem { field: field.to_owned(), problem: problem.to_owned() }
}
