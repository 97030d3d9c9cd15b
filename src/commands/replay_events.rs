//! `replay-events`: applies stored webhooks once more.

use anyhow::Result;
use serde_json::json;

use super::calling::counts::Counts;
use super::calling::inbox;
use super::list::{Since, since};
use super::telling::{count, record_of, tell};
use crate::app::App;
use crate::domain::event::EventState;
use crate::error::Exit;
use crate::store::events;

/// How many are looked up at once.
const PAGE: i64 = 500;

/// Apply stored webhooks once more
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops replay-events --pending
  callops replay-events --unmatched --since 7d
  callops replay-events --since 2026-11-20T14:00:00Z

What was applied already tells nothing new and changes nothing, so it may be run again and again. A sweep does the same
by itself for what came within two days.

Exit codes: 0 done, 4 some could still not be applied.")]
pub struct Args {
    /// Only those that came since this time, or for this long, such as 2026-11-20T14:00:00Z or 1d
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only those whose application failed or did not happen yet
    #[arg(long)]
    pub pending: bool,
    /// Only those that matched nothing
    #[arg(long, conflicts_with = "pending")]
    pub unmatched: bool,
}

/// Applies them, oldest first.
///
/// # Errors
/// When the database cannot be asked. What cannot be applied is told, and the others go on.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let states: &[EventState] = match (args.pending, args.unmatched) {
        (true, _) => &[EventState::Pending],
        (_, true) => &[EventState::Unmatched],
        _ => EventState::ALL,
    };
    let since = args.since.map(|since| since.from(app.clock.now()));
    let mut counts = Counts::default();
    let (mut after, mut replayed) = (String::new(), 0);
    loop {
        let mut tx = app.db().await?.read().await?;
        let page = events::page(&mut tx, states, since, &after, PAGE).await?;
        drop(tx);
        let Some(last) = page.last().cloned() else { break };
        inbox::replay(app, &page, &mut counts).await;
        replayed += page.len() as u64;
        after = last;
    }
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    let told = counts.get("events_applied");
    let record = json!({
        "replayed": replayed,
        "applied": told,
        "ignored": counts.get("events_ignored"),
        "failed": counts.problems().count(),
    });
    tell(app, &record_of(record), &format!("{} replayed, {told} told something new", count(replayed, "event")))?;
    Ok(counts.exit())
}
