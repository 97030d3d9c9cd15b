//! Bodies: how large, how slow, and how many at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Server;
use super::reply;

/// The longest body.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest body of which nothing is kept.
const MAX_SHOWN_BYTES: u64 = 256 * 1024 * 1024;
/// How long such a body may take.
const SHOWN_WITHIN: Duration = Duration::from_secs(100);
/// How long a body may be silent.
const NEXT_PART_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take in all, not counting the time for which it waits for its turn.
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
/// Up to here a body needs no turn: as much as this may be held for every connection.
const SHORT_BYTES: usize = 512 * 1024;
/// How many longer bodies are held at once.
const MOST_LONG: usize = 8;
/// How long a body may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_mins(2);
/// How much more of a body that is too long is read and thrown away, so that its sender comes to read the answer.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_BYTES;

/// Whose turn it is to send a long body. A body that has its turn waits for nobody but its sender.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_LONG)))
    }
}

impl Turns {
    /// The next turn; an answer to give instead, if it does not come in time.
    async fn next(&self) -> Result<OwnedSemaphorePermit, Response> {
        match tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(too_slow()),
        }
    }
}

/// A body, and its turn for as long as it is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

/// Reads a body whole.
///
/// # Errors
/// The answer to give instead: 413 to one that is too long, 408 to one that is too slow, 400 to one that breaks off.
pub(super) async fn read(server: &Server, body: Body) -> Result<Held, Response> {
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return Err(too_long(body, 0).await);
    }
    let mut whole = Vec::new();
    let mut parts = body.into_data_stream();
    let short = read_up_to(&mut parts, &mut whole, SHORT_BYTES).await?;
    if short == Reading::Whole {
        return Ok(Held { bytes: whole.into(), _turn: None });
    }
    let turn = server.long_bodies.next().await?;
    match read_up_to(&mut parts, &mut whole, MAX_BYTES).await? {
        Reading::Whole => Ok(Held { bytes: whole.into(), _turn: Some(turn) }),
        Reading::MoreToCome => {
            let read = whole.len();
            drop((whole, turn));
            Err(too_long(Body::from_stream(parts), read).await)
        }
    }
}

/// What became of a body that may be longer than is kept.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is here.
    Whole(Held),
    /// It was shown piece by piece, and is gone.
    Shown,
}

/// Reads a body whole, or shows it to `see` piece by piece and keeps nothing of it: where `is_passed_over` says so of
/// its beginning, and where it is longer than what is kept.
///
/// # Errors
/// As [`read`]; 413 to what is longer than [`MAX_SHOWN_BYTES`].
pub(super) async fn read_or_show(
    server: &Server,
    body: Body,
    is_passed_over: impl Fn(&[u8]) -> bool,
    mut see: impl FnMut(&[u8]),
) -> Result<Taken, Response> {
    if body.size_hint().lower() > MAX_SHOWN_BYTES {
        return Err(too_long(body, 0).await);
    }
    let mut whole = Vec::new();
    let mut parts = body.into_data_stream();
    if read_up_to(&mut parts, &mut whole, SHORT_BYTES).await? == Reading::Whole {
        return Ok(Taken::Whole(Held { bytes: whole.into(), _turn: None }));
    }
    if is_passed_over(&whole) {
        see(&whole);
    } else {
        let turn = server.long_bodies.next().await?;
        if read_up_to(&mut parts, &mut whole, MAX_BYTES).await? == Reading::Whole {
            return Ok(Taken::Whole(Held { bytes: whole.into(), _turn: Some(turn) }));
        }
        see(&whole);
    }
    let mut shown = whole.len() as u64;
    drop(whole);
    // Those that are shown wait for each other with nothing held, and nobody else for them: whoever is not known before the
    // end of a body has all the time of one.
    let _turn = server.shown_bodies.next().await?;
    let show = async {
        loop {
            match tokio::time::timeout(NEXT_PART_WITHIN, parts.next()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => return Ok(Taken::Shown),
                Ok(Some(Err(_))) => return Err(reply::refusal(StatusCode::BAD_REQUEST, "the body breaks off")),
                Ok(Some(Ok(part))) => {
                    shown += part.len() as u64;
                    if shown > MAX_SHOWN_BYTES {
                        return Err(reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 256 MiB"));
                    }
                    see(&part);
                }
            }
        }
    };
    match tokio::time::timeout(SHOWN_WITHIN, show).await {
        Ok(taken) => taken,
        Err(_) => Err(too_slow()),
    }
}

/// How far a reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Whole,
    MoreToCome,
}

/// Reads on until the body ends, or is longer than this.
async fn read_up_to(parts: &mut BodyDataStream, whole: &mut Vec<u8>, most: usize) -> Result<Reading, Response> {
    let read = async {
        while whole.len() <= most {
            match tokio::time::timeout(NEXT_PART_WITHIN, parts.next()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => return Ok(Reading::Whole),
                Ok(Some(Err(_))) => return Err(reply::refusal(StatusCode::BAD_REQUEST, "the body breaks off")),
                Ok(Some(Ok(part))) => whole.extend_from_slice(&part),
            }
        }
        Ok(Reading::MoreToCome)
    };
    match tokio::time::timeout(WHOLE_WITHIN, read).await {
        Ok(reading) => reading,
        Err(_) => Err(too_slow()),
    }
}

fn too_slow() -> Response {
    reply::refusal(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")
}

/// Throws the rest away, within bounds: a connection that is closed on data nobody read loses the answer.
async fn too_long(body: Body, read: usize) -> Response {
    let mut discarded = read;
    let mut parts = body.into_data_stream();
    while let Ok(Some(Ok(part))) = tokio::time::timeout(NEXT_PART_WITHIN, parts.next()).await {
        discarded += part.len();
        if discarded > MAX_DISCARDED_BYTES {
            break;
        }
    }
    reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 16 MiB")
}
