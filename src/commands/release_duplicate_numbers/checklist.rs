//! What must be true at the end, each line looked at now.

use std::collections::HashMap;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::Value;

use super::act::Outcome;
use super::plan::Plan;
use crate::app::App;
use crate::commands::renting::accounts::{Renter, Setup};
use crate::commands::renting::inventory;
use crate::error::Exit;
use crate::store::numbers;
use crate::store::runs::{self, Heartbeat};

/// How long ago duplicates may have been looked for.
const LOOKED_WITHIN: TimeDelta = TimeDelta::hours(24);
/// The command that looks for duplicates, as its heartbeat names it.
const LOOKING: &str = "detect-duplicates";

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) check: &'static str,
    pub(super) is_ok: bool,
    pub(super) what: String,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Checklist {
    pub(super) lines: Vec<Line>,
    /// What the releases save a month; none where a tenant does not say what a number costs.
    pub(super) saving_per_month: Option<Decimal>,
}

impl Checklist {
    pub(super) fn exit(&self) -> Exit {
        if self.lines.iter().all(|line| line.is_ok) { Exit::Success } else { Exit::Findings }
    }
}

/// Reads Twilio and the database once more, and compares.
///
/// # Errors
/// When one of them cannot be asked.
pub(super) async fn check(
    app: &App,
    setup: &Setup,
    renters: &[Renter],
    (plan, outcomes): (&Plan, &[Outcome]),
) -> Result<Checklist> {
    let mut lines = Vec::new();
    let concerned: Vec<&str> = plan.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    let of_renters = setup.tenants.iter().filter(|tenant| renters.iter().any(|one| one.name == tenant.numbers.account));
    let tenants: Vec<&str> = of_renters.map(|tenant| tenant.name.as_str()).collect();
    let mut there: HashMap<String, Vec<String>> = HashMap::new();
    let mut whole = true;
    for renter in renters {
        let see = |sighting: &inventory::Sighting<'_>| {
            if let Some(owner) = sighting.owner() {
                there.entry(owner.to_owned()).or_default().push(sighting.number.sid.clone());
            }
        };
        whole &= !inventory::read(app, renter, see).await?.is_partial();
    }
    let of = |tenant: &str| there.get(tenant).map(Vec::as_slice).unwrap_or_default();
    let several: Vec<&str> = tenants.iter().copied().filter(|tenant| of(tenant).len() > 1).collect();
    let without: Vec<&str> = concerned.iter().copied().filter(|tenant| of(tenant).is_empty()).collect();
    lines.push(match (&several[..], &without[..]) {
        ([], []) if whole => line("one number per business", true, "Twilio holds one number at most for each"),
        ([], []) => line("one number per business", false, "a subaccount could not be read"),
        (several, without) => {
            let more = several.iter().map(|tenant| format!("{tenant} has {}", of(tenant).len()));
            let none = without.iter().map(|tenant| format!("{tenant} has none"));
            line("one number per business", false, more.chain(none).collect::<Vec<_>>().join(", "))
        }
    });

    let mut tx = app.db().await?.read().await?;
    let mut differing = Vec::new();
    for tenant in &tenants {
        let record = numbers::tenant_number(&mut tx, tenant).await?;
        let held = of(tenant);
        match record {
            Some(record) if !held.contains(&record.sid) => {
                differing.push(format!("{tenant}: Twilio has no {}", record.phone));
            }
            None if !held.is_empty() => differing.push(format!("{tenant}: the database has no number")),
            _ => {}
        }
        for stored in numbers::of_tenant(&mut tx, tenant).await? {
            if !held.contains(&stored.sid) {
                differing.push(format!("{tenant}: the database has {} besides", stored.phone));
            }
        }
    }
    let looked = runs::heartbeats(&mut tx).await?.into_iter().find(|beat| beat.command == LOOKING);
    drop(tx);
    lines.push(match &differing[..] {
        [] => line("database matches Twilio", true, "each business has its number in both"),
        _ => {
            line("database matches Twilio", false, format!("{}; see `callops reconcile-twilio`", differing.join(", ")))
        }
    });

    let (planned, done) = (plan.releases().count(), outcomes.iter().filter(|outcome| outcome.is_done()).count());
    lines.push(line("duplicates released", planned == done, format!("{done} of {planned}")));
    let saving_per_month = saving(plan, outcomes);
    lines.push(match saving_per_month {
        Some(saving) => line("saving per month", true, format!("{saving:.2}")),
        None => line("saving per month", true, "unknown: the tenant's numbers have no monthly_cost"),
    });
    let looked = looked.and_then(|beat| Some((is_whole(&beat), beat.last_ended_at?)));
    let (is_ok, what) = match looked {
        Some((true, at)) if app.clock.now() - at <= LOOKED_WITHIN => (true, format!("at {}", shown(at))),
        Some((true, at)) => (false, format!("last at {}; run `callops {LOOKING}` daily", shown(at))),
        Some((false, _)) => (false, format!("the last run did not look for numbers; run `callops {LOOKING}` daily")),
        None => (false, format!("never; run `callops {LOOKING}` daily")),
    };
    lines.push(line("duplicates looked for within 24 h", is_ok, what));
    Ok(Checklist { lines, saving_per_month })
}

/// Whether a run looked for numbers that are too many, and came to its end.
fn is_whole(beat: &Heartbeat) -> bool {
    let counts: Option<Value> = beat.last_counts.as_deref().and_then(|counts| serde_json::from_str(counts).ok());
    // 7: it could not tell somebody what it found.
    let codes = [Exit::Success, Exit::Findings, Exit::Unreachable].map(|exit| i64::from(exit.code()));
    counts.is_some_and(|counts| counts.get("numbers").is_some())
        && beat.last_exit_code.is_some_and(|code| codes.contains(&code))
}

fn shown(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

fn line(check: &'static str, is_ok: bool, what: impl Into<String>) -> Line {
    Line { check, is_ok, what: what.into() }
}

fn saving(plan: &Plan, outcomes: &[Outcome]) -> Option<Decimal> {
    let mut saving = Decimal::ZERO;
    for outcome in outcomes.iter().filter(|outcome| outcome.is_done()) {
        let tenant = plan.tenants.iter().find(|tenant| tenant.tenant == outcome.tenant)?;
        saving = saving.checked_add(tenant.settings.monthly_cost?)?;
    }
    Some(saving)
}
