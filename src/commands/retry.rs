//! `retry`: another attempt for a call that failed.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use super::telling::{record_of, tell};
use crate::app::App;
use crate::domain::call::{AttemptState, CallStatus, Evidence};
use crate::domain::campaign::ZonePolicy;
use crate::domain::slot::Period;
use crate::domain::zone::{Zone, Zones, zones_of_callee};
use crate::error::{Exit, Failure};
use crate::store::calls::Call;
use crate::store::{self, StoreError, Tx, attempts, calls, contacts, control, setup};

/// Arguments of `retry`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops retry 01JD5Q3G7V9M2C8K4R6T0W1XYZ

Only a call that failed, and only while the period of its slot lasts: a call of Friday is never made up for on Saturday.
A call of which nobody knows whether it rang is not dialled again; `callops resolve` settles it.")]
pub struct Args {
    /// The id of the call
    #[arg(value_name = "CALL")]
    pub call: String,
}

/// Makes the call due at once; every gate is still asked before it is dialled.
///
/// # Errors
/// Exit 2 when there is no such call; exit 4 with the reason when it cannot have another attempt.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let (call, active) = db
        .write_unless(async |tx| {
            control::lock_dialling(tx).await?;
            let now = app.clock.now();
            let Some(call) = calls::call(tx, &args.call).await? else {
                let failure = Failure::usage(format!("there is no call {}", args.call));
                return Ok(Err(failure.hint("`callops list calls --status failed` shows those that failed")));
            };
            if let Some(reason) = why_not(tx, &call, now).await? {
                return Ok(Err(Failure::partial(format!("call {} is not tried again: {reason}", call.id))));
            }
            if !calls::retry(tx, &call.id, now).await? {
                return Ok(Err(Failure::partial(format!("call {} is not tried again: it no longer failed", call.id))));
            }
            let detail = json!({"phone": call.phone, "slot": call.slot_key, "reason": call.reason});
            app.audit(tx, "retry", &format!("call:{}", call.id), detail).await?;
            let campaign = setup::campaign_by_id(tx, &call.campaign_id).await?;
            Ok(Ok((call, campaign.is_some_and(|campaign| campaign.active))))
        })
        .await??;
    let record = json!({"call": call.id, "phone": call.phone, "slot": call.slot_key, "status": "scheduled"});
    tell(app, &record_of(record), &format!("call {} to {} is due again", call.id, call.phone))?;
    if !active {
        app.printer.warn(format!("{}/{} is stopped: nothing is dialled before it starts", call.tenant, call.campaign));
    }
    Ok(Exit::Success)
}

/// Why a call cannot have another attempt; none when it can.
async fn why_not(tx: &mut Tx, call: &Call, now: DateTime<Utc>) -> store::Result<Option<String>> {
    for attempt in attempts::of_call(tx, &call.id).await? {
        let doubt = match attempt.state {
            AttemptState::Unknown => "nobody knows yet whether it rang; `callops sweep-timeouts` asks the provider",
            AttemptState::Lost => "nobody knows whether it rang, so its slot stays spent",
            AttemptState::Ended if attempt.evidence == Some(Evidence::Timer) => {
                "only a deadline says that it is over, and nobody has seen that it is"
            }
            _ => continue,
        };
        return Ok(Some(format!("of attempt {} {doubt}", attempt.id)));
    }
    if call.status != CallStatus::Failed {
        return Ok(Some(format!("it is {}, and only calls that failed are", call.status)));
    }
    if !calls::holds_any_slot(tx, &call.id).await? {
        let held = calls::slot_holder(tx, &call.tenant, &call.phone, &call.purpose, &call.slot_key).await?;
        return Ok(Some(match held {
            Some(other) => format!("its slot {} belongs to call {other}", call.slot_key),
            None => format!("it holds its slot {} no more", call.slot_key),
        }));
    }
    slot_is_over(tx, call, now).await
}

async fn slot_is_over(tx: &mut Tx, call: &Call, now: DateTime<Utc>) -> store::Result<Option<String>> {
    let Some(campaign) = setup::campaign_by_id(tx, &call.campaign_id).await? else {
        return Err(StoreError::Conflict(format!("campaign {} is gone", call.campaign_id)));
    };
    let rules = campaign.rules()?;
    let zones = match rules.zone_policy {
        ZonePolicy::Campaign => match rules.timezone {
            Some(zone) => Some(Zones::from(zone)),
            None => setup::tenant(tx, &call.tenant)
                .await?
                .and_then(|tenant| tenant.timezone)
                .and_then(|name| Zone::parse(&name).ok())
                .map(Zones::from),
        },
        ZonePolicy::Callee => contacts::contact(tx, &call.contact_id)
            .await?
            .and_then(|contact| zones_of_callee(contact.timezone.as_deref(), &contact.phone))
            .map(|(zones, _)| zones),
    };
    let Some(zones) = zones else {
        return Ok(Some("its time zone is not known".to_owned()));
    };
    let Ok(period) = call.slot_key.parse::<Period>() else { return Ok(None) };
    if rules.schedule.is_current(&zones, period, now)
        || rules.schedule.next_open_in_period(&zones, period, now).is_some()
    {
        return Ok(None);
    }
    Ok(Some(format!(
        "its slot {} is over at {}; the next one gets a call of its own",
        call.slot_key,
        now.to_rfc3339_opts(SecondsFormat::Secs, true)
    )))
}
