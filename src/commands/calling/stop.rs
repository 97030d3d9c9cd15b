//! SIGINT and SIGTERM, as something that a run looks at between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::error::Exit;

/// Whether somebody asked the process to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    exit: AtomicU8,
    asked: Notify,
}

impl Stop {
    /// Starts listening for SIGINT and SIGTERM.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let seen = stop.clone();
        tokio::spawn(async move {
            let exit = tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            };
            seen.ask(exit);
        });
        Ok(stop)
    }

    /// Asks the run to end.
    pub fn ask(&self, exit: Exit) {
        self.0.exit.store(exit.code(), Ordering::SeqCst);
        self.0.asked.notify_waiters();
    }

    /// Waits until somebody asks, and says how the process should end.
    pub async fn asked(&self) -> Exit {
        loop {
            let asked = self.0.asked.notified();
            tokio::pin!(asked);
            // Whoever asks from here on is heard.
            asked.as_mut().enable();
            if let Some(exit) = self.exit() {
                return exit;
            }
            asked.await;
        }
    }

    /// How the process should end, if somebody asked.
    pub fn exit(&self) -> Option<Exit> {
        match self.0.exit.load(Ordering::SeqCst) {
            0 => None,
            code if code == Exit::Interrupted.code() => Some(Exit::Interrupted),
            _ => Some(Exit::Terminated),
        }
    }

    /// Whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.exit().is_some()
    }
}
