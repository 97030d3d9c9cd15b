//! `collect-outcomes`: asks the providers what became of calls.

use anyhow::Result;

use super::calling::counts::Counts;
use super::calling::tick::tick;
use super::calling::{inbox, sweep};
use super::process_calls::report;
use crate::app::App;
use crate::error::Exit;

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "collect-outcomes";

const EXAMPLES: &str = "\
Examples:
  callops collect-outcomes

Asks about every call that is placed or under way and due to be asked about: soon after it was placed,
then less and less often. With it, a campaign without any webhook learns every outcome.

Exit codes: 0 done, 6 a key is refused or a clock is wrong, 7 a provider or the database cannot be
reached, or its disk is full.";

/// Ask the providers what became of calls
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// Collects once and prints what it did, if it did anything.
///
/// # Errors
/// When the database fails, or its clock and ours are too far apart.
pub async fn run(app: &App, _args: Args) -> Result<Exit> {
    let (counts, exit) = once(app).await?;
    report(app, &counts)?;
    Ok(exit)
}

/// One run, recorded, with nothing printed.
///
/// # Errors
/// As [`run`].
pub async fn once(app: &App) -> Result<(Counts, Exit)> {
    once_as(app, &app.new_id()).await
}

/// As [`once`], recorded under this id.
///
/// # Errors
/// As [`run`].
pub async fn once_as(app: &App, run_id: &str) -> Result<(Counts, Exit)> {
    tick(app, COMMAND, run_id, async |directory, stop_at, counts| {
        // Before anybody is asked: what came by itself need not be asked for.
        inbox::settle_due(app, counts).await?;
        sweep::collect(app, directory, stop_at, counts).await
    })
    .await
}
