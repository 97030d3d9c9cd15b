//! `sweep-timeouts`: settles attempts past a deadline, and unknown ones.

use anyhow::Result;

use super::calling::counts::Counts;
use super::calling::tick::tick;
use super::calling::{inbox, sweep};
use super::process_calls::report;
use crate::app::App;
use crate::error::Exit;

/// The command's name, as its heartbeat bears it.
pub const COMMAND: &str = "sweep-timeouts";

const EXAMPLES: &str = "\
Examples:
  callops sweep-timeouts

The provider is asked first; only where it has nothing to say does a deadline decide. An attempt whose
answer was lost is settled by evidence: found at the provider, or proven absent by two complete
readings. Never by time alone, so nobody is rung a second time. After 24 hours it is given up as lost
and its slot stays spent.

Exit codes: 0 done, 3 attempts unknown for more than 15 minutes, 6 a key is refused or a clock is wrong,
7 a provider or the database cannot be reached: then everything is left as it is.";

/// Settle attempts past a deadline, and unknown ones
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// Sweeps once and prints what it did, if it did anything.
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
        sweep::sweep(app, directory, stop_at, counts).await
    })
    .await
}
