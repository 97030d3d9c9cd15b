//! `withdraw`: takes people out of a campaign.

use serde_json::json;

use super::lookup::{self, CampaignName};
use crate::app::App;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::{calls, control, enrollments};

/// Arguments of `withdraw`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops withdraw +18022236942 --campaign acme/checkup
  callops withdraw 01JD5Q3G7V9M2C8K4R6T0W1XYZ --campaign acme/checkup

Their calls that wait are cancelled; a call that rings or talks goes on. `callops enroll` brings them back.")]
pub struct Args {
    /// Phones or ids of contacts
    #[arg(value_name = "PHONE|CONTACT", required = true)]
    pub contacts: Vec<String>,
    /// Out of which campaign
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: CampaignName,
}

/// Withdraws all of them, or none when one is not there.
///
/// # Errors
/// Exit 2 for a campaign, contact or phone that is none.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let withdrawn = db
        .write_unless(async |tx| {
            control::lock_dialling(tx).await?;
            let campaign = match lookup::campaign(tx, &args.campaign).await? {
                Ok(campaign) => campaign,
                Err(failure) => return Ok(Err(failure)),
            };
            let tenant = match lookup::tenant(tx, &args.campaign.tenant).await? {
                Ok(tenant) => tenant,
                Err(failure) => return Ok(Err(failure)),
            };
            let now = app.clock.now();
            let mut withdrawn = Vec::new();
            for text in &args.contacts {
                let contact = match lookup::contact(tx, &tenant, text).await? {
                    Ok(Some(contact)) => contact,
                    Ok(None) => return Ok(Err(Failure::usage(format!("{} has no contact {text}", tenant.name)))),
                    Err(failure) => return Ok(Err(failure)),
                };
                let changed = enrollments::withdraw(tx, &campaign.id, &contact.id, now).await?;
                let open = calls::open_of_contact(tx, &campaign.id, &contact.id).await?;
                let cancelled = calls::cancel(tx, &open, now).await?;
                if changed || cancelled.cancelled > 0 {
                    let detail = json!({
                        "contact": contact.id, "phone": contact.phone, "cancelled": cancelled.cancelled,
                        "live": cancelled.live, "freed": cancelled.freed,
                    });
                    app.audit(tx, "withdraw", &format!("campaign:{}", args.campaign), detail).await?;
                }
                withdrawn.push((contact, changed, cancelled));
            }
            Ok(Ok(withdrawn))
        })
        .await??;
    let mut rows = Rows::new(&["campaign", "contact", "phone", "result", "cancelled", "live"]);
    for (contact, changed, cancelled) in withdrawn {
        rows.push(vec![
            json!(args.campaign.to_string()),
            json!(contact.id),
            json!(contact.phone),
            json!(if changed { "withdrawn" } else { "was not enrolled" }),
            json!(cancelled.cancelled),
            json!(cancelled.live),
        ]);
        if cancelled.live > 0 {
            app.printer.warn(format!("a call to {} is under way and goes on", contact.phone));
        }
    }
    app.printer.rows(&rows)?;
    Ok(Exit::Success)
}
