//! `migrate`: brings the schema up to date, or shows where it stands.

use anyhow::Result;
use serde_json::json;

use crate::app::{App, explain_store_error};
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::Db;

/// Bring the database's schema up to date.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  callops migrate\n  callops migrate --status\n\n\
    Exit 3 with --status when migrations are pending.")]
pub struct Args {
    /// Only show which migrations are applied
    #[arg(long)]
    pub status: bool,
}

/// Applies pending migrations, or lists them all.
///
/// # Errors
/// When the database is missing or cannot be reached, or its schema is newer than this program.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let db = app.connect(1, false).await?;
    let version = db.schema_version().await?;
    if args.status {
        let mut rows = Rows::new(&["version", "name", "applied"]);
        for (number, name) in Db::migrations() {
            rows.push(vec![json!(number), json!(name), json!(number <= version)]);
        }
        app.printer.rows(&rows)?;
        return Ok(if version < Db::needed_version() { Exit::Findings } else { Exit::Success });
    }
    if version == 0 {
        return Err(Failure::configuration("the database holds no callops schema")
            .hint("`callops init` makes it")
            .into());
    }
    if version > Db::needed_version() {
        db.check_schema().await.map_err(explain_store_error)?;
    }
    db.migrate().await.map_err(explain_store_error)?;
    db.close().await;
    let said = if version == Db::needed_version() { "was" } else { "is now" };
    app.printer.say(format!("the schema {said} up to date, at version {}", Db::needed_version()));
    Ok(Exit::Success)
}
