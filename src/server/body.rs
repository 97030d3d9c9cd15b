//! Bodies: how large, how slow, and how many at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
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
/// How long a body may be silent.
const NEXT_PART_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take in all.
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
/// What all bodies together may hold.
const BUDGET_KIB: usize = 128 * 1024;
/// How much more of a body that is too long is read and thrown away, so that its sender comes to read the answer.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_BYTES;

/// What all bodies together may hold; whoever finds it used up waits.
#[derive(Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB)))
    }
}

/// A body, and its share of the budget for as long as it is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body whole.
///
/// # Errors
/// The answer to give instead: 413 to one that is too long, 408 to one that is too slow, 400 to one that breaks off.
pub(super) async fn read(server: &Server, body: Body) -> Result<Held, Response> {
    let announced = body.size_hint().lower();
    let read = tokio::time::timeout(WHOLE_WITHIN, async {
        if announced > MAX_BYTES as u64 {
            return Err(too_long(body, 0).await);
        }
        read_parts(server, body).await
    });
    read.await.unwrap_or_else(|_| Err(too_slow()))
}

async fn read_parts(server: &Server, body: Body) -> Result<Held, Response> {
    let mut whole = Vec::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut shared_bytes = 0;
    let mut parts = body.into_data_stream();
    loop {
        let part = match tokio::time::timeout(NEXT_PART_WITHIN, parts.next()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(reply::refusal(StatusCode::BAD_REQUEST, "the body breaks off")),
            Ok(Some(Ok(part))) => part,
        };
        if whole.len() + part.len() > MAX_BYTES {
            let read = whole.len() + part.len();
            drop((whole, share));
            return Err(too_long(Body::from_stream(parts), read).await);
        }
        let wanted = whole.len() + part.len();
        if wanted > shared_bytes {
            // A step at a time: most bodies need one.
            let kib = (wanted - shared_bytes).div_ceil(1024).next_power_of_two();
            let more = Arc::clone(&server.bodies.0).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await;
            let Ok(more) = more else { return Err(too_slow()) };
            shared_bytes += kib * 1024;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        whole.extend_from_slice(&part);
    }
    Ok(Held { bytes: whole.into(), _share: share })
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
