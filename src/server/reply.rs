//! Answers.

use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::domain::call_status::FieldProblem;

/// An object as JSON.
pub(super) fn object(status: StatusCode, object: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, headers, object.to_string()).into_response()
}

/// A refusal in one sentence.
pub(super) fn refusal(status: StatusCode, sentence: &str) -> Response {
    object(status, &json!({"error": sentence}))
}

/// 401, which does not say what was missing or wrong.
pub(super) fn stranger() -> Response {
    refusal(StatusCode::UNAUTHORIZED, "unauthorized")
}

/// 400, with each field that is missing or wrong.
pub(super) fn wrong_shape(problems: &[FieldProblem]) -> Response {
    object(StatusCode::BAD_REQUEST, &json!({"error": "the body has the wrong shape", "fields": problems}))
}

/// 500. What failed is in the log.
pub(super) fn failed() -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "it could not be stored; send it again")
}
