//! Settling attempts whose calls are over at the carrier: by their own provider's word where it has one.

use anyhow::Result;
use serde_json::json;

use crate::app::App;
use crate::commands::calling::counts::Counts;
use crate::commands::calling::directory::Directory;
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::conversation::Record;
use crate::domain::evidence::{Ending, Observation, Seen};
use crate::providers::twilio::CallRecord;
use crate::store::attempts::{self, Attempt};
use crate::store::{Tx, evidence};

/// An attempt, and the carrier's record of its call.
#[derive(Debug)]
pub(super) struct Ended<'e> {
    pub(super) attempt_id: &'e str,
    pub(super) call: &'e CallRecord,
}

/// Settles them, one after the other. Yields how many are over now.
///
/// # Errors
/// When the database cannot be asked or written.
pub(super) async fn settle(app: &App, ended: &[Ended<'_>]) -> Result<usize> {
    let (mut counts, mut directory) = (Counts::default(), Directory::load(app).await?);
    let mut settled = 0;
    for one in ended {
        let mut tx = app.db().await?.read().await?;
        let attempt = attempts::attempt(&mut tx, one.attempt_id).await?;
        drop(tx);
        let Some(attempt) = attempt.filter(is_live) else { continue };
        match seen(app, &mut directory, &attempt, one.call, &mut counts).await? {
            Ok(seen) => settled += usize::from(record(app, &attempt, one.call, seen).await?),
            Err(why) => app.printer.warn(format!("{} of {}: {why}; it is not settled", attempt.id, attempt.phone)),
        }
    }
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    Ok(settled)
}

fn is_live(attempt: &Attempt) -> bool {
    matches!(attempt.state, AttemptState::Placed | AttemptState::Answered)
}

/// What is to be believed of an attempt: what its provider says of it; the carrier's word only where the provider does not
/// know the call any more.
async fn seen(
    app: &App,
    directory: &mut Directory,
    attempt: &Attempt,
    call: &CallRecord,
    counts: &mut Counts,
) -> Result<Result<Seen, String>> {
    let Some(provider_call_id) = &attempt.provider_call_id else {
        return Ok(Err("its provider gave it no id".to_owned()));
    };
    let Some(client) = directory.client(app, &attempt.account, counts).await? else {
        return Ok(Err(format!("account {} cannot be asked", attempt.account)));
    };
    let now = app.clock.now();
    Ok(match client.fetch(provider_call_id).await {
        Ok(Some(report)) => match Seen::from_report(&report, now) {
            Some(seen) if !seen.state().is_live() => Ok(seen),
            _ => Err(format!("account {} says that it goes on", attempt.account)),
        },
        Ok(None) => match call.outcome() {
            Some(outcome) => Ok(Seen::Ended(Ending {
                provider_call_id: None,
                outcome,
                never_rang: false,
                reason: Some(format!("twilio {}", call.status)),
                ended_at: call.ended_at.unwrap_or(now),
                record: Record::default(),
            })),
            None => Err(format!("Twilio's {:?} says nothing", call.status)),
        },
        Err(error) => Err(format!("account {}: {error}", attempt.account)),
    })
}

async fn record(app: &App, attempt: &Attempt, call: &CallRecord, seen: Seen) -> Result<bool> {
    let now = app.clock.now();
    let observation = Observation { attempt_id: attempt.id.clone(), by: Evidence::Provider, at: now, seen };
    let write = async |tx: &mut Tx| {
        let applied = evidence::apply(tx, std::slice::from_ref(&observation), now).await?;
        let Some(applied) = applied.into_iter().next() else { return Ok(false) };
        if applied.moved {
            let detail = json!({"before": attempt.state.as_str(), "after": applied.state.as_str(), "twilio": call.sid,
                "status": call.status});
            app.audit(tx, "settle-by-twilio", &format!("attempt:{}", attempt.id), detail).await?;
        }
        Ok(!applied.state.is_live())
    };
    Ok(app.db().await?.write(write).await?)
}
