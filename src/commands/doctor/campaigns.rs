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
    if callee && !overview::has_zones(tx, &campaign.id).await? {
        return Ok(Some((
            "it goes by the callee's zone, and nobody enrolled has one".to_owned(),
            "import a time-zone column, or set zone_policy = \"campaign\"",
        )));
    }
    if context.tenant.allow_only.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Some(("the tenant's allow_only list is empty".to_owned(), "name phones in it, or take it away")));
    }
    Ok(None)
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
