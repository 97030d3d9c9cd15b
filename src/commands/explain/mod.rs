//! `explain`: why somebody was called, was not, and when it can next happen.
//!
//! It asks the very gates that `process-calls` asks, in their order, of the same facts; it changes nothing.

mod campaign;
pub(crate) mod evidence;
mod find;
pub(crate) mod person;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use self::evidence::{Background, local, sentence, utc};
use self::person::{Next, Person};
use crate::app::App;

use crate::commands::calling::plan::{self, Context};
use crate::commands::check_window::parse_instant;
use crate::commands::lookup::{self, CampaignName};
use crate::domain::gate::Verdict;
use crate::domain::outcome::Outcome;
use crate::domain::zone::{ZoneSource, Zones, zones_of_callee};
use crate::error::Exit;
use crate::output::{Format, Rows};
use crate::store::contacts::Contact;
use crate::store::enrollments::Candidate;
use crate::store::overview::{self, Enrolled};
use crate::store::setup::Campaign;
use crate::store::{Tx, calls, control, setup};

/// Say why somebody is called or not, and when they can next be.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The contact: its id, or its phone
    #[arg(long, value_name = "ID|PHONE", required_unless_present = "campaign")]
    pub contact: Option<String>,
    /// The tenant whose contact is meant, where several have the phone
    #[arg(long, value_name = "TENANT", requires = "contact")]
    pub tenant: Option<String>,
    /// Only this campaign; alone, everybody in it, counted by reason
    #[arg(long, value_name = "TENANT/CAMPAIGN")]
    pub campaign: Option<CampaignName>,
    /// Ask about this moment instead of now
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub at: Option<DateTime<Utc>>,
    /// How many people of a campaign to ask the gates about, at most
    #[arg(long, value_name = "N", default_value_t = 10_000, conflicts_with = "contact",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

const AFTER_HELP: &str = "\
Examples:
  callops explain --contact +14155550100
  callops explain --contact '(415) 555-0100' --tenant acme --campaign acme/checkup
  callops explain --contact +14155550100 --at 2026-11-23T14:00:00Z
  callops explain --campaign acme/checkup

A moment other than now is asked with what is known now: calls, edits and pauses that came later count as well.

JSON for a contact: {at, contact: {id, tenant, phone, name, timezone, zones, zones_source, preferred_time},
campaigns: [{campaign, enrollment_id, subject, all_pass, first_block, gates: [{gate, verdict: pass|block, reason, until, evidence}],
called: {called, period, call_id, status, outcome, at}, waiting_call: {call_id, attempts, next_attempt_at} or null,
next_call_at, next_call_local, never_because, once_lifted_at, last_check: {at, reason, next_check_at}, problem}]}.
`problem` is set, and the rest absent, for a campaign that cannot be read. JSONL gives one such campaign a line,
with `contact`; CSV one gate a line.
JSON for a campaign: {campaign, at, enrolled, asked, is_complete, reasons: [{reason, now, at_last_check}]};
the reason `due` means that every gate says yes.";

/// Explains a contact or a campaign.
///
/// # Errors
/// When the contact or campaign is not known, or the database cannot be read.
pub async fn run(app: &App, args: Args) -> Result<Exit> {
    let at = args.at.unwrap_or_else(|| app.clock.now());
    let mut tx = app.db().await?.read().await?;
    let campaign = match &args.campaign {
        Some(name) => Some(lookup::campaign(&mut tx, name).await??),
        None => None,
    };
    match (&args.contact, campaign) {
        (Some(text), campaign) => {
            let tenant = args.tenant.as_deref().or(campaign.as_ref().map(|campaign| campaign.tenant.as_str()));
            let contact = find::contact(&mut tx, text, tenant).await?;
            explain_contact(app, &mut tx, &contact, campaign, at).await?;
        }
        (None, Some(campaign)) => campaign::explain(app, &mut tx, campaign, i64::from(args.limit), at).await?,
        (None, None) => unreachable!("the command line asks for a contact or a campaign"),
    }
    Ok(Exit::Success)
}

async fn explain_contact(
    app: &App,
    tx: &mut Tx,
    contact: &Contact,
    only: Option<Campaign>,
    at: DateTime<Utc>,
) -> Result<()> {
    let mut enrolled = overview::enrollments_of(tx, &contact.id).await?;
    let mut campaigns: Vec<Campaign> = if let Some(campaign) = only {
        enrolled.retain(|one| one.campaign_id == campaign.id);
        if enrolled.is_empty() {
            enrolled.push(not_enrolled(contact, &campaign));
        }
        vec![campaign]
    } else {
        let mut all = setup::campaigns(tx).await?;
        all.retain(|campaign| enrolled.iter().any(|one| one.campaign_id == campaign.id));
        all
    };
    campaigns.sort_by_key(Campaign::full_name);
    let names: Vec<(String, String)> =
        campaigns.iter().map(|campaign| (campaign.id.clone(), campaign.full_name())).collect();
    let (contexts, unreadable) = plan::contexts(tx, campaigns).await?;
    let ids: Vec<&str> = enrolled.iter().map(|one| one.candidate.enrollment_id.as_str()).collect();
    let mut waiting = overview::waiting_calls(tx, &ids).await?;
    let mut explained = Vec::new();
    for (id, name) in names {
        let problem = unreadable.iter().find(|(campaign, _)| campaign.id == id);
        if let Some((_, problem)) = problem {
            let mut object = Map::new();
            object.insert("campaign".to_owned(), json!(name));
            object.insert("problem".to_owned(), json!(problem));
            explained.push(object);
            continue;
        }
        let Some(context) = contexts.iter().find(|context| context.campaign.id == id) else { continue };
        for one in enrolled.iter().filter(|one| one.campaign_id == id) {
            let waiting = waiting.remove(&one.candidate.enrollment_id);
            let person = Person::new(app, context, one.clone(), waiting, at);
            explained.push(explain_person(tx, &person, contact, at).await?);
        }
    }
    print(app, contact, explained, at)
}

/// Somebody whom a campaign does not know.
fn not_enrolled(contact: &Contact, campaign: &Campaign) -> Enrolled {
    Enrolled {
        campaign_id: campaign.id.clone(),
        last_checked_at: None,
        candidate: Candidate {
            enrollment_id: String::new(),
            subject: String::new(),
            enrollment_status: "none".to_owned(),
            enrolled_at: contact.created_at,
            last_reason: None,
            next_check_at: None,
            contact_id: contact.id.clone(),
            contact_version: contact.version,
            phone: contact.phone.clone(),
            extension: contact.extension.clone(),
            name: contact.name.clone(),
            timezone: contact.timezone.clone(),
            preferred_time: contact.preferred_time.clone(),
            attributes: contact.attributes.clone(),
        },
    }
}

async fn explain_person(
    tx: &mut Tx,
    person: &Person<'_>,
    contact: &Contact,
    at: DateTime<Utc>,
) -> Result<Map<String, Value>> {
    let context = person.context;
    let candidate = &person.enrolled.candidate;
    let scope = control::tenant_scope(&contact.tenant);
    let mut pauses = control::pauses(tx).await?;
    pauses.retain(|pause| pause.scope == control::EVERYBODY || pause.scope == scope);
    let background = Background {
        pauses,
        rings: overview::rings(tx, &contact.tenant, &contact.phone, &contact.id).await?,
        live: overview::live_attempt(tx, &contact.tenant, &contact.phone).await?,
    };
    let seen = person.look(tx, person.waiting.as_ref().map(|(_, retry)| *retry), at).await?;
    let facts = person.facts(&seen);
    let checks = person.checks(&facts, at);
    let first_block = checks.iter().find_map(|check| match check.verdict {
        Verdict::Pass => None,
        Verdict::Block { reason, .. } => Some(reason),
    });
    let gates: Vec<Value> = checks
        .iter()
        .map(|check| {
            let (verdict, reason, until) = match check.verdict {
                Verdict::Pass => ("pass", None, None),
                Verdict::Block { reason, until } => ("block", Some(reason), until),
            };
            let evidence = sentence(check.gate, person, &seen, &facts, &background, at);
            json!({
                "gate": check.gate.as_str(), "verdict": verdict, "reason": reason, "until": until, "evidence": evidence
            })
        })
        .collect();
    let next = person.next_call(tx, at).await?;
    let (next_call_at, never_because, once_lifted_at) = match next {
        Next::At(at) => (Some(at), None, None),
        Next::Never { reason, once_lifted_at } => (None, Some(reason), once_lifted_at),
    };
    let zone = person.place.zones.as_ref().map(Zones::first);
    let waiting = person.waiting.as_ref().map(|(call, _)| {
        json!({
            "call_id": call.call_id, "attempts": call.attempt_count, "next_attempt_at": call.next_attempt_at
        })
    });
    let called = called(tx, context, person, &background, at).await?;
    let Value::Object(object) = json!({
        "campaign": context.campaign.full_name(),
        "enrollment_id": Some(&candidate.enrollment_id).filter(|id| !id.is_empty()),
        "subject": Some(&candidate.subject).filter(|subject| !subject.is_empty()),
        "all_pass": first_block.is_none(),
        "first_block": first_block,
        "gates": gates,
        "called": called,
        "waiting_call": waiting,
        "next_call_at": next_call_at,
        "next_call_local": next_call_at.zip(zone).map(|(at, zone)| local(at, zone)),
        "never_because": never_because,
        "once_lifted_at": once_lifted_at,
        "last_check": {
            "at": person.enrolled.last_checked_at,
            "reason": candidate.last_reason,
            "next_check_at": candidate.next_check_at,
        },
    }) else {
        unreachable!("an object is written above")
    };
    Ok(object)
}

/// Whether the person was called in the period that `at` lies in, or in the one that opens next, and by which call.
async fn called(
    tx: &mut Tx,
    context: &Context,
    person: &Person<'_>,
    background: &Background,
    at: DateTime<Utc>,
) -> Result<Value> {
    let (rules, campaign) = (&context.rules, &context.campaign);
    let Some(zones) = &person.place.zones else { return Ok(Value::Null) };
    let date = rules.schedule.opened_on(zones, at).unwrap_or_else(|| zones.first().local(at).date());
    let period = rules.frequency.period(date);
    let rang = background.rings.iter().find(|ring| {
        ring.purpose == campaign.purpose
            && ring.at <= at
            && rules.schedule.period_of(zones, rules.frequency, ring.at) == period
    });
    let call_id = if let Some(last) = rang {
        Some(last.call_id.clone())
    } else {
        let phone = &person.enrolled.candidate.phone;
        calls::slot_holder(tx, &campaign.tenant, phone, &campaign.purpose, &period.to_string()).await?
    };
    let call = match &call_id {
        Some(id) => calls::call(tx, id).await?,
        None => None,
    };
    Ok(json!({
        "called": rang.is_some(),
        "period": period.to_string(),
        "call_id": call_id,
        "status": call.as_ref().map(|call| call.status.as_str()),
        "outcome": call.as_ref().and_then(|call| call.outcome).map(Outcome::as_str),
        "at": rang.map(|ring| ring.at),
    }))
}

const GATE_COLUMNS: [&str; 5] = ["gate", "verdict", "reason", "until", "evidence"];

fn print(app: &App, contact: &Contact, campaigns: Vec<Map<String, Value>>, at: DateTime<Utc>) -> Result<()> {
    let printer = &app.printer;
    let (zones, source) = zones_of_callee(contact.timezone.as_deref(), &contact.phone).unzip();
    let about = json!({
        "id": contact.id, "tenant": contact.tenant, "phone": contact.phone, "name": contact.name,
        "timezone": contact.timezone, "zones": zones, "zones_source": source.map(ZoneSource::as_str),
        "preferred_time": contact.preferred_time,
    });
    match printer.format() {
        Format::Json => {
            let mut record = Map::new();
            record.insert("at".to_owned(), json!(at));
            record.insert("contact".to_owned(), about);
            record.insert("campaigns".to_owned(), json!(campaigns));
            printer.record(&record)?;
        }
        Format::Jsonl => {
            for mut campaign in campaigns {
                campaign.insert("contact".to_owned(), about.clone());
                printer.record(&campaign)?;
            }
        }
        Format::Csv => {
            let mut rows = Rows::new(&["campaign", "gate", "verdict", "reason", "until", "evidence"]);
            for campaign in &campaigns {
                for gate in campaign.get("gates").and_then(Value::as_array).into_iter().flatten() {
                    let mut row = vec![campaign["campaign"].clone()];
                    row.extend(GATE_COLUMNS.iter().map(|column| gate[*column].clone()));
                    rows.push(row);
                }
            }
            printer.rows(&rows)?;
        }
        Format::Table => print_for_people(app, contact, &campaigns, at)?,
    }
    Ok(())
}

fn print_for_people(app: &App, contact: &Contact, campaigns: &[Map<String, Value>], at: DateTime<Utc>) -> Result<()> {
    let printer = &app.printer;
    let name = contact.name.as_deref().map_or_else(String::new, |name| format!(" {name},"));
    printer.line(format!("contact {},{name} {} of {}, at {}", contact.id, contact.phone, contact.tenant, utc(at)))?;
    if campaigns.is_empty() {
        printer.line("is in no campaign, so nobody calls it")?;
    }
    for campaign in campaigns {
        printer.line("")?;
        let full_name = text(&campaign["campaign"]);
        if let Some(problem) = campaign.get("problem") {
            printer.line(format!("campaign {full_name} makes no calls: {}", text(problem)))?;
            continue;
        }
        let verdict = match campaign["first_block"].as_str() {
            None => "every gate says yes".to_owned(),
            Some(reason) => format!("no call: {reason}"),
        };
        printer.line(format!("campaign {full_name}: {verdict}"))?;
        let mut rows = Rows::new(&GATE_COLUMNS);
        for gate in campaign["gates"].as_array().into_iter().flatten() {
            rows.push(GATE_COLUMNS.iter().map(|column| gate[*column].clone()).collect());
        }
        printer.rows(&rows)?;
        printer.line(format!("called: {}", called_for_people(&campaign["called"])))?;
        printer.line(format!("next call: {}", next_for_people(campaign)))?;
        let last = &campaign["last_check"];
        printer.line(match (last["at"].as_str(), last["reason"].as_str()) {
            (Some(at), Some(reason)) => {
                let again = last["next_check_at"].as_str().map_or_else(
                    || "not again until something changes".to_owned(),
                    |again| format!("again from {again}"),
                );
                format!("last check: {reason} at {at}, {again}")
            }
            _ => "last check: none yet".to_owned(),
        })?;
    }
    Ok(())
}

fn called_for_people(called: &Value) -> String {
    let period = text(&called["period"]);
    match (called["called"].as_bool(), called["call_id"].as_str()) {
        (Some(true), Some(call)) => {
            let outcome = called["outcome"].as_str().map_or_else(String::new, |outcome| format!(", {outcome}"));
            format!(
                "yes, for {period} at {} by call {call} ({}{outcome})",
                text(&called["at"]),
                text(&called["status"])
            )
        }
        (_, Some(call)) => {
            format!("no; call {call} ({}) holds {period} and has not rung", text(&called["status"]))
        }
        (Some(_), None) => format!("no, not for {period}"),
        (None, None) => "not known without a zone".to_owned(),
    }
}

fn next_for_people(campaign: &Map<String, Value>) -> String {
    if let Some(at) = campaign["next_call_at"].as_str() {
        return format!("{at} ({})", text(&campaign["next_call_local"]));
    }
    let reason = text(&campaign["never_because"]);
    match campaign["once_lifted_at"].as_str() {
        Some(at) => format!("not while {reason} holds; if that ended now, {at}"),
        None => format!("never, as things stand: {reason}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
