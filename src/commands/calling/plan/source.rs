//! Who is due in one campaign, found in batches as they are wanted.

use std::collections::{HashSet, VecDeque};

use chrono::{DateTime, Utc};

use super::{Context, Due, PlannedWaiting, Search, plan_candidates, plan_waiting};
use crate::app::App;
use crate::commands::calling::counts::Counts;
use crate::commands::calling::freshness::Freshness;
use crate::store::{calls, enrollments};

/// How many enrollments are looked at in one transaction.
const BATCH: i64 = 500;
/// How many are looked at by a run that writes nothing, and so cannot go on behind them.
const DRY_RUN_BATCH: i64 = 1_000_000;

/// One campaign's due people, found in batches as they are wanted.
#[derive(Debug)]
pub struct Source {
    /// The campaign.
    pub context: Context,
    ready: VecDeque<Due>,
    /// Those found in this run, so that nobody is met twice while their claim is under way.
    met: HashSet<String>,
    is_drained: bool,
    retries_read: bool,
    /// Calls that wait for a moment which their period no longer has.
    expired: Vec<String>,
    freshness: Freshness,
}

impl Source {
    /// A source of nobody yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            ready: VecDeque::new(),
            met: HashSet::new(),
            is_drained: false,
            retries_read: false,
            expired: Vec::new(),
            freshness: Freshness::default(),
        }
    }

    /// A source of this one person, who was found due, and of nobody else.
    pub fn only(context: Context, due: Due) -> Self {
        Self { ready: VecDeque::from([due]), is_drained: true, ..Self::new(context) }
    }

    /// The next person who is due; none when there is nobody left in this run.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn next(&mut self, app: &App, search: Search<'_>, counts: &mut Counts) -> anyhow::Result<Option<Due>> {
        while self.has_next(app, search, counts).await? {
            let Some(due) = self.ready.pop_front() else { break };
            if let Some(due) = self.freshness.ensure(app, &self.context, due, search, counts).await? {
                return Ok(Some(due));
            }
        }
        Ok(None)
    }

    /// Whether there is anybody left in this run.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn has_next(&mut self, app: &App, search: Search<'_>, counts: &mut Counts) -> anyhow::Result<bool> {
        while self.ready.is_empty() && !self.is_drained {
            self.refill(app, search, counts).await?;
        }
        Ok(!self.ready.is_empty())
    }

    /// Whether calls were met whose period is over.
    pub fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    /// Ends the calls that were met whose period is over, which spends their slots. To be asked for once our clock was
    /// compared with the provider's: by a clock that is a day ahead, everybody's period is over.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn end_expired(&mut self, app: &App, counts: &mut Counts) -> anyhow::Result<()> {
        if self.expired.is_empty() {
            return Ok(());
        }
        let expired = std::mem::take(&mut self.expired);
        let now = app.clock.now();
        let ended = app.db().await?.write(async |tx| calls::expire(tx, &expired, now).await).await?;
        counts.add("expired", ended);
        Ok(())
    }

    /// Stops looking, for example because the account has no room left.
    pub fn drain(&mut self) {
        self.ready.clear();
        self.is_drained = true;
    }

    async fn refill(&mut self, app: &App, search: Search<'_>, counts: &mut Counts) -> anyhow::Result<()> {
        let now = app.clock.now();
        let db = app.db().await?;
        let id = &self.context.campaign.id;
        if !self.retries_read {
            self.retries_read = true;
            let mut tx = db.read().await?;
            let waiting = enrollments::waiting(&mut tx, id, now, BATCH).await?;
            let planned = plan_waiting(&mut tx, &self.context, &waiting, search, now, counts).await?;
            drop(tx);
            if !search.dry_run {
                write_waiting(app, &planned, now).await?;
            }
            self.expired.extend(planned.expired);
            self.ready.extend(planned.due);
            return Ok(());
        }
        let mut tx = db.read().await?;
        let batch = if search.dry_run { DRY_RUN_BATCH } else { BATCH };
        let mut candidates = enrollments::due(&mut tx, id, now, batch).await?;
        candidates.retain(|candidate| self.met.insert(candidate.enrollment_id.clone()));
        if candidates.is_empty() {
            drop(tx);
            let version = self.context.campaign.rules_version;
            let stale = if search.dry_run {
                0
            } else {
                db.write(async |tx| enrollments::refresh_stale(tx, id, version, now, BATCH).await).await?
            };
            self.is_drained = stale == 0;
            return Ok(());
        }
        let (due, checks) = plan_candidates(&mut tx, &self.context, &candidates, search, now, counts).await?;
        drop(tx);
        if search.dry_run {
            // Nothing was written, so that asking again would show the same people.
            self.is_drained = true;
        } else {
            let version = self.context.campaign.rules_version;
            db.write(async |tx| enrollments::record_checks(tx, &checks, version, now).await).await?;
        }
        self.ready.extend(due);
        Ok(())
    }
}

async fn write_waiting(app: &App, planned: &PlannedWaiting, now: DateTime<Utc>) -> anyhow::Result<()> {
    if planned.cancelled.is_empty() && planned.postponed.is_empty() {
        return Ok(());
    }
    app.db()
        .await?
        .write(async |tx| {
            calls::cancel(tx, &planned.cancelled, now).await?;
            for (call_id, until) in &planned.postponed {
                calls::postpone(tx, call_id, *until, now).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
