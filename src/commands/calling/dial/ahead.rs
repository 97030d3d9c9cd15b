//! How much is committed ahead of the requests that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::BATCH;

/// The most attempts that wait committed besides those that run.
const MOST_WAITING: usize = 2 * BATCH;

/// How much is committed to being dialled and not over yet, and how fast it gets over.
///
/// More than may run at once is committed, so that a request that ends is followed by the next one without waiting for
/// the database, and so that a batch is worth its transaction. But nobody waits committed for longer than about a
/// second: what was true at the commit must still be true at the sending, and after [`super::MAX_COMMIT_AGE`] it is not sent.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    committed: AtomicUsize,
    /// How long a request takes, in microseconds: a moving average that follows a slower answer at once. 0: unknown.
    request_micros: AtomicU64,
    ended: Notify,
}

/// One attempt that is committed to being dialled, until it is over.
#[derive(Debug)]
pub(super) struct Committed(Arc<Ahead>);

impl Ahead {
    /// The most that may wait committed besides those that run.
    fn most_waiting(&self, concurrency: usize) -> usize {
        let request_micros = self.request_micros.load(Ordering::Relaxed);
        if request_micros == 0 {
            return (concurrency / 4).min(BATCH);
        }
        let sent_in_a_second = concurrency as u64 * 1_000_000 / request_micros;
        usize::try_from(sent_in_a_second).unwrap_or(MOST_WAITING).min(MOST_WAITING)
    }

    /// Waits until there is room for a batch worth a transaction, or for all that are `wanted`; says for how many.
    pub(super) async fn room(&self, concurrency: usize, wanted: usize) -> usize {
        loop {
            let ended = self.ended.notified();
            let most_waiting = self.most_waiting(concurrency);
            let free = (concurrency + most_waiting).saturating_sub(self.committed.load(Ordering::Relaxed));
            if free >= wanted.min((most_waiting / 2).max(1)) {
                return free.min(wanted);
            }
            ended.await;
        }
    }

    pub(super) fn take(self: &Arc<Self>) -> Committed {
        self.committed.fetch_add(1, Ordering::Relaxed);
        Committed(Arc::clone(self))
    }
}

impl Committed {
    /// It is over; its request took this long.
    pub(super) fn end(self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let known = self.0.request_micros.load(Ordering::Relaxed);
        self.0.request_micros.store(took.max((7 * (known / 8)) + took / 8), Ordering::Relaxed);
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        self.0.committed.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}
