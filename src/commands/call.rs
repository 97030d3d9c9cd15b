//! `call`: an operator asks for one person now.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::calling::counts::Counts;
use super::calling::dial::{Dialler, Limits};
use super::calling::directory::Directory;
use super::calling::plan::{self, Context, Due, Search, Source};
use super::calling::rotation::Rotation;
use super::calling::stop::Stop;
use super::calling::sweep;
use super::explain::person::{Next, Person};
use super::lookup::{self, CampaignName, Named};
use super::telling::{instant, record_of, tell};
use crate::app::App;
use crate::domain::call::AttemptState;
use crate::error::{Exit, Failure, classify};
use crate::store::attempts::{self, Attempt};
use crate::store::contacts::{self, Contact};
use crate::store::enrollments::{self, Candidate, Waiting};
use crate::store::overview::{Enrolled, WaitingCall};
use crate::store::setup::Tenant;
use crate::store::{StoreError, Tx, calls};

/// The command's name, as its runs and calls bear it.
const COMMAND: &str = "call";

/// Arguments of `call`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops call +18022236942 --campaign acme/checkup
  callops call '(802) 223-6942' --campaign acme/checkup --create
  callops call +18022236942 --campaign acme/checkup --dry-run

Calls this one person as the campaign would, but whatever time they prefer: inside the window, and at most once per
slot. Somebody who is not enrolled yet is enrolled; who was withdrawn is not called. National numbers are read by the
tenant's region.

Exit codes: 0 placed, 4 a gate says no or the call was not placed, 6 a key is refused or a clock is wrong, 7 the
provider cannot be reached.")]
pub struct Args {
    /// The phone, or the contact's id
    #[arg(value_name = "PHONE|CONTACT")]
    pub contact: String,
    /// By which campaign
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: CampaignName,
    /// Make a contact of a phone that nobody has yet
    #[arg(long)]
    pub create: bool,
    /// Say what would happen; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Whom to call, as the database shows them before anything is written.
struct Wish {
    tenant: Tenant,
    context: Context,
    contact: Contact,
    is_new: bool,
    /// The enrollment, or what it would be; without a preferred time, which does not hold for what is asked for by hand.
    candidate: Candidate,
    is_enrolled: bool,
    waiting: Option<Waiting>,
    /// A call that waits in a slot whose period is over.
    expired: Option<String>,
}

/// Calls one person and prints what came of it.
///
/// # Errors
/// As [`once`].
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let (record, exit) = once(app, &args, &Stop::on_signals()?).await?;
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or("none");
    let sentence = if args.dry_run {
        format!("{} would be called now by {}, attempt {}", text("phone"), text("campaign"), record["number"])
    } else {
        let reason = record.get("reason").and_then(Value::as_str).map_or_else(String::new, |why| format!(": {why}"));
        format!(
            "call {} to {}: attempt {} is {}{reason}; the provider's id is {}",
            text("call"),
            text("phone"),
            text("attempt"),
            text("state"),
            text("provider_call_id")
        )
    };
    tell(app, &record, &sentence)?;
    Ok(exit)
}

/// Calls one person, with nothing printed but problems. Yields the result as an object, and how the process should end.
///
/// # Errors
/// Exit 2 for a campaign, contact or phone that is none; exit 4 when a gate says no, naming it; what is wrong with the
/// database, the configuration or the clocks.
pub async fn once(app: &App, args: &Args, stop: &Stop) -> Result<(Map<String, Value>, Exit)> {
    let started_at = app.clock.now();
    app.check_database_clock().await?;
    let mut tx = app.db().await?.read().await?;
    let mut wish = look(&mut tx, args, started_at).await?;
    ask_gates(app, &mut tx, &mut wish, started_at).await?;
    drop(tx);
    if args.dry_run {
        return Ok((preview(&wish), Exit::Success));
    }
    let run_id = app.new_id();
    let mut counts = Counts::default();
    // On the heap: it holds a whole run.
    let result = Box::pin(dial(app, wish, &run_id, stop, &mut counts)).await;
    let exit = match &result {
        Ok(attempt) => {
            let is_placed =
                matches!(attempt.state, AttemptState::Placed | AttemptState::Answered | AttemptState::Ended);
            counts.exit().or(if is_placed { Exit::Success } else { Exit::Partial })
        }
        Err(error) => classify(error),
    };
    let exit = stop.exit().unwrap_or(exit);
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    let recorded = app.record_run(&run_id, COMMAND, started_at, exit, &counts.record()).await;
    let attempt = result?;
    recorded?;
    let record = json!({
        "campaign": args.campaign.to_string(), "contact": attempt.contact_id, "phone": attempt.phone,
        "call": attempt.call_id, "attempt": attempt.id, "number": attempt.number, "state": attempt.state.as_str(),
        "provider_call_id": attempt.provider_call_id, "reason": attempt.reason,
    });
    Ok((record_of(record), exit))
}

async fn look(tx: &mut Tx, args: &Args, now: DateTime<Utc>) -> Result<Wish> {
    let campaign = lookup::campaign(tx, &args.campaign).await??;
    let tenant = lookup::tenant(tx, &args.campaign.tenant).await??;
    let found = lookup::contact(tx, &tenant, &args.contact).await??;
    let is_new = found.is_none();
    let contact = match (found, lookup::named(&args.contact, Some(&tenant))?) {
        (Some(contact), _) => contact,
        (None, Named::Phone(phone, extension)) if args.create => {
            lookup::may_be_new(&args.contact, &tenant)??;
            bare_contact(&tenant, phone, extension, now)
        }
        (None, Named::Phone(phone, _)) => {
            return Err(Failure::usage(format!("{} has no contact with the phone {phone}", tenant.name))
                .hint("--create makes one of the bare phone; `callops import-contacts` and `callops enroll` know more")
                .into());
        }
        (None, Named::Id(id)) => return Err(Failure::usage(format!("there is no contact {id}")).into()),
    };
    let name = campaign.full_name();
    let enrolled = enrollments::candidate(tx, &campaign.id, &contact.id).await?;
    let waiting = match &enrolled {
        Some(candidate) => enrollments::waiting_of(tx, &candidate.enrollment_id).await?,
        None => None,
    };
    let (contexts, unreadable) = plan::contexts(tx, vec![campaign]).await?;
    let Some(context) = contexts.into_iter().next() else {
        let problem = unreadable.into_iter().next().map(|(_, problem)| problem).unwrap_or_default();
        return Err(Failure::partial(format!("campaign {name} makes no calls: {problem}")).into());
    };
    let is_enrolled = enrolled.is_some();
    let candidate = enrolled.unwrap_or_else(|| Candidate {
        enrollment_id: String::new(),
        subject: String::new(),
        enrollment_status: "active".to_owned(),
        enrolled_at: now,
        last_reason: None,
        next_check_at: None,
        contact_id: contact.id.clone(),
        contact_version: contact.version,
        phone: contact.phone.clone(),
        extension: contact.extension.clone(),
        name: contact.name.clone(),
        timezone: contact.timezone.clone(),
        preferred_time: None,
        attributes: contact.attributes.clone(),
    });
    let candidate = Candidate { preferred_time: None, ..candidate };
    Ok(Wish { tenant, context, contact, is_new, candidate, is_enrolled, waiting, expired: None })
}

fn bare_contact(tenant: &Tenant, phone: String, extension: Option<String>, now: DateTime<Utc>) -> Contact {
    Contact {
        id: crate::app::new_id(now),
        tenant: tenant.name.clone(),
        phone,
        extension,
        name: None,
        email: None,
        external_id: None,
        timezone: None,
        timezone_source: None,
        preferred_time: None,
        attributes: "{}".to_owned(),
        version: 1,
        import_id: None,
        created_at: now,
        updated_at: now,
    }
}

/// Walks the gates as they stand now, and refuses by the first that says no.
async fn ask_gates(app: &App, tx: &mut Tx, wish: &mut Wish, now: DateTime<Utc>) -> Result<()> {
    let person = |wish: &Wish| {
        let enrolled = Enrolled {
            campaign_id: wish.context.campaign.id.clone(),
            last_checked_at: None,
            candidate: wish.candidate.clone(),
        };
        let waiting = wish.waiting.as_ref().map(|call| WaitingCall {
            enrollment_id: wish.candidate.enrollment_id.clone(),
            call_id: call.call_id.clone(),
            slot_key: call.slot_key.clone(),
            attempt_count: call.attempt_count,
            next_attempt_at: call.next_attempt_at,
        });
        (enrolled, waiting)
    };
    loop {
        let (enrolled, waiting) = person(wish);
        let asked = Person::new(app, &wish.context, enrolled, waiting, now);
        let seen = asked.look(tx, asked.waiting.as_ref().map(|(_, retry)| *retry), now).await?;
        let Some((gate, reason, _)) = asked.facts(&seen).first_block(now) else { return Ok(()) };
        if reason == "slot_expired" && wish.waiting.is_some() {
            // The call that waits is over with its period; what is asked for is a new one.
            wish.expired = wish.waiting.take().map(|call| call.call_id);
            continue;
        }
        let next = asked.next_call(tx, now).await?;
        let failure = Failure::partial(format!(
            "{} is not called now: gate {} says {reason}",
            wish.candidate.phone,
            gate.as_str()
        ));
        return Err(failure.hint(next_moment(&next)).into());
    }
}

fn next_moment(next: &Next) -> String {
    let text = |at: &DateTime<Utc>| instant(Some(*at)).as_str().unwrap_or_default().to_owned();
    match next {
        Next::At(at) => format!("the next possible moment is {}", text(at)),
        Next::Never { reason, once_lifted_at: Some(at) } => {
            format!("not before {reason} ends; if it did now, the next possible moment would be {}", text(at))
        }
        Next::Never { reason, once_lifted_at: None } => {
            format!("there is no possible moment before {reason} ends; `callops explain` says more")
        }
    }
}

fn preview(wish: &Wish) -> Map<String, Value> {
    record_of(json!({
        "dry_run": true,
        "campaign": wish.context.campaign.full_name(),
        "contact": (!wish.is_new).then_some(&wish.contact.id),
        "phone": wish.candidate.phone,
        "would_create": wish.is_new,
        "would_enroll": !wish.is_enrolled,
        "call": wish.waiting.as_ref().map(|call| &call.call_id),
        "number": wish.waiting.as_ref().map_or(1, |call| call.attempt_count + 1),
    }))
}

/// Writes what the wish needs, then claims and dials through the same steps as every run.
async fn dial(app: &App, wish: Wish, run_id: &str, stop: &Stop, counts: &mut Counts) -> Result<Attempt> {
    let candidate = prepare(app, &wish).await?;
    let interval = i64::from(app.config.run_interval.seconds());
    let search = Search { requested_by: COMMAND, dry_run: false, run_interval_seconds: interval };
    let mut directory = Directory::load(app).await?;
    let account = wish.context.campaign.account.clone();
    let stop_at = app.clock.monotonic() + Duration::from_mins(1);
    let clients = directory.probe(app, [account.as_str()], stop_at, counts).await?;
    if !clients.contains_key(&account) {
        let problem = counts.problems().last().unwrap_or("its provider cannot be used").to_owned();
        return Err(Failure::new(counts.exit(), format!("{} is not called: {problem}", candidate.phone)).into());
    }
    let mut tx = app.db().await?.read().await?;
    let due =
        plan::one(&mut tx, &wish.context, &candidate, wish.waiting.as_ref(), search, app.clock.now(), counts).await?;
    drop(tx);
    let Some(due) = due else { return Err(overtaken(&candidate.phone, counts).into()) };
    let Due { claim, .. } = &due;
    let attempt_id = claim.attempt_id.clone();
    let limits = Limits { concurrency: 1, calls: 1, stop_at: app.clock.monotonic() + Duration::from_mins(1) };
    let dialler = Dialler { app, run_id, directory: &directory, clients, limits, search, stop };
    counts.merge(dialler.run(Rotation::new(vec![Source::only(wish.context, due)])).await?);
    if counts.get("queued") > 0 {
        sweep::sweep(app, &mut directory, limits.stop_at, counts).await?;
    }
    let mut tx = app.db().await?.read().await?;
    match attempts::attempt(&mut tx, &attempt_id).await? {
        Some(attempt) => Ok(attempt),
        None => Err(overtaken(&candidate.phone, counts).into()),
    }
}

/// Makes the contact and enrolls it where needed; gives the enrollment that is to be called.
async fn prepare(app: &App, wish: &Wish) -> Result<Candidate> {
    let (campaign, now) = (&wish.context.campaign, app.clock.now());
    let candidate = app
        .db()
        .await?
        .write(async |tx| {
            if wish.is_new || !wish.is_enrolled {
                contacts::lock_tenant(tx, &wish.tenant.name).await?;
            }
            if wish.is_new && contacts::insert(tx, std::slice::from_ref(&wish.contact)).await?.is_empty() {
                return Err(StoreError::Conflict(format!("{} became a contact meanwhile", wish.contact.phone)));
            }
            if !wish.is_enrolled {
                let pair = [(app.new_id(), wish.contact.id.clone())];
                enrollments::enroll(tx, &campaign.id, campaign.rules_version, &pair, now).await?;
            }
            calls::expire(tx, wish.expired.as_slice(), now).await?;
            let detail = json!({
                "campaign": campaign.full_name(), "new_contact": wish.is_new, "enrolled": !wish.is_enrolled
            });
            app.audit(tx, COMMAND, &format!("contact:{}", wish.contact.id), detail).await?;
            enrollments::candidate(tx, &campaign.id, &wish.contact.id).await
        })
        .await?;
    let candidate = candidate.ok_or_else(|| Failure::partial(format!("{} is not enrolled", wish.contact.phone)))?;
    Ok(Candidate { preferred_time: None, ..candidate })
}

/// Somebody else was faster between the look and the claim.
fn overtaken(phone: &str, counts: &Counts) -> Failure {
    let record = counts.record();
    let reasons = record.get("not_called").and_then(Value::as_object);
    let reason = reasons.and_then(|reasons| reasons.keys().next()).map_or("no longer due", String::as_str);
    Failure::partial(format!("{phone} is not called now: {reason}")).hint("`callops explain` says why and until when")
}
