//! One tick of a recurring command that looks after attempts.

use std::time::Duration;

use anyhow::Result;

use super::counts::Counts;
use super::directory::Directory;
use crate::app::App;
use crate::error::{Exit, classify};

/// No question is asked after this long: the next tick goes on.
pub const MAX_RUNTIME: Duration = Duration::from_secs(50);

/// Does the work with the accounts as they are now, once the database's clock was compared with ours, and records that
/// `command` ran and how it ended. The work gets the moment on the monotonic clock at which to stop.
///
/// # Errors
/// When the clocks are too far apart, the work fails, or the database does.
pub async fn tick(
    app: &App,
    command: &str,
    run_id: &str,
    work: impl AsyncFnOnce(&mut Directory, Duration, &mut Counts) -> Result<()>,
) -> Result<(Counts, Exit)> {
    let started_at = app.clock.now();
    let mut counts = Counts::default();
    let result = async {
        app.check_database_clock().await?;
        let mut directory = Directory::load(app).await?;
        work(&mut directory, app.clock.monotonic() + MAX_RUNTIME, &mut counts).await
    }
    .await;
    let exit = match &result {
        Ok(()) => counts.exit(),
        Err(error) => classify(error),
    };
    let something = result.is_err() || !counts.is_idle();
    let recorded = app.finish_run(run_id, command, started_at, exit, &counts.record(), something, None).await;
    result?;
    recorded?;
    Ok((counts, exit))
}
