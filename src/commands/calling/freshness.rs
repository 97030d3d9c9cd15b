//! Nobody is called about an invoice of which too old a state is known: it is read again first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};

use super::counts::Counts;
use super::plan::{self, Context, Due, Search};
use crate::app::App;
use crate::commands::billing::accounts::Setup;
use crate::commands::billing::asking::Purpose;
use crate::commands::billing::looking::{FAILED_IN_A_ROW, Looked, look_at};
use crate::error::{Exit, classify, message};
use crate::store::enrollments::{self, Candidate, CheckResult, Waiting};
use crate::store::{StoreError, Tx, calls};

/// When somebody is looked at again whose invoice could not be read.
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(15);
/// So often at most are the invoices of one person read before they are called.
const MOST_READINGS: usize = 3;
/// The reason of whoever is not called because an invoice could not be read.
const NOT_FRESH: &str = "invoice_not_fresh";

/// Reads invoices again before their customers are called.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    setup: RefCell<Option<Rc<Setup>>>,
    /// How often in a row reading failed in this run, by tenant.
    failures: RefCell<BTreeMap<String, u32>>,
}

/// What reading came to.
enum Read {
    /// All is as it was.
    Same,
    /// Something is different.
    Changed,
    /// It could not be read, and may be then.
    Not(DateTime<Utc>),
}

impl Freshness {
    /// The same person, if what is known of the invoices is fresh enough or is so after reading them again. Whoever is not
    /// due any more is counted with the reason, and so is whoever cannot be called because an invoice could not be read.
    ///
    /// # Errors
    /// When the database cannot be asked or written.
    pub(super) async fn ensure(
        &self,
        app: &App,
        context: &Context,
        mut due: Due,
        search: Search<'_>,
        counts: &mut Counts,
    ) -> anyhow::Result<Option<Due>> {
        let Some(reminders) = context.rules.reminders.as_deref() else { return Ok(Some(due)) };
        if search.dry_run {
            return Ok(Some(due));
        }
        // What was read may bring in another invoice, of which too old a state is known as well.
        for _ in 0..MOST_READINGS {
            let oldest = app.clock.now() - TimeDelta::seconds(reminders.max_age_seconds);
            let stale: Vec<String> =
                due.invoices.iter().filter(|one| one.fresh_at < oldest).map(|one| one.invoice_id.clone()).collect();
            if stale.is_empty() {
                return Ok(Some(due));
            }
            // On the heap: it is seldom asked, and would make every run's future larger.
            match Box::pin(self.read(app, context, &stale, counts)).await? {
                Read::Same => return Ok(Some(due)),
                Read::Changed => {
                    let mut tx = app.db().await?.read().await?;
                    let Some((candidate, waiting)) = again(&mut tx, &due).await? else { return Ok(None) };
                    let now = app.clock.now();
                    match plan::one(&mut tx, context, &candidate, waiting.as_ref(), search, now, counts).await? {
                        Some(again) => due = again,
                        None => return Ok(None),
                    }
                }
                Read::Not(until) => {
                    counts.skip(NOT_FRESH);
                    put_off(app, &due, until).await?;
                    return Ok(None);
                }
            }
        }
        counts.skip(NOT_FRESH);
        put_off(app, &due, app.clock.now() + LOOK_AGAIN).await?;
        Ok(None)
    }

    async fn read(&self, app: &App, context: &Context, stale: &[String], counts: &mut Counts) -> anyhow::Result<Read> {
        let tenant = &context.campaign.tenant;
        let later = app.clock.now() + LOOK_AGAIN;
        if self.failures.borrow().get(tenant).is_some_and(|failed| *failed >= FAILED_IN_A_ROW) {
            return Ok(Read::Not(later));
        }
        match self.ask(app, tenant, stale, counts).await {
            Ok(read) => {
                self.failures.borrow_mut().remove(tenant);
                Ok(read)
            }
            Err(error) if error.downcast_ref::<StoreError>().is_some() => Err(error),
            Err(error) => {
                let exit = classify(&error);
                let problem = format!(
                    "an invoice of {tenant} cannot be read, and nobody is called about it: {}",
                    message(&error)
                );
                counts.problem(exit, problem);
                // One that cannot be read keeps nobody else from being called.
                let mut failures = self.failures.borrow_mut();
                let failed = failures.entry(tenant.clone()).or_default();
                *failed = if exit == Exit::Configuration { FAILED_IN_A_ROW } else { *failed + 1 };
                Ok(Read::Not(later))
            }
        }
    }

    async fn ask(&self, app: &App, tenant: &str, stale: &[String], counts: &mut Counts) -> anyhow::Result<Read> {
        let db = app.db().await?;
        let known = self.setup.borrow().clone();
        let setup = if let Some(setup) = known {
            setup
        } else {
            let setup = Rc::new(Setup::read(&mut db.read().await?).await?);
            *self.setup.borrow_mut() = Some(Rc::clone(&setup));
            setup
        };
        let mut tx = db.read().await?;
        let tenants = setup.named(&mut tx, Some(tenant)).await?;
        drop(tx);
        let Some(owner) = tenants.first() else { return Ok(Read::Not(app.clock.now() + LOOK_AGAIN)) };
        let looked = look_at(app, &setup, owner, stale, Purpose::Dialling).await?;
        counts.add("invoices_read", looked.read);
        Ok(match looked {
            Looked { spent_until: Some(until), .. } => Read::Not(until),
            Looked { changed: 0, .. } => Read::Same,
            _ => Read::Changed,
        })
    }
}

/// The person as the database shows them now, with the call that waits, if the due one is another attempt of it. A time of
/// day that did not matter before does not matter now.
async fn again(tx: &mut Tx, due: &Due) -> anyhow::Result<Option<(Candidate, Option<Waiting>)>> {
    let claim = &due.claim;
    let Some(candidate) = enrollments::candidate(tx, &claim.campaign_id, &claim.contact_id).await? else {
        return Ok(None);
    };
    let candidate = Candidate { preferred_time: due.preferred_time.clone(), ..candidate };
    if claim.number == 1 {
        return Ok(Some((candidate, None)));
    }
    let waiting = enrollments::waiting_of(tx, &claim.enrollment_id).await?;
    Ok(waiting.filter(|waiting| waiting.call_id == claim.call_id).map(|waiting| (candidate, Some(waiting))))
}

async fn put_off(app: &App, due: &Due, until: DateTime<Utc>) -> anyhow::Result<()> {
    let (claim, now) = (&due.claim, app.clock.now());
    let check = CheckResult {
        enrollment_id: claim.enrollment_id.clone(),
        contact_version: claim.contact_version,
        reason: NOT_FRESH,
        next_check_at: Some(until),
    };
    app.db()
        .await?
        .write(async |tx| {
            if claim.number > 1 {
                return calls::postpone(tx, &claim.call_id, until, now).await;
            }
            enrollments::record_checks(tx, std::slice::from_ref(&check), claim.rules_version, now).await
        })
        .await?;
    Ok(())
}
