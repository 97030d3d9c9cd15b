//! Answers, sound and otherwise.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};

/// How long the first half of a cut answer gets to leave.
const FLUSH: Duration = Duration::from_millis(20);

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct HangUp;

/// How an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Whole,
    /// The connection closes in the middle of the body.
    Cut,
    /// The body is no JSON.
    Garbage,
    /// The connection closes without a byte.
    HangUp,
}

#[derive(Debug)]
enum Content {
    Json(Value),
    /// As it goes out; empty where an answer has no body.
    Text(String),
}

#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    content: Content,
    headers: Vec<(&'static str, String)>,
    manner: Manner,
    pub(super) delay: Duration,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::new(status, Content::Json(body))
    }

    /// What is written as it is, without a copy of it all in memory: pages of a thousand things.
    pub(super) fn written(status: u16, body: &impl Serialize) -> Self {
        Self::new(status, Content::Text(serde_json::to_string(body).unwrap_or_default()))
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::Text(String::new()))
    }

    fn new(status: u16, content: Content) -> Self {
        Self { status, content, headers: Vec::new(), manner: Manner::Whole, delay: Duration::ZERO }
    }

    /// An error in the service's usual form; `message` is a text or a list of them.
    pub(super) fn error(status: u16, message: &Value) -> Self {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        Self::json(status, json!({"message": message, "error": reason.unwrap_or("Error"), "statusCode": status}))
    }

    pub(super) fn hang_up() -> Self {
        Self::json(500, Value::Null).with(Manner::HangUp)
    }

    pub(super) fn with(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    pub(super) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(super) fn retry_after(mut self, retry_after: Option<String>) -> Self {
        self.headers.extend(retry_after.map(|text| ("retry-after", text)));
        self
    }

    /// With headers besides; their names are in lower case.
    pub(super) fn headers(mut self, headers: Vec<(&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        if let Content::Text(text) = &self.content {
            self.content = Content::Json(serde_json::from_str(text).unwrap_or_default());
        }
        if let Content::Json(Value::Object(body)) = &mut self.content {
            body.remove(key);
        }
        self
    }

    /// The status that the client sees; none when it sees nothing.
    pub(super) fn status_seen(&self) -> Option<u16> {
        (self.manner != Manner::HangUp).then_some(self.status)
    }

    pub(super) fn into_response(self) -> Response {
        let text = match self.content {
            Content::Json(body) => body.to_string(),
            Content::Text(text) => text,
        };
        let length = text.len();
        let body = match self.manner {
            Manner::Whole => Body::from(text),
            Manner::Garbage => Body::from(format!("<html>{}", &text[..text.len().min(20)].escape_default())),
            Manner::Cut => {
                let half = text.into_bytes()[..length / 2].to_vec();
                let cut = stream::once(async {
                    // Without a pause the headers would be cut as well.
                    tokio::time::sleep(FLUSH).await;
                    Err(io::Error::other("cut as told"))
                });
                Body::from_stream(stream::once(async { Ok(half) }).chain(cut))
            }
            Manner::HangUp => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if length > 0 {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        if self.manner == Manner::Cut {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        for (name, text) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if self.manner == Manner::HangUp {
            response.extensions_mut().insert(HangUp);
        }
        response
    }
}
