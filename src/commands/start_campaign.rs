//! `start-campaign`: lets a campaign call.

use serde_json::json;

use super::billing::debtors;
use super::lookup::{self, CampaignName};
use super::telling::{record_of, tell};
use crate::app::App;
use crate::error::Exit;
use crate::store::setup;

/// Arguments of `start-campaign`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops start-campaign acme/checkup
  callops start-campaign acme/checkup acme/reminders

Starting a campaign that is started already changes nothing. One that reminds of invoices has whoever has something to pay.")]
pub struct Args {
    /// The campaigns
    #[arg(value_name = "TENANT/NAME", required = true)]
    pub campaigns: Vec<CampaignName>,
}

/// Starts campaigns, all of them or none.
///
/// # Errors
/// Exit 2 for a name that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let started = db
        .write_unless(async |tx| {
            let mut started = Vec::new();
            for name in &args.campaigns {
                let campaign = match lookup::campaign(tx, name).await? {
                    Ok(campaign) => campaign,
                    Err(failure) => return Ok(Err(failure)),
                };
                let changed = setup::set_active(tx, &campaign.id, true, app.clock.now()).await?;
                if changed {
                    app.audit(tx, "start-campaign", &format!("campaign:{name}"), json!({})).await?;
                }
                started.push((name, changed));
            }
            Ok(Ok(started))
        })
        .await??;
    for name in &args.campaigns {
        debtors::enroll(app, &name.tenant).await?;
    }
    for (name, changed) in started {
        let said = if changed { "started" } else { "was started already" };
        let record = json!({"campaign": name.to_string(), "active": true, "changed": changed});
        tell(app, &record_of(record), &format!("{name}: {said}"))?;
    }
    Ok(Exit::Success)
}
