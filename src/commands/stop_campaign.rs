//! `stop-campaign`: no more calls of a campaign.

use serde_json::json;

use super::calling::counts::Counts;
use super::calling::sweep;
use super::draining;
use super::lookup::{self, CampaignName};
use super::telling::{count, record_of, tell};
use crate::app::App;
use crate::error::Exit;
use crate::store::{calls, control, setup};

/// Arguments of `stop-campaign`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops stop-campaign acme/checkup

Calls that wait are cancelled; calls that ring or talk go on. Once the command returns, nothing more is placed. Whoever
was not called loses nothing when the campaign is started again the same day.")]
pub struct Args {
    /// The campaigns
    #[arg(value_name = "TENANT/NAME", required = true)]
    pub campaigns: Vec<CampaignName>,
}

/// Stops campaigns, all of them or none, and waits until nothing of theirs is being placed.
///
/// # Errors
/// Exit 2 for a name that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let stopped = db
        .write_unless(async |tx| {
            // Whoever commits to dial from now on finds the campaign stopped.
            control::lock_dialling(tx).await?;
            let now = app.clock.now();
            let mut stopped = Vec::new();
            for name in &args.campaigns {
                let campaign = match lookup::campaign(tx, name).await? {
                    Ok(campaign) => campaign,
                    Err(failure) => return Ok(Err(failure)),
                };
                let changed = setup::set_active(tx, &campaign.id, false, now).await?;
                let open = calls::open_of_campaign(tx, &campaign.id).await?;
                let cancelled = calls::cancel(tx, &open, now).await?;
                if changed || cancelled.cancelled > 0 {
                    let detail = json!({
                        "cancelled": cancelled.cancelled, "live": cancelled.live, "freed": cancelled.freed
                    });
                    app.audit(tx, "stop-campaign", &format!("campaign:{name}"), detail).await?;
                }
                stopped.push((name, campaign.id, changed, cancelled));
            }
            Ok(Ok(stopped))
        })
        .await??;
    for (name, id, changed, cancelled) in stopped {
        draining::wait(app, None, Some(&id)).await?;
        let mut counts = Counts::default();
        sweep::take_back_held(app, None, Some(&id), &mut counts).await?;
        for problem in counts.problems() {
            app.printer.warn(problem);
        }
        let record = json!({
            "campaign": name.to_string(), "active": false, "changed": changed, "cancelled": cancelled.cancelled,
            "freed": cancelled.freed, "live": cancelled.live,
        });
        let mut said = vec![format!("{name}: {}", if changed { "stopped" } else { "was stopped already" })];
        if cancelled.cancelled > 0 {
            let calls = count(cancelled.cancelled, "call");
            said.push(format!("{calls} cancelled, of which {} may be called again", cancelled.freed));
        }
        if cancelled.live > 0 {
            said.push(format!("{} under way, which go on", count(cancelled.live, "call")));
        }
        tell(app, &record_of(record), &said.join("; "))?;
    }
    Ok(Exit::Success)
}
