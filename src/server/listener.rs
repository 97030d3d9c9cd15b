//! Connections: how many, how patient, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The most connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 512;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// The most of a request that is read ahead of whoever handles it.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers connections until `closed` says true, then until the last of them has its answer.
pub(super) async fn answer(listener: TcpListener, router: axum::Router, mut closed: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&room).acquire_owned() => place,
            () = is_closed(&mut closed) => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = is_closed(&mut closed) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, closed) = (router.clone(), closed.clone());
                connections.spawn(async move {
                    converse(stream, router, closed).await;
                    drop(place);
                });
            }
            // Out of file descriptors, mostly: others will close theirs.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the server ends.
async fn is_closed(closed: &mut watch::Receiver<bool>) {
    // Who would say so being gone means the same.
    let _ = closed.wait_for(|closed| *closed).await;
}

async fn converse(stream: TcpStream, router: axum::Router, mut closed: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = router.call(request.map(Body::new));
        async move { Ok::<_, io::Error>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(READ_AHEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_closed(&mut closed) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // How a connection ends is the client's business.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
