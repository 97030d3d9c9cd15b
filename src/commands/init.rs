//! `init`: makes the database.

use anyhow::Result;

use crate::app::App;
use crate::error::Exit;
use crate::store::control;

/// Make the database, or bring it up to date.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  callops init\n  callops init --rehearsal --database-url rehearsal.db")]
pub struct Args {
    /// Mark the database as a rehearsal: --now works on it, and no real provider can be configured in it
    #[arg(long)]
    pub rehearsal: bool,
}

/// Makes the database named by the configuration, with its schema.
///
/// # Errors
/// When it cannot be made or reached.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let db = app.db_created().await?;
    if args.rehearsal {
        db.write(async |tx| control::mark_rehearsal(tx).await).await?;
    }
    let settings = app.config.database()?;
    app.printer.say(format!("the database {} is ready", settings.url));
    Ok(Exit::Success)
}
