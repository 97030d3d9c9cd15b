//! A request that asks whether it may still be sent at the last moment before it is.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Says whether a request may be sent at this moment, or why not.
#[derive(Clone)]
pub struct LastLook {
    may_send: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    withheld: Arc<OnceLock<String>>,
}

impl LastLook {
    /// Asks `may_send` when a connection stands and the body is about to be written to it. Making the connection takes
    /// long enough for a process to be frozen in it.
    pub fn new(may_send: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { may_send: Arc::new(may_send), withheld: Arc::default() }
    }

    /// Why the body was kept back, if it was: then the request did not reach the service whole, whatever became of it.
    pub(in crate::providers) fn withheld(&self) -> Option<&str> {
        self.withheld.get().map(String::as_str)
    }

    pub(in crate::providers) fn body(&self, content: impl Into<Bytes>) -> reqwest::Body {
        reqwest::Body::wrap(Guarded { content: Some(content.into()), look: self.clone() })
    }
}

impl Default for LastLook {
    fn default() -> Self {
        Self::new(|| Ok(()))
    }
}

impl fmt::Debug for LastLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastLook").field("withheld", &self.withheld).finish_non_exhaustive()
    }
}

struct Guarded {
    content: Option<Bytes>,
    look: LastLook,
}

/// The body was kept back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Withheld(String);

impl Body for Guarded {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let Some(content) = self.content.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(match (self.look.may_send)() {
            Ok(()) => Ok(Frame::data(content)),
            Err(reason) => Err(Withheld(self.look.withheld.get_or_init(|| reason).clone())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}
