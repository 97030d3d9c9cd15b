//! ElevenLabs' post-call webhooks. Only 200 counts there: ten failures in a row may turn a webhook off.
//!
//! One of their types holds the whole sound of a conversation, of which nothing is kept: such a body is hashed piece by
//! piece, to know who sent it, and thrown away.

use std::cell::Cell;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::json;

use super::{HASHED_AT_ONCE_BYTES, store};
use crate::commands::calling::inbox::{self, Incoming};
use crate::domain::event::{EventSource, Scope};
use crate::domain::signature::elevenlabs::SIGNATURE_HEADER;
use crate::error::message;
use crate::providers::elevenlabs::webhook::AUDIO;
use crate::server::body::{self, Taken};
use crate::server::keyring::{Keys, Looking};
use crate::server::{Server, reply};

/// `POST /voice/post_call`, `/api/voice/post_call`.
pub(in crate::server) async fn post_call(State(server): State<Arc<Server>>, request: Request) -> Response {
    take(&server, request, None).await
}

/// `POST /voice/post_call/{account}`, `/api/voice/post_call/{account}`.
pub(in crate::server) async fn post_call_of(
    State(server): State<Arc<Server>>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    take(&server, request, Some(account)).await
}

async fn take(server: &Arc<Server>, request: Request, named: Option<String>) -> Response {
    let (parts, body) = request.into_parts();
    let keys = match server.keyring.keys(server).await {
        Ok(keys) => keys,
        Err(error) => return unverified(&error),
    };
    let mut looking = look(&keys, named.as_deref(), &parts.headers);
    let taken = if looking.is_nobodys() {
        // Whoever shows no signature has nothing to say at length.
        body::read(server, body).await.map(Taken::Whole)
    } else {
        let see = |piece: &[u8]| looking.update(piece);
        body::read_or_show(server, body, |start| type_of(start).as_deref() == Some(AUDIO), see).await
    };
    let held = match taken {
        Err(answer) => return answer,
        Ok(Taken::Whole(held)) => held,
        Ok(Taken::Shown) => {
            return match looking.finish(server.clock.now()) {
                Some(_) => not_kept("it is too long to be kept"),
                None => reply::stranger(),
            };
        }
    };
    let verified = match verified(server, keys, named, &parts.headers, &held.bytes).await {
        Ok(Some(verified)) => verified,
        Ok(None) => return reply::stranger(),
        Err(error) => return unverified(&error),
    };
    let (scope, is_old) = verified;
    let incoming = match Incoming::read(EventSource::ElevenLabs, scope, &held.bytes) {
        Ok(incoming) => incoming,
        Err(problems) => return reply::wrong_shape(&problems),
    };
    if incoming.is_sound() {
        return not_kept("no sound is kept");
    }
    if !is_old {
        return store(server, incoming, held).await;
    }
    drop(held);
    let work = move |app: std::rc::Rc<crate::app::App>| -> futures_util::future::LocalBoxFuture<'static, _> {
        Box::pin(async move { inbox::ask_instead(&app, &incoming).await })
    };
    match server.desk.ask(work).await.flatten() {
        Ok(_) => not_kept("it was signed long ago: the provider is asked instead"),
        Err(error) => {
            tracing::error!(error = %message(&error), "a webhook with an old signature could not be heeded");
            reply::failed()
        }
    }
}

/// 200 to what is not stored.
fn not_kept(reason: &str) -> Response {
    reply::object(StatusCode::OK, &json!({"applied": false, "reason": reason, "event_id": null}))
}

fn unverified(error: &anyhow::Error) -> Response {
    tracing::warn!(error = %message(error), "a webhook could not be verified");
    reply::failed()
}

fn look(keys: &Keys, named: Option<&str>, headers: &HeaderMap) -> Looking {
    keys.elevenlabs(named, headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()))
}

/// Whom a delivery speaks for, and whether it was signed too long ago. Where no secret fits, they are read anew, at most
/// once a second: one may be new.
async fn verified(
    server: &Arc<Server>,
    keys: Arc<Keys>,
    named: Option<String>,
    headers: &HeaderMap,
    body: &Bytes,
) -> anyhow::Result<Option<(Scope, bool)>> {
    if let Some(found) = finish(server, look(&keys, named.as_deref(), headers), body).await? {
        return Ok(Some(found));
    }
    match server.keyring.newer_keys(server).await? {
        Some(keys) => finish(server, look(&keys, named.as_deref(), headers), body).await,
        None => Ok(None),
    }
}

async fn finish(server: &Server, mut looking: Looking, body: &Bytes) -> anyhow::Result<Option<(Scope, bool)>> {
    let now = server.clock.now();
    if looking.is_nobodys() {
        return Ok(None);
    }
    if body.len() <= HASHED_AT_ONCE_BYTES {
        looking.update(body);
        return Ok(looking.finish(now));
    }
    // One at a time: strangers must not keep every processor busy with hashing.
    let _turn = server.hashing.acquire().await?;
    let body = body.clone();
    Ok(tokio::task::spawn_blocking(move || {
        looking.update(&body);
        looking.finish(now)
    })
    .await?)
}

/// The type of a message, from its beginning: none where it does not come before what is long.
fn type_of(start: &[u8]) -> Option<String> {
    let found = Cell::new(None);
    // Whatever is wrong with the rest, such as that it is not here, is no matter.
    let _ = serde_json::Deserializer::from_slice(start).deserialize_map(Peek(&found));
    found.into_inner()
}

struct Peek<'a>(&'a Cell<Option<String>>);

impl<'de> Visitor<'de> for Peek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with a type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "type" {
                self.0.set(Some(map.next_value::<String>()?));
                return Err(A::Error::custom("the type is known"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::type_of;

    #[test]
    fn the_type_is_read_from_the_beginning_of_a_message() {
        for (start, kind) in [
            (r#"{"type": "post_call_audio", "data": {"full_audio": "SUQz"#, Some("post_call_audio")),
            (r#"{"event_timestamp": 1, "type": "post_call_audio", "da"#, Some("post_call_audio")),
            (r#"{"data": {"type": "post_call_audio"}, "type": "x"}"#, Some("x")),
            (r#"{"data": {"full_audio": "SUQz"#, None),
            (r#"{"type": "post_call_a"#, None),
            (r#"{"type": 7, "x": "#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(type_of(start.as_bytes()).as_deref(), kind, "{start}");
        }
    }
}
