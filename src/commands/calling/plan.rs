//! Who is due: from stored rows to claims, by the gates.

mod place;
mod reminding;
mod source;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

pub use self::place::Place;
pub use self::reminding::Named;
use self::reminding::Subjects;
pub(in crate::commands) use self::reminding::add_debts;
pub use self::source::Source;
use super::counts::Counts;
use crate::app::{App, new_id};
use crate::domain::campaign::{CLOSE_MARGIN_SECONDS, Rules, TenantSettings};
use crate::domain::dial::DialRequest;
use crate::domain::gate::{Facts, Gate, ReminderFacts, RetryFacts};
use crate::domain::preferred::PreferredTime;
use crate::domain::slot::{Frequency, Period};
use crate::domain::zone::{Zone, Zones};
use crate::error::Exit;
use crate::store::claims::{self, Claim, SlotKey};
use crate::store::enrollments::{self, Candidate, CheckResult, History, Waiting};
use crate::store::setup::{self, Account, Campaign};
use crate::store::{Result, Tx, control, runs};

/// How long somebody waits who is blocked by something that time alone does not end.
const LOOK_AGAIN_SECONDS: i64 = 60;
/// How long a call waits whose contact is blocked by something that only a person can end.
pub const LOOK_AGAIN_LATER_SECONDS: i64 = 15 * 60;
/// How long somebody waits whose zones forbid any call. Only a change ends that, which makes a check due by itself; but
/// zone rules and number plans change with the program, and clocks with the seasons.
const LOOK_AGAIN_AT_ZONES_DAYS: i64 = 7;

/// A campaign with everything that its gates need, read once a run.
#[derive(Clone, Debug)]
pub struct Context {
    /// The campaign.
    pub campaign: Campaign,
    /// Its rules.
    pub rules: Rules,
    /// Its tenant's limits.
    pub tenant: TenantSettings,
    /// The zone of the campaign, where one is given.
    pub own_zone: Option<Zones>,
    /// The account that its calls are placed with.
    pub account: Account,
    /// Whether a pause stops it.
    pub paused: bool,
    /// What was found out about sets of zones.
    common_windows: place::CommonWindows,
}

/// Somebody who is due, ready to be claimed and dialled.
#[derive(Clone, Debug)]
pub struct Due {
    /// The claim.
    pub claim: Claim,
    /// The account that it is placed with.
    pub account: String,
    /// The call to ask the provider for.
    pub request: DialRequest,
    /// The invoices that the call is about.
    pub invoices: Vec<Named>,
    /// The preferred time by which the person was found due.
    pub preferred_time: Option<String>,
}

impl Context {
    /// Reads what a campaign's gates need.
    ///
    /// # Errors
    /// [`crate::store::StoreError::Unreadable`] when stored rules, settings or zones cannot be read: no calls.
    pub fn read(
        campaign: Campaign,
        tenants: &HashMap<String, setup::Tenant>,
        accounts: &HashMap<String, Account>,
        pauses: &[control::Pause],
    ) -> Result<Self> {
        let unreadable =
            |what, subject: String, problem: String| crate::store::StoreError::Unreadable { what, subject, problem };
        let rules = campaign.rules()?;
        let tenant = tenants
            .get(&campaign.tenant)
            .ok_or_else(|| unreadable("tenant", campaign.full_name(), "it does not exist".to_owned()))?;
        let account = accounts
            .get(&campaign.account)
            .ok_or_else(|| unreadable("account", campaign.full_name(), "it does not exist".to_owned()))?;
        let tenant_zone = match &tenant.timezone {
            Some(name) => Some(
                Zone::parse(name)
                    .map_err(|error| unreadable("timezone", format!("tenant {}", tenant.name), error.to_string()))?,
            ),
            None => None,
        };
        let tenant_scope = control::tenant_scope(&campaign.tenant);
        Ok(Self {
            paused: pauses.iter().any(|pause| pause.scope == control::EVERYBODY || pause.scope == tenant_scope),
            own_zone: rules.timezone.or(tenant_zone).map(Zones::from),
            tenant: tenant.settings()?,
            account: account.clone(),
            common_windows: place::CommonWindows::default(),
            rules,
            campaign,
        })
    }

    /// Until when refusals hold the campaign or its account back.
    pub fn held_until(&self) -> Option<DateTime<Utc>> {
        self.account.held_until.max(self.campaign.held_until)
    }

    /// What the gates look at for one person.
    pub fn facts<'a>(
        &'a self,
        candidate: &'a Candidate,
        place: &'a Place,
        history: &'a History,
        retry: Option<RetryFacts>,
        run_interval_seconds: i64,
    ) -> Facts<'a> {
        Facts {
            rules: &self.rules,
            tenant: &self.tenant,
            paused: self.paused,
            campaign_active: self.campaign.active,
            enrolled: candidate.enrollment_status == "active",
            zones: place.zones.as_ref(),
            has_common_window: place.has_common_window,
            reminder: self
                .rules
                .reminders
                .as_deref()
                .map(|reminders| ReminderFacts { reminders, debts: &history.debts }),
            phone: &candidate.phone,
            preferred_time: candidate.preferred_time.as_deref().and_then(|text| text.parse::<PreferredTime>().ok()),
            run_interval_seconds,
            enrolled_at: candidate.enrolled_at,
            // Of each invoice it is counted by itself.
            last_rang_for_purpose: history.last_for_purpose.filter(|_| self.rules.reminders.is_none()),
            last_rang: history.last,
            recent_rings: &history.recent,
            live_attempt: history.live,
            slot_taken: history.once_call.is_some(),
            suppressed: history.suppressed,
            retry,
            held_until: self.held_until(),
            has_credentials: true,
            has_capacity: true,
        }
    }
}

/// The campaigns that may call now, as far as their own window goes, and a problem for each that cannot be read.
///
/// # Errors
/// When the database cannot be asked.
pub async fn contexts(tx: &mut Tx, campaigns: Vec<Campaign>) -> Result<(Vec<Context>, Vec<(Campaign, String)>)> {
    let tenants = setup::tenants(tx).await?.into_iter().map(|tenant| (tenant.name.clone(), tenant)).collect();
    let accounts = setup::accounts(tx).await?.into_iter().map(|account| (account.name.clone(), account)).collect();
    let pauses = control::pauses(tx).await?;
    let mut readable = Vec::new();
    let mut unreadable = Vec::new();
    for campaign in campaigns {
        match Context::read(campaign.clone(), &tenants, &accounts, &pauses) {
            Ok(context) => readable.push(context),
            Err(error) => unreadable.push((campaign, error.to_string())),
        }
    }
    Ok((readable, unreadable))
}

/// How a source looks for people.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Who asks: a command.
    pub requested_by: &'a str,
    /// Whether to leave every row as it is.
    pub dry_run: bool,
    /// The time between two runs.
    pub run_interval_seconds: i64,
}

/// One person, for their call that waits where there is one, else for a new call; none, with the reason counted, when
/// a gate says no.
///
/// # Errors
/// When the database cannot be asked.
pub async fn one(
    tx: &mut Tx,
    context: &Context,
    candidate: &Candidate,
    waiting: Option<&Waiting>,
    search: Search<'_>,
    now: DateTime<Utc>,
    counts: &mut Counts,
) -> Result<Option<Due>> {
    if let Some(waiting) = waiting {
        let planned = plan_waiting(tx, context, std::slice::from_ref(waiting), search, now, counts).await?;
        return Ok(planned.due.into_iter().next());
    }
    let (due, _) = plan_candidates(tx, context, std::slice::from_ref(candidate), search, now, counts).await?;
    Ok(due.into_iter().next())
}

struct PlannedWaiting {
    due: Vec<Due>,
    expired: Vec<String>,
    cancelled: Vec<String>,
    postponed: Vec<(String, DateTime<Utc>)>,
}

async fn plan_waiting(
    tx: &mut Tx,
    context: &Context,
    waiting: &[Waiting],
    search: Search<'_>,
    now: DateTime<Utc>,
    counts: &mut Counts,
) -> Result<PlannedWaiting> {
    let mut planned =
        PlannedWaiting { due: Vec::new(), expired: Vec::new(), cancelled: Vec::new(), postponed: Vec::new() };
    if waiting.is_empty() {
        return Ok(planned);
    }
    // Of several calls of one person one at a time: what the others did counts for it, and they wait.
    let mut met = HashSet::new();
    let waiting: Vec<&Waiting> = waiting.iter().filter(|call| met.insert(&call.candidate.contact_id)).collect();
    let own: Vec<String> = waiting.iter().map(|call| call.call_id.clone()).collect();
    let people: Vec<(String, String)> =
        waiting.iter().map(|call| (call.candidate.contact_id.clone(), call.candidate.phone.clone())).collect();
    let campaign = &context.campaign;
    // In this order, as PostgreSQL shows each statement what was committed before it: who rings in between is seen by the
    // second, and then, since not by the first, keeps the claim from being made.
    let rang = last_rang(tx, campaign, &people).await?;
    let mut histories = enrollments::histories(tx, &campaign.tenant, &campaign.purpose, &people, &own, now).await?;
    add_debts(tx, context, &own, &mut histories, now).await?;
    let nothing = History::default();
    for call in waiting {
        let candidate = &call.candidate;
        let history = histories.get(&candidate.contact_id).unwrap_or(&nothing);
        let place = context.place(candidate, now);
        let Ok(period) = call.slot_key.parse::<Period>() else {
            planned.expired.push(call.call_id.clone());
            continue;
        };
        if candidate.enrollment_status != "active" {
            planned.cancelled.push(call.call_id.clone());
            continue;
        }
        // Before any gate: a call whose period is over waits for nothing any more.
        if let Some(zones) = place.open_zones()
            && context.rules.schedule.next_open_in_period(zones, period, now).is_none()
        {
            planned.expired.push(call.call_id.clone());
            continue;
        }
        let retry = RetryFacts { due_at: call.next_attempt_at, period };
        let facts = context.facts(candidate, &place, history, Some(retry), search.run_interval_seconds);
        match facts.first_block(now) {
            None => {
                let number = call.attempt_count + 1;
                let last = rang.get(&candidate.phone).copied();
                if let Some(zones) = &place.zones
                    && let Some(due) = make_due(
                        context,
                        candidate,
                        zones,
                        Slot { call_id: call.call_id.clone(), number, key: call.slot_key.clone() },
                        &facts,
                        last,
                        search,
                        now,
                    )
                {
                    planned.due.push(due);
                }
            }
            Some((_, "slot_expired", _)) => planned.expired.push(call.call_id.clone()),
            // Nothing that the call was about is left to be called about.
            Some((Gate::Reminder, reason, None)) => {
                counts.skip(reason);
                planned.cancelled.push(call.call_id.clone());
            }
            Some((_, reason, until)) => {
                counts.skip(reason);
                let wait = if matches!(reason, "live_attempt") { LOOK_AGAIN_SECONDS } else { LOOK_AGAIN_LATER_SECONDS };
                let until = until.unwrap_or(now + TimeDelta::seconds(wait));
                planned.postponed.push((call.call_id.clone(), until));
            }
        }
    }
    Ok(planned)
}

async fn plan_candidates(
    tx: &mut Tx,
    context: &Context,
    candidates: &[Candidate],
    search: Search<'_>,
    now: DateTime<Utc>,
    counts: &mut Counts,
) -> Result<(Vec<Due>, Vec<CheckResult>)> {
    let people: Vec<(String, String)> =
        candidates.iter().map(|candidate| (candidate.contact_id.clone(), candidate.phone.clone())).collect();
    let campaign = &context.campaign;
    let mut histories = enrollments::histories(tx, &campaign.tenant, &campaign.purpose, &people, &[], now).await?;
    add_debts(tx, context, &[], &mut histories, now).await?;
    if context.rules.frequency == Frequency::Once {
        enrollments::mark_once_slots(tx, &campaign.tenant, &campaign.purpose, candidates, &mut histories).await?;
    }
    let mut due = Vec::new();
    let mut checks = Vec::new();
    let nothing = History::default();
    for candidate in candidates {
        let history = histories.get(&candidate.contact_id).unwrap_or(&nothing);
        let place = context.place(candidate, now);
        let facts = context.facts(candidate, &place, history, None, search.run_interval_seconds);
        let preferred_unreadable = candidate.preferred_time.is_some() && facts.preferred_time.is_none();
        let block = if preferred_unreadable {
            Some(("unreadable_preferred_time", None))
        } else {
            facts.first_block(now).map(|block| (block.1, next_check(&facts, block, now)))
        };
        match (block, &place.zones) {
            (None, Some(zones)) => {
                let slot = Slot { call_id: new_id(now), number: 1, key: String::new() };
                if let Some(planned) = make_due(context, candidate, zones, slot, &facts, history.last, search, now) {
                    due.push(planned);
                }
            }
            (block, _) => {
                let (reason, next_check_at) = block.unwrap_or(("no_timezone", None));
                counts.skip(reason);
                checks.push(CheckResult {
                    enrollment_id: candidate.enrollment_id.clone(),
                    contact_version: candidate.contact_version,
                    reason,
                    next_check_at,
                });
            }
        }
    }
    Ok((due, checks))
}

/// When to look at somebody again who is blocked now: never later than the first moment at which they can be due.
fn next_check(
    facts: &Facts<'_>,
    (gate, reason, until): (Gate, &str, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match reason {
        // Something other than time ends these; each is cheap to ask again.
        "live_attempt" | "paused" | "no_capacity" | "no_credentials" => {
            Some(now + TimeDelta::seconds(LOOK_AGAIN_SECONDS))
        }
        "suppressed" => Some(now + TimeDelta::seconds(LOOK_AGAIN_LATER_SECONDS)),
        // A change to the contact or the rules ends these, and makes a check due by itself.
        "not_on_allow_list" | "not_enrolled" | "campaign_inactive" => None,
        "no_timezone" | "no_common_window" => Some(now + TimeDelta::days(LOOK_AGAIN_AT_ZONES_DAYS)),
        _ => {
            // What may be over by then must not hide the moment at which time alone lets somebody be called.
            let calm = Facts { live_attempt: false, suppressed: false, paused: false, ..facts.clone() };
            let is_once = facts.rules.frequency == Frequency::Once;
            // Whatever changes in the books makes a check due by itself.
            let is_for_ever = (gate == Gate::Reminder && until.is_none())
                || reason == "after_last_date"
                || (is_once && (facts.slot_taken || reason == "already_called"));
            calm.next_due(now).or_else(|| (!is_for_ever).then(|| now + TimeDelta::days(1)))
        }
    }
}

/// The call and slot that a claim is for.
struct Slot {
    call_id: String,
    number: i64,
    /// The key, for a call that exists; a new one takes that of the open window.
    key: String,
}

#[expect(clippy::too_many_arguments, reason = "everything that a claim is made of, named where it is known")]
fn make_due(
    context: &Context,
    candidate: &Candidate,
    zones: &Zones,
    slot: Slot,
    facts: &Facts<'_>,
    last_rang_seen: Option<DateTime<Utc>>,
    search: Search<'_>,
    now: DateTime<Utc>,
) -> Option<Due> {
    let (campaign, rules) = (&context.campaign, &context.rules);
    let opening = rules.schedule.opening_at(zones, now)?;
    let subjects = Subjects::of(facts, zones, now);
    if subjects.is_none() && facts.reminder.is_some() {
        return None;
    }
    let key = match &subjects {
        _ if !slot.key.is_empty() => slot.key,
        Some(subjects) => subjects.period.to_string(),
        None => rules.frequency.slot_key(opening.opened_on),
    };
    let after = Facts {
        last_rang_for_purpose: Some(now).filter(|_| facts.reminder.is_none()),
        last_rang: Some(now),
        retry: None,
        ..facts.clone()
    };
    let next_check_at =
        subjects.as_ref().map_or_else(|| after.next_due(now), |subjects| subjects.next_due(&after, now));
    let one_slot = || vec![SlotKey { subject: candidate.subject.clone(), key: key.clone() }];
    let slots = subjects.as_ref().map_or_else(one_slot, |subjects| subjects.slots.clone());
    let attempt_id = new_id(now);
    let claim = Claim {
        call_id: slot.call_id,
        number: slot.number,
        tenant: campaign.tenant.clone(),
        campaign_id: campaign.id.clone(),
        rules_version: campaign.rules_version,
        enrollment_id: candidate.enrollment_id.clone(),
        contact_id: candidate.contact_id.clone(),
        contact_version: candidate.contact_version,
        phone: candidate.phone.clone(),
        purpose: campaign.purpose.clone(),
        slots,
        slot_key: key,
        window_closes_at: opening.closes_at,
        dial_before: opening.closes_at - TimeDelta::seconds(CLOSE_MARGIN_SECONDS),
        answer_timeout_seconds: rules.answer_timeout(&context.tenant).seconds,
        call_timeout_seconds: rules.call_timeout(&context.tenant).seconds,
        line: rules.line().map(str::to_owned),
        agent: rules.agent_id().map(str::to_owned),
        next_check_at,
        last_rang_seen,
        calls_per_minute: rules.calls_per_minute,
        requested_by: search.requested_by.to_owned(),
        attempt_id: attempt_id.clone(),
    };
    let mut variables = match serde_json::from_str(&candidate.attributes) {
        Ok(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    };
    let (told, invoices) = subjects.map(|subjects| (subjects.variables, subjects.invoices)).unwrap_or_default();
    variables.extend(told);
    let request = DialRequest {
        attempt_id,
        to: candidate.phone.clone(),
        extension: candidate.extension.clone(),
        customer_name: candidate.name.clone(),
        agent: rules.agent.clone(),
        variables,
    };
    let preferred_time = candidate.preferred_time.clone();
    Some(Due { claim, account: campaign.account.clone(), request, invoices, preferred_time })
}

async fn last_rang(
    tx: &mut Tx,
    campaign: &Campaign,
    people: &[(String, String)],
) -> Result<HashMap<String, DateTime<Utc>>> {
    let phones = people.iter().map(|(_, phone)| (campaign.tenant.as_str(), phone.as_str()));
    Ok(claims::last_rang(tx, phones).await?.into_iter().map(|((_, phone), at)| (phone, at)).collect())
}

/// Raises a finding for each campaign that cannot be read, and resolves those of the campaigns that can.
///
/// # Errors
/// When the database cannot be written.
pub async fn report_unreadable(
    app: &App,
    unreadable: &[(Campaign, String)],
    counts: &mut Counts,
) -> anyhow::Result<()> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let now = app.clock.now();
    app.db()
        .await?
        .write(async |tx| {
            for (campaign, problem) in unreadable {
                runs::raise(tx, "campaign_unreadable", &format!("campaign:{}", campaign.full_name()), problem, now)
                    .await?;
            }
            Ok(())
        })
        .await?;
    for (campaign, problem) in unreadable {
        counts.problem(Exit::Partial, format!("campaign {} makes no calls: {problem}", campaign.full_name()));
    }
    Ok(())
}
