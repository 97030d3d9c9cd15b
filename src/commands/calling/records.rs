//! From what a provider extracted of a conversation to a contact, a booking and a ticket, once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::answers;
use super::counts::Counts;
use crate::app::App;
use crate::domain::call_status::CustomerResponse;
use crate::domain::conversation::ConversationStatus;
use crate::domain::records::{Records, records_of};
use crate::domain::reminder::Reminders;
use crate::error::{Exit, message};
use crate::fail_point;
use crate::providers::{elevenlabs, vapi};
use crate::store::attempts::{self, Attempt};
use crate::store::conversations::{self, Conversation};
use crate::store::{self, Tx, records, setup};

/// The most conversations of one tenant of which one run makes records.
const MOST_AT_ONCE: i64 = 1000;

/// What processing a conversation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processed {
    /// Its records were made now.
    Now,
    /// That was done before.
    Before,
    /// It cannot be done yet, and why.
    NotYet(String),
}

/// Makes the records of every conversation that is complete and of which none were made.
///
/// # Errors
/// When the database cannot be asked. A conversation that fails is counted, and tried again by the next run.
pub async fn process_due(app: &App, counts: &mut Counts) -> anyhow::Result<()> {
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let any = conversations::any_unprocessed(&mut tx).await?;
    let tenants = if any { setup::tenants(&mut tx).await? } else { Vec::new() };
    drop(tx);
    let reminding = if any { reminding(&mut db.read().await?).await? } else { BTreeSet::new() };
    for tenant in tenants {
        match tenant.settings() {
            // Most tenants make nothing of what was said, and have thousands of calls.
            Ok(settings) if settings.records.is_none() && !reminding.contains(&tenant.name) => {
                let now = app.clock.now();
                db.write(async |tx| records::make_nothing(tx, &tenant.name, now).await).await?;
            }
            Ok(_) => process_those_of(app, &tenant.name, counts).await?,
            Err(error) => counts.problem(Exit::Configuration, error.to_string()),
        }
    }
    Ok(())
}

/// The tenants with a campaign that reminds of invoices: what their customers said matters.
async fn reminding(tx: &mut Tx) -> store::Result<BTreeSet<String>> {
    let campaigns = setup::campaigns(tx).await?.into_iter();
    // Of rules that cannot be read nothing is known: what was said waits until they can.
    let reminds = |campaign: &setup::Campaign| campaign.rules().map_or(true, |rules| rules.reminders.is_some());
    Ok(campaigns.filter(reminds).map(|campaign| campaign.tenant).collect())
}

async fn process_those_of(app: &App, tenant: &str, counts: &mut Counts) -> anyhow::Result<()> {
    let mut tx = app.db().await?.read().await?;
    let due = conversations::unprocessed(&mut tx, tenant, MOST_AT_ONCE).await?;
    drop(tx);
    for id in due {
        match process(app, &id).await {
            Ok(Processed::Now) => counts.add("conversations_processed", 1),
            Ok(Processed::Before | Processed::NotYet(_)) => {}
            Err(error) => counts
                .problem(Exit::Partial, format!("nothing could be made of conversation {id}: {}", message(&error))),
        }
    }
    Ok(())
}

/// Makes the records of a conversation, unless that was done.
///
/// # Errors
/// When the database cannot be asked or written, or the tenant's settings cannot be read.
pub async fn process(app: &App, id: &str) -> anyhow::Result<Processed> {
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let known = conversations::conversation(&mut tx, id).await?;
    if let Some(early) = state_of(known.as_ref()) {
        return Ok(early);
    }
    let Some(known) = known else { return Ok(Processed::Before) };
    let accounts = setup::accounts(&mut tx).await?;
    let provider = accounts.into_iter().find(|account| account.name == known.account).map(|account| account.provider);
    let tenant = setup::tenant(&mut tx, &known.tenant).await?;
    let attempt = attempts::attempt(&mut tx, id).await?;
    let reminders = match &attempt {
        Some(attempt) => answers::reminders_of(&mut tx, attempt).await?,
        None => None,
    };
    drop(tx);
    let region = tenant.as_ref().and_then(|tenant| tenant.region.as_deref()).and_then(|code| code.parse().ok());
    let settings = tenant.map(|tenant| tenant.settings()).transpose()?.unwrap_or_default();
    let (now, new_id) = (app.clock.now(), app.new_id());
    fail_point::hit("records.process");
    let (processed, problems) = db
        .write(async |tx| {
            // Read anew: what was made of a part of it would stand in the way of the whole.
            let locked = conversations::locked(tx, id).await?;
            if let Some(early) = state_of(locked.as_ref()) {
                return Ok((early, Vec::new()));
            }
            let Some(conversation) = locked else { return Ok((Processed::Before, Vec::new())) };
            let extracted = extracted(provider.as_deref().unwrap_or_default(), &conversation);
            let records = settings
                .records
                .as_ref()
                .map_or_else(Records::default, |mapping| records_of(mapping, &extracted, region, settings.call_also));
            let callee = attempt.as_ref().map(|attempt| attempt.contact_id.as_str());
            records::process(tx, &conversation, &records, callee, &new_id, now).await?;
            if let (Some(attempt), Some(reminders)) = (&attempt, &reminders)
                && let Some((answer, note)) = answer(reminders, &extracted, attempt)
            {
                answers::take_in(tx, attempt, answer, note.as_deref(), now).await?;
            }
            Ok((Processed::Now, records.problems))
        })
        .await?;
    for problem in &problems {
        tracing::warn!(conversation = %id, "{problem}");
    }
    Ok(processed)
}

/// Why there is nothing to do about a conversation; none when its records are to be made.
fn state_of(conversation: Option<&Conversation>) -> Option<Processed> {
    match conversation {
        None => Some(Processed::NotYet("its conversation is not known".to_owned())),
        Some(known) if known.processed_at.is_some() => Some(Processed::Before),
        Some(known) if known.status != ConversationStatus::Completed => Some(Processed::NotYet(
            known.last_error.clone().unwrap_or_else(|| "the provider is not done with it yet".to_owned()),
        )),
        Some(_) => None,
    }
}

/// What was answered to a reminder: by what the provider extracted, else by what the agent reported.
fn answer(
    reminders: &Reminders,
    extracted: &Map<String, Value>,
    attempt: &Attempt,
) -> Option<(CustomerResponse, Option<String>)> {
    let field = reminders.answer_field.as_deref().and_then(|field| extracted.get(field));
    let read = field.and_then(Value::as_str).and_then(answers::read);
    read.map(|answer| (answer, None)).or_else(|| answers::reported(attempt))
}

/// What the provider extracted of a conversation, by the names of the fields.
fn extracted(provider: &str, conversation: &Conversation) -> Map<String, Value> {
    let parse = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let analysis: Value = parse(conversation.analysis.as_deref());
    match provider {
        "vapi" => vapi::extracted(&analysis),
        "elevenlabs" => elevenlabs::extracted(&analysis),
        _ => Map::new(),
    }
}
