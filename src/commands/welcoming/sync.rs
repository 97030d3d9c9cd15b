//! Reading the events of an account, as far back as they are kept there.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{Setup, explain};
use crate::app::{App, check_skew};
use crate::commands::calling::counts::Counts;
use crate::commands::calling::inbox::{self, Incoming};
use crate::domain::call_status::is_id;
use crate::domain::event::{EventSource, Scope};
use crate::domain::welcome::EVENT_TYPES;
use crate::fail_point;
use crate::store::setup::Account;
use crate::store::welcomes;
use crate::store::welcomes::syncs::{self, Begun};

/// For how long events can be read.
pub const KEPT: TimeDelta = TimeDelta::days(30);
/// What is read anew each time: an event may be listed later than others that happened after it.
const OVERLAP: TimeDelta = TimeDelta::hours(1);
/// Whoever reads is taken for dead when silent for this long.
const LEASE: TimeDelta = TimeDelta::minutes(5);
/// Applying may take this long, and the rest is left to the runs to come.
const APPLY_WITHIN: Duration = Duration::from_mins(5);
/// So many customers who cannot be called are looked at again in one run.
const MOST_LOOKED_AT: i64 = 100;

/// What one run did for an account.
#[derive(Debug, Default)]
pub struct Synced {
    /// Since when events were read.
    pub since: Option<DateTime<Utc>>,
    /// Events that were read.
    pub read: u64,
    /// Those that had not come by webhook.
    pub new: u64,
    /// What is wrong with those that cannot be read.
    pub unreadable: Vec<String>,
    /// Until when events were read before, where those that followed are not kept any more.
    pub lost_from: Option<DateTime<Utc>>,
    /// Until when another run reads them at the latest; then nothing was done here.
    pub held_until: Option<DateTime<Utc>>,
}

/// Reads the events of an account since `since`, else since they were last read to their end, and stores those that did
/// not come yet, page by page. How far they were read moves only when the last page is stored. Then applies what waits, and
/// looks once more at customers who cannot be called.
///
/// # Errors
/// Exit 6 for a key that is refused, exit 7 when the service cannot be reached; what was stored by then stays.
pub async fn sync(
    app: &App,
    setup: &Setup,
    account: &Account,
    owner: &str,
    since: Option<DateTime<Utc>>,
    done: &mut Synced,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let db = app.db().await?;
    let now = app.clock.now();
    let name = account.name.as_str();
    let begun = db.write(async |tx| syncs::begin(tx, name, owner, now + LEASE, now).await).await?;
    let known = match begun {
        Begun::Mine(known) => known,
        Begun::Held(until) => {
            done.held_until = Some(until);
            return Ok(());
        }
    };
    let oldest = now - KEPT;
    // A span that begins later leaves something out that would never be read.
    let latest = known.synced_until.map_or(oldest, |until| (until - OVERLAP).max(oldest));
    let from = since.map_or(latest, |since| since.max(oldest));
    done.since = Some(from);
    done.lost_from = known.synced_until.filter(|until| *until < oldest);
    let result = Box::pin(read(app, setup, account, owner, from, done)).await;
    let now = app.clock.now();
    match result {
        Ok(until) if from <= latest => {
            db.write(async |tx| syncs::end(tx, name, owner, until, now).await).await?;
        }
        Ok(_) => db.write(async |tx| syncs::leave(tx, name, owner, now).await).await?,
        Err(error) => {
            // The lease ends by itself where this cannot be written.
            if let Err(error) = db.write(async |tx| syncs::leave(tx, name, owner, now).await).await {
                tracing::debug!(%error, "a lease could not be given back");
            }
            return Err(error);
        }
    }
    inbox::settle_payments(app, app.clock.monotonic() + APPLY_WITHIN, counts).await?;
    let listed = welcomes::listed_events(&mut db.read().await?, name, oldest, MOST_LOOKED_AT).await?;
    // First, so that one that fails does not stand before the others in each run.
    db.write(async |tx| welcomes::looked_at(tx, name, &listed, now).await).await?;
    let mut looked = Counts::default();
    inbox::replay(app, &listed, &mut looked).await;
    // That somebody still cannot be called is no news.
    if looked.get("events_applied") > 0 || looked.problems().count() > 0 {
        counts.merge(looked);
    }
    Ok(())
}

/// Reads all pages; yields until when they are complete.
async fn read(
    app: &App,
    setup: &Setup,
    account: &Account,
    owner: &str,
    from: DateTime<Utc>,
    done: &mut Synced,
) -> anyhow::Result<DateTime<Utc>> {
    let client = setup.client(app, account).await?;
    let asked_at = app.clock.now();
    let (mut until, mut after) = (None, None);
    loop {
        let page = client.events(&EVENT_TYPES, from, after.as_deref()).await;
        let page = page.map_err(|error| explain(&account.name, &error))?;
        if let (None, Some(date)) = (until, page.date) {
            check_skew(&format!("account {}", account.name), date, app.clock.now())?;
        }
        // What happened after the first page was asked for is for the next run, by the earlier of both clocks.
        until = until.or(Some(page.date.map_or(asked_at, |date| date.min(asked_at))));
        let mut incoming = Vec::new();
        for event in &page.events {
            match Incoming::read(EventSource::Stripe, Scope::Of(vec![account.name.clone()]), event.as_bytes()) {
                Ok(event) => incoming.push(event),
                Err(problems) => {
                    let problems = problems.iter().map(|one| format!("{} {}", one.field, one.problem));
                    let problems = problems.collect::<Vec<_>>().join(", ");
                    done.unreadable.push(match id_in(event) {
                        Some(id) => format!("{id}: {problems}"),
                        None => problems,
                    });
                }
            }
        }
        let now = app.clock.now();
        let keep = async |tx: &mut crate::store::Tx| syncs::keep(tx, &account.name, owner, now + LEASE, now).await;
        done.new += inbox::take_in(app, &incoming, keep).await?;
        done.read += page.events.len() as u64;
        fail_point::hit("sync_stripe.page");
        match page.next_after {
            Some(next) => after = Some(next),
            None => return Ok(until.unwrap_or(asked_at)),
        }
    }
}

/// The id of an event of which not everything can be read.
fn id_in(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    event["id"].as_str().filter(|id| is_id(id)).map(str::to_owned)
}
