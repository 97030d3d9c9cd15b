//! Where requests hand over what needs the database.
//!
//! Work that was handed over goes on to its end, whether its client waits for it or not. It runs on the thread of the
//! app, one piece beside another; requests may be on any.

use std::fmt;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::app::App;

type Job = Box<dyn FnOnce(Rc<App>) -> LocalBoxFuture<'static, ()> + Send>;

/// The most pieces of work that wait to be begun.
const MOST_WAITING: usize = 1024;

/// Where to hand work over.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Job>);

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// The other side of a desk.
pub(super) struct Work(mpsc::Receiver<Job>);

/// A desk, and the work that comes over it.
pub(super) fn open() -> (Desk, Work) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (Desk(sender), Work(receiver))
}

/// Does the work, piece beside piece, until nobody can hand over more.
pub(super) async fn work(app: Rc<App>, mut work: Work) {
    while let Some(job) = work.0.recv().await {
        tokio::task::spawn_local(job(Rc::clone(&app)));
    }
}

impl Desk {
    /// Hands work over and waits for what comes of it.
    ///
    /// # Errors
    /// When nobody does it any more, or it failed without a word.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(Rc<App>) -> LocalBoxFuture<'static, T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |app| {
            let work = work(app);
            Box::pin(async move {
                // Whoever asked may be gone.
                let _ = sender.send(work.await);
            })
        });
        self.0.send(job).await.map_err(|_| anyhow::anyhow!("the server is ending"))?;
        Ok(receiver.await?)
    }
}
