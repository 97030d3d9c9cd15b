//! Connections, and transactions on them.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, SqlStr, Transaction};

/// How often to look at once whether a connection came back, before looking less often.
const LOOKS_AT_ONCE: u32 = 200;
/// How often to look in all: a connection that takes longer than some 50 ms to come back is not waited for.
const LOOKS: u32 = LOOKS_AT_ONCE + 50;

/// A pool of connections that knows how many of them are in use.
#[derive(Debug)]
pub struct Pool<DB: Database> {
    connections: sqlx::Pool<DB>,
    /// The connection by which the pool was tried, for whoever comes first.
    first: Arc<Mutex<Option<PoolConnection<DB>>>>,
    lent: Arc<AtomicUsize>,
}

/// A transaction on a connection of a [`Pool`]. Dropped without [`Lent::commit`], it is rolled back.
#[derive(Debug)]
pub struct Lent<DB: Database> {
    transaction: Transaction<'static, DB>,
    _use: Use,
}

/// Counts one connection as in use until it is dropped.
#[derive(Debug)]
struct Use(Arc<AtomicUsize>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<DB: Database> Pool<DB> {
    pub(super) fn new(connections: sqlx::Pool<DB>, first: Option<PoolConnection<DB>>) -> Self {
        Self { connections, first: Arc::new(Mutex::new(first)), lent: Arc::default() }
    }

    /// Begins a transaction by this statement.
    pub(super) async fn lend(&self, begin: SqlStr) -> sqlx::Result<Lent<DB>> {
        let first = self.take_first();
        if first.is_none() {
            self.wait_for_returning().await;
        }
        self.lent.fetch_add(1, Ordering::SeqCst);
        let in_use = Use(Arc::clone(&self.lent));
        let connection = match first {
            Some(first) => first,
            None => self.connections.acquire().await?,
        };
        let transaction = Transaction::begin(connection, Some(begin)).await?;
        Ok(Lent { transaction, _use: in_use })
    }

    /// A connection goes back to the pool in a task of its own, a moment after it was let go. Whoever asks within that
    /// moment would be given a new connection, which costs more than all that an idle run does.
    pub(super) async fn wait_for_returning(&self) {
        for look in 0..LOOKS {
            let held = usize::try_from(self.connections.size()).unwrap_or(0);
            if self.connections.num_idle() > 0 || held <= self.lent.load(Ordering::SeqCst) {
                return;
            }
            if look < LOOKS_AT_ONCE {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self { connections: self.connections.clone(), first: Arc::clone(&self.first), lent: Arc::clone(&self.lent) }
    }
}

impl<DB: Database> Pool<DB> {
    /// The connections themselves, for what is no transaction.
    pub fn connections(&self) -> &sqlx::Pool<DB> {
        drop(self.take_first());
        &self.connections
    }

    fn take_first(&self) -> Option<PoolConnection<DB>> {
        self.first.lock().ok().and_then(|mut first| first.take())
    }
}

impl<DB: Database> Lent<DB> {
    pub(super) async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }
}

impl<DB: Database> Deref for Lent<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl<DB: Database> DerefMut for Lent<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}
