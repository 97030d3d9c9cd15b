//! `enroll`: puts people into a campaign.

use serde_json::json;

use super::lookup::{self, CampaignName, Named};
use crate::app::App;
use crate::domain::campaign::ZonePolicy;
use crate::domain::zone::{Zone, zones_of_callee};
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::contacts::{self, Contact};
use crate::store::enrollments;

/// Arguments of `enroll`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops enroll +18022236942 --campaign acme/checkup
  callops enroll '(802) 223-6942' --campaign acme/checkup --name 'Ann Lee' --timezone America/New_York

A phone that nobody has yet makes a contact. National numbers are read by the tenant's region. Who is enrolled already
stays so; who was withdrawn comes back.")]
pub struct Args {
    /// Phones or ids of contacts
    #[arg(value_name = "PHONE|CONTACT", required = true)]
    pub contacts: Vec<String>,
    /// Into which campaign
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: CampaignName,
    /// The name of a new contact
    #[arg(long)]
    pub name: Option<String>,
    /// The time zone of a new contact, by its IANA name
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub timezone: Option<Zone>,
}

fn zone(text: &str) -> Result<Zone, String> {
    Zone::parse(text).map_err(|error| error.to_string())
}

struct Enrolled {
    contact: Contact,
    is_new: bool,
    is_added: bool,
}

/// Enrolls all of them, or none when one cannot be read.
///
/// # Errors
/// Exit 2 for a campaign, contact or phone that is none.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    if args.name.is_some() && args.contacts.len() > 1 {
        return Err(Failure::usage("--name names one person, and there are several").into());
    }
    let db = app.db().await?;
    let (enrolled, rules) = db
        .write_unless(async |tx| {
            let campaign = match lookup::campaign(tx, &args.campaign).await? {
                Ok(campaign) => campaign,
                Err(failure) => return Ok(Err(failure)),
            };
            let tenant = match lookup::tenant(tx, &args.campaign.tenant).await? {
                Ok(tenant) => tenant,
                Err(failure) => return Ok(Err(failure)),
            };
            contacts::lock_tenant(tx, &tenant.name).await?;
            let now = app.clock.now();
            let mut enrolled: Vec<Enrolled> = Vec::new();
            for text in &args.contacts {
                let found = match lookup::contact(tx, &tenant, text).await? {
                    Ok(found) => found,
                    Err(failure) => return Ok(Err(failure)),
                };
                let (contact, is_new) = match (found, lookup::named(text, Some(&tenant))) {
                    (Some(contact), _) => (contact, false),
                    (None, Ok(Named::Phone(phone, extension))) => {
                        if let Err(failure) = lookup::may_be_new(text, &tenant)? {
                            return Ok(Err(failure));
                        }
                        let contact = Contact {
                            id: app.new_id(),
                            tenant: tenant.name.clone(),
                            phone,
                            extension,
                            name: args.name.clone(),
                            email: None,
                            external_id: None,
                            timezone: args.timezone.map(|zone| zone.name().to_owned()),
                            timezone_source: args.timezone.map(|_| "given".to_owned()),
                            preferred_time: None,
                            attributes: "{}".to_owned(),
                            version: 1,
                            import_id: None,
                            created_at: now,
                            updated_at: now,
                        };
                        contacts::insert(tx, std::slice::from_ref(&contact)).await?;
                        (contact, true)
                    }
                    (None, Ok(Named::Id(id))) => return Ok(Err(Failure::usage(format!("there is no contact {id}")))),
                    (None, Err(failure)) => return Ok(Err(failure)),
                };
                let pair = [(app.new_id(), contact.id.clone())];
                let is_added = enrollments::enroll(tx, &campaign.id, campaign.rules_version, &pair, now).await? > 0;
                if is_added {
                    let detail = json!({"contact": contact.id, "phone": contact.phone, "new_contact": is_new});
                    app.audit(tx, "enroll", &format!("campaign:{}", args.campaign), detail).await?;
                }
                enrolled.push(Enrolled { contact, is_new, is_added });
            }
            Ok(Ok((enrolled, campaign.rules().ok())))
        })
        .await??;
    let mut rows = Rows::new(&["campaign", "contact", "phone", "result"]);
    for Enrolled { contact, is_new, is_added } in &enrolled {
        let result = match (is_new, is_added) {
            (true, _) => "created and enrolled",
            (false, true) => "enrolled",
            (false, false) => "already enrolled",
        };
        let row = [&args.campaign.to_string(), &contact.id, &contact.phone, result].map(|cell| json!(cell));
        rows.push(row.to_vec());
        if !is_new && (args.name.is_some() || args.timezone.is_some()) {
            app.printer.warn(format!("{} is a contact already; its name and zone stay as they are", contact.phone));
        }
        let by_callee = rules.as_ref().filter(|rules| rules.zone_policy == ZonePolicy::Callee);
        if let Some(rules) = by_callee {
            match zones_of_callee(contact.timezone.as_deref(), &contact.phone) {
                None => app.printer.warn(format!("{} has no time zone and is not called without one", contact.phone)),
                Some((zones, _)) if !rules.schedule.has_common_window(&zones, app.clock.now()) => {
                    app.printer.warn(format!(
                        "{} may be in {}, where {} is at no moment in all of them: it is not called until its time \
                         zone is given",
                        contact.phone,
                        zones.summary(),
                        rules.schedule.window
                    ));
                }
                Some(_) => {}
            }
        }
    }
    app.printer.rows(&rows)?;
    Ok(Exit::Success)
}
