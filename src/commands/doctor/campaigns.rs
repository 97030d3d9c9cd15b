//! Campaigns that can never call, and those that contradict each other.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::Report;
use crate::commands::calling::plan::{self, Context};
use crate::commands::explain::evidence::utc;
use crate::domain::campaign::ZonePolicy;
use crate::domain::schedule::SEARCH_DAYS;
use crate::domain::zone::{Zone, Zones};
use crate::error::Exit;
use crate::store::{Tx, overview, setup};

/// How many people are read at once, and how often, to find one who can be called.
const BATCH: i64 = 500;
const MAX_BATCHES: usize = 20;

/// Looks at every campaign; says whether one is active.
pub(super) async fn check(tx: &mut Tx, now: DateTime<Utc>, report: &mut Report) -> Result<bool> {
    let campaigns = setup::campaigns(tx).await?;
    if campaigns.is_empty() {
        report.ok("campaigns", "none yet; `callops apply` puts them in");
    }
    let any_active = campaigns.iter().any(|campaign| campaign.active);
    let (contexts, unreadable) = plan::contexts(tx, campaigns).await?;
    for (campaign, problem) in unreadable {
        report.problem(
            Exit::Findings,
            &format!("campaign:{}", campaign.full_name()),
            format!("makes no calls: {problem}"),
            "put the campaign and its tenant in again with `callops apply`",
        );
    }
    for context in &contexts {
        check_one(tx, context, now, report).await?;
    }
    conflicts(&contexts, report);
    Ok(any_active)
}

async fn check_one(tx: &mut Tx, context: &Context, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    let campaign = &context.campaign;
    let name = campaign.full_name();
    let check = format!("campaign:{name}");
    if !campaign.active {
        report.ok(&check, format!("is not started (callops start-campaign {name})"));
        return Ok(());
    }
    let obstacle = obstacle(tx, context, now).await?;
    if let Some((what, hint)) = obstacle {
        report.warning(&check, format!("can never call: {what}"), hint);
    } else {
        let only = match &context.tenant.allow_only {
            Some(list) => format!("; only the {} phones on the tenant's allow_only list", list.len()),
            None => String::new(),
        };
        report.ok(&check, format!("is started{only}"));
        zones(tx, context, report).await?;
    }
    if let Some(until) = campaign.held_until.filter(|until| *until > now) {
        report.warning(
            &check,
            format!(
                "the provider refused {} times, so its calls wait until {}: {}",
                campaign.refusals,
                utc(until),
                campaign.held_reason.as_deref().unwrap_or("no reason given")
            ),
            "mend the agent or line that it names with `callops apply`, which also ends the wait",
        );
    }
    Ok(())
}

/// Why nobody in the campaign can be called, whatever time it is.
async fn obstacle(tx: &mut Tx, context: &Context, now: DateTime<Utc>) -> Result<Option<(String, &'static str)>> {
    let (campaign, rules) = (&context.campaign, &context.rules);
    let callee = rules.zone_policy == ZonePolicy::Callee;
    if !callee && context.own_zone.is_none() {
        return Ok(Some((
            "zone_policy is \"campaign\", and neither campaign nor tenant has a zone".to_owned(),
            "give the tenant a timezone with `callops apply`",
        )));
    }
    let zones = context.own_zone.clone().unwrap_or_else(|| Zones::from(Zone::utc()));
    if rules.schedule.next_open(&zones, now).is_none() {
        let ended = rules.schedule.ends.filter(|ends| *ends < zones.first().local(now).date());
        return Ok(Some(match ended {
            Some(ends) => (format!("its last date, {ends}, is over"), "stop it, or give it a later `ends`"),
            None => (
                format!("its window opens on no day of the next {SEARCH_DAYS}"),
                "look at its window, days, starts, ends and exclude_dates",
            ),
        }));
    }
    if !overview::has_enrollments(tx, &campaign.id).await? {
        return Ok(Some(("nobody is enrolled".to_owned(), "`callops import-contacts --campaign` or `callops enroll`")));
    }
    if callee && !anybody_has_a_zone(tx, context, now).await? {
        return Ok(Some((
            format!(
                "it goes by the callee's zone, and {} is open at no moment for anybody enrolled",
                rules.schedule.window
            ),
            "import a time-zone column, widen the window, or set zone_policy = \"campaign\"",
        )));
    }
    if context.tenant.allow_only.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Some(("the tenant's allow_only list is empty".to_owned(), "name phones in it, or take it away")));
    }
    Ok(None)
}

/// Whether the window can be open for anybody in a campaign; yes, if none of the first thousands shows that it cannot.
async fn anybody_has_a_zone(tx: &mut Tx, context: &Context, now: DateTime<Utc>) -> Result<bool> {
    let mut behind = (String::new(), String::new());
    for _ in 0..MAX_BATCHES {
        let batch = overview::enrollments_after(tx, &context.campaign.id, (&behind.0, &behind.1), BATCH).await?;
        let Some(last) = batch.last() else { return Ok(false) };
        behind = (last.candidate.contact_id.clone(), last.candidate.subject.clone());
        if batch.iter().any(|one| context.place(&one.candidate, now).open_zones().is_some()) {
            return Ok(true);
        }
    }
    Ok(true)
}

/// Says how many people are never called because of the zones that they may be in.
async fn zones(tx: &mut Tx, context: &Context, report: &mut Report) -> Result<()> {
    let campaign = &context.campaign;
    let blocked = overview::blocked_by(tx, &campaign.id, ["no_timezone", "no_common_window"]).await?;
    let count = |reason: &str| blocked.get(reason).copied().unwrap_or_default();
    let mut parts = Vec::new();
    if count("no_timezone") > 0 {
        parts.push(format!("{} without a time zone", count("no_timezone")));
    }
    if count("no_common_window") > 0 {
        parts.push(format!(
            "{} who may be in zones between which {} has no moment in common",
            count("no_common_window"),
            context.rules.schedule.window
        ));
    }
    if !parts.is_empty() {
        report.warning(
            &format!("campaign:{}", campaign.full_name()),
            format!("never calls, by the last check: {}", parts.join("; ")),
            "give their zones: import the list again with a time-zone column; or widen the window",
        );
    }
    Ok(())
}

/// Campaigns of one purpose share its slots, so they must mean the same periods by them.
fn conflicts(contexts: &[Context], report: &mut Report) {
    let mut by_purpose: BTreeMap<(&str, &str), Vec<&Context>> = BTreeMap::new();
    for context in contexts {
        by_purpose.entry((&context.campaign.tenant, &context.campaign.purpose)).or_default().push(context);
    }
    for ((tenant, purpose), sharing) in by_purpose {
        let differing: Vec<&str> = [
            ("frequency", sharing.windows(2).any(|pair| pair[0].rules.frequency != pair[1].rules.frequency)),
            ("reminders", {
                sharing.windows(2).any(|pair| pair[0].rules.reminders.is_some() != pair[1].rules.reminders.is_some())
            }),
            ("zone_policy", sharing.windows(2).any(|pair| pair[0].rules.zone_policy != pair[1].rules.zone_policy)),
            ("window", {
                sharing.windows(2).any(|pair| pair[0].rules.schedule.window != pair[1].rules.schedule.window)
            }),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
        if !differing.is_empty() {
            let names: Vec<&str> = sharing.iter().map(|context| context.campaign.name.as_str()).collect();
            report.problem(
                Exit::Findings,
                &format!("purpose:{tenant}/{purpose}"),
                format!("shared by {}, which differ in {}", names.join(", "), differing.join(", ")),
                "give them the same values, or purposes of their own",
            );
        }
    }
}
