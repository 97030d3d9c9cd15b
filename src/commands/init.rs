//! `init`: makes the database.

use anyhow::Result;

use crate::app::App;
use crate::error::{Exit, Failure};
use crate::store::{control, setup};

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
    let is_rehearsal = db
        .write_unless(async |tx| {
            let is_rehearsal = control::is_rehearsal(tx).await?;
            if args.rehearsal && !is_rehearsal {
                if !setup::accounts(tx).await?.is_empty() || !setup::tenants(tx).await?.is_empty() {
                    return Ok(Err(Failure::refused("the database is in use, and not as a rehearsal").hint(
                        "name another one with --database-url: a rehearsal can never become real, nor the reverse",
                    )));
                }
                control::mark_rehearsal(tx).await?;
            }
            Ok(Ok(is_rehearsal || args.rehearsal))
        })
        .await??;
    let settings = app.config.database()?;
    let kind = if is_rehearsal { ", as a rehearsal" } else { "" };
    app.printer.say(format!("the database {} is ready{kind}", settings.url));
    Ok(Exit::Success)
}
