//! `cancel`: takes calls back that wait.

use serde_json::json;

use crate::app::App;
use crate::domain::call::CallStatus;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::{calls, control};

/// Arguments of `cancel`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops cancel 01JD5Q3G7V9M2C8K4R6T0W1XYZ
  callops list calls --status scheduled --format csv

A call that rings or talks goes on, and the exit code is then 4. The slot of a call that provably never rang is free
again: the next run may call the person anew, unless you withdraw them.")]
pub struct Args {
    /// Ids of calls
    #[arg(value_name = "CALL", required = true)]
    pub calls: Vec<String>,
}

/// Cancels the calls that wait.
///
/// # Errors
/// Exit 2 when one of the ids names no call; nothing is cancelled then.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let done = db
        .write_unless(async |tx| {
            // Nobody commits to dial between the look at a call and its end.
            control::lock_dialling(tx).await?;
            let now = app.clock.now();
            let mut before = Vec::new();
            for id in &args.calls {
                let Some(call) = calls::call(tx, id).await? else {
                    let failure = Failure::usage(format!("there is no call {id}"));
                    return Ok(Err(failure.hint("`callops list calls` shows them")));
                };
                before.push(call);
            }
            let mut done = Vec::new();
            for call in before {
                let cancelled = calls::cancel(tx, std::slice::from_ref(&call.id), now).await?;
                if cancelled.cancelled > 0 {
                    let detail = json!({"phone": call.phone, "slot": call.slot_key, "freed": cancelled.freed});
                    app.audit(tx, "cancel", &format!("call:{}", call.id), detail).await?;
                }
                done.push((call, cancelled));
            }
            Ok(Ok(done))
        })
        .await??;
    let mut exit = Exit::Success;
    let mut rows = Rows::new(&["call", "phone", "before", "result", "slot_freed"]);
    for (call, cancelled) in done {
        let result = if cancelled.cancelled > 0 {
            "cancelled"
        } else if cancelled.live > 0 {
            exit = exit.or(Exit::Partial);
            "goes on"
        } else if call.status == CallStatus::Cancelled {
            "was cancelled already"
        } else {
            "was over already"
        };
        rows.push(vec![
            json!(call.id),
            json!(call.phone),
            json!(call.status.as_str()),
            json!(result),
            json!(cancelled.freed > 0),
        ]);
    }
    app.printer.rows(&rows)?;
    if exit == Exit::Partial {
        app.printer.warn("a call that is under way cannot be taken back");
    }
    Ok(exit)
}
