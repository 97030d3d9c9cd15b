//! From what a provider extracted of a conversation to a contact, a booking and a ticket, once.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::counts::Counts;
use crate::app::App;
use crate::domain::conversation::ConversationStatus;
use crate::domain::records::{Records, records_of};
use crate::error::{Exit, message};
use crate::fail_point;
use crate::providers::vapi;
use crate::store::conversations::{self, Conversation};
use crate::store::setup::{self, Tenant};
use crate::store::{attempts, records};

/// The most conversations of which one run makes records.
const MOST_AT_ONCE: i64 = 1000;
/// Conversations older than this are left to whoever asks for one.
const WITHIN: TimeDelta = TimeDelta::days(7);

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
    let now = app.clock.now();
    let mut tx = db.read().await?;
    let due = conversations::unprocessed(&mut tx, now - WITHIN, MOST_AT_ONCE).await?;
    let tenants = if due.is_empty() { Vec::new() } else { setup::tenants(&mut tx).await? };
    drop(tx);
    // Most tenants make nothing of what was said, and have thousands of calls.
    let makes_nothing = |tenant: &Tenant| tenant.settings().is_ok_and(|settings| settings.records.is_none());
    let idle: BTreeSet<String> = tenants.into_iter().filter(makes_nothing).map(|tenant| tenant.name).collect();
    for tenant in &idle {
        db.write(async |tx| records::make_nothing(tx, tenant, now).await).await?;
    }
    for conversation in due.into_iter().filter(|conversation| !idle.contains(&conversation.tenant)) {
        match process(app, &conversation.id).await {
            Ok(Processed::Now) => counts.add("conversations_processed", 1),
            Ok(Processed::Before | Processed::NotYet(_)) => {}
            Err(error) => counts.problem(
                Exit::Partial,
                format!("nothing could be made of conversation {}: {}", conversation.id, message(&error)),
            ),
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
    let Some(conversation) = conversations::conversation(&mut tx, id).await? else {
        return Ok(Processed::NotYet("its conversation is not known".to_owned()));
    };
    if conversation.processed_at.is_some() {
        return Ok(Processed::Before);
    }
    if conversation.status != ConversationStatus::Completed {
        let why = conversation.last_error.clone();
        return Ok(Processed::NotYet(why.unwrap_or_else(|| "the provider is not done with it yet".to_owned())));
    }
    let accounts = setup::accounts(&mut tx).await?;
    let provider = accounts.into_iter().find(|account| account.name == conversation.account);
    let tenant = setup::tenant(&mut tx, &conversation.tenant).await?;
    let callee = attempts::attempt(&mut tx, id).await?.map(|attempt| attempt.contact_id);
    drop(tx);
    let extracted = extracted(provider.as_ref().map_or("", |account| &account.provider), &conversation);
    let records = match &tenant {
        Some(tenant) => {
            let settings = tenant.settings()?;
            let region = tenant.region.as_deref().and_then(|code| code.parse().ok());
            settings
                .records
                .map_or_else(Records::default, |mapping| records_of(&mapping, &extracted, region, settings.call_also))
        }
        None => Records::default(),
    };
    for problem in &records.problems {
        tracing::warn!(conversation = %id, "{problem}");
    }
    let (now, new_id) = (app.clock.now(), app.new_id());
    fail_point::hit("records.process");
    let is_done = db
        .write(async |tx| records::process(tx, &conversation, &records, callee.as_deref(), &new_id, now).await)
        .await?;
    Ok(if is_done { Processed::Now } else { Processed::Before })
}

/// What the provider extracted of a conversation, by the names of the fields.
fn extracted(provider: &str, conversation: &Conversation) -> Map<String, Value> {
    let parse = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let analysis: Value = parse(conversation.analysis.as_deref());
    match provider {
        "vapi" => vapi::extracted(&analysis),
        _ => Map::new(),
    }
}
