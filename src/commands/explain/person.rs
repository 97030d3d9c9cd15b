//! One person in one campaign, as the gates see them at any moment.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::app::App;
use crate::commands::calling::plan::{self, Context, Place};
use crate::domain::gate::{Check, Facts, Gate, RetryFacts, Verdict};
use crate::domain::schedule::SEARCH_DAYS;
use crate::domain::secret_ref::SecretRef;
use crate::domain::slot::{Frequency, Period};
use crate::store::claims::{self, AccountLimits};
use crate::store::enrollments::{self, History};
use crate::store::overview::{Enrolled, WaitingCall};
use crate::store::suppressions::{self, Suppression};
use crate::store::{Result, Tx, calls};

/// The most moments that a search for the next call looks at in the database.
const MAX_LOOKS: usize = 64;

/// What ends by something else than time, so that a search can go on as if it had ended.
const LIFTABLE: [&str; 5] = ["paused", "campaign_inactive", "live_attempt", "no_credentials", "no_capacity"];

/// One person in one campaign.
#[derive(Debug)]
pub(in crate::commands) struct Person<'a> {
    pub(in crate::commands) context: &'a Context,
    pub(in crate::commands) enrolled: Enrolled,
    pub(in crate::commands) place: Place,
    /// The call that waits for another attempt, which is what would be dialled next.
    pub(in crate::commands) waiting: Option<(WaitingCall, RetryFacts)>,
    /// Where the account's key is, or why it cannot be read.
    pub(in crate::commands) credentials: Result<String, String>,
    run_interval_seconds: i64,
}

/// The slot that a first attempt would take.
#[derive(Clone, Debug)]
pub(in crate::commands) struct SlotSeen {
    pub(in crate::commands) key: String,
    /// The call that holds it.
    pub(in crate::commands) holder: Option<String>,
    /// Whether its window is open at the moment in question.
    is_open: bool,
}

/// What the database shows of a person at one moment.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Seen {
    pub(in crate::commands) history: History,
    pub(in crate::commands) slot: Option<SlotSeen>,
    pub(in crate::commands) suppressions: Vec<Suppression>,
    /// How many more calls the account may start.
    pub(in crate::commands) free_capacity: usize,
    retry: Option<RetryFacts>,
}

/// The answer to "when next?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Next {
    /// At this moment every gate says yes, if nothing but time changes.
    At(DateTime<Utc>),
    /// Not before something else than time changes.
    Never {
        /// The gate's reason.
        reason: &'static str,
        /// When it could be if that ended at once, where that can be said.
        once_lifted_at: Option<DateTime<Utc>>,
    },
}

impl<'a> Person<'a> {
    pub(in crate::commands) fn new(
        app: &App,
        context: &'a Context,
        enrolled: Enrolled,
        waiting: Option<WaitingCall>,
        at: DateTime<Utc>,
    ) -> Self {
        let place = context.place(&enrolled.candidate, at);
        // A call whose slot names no period is ended by the next run rather than dialled.
        let waiting = waiting.and_then(|call| {
            let period = call.slot_key.parse::<Period>().ok()?;
            let retry = RetryFacts { due_at: call.next_attempt_at, period };
            Some((call, retry))
        });
        Self {
            place,
            waiting,
            credentials: credentials(app, context),
            run_interval_seconds: i64::from(app.config.run_interval.seconds()),
            context,
            enrolled,
        }
    }

    /// What the database shows at `at`; of the call that waits when `retry` is given, else of a new one.
    pub(in crate::commands) async fn look(
        &self,
        tx: &mut Tx,
        retry: Option<RetryFacts>,
        at: DateTime<Utc>,
    ) -> Result<Seen> {
        let campaign = &self.context.campaign;
        let candidate = &self.enrolled.candidate;
        let person = [(candidate.contact_id.clone(), candidate.phone.clone())];
        let own: Vec<String> = match (&self.waiting, retry) {
            (Some((call, _)), Some(_)) => vec![call.call_id.clone()],
            _ => Vec::new(),
        };
        let mut histories: HashMap<String, History> =
            enrollments::histories(tx, &campaign.tenant, &campaign.purpose, &person, &own, at).await?;
        plan::add_debts(tx, self.context, &own, &mut histories, at).await?;
        if self.context.rules.frequency == Frequency::Once {
            enrollments::mark_once_slots(tx, &campaign.tenant, &campaign.purpose, [candidate], &mut histories).await?;
        }
        let history = histories.remove(&candidate.contact_id).unwrap_or_default();
        let account = &self.context.account;
        let limits =
            AccountLimits { max_concurrency: account.max_concurrency, calls_per_minute: account.calls_per_minute };
        Ok(Seen {
            slot: self.slot_at(tx, &history, at).await?,
            history,
            suppressions: suppressions::suppressions_of(tx, &campaign.tenant, &candidate.phone, at).await?,
            free_capacity: claims::capacity(tx, &account.name, &limits, at).await?,
            retry,
        })
    }

    async fn slot_at(&self, tx: &mut Tx, history: &History, at: DateTime<Utc>) -> Result<Option<SlotSeen>> {
        let Some(zones) = self.place.open_zones() else { return Ok(None) };
        let (rules, campaign) = (&self.context.rules, &self.context.campaign);
        if rules.reminders.is_some() {
            return Ok(None);
        }
        let open = rules.schedule.opened_on(zones, at);
        let date = open.or_else(|| {
            let next = rules.schedule.next_open(zones, at)?;
            rules.schedule.opened_on(zones, next)
        });
        let Some(date) = date else { return Ok(None) };
        let key = rules.frequency.slot_key(date);
        let phone = &self.enrolled.candidate.phone;
        let holder = match &history.once_call {
            Some(call) => Some(call.clone()),
            None => calls::slot_holder(tx, &campaign.tenant, phone, &campaign.purpose, &key).await?,
        };
        Ok(Some(SlotSeen { key, holder, is_open: open.is_some() }))
    }

    /// What the gates look at: the planner's facts, and what the planner leaves to the claim.
    pub(in crate::commands) fn facts<'s>(&'s self, seen: &'s Seen) -> Facts<'s> {
        let candidate = &self.enrolled.candidate;
        Facts {
            slot_taken: seen.history.once_call.is_some()
                || seen.slot.as_ref().is_some_and(|slot| slot.is_open && slot.holder.is_some()),
            has_credentials: self.credentials.is_ok(),
            has_capacity: seen.free_capacity > 0,
            ..self.context.facts(candidate, &self.place, &seen.history, seen.retry, self.run_interval_seconds)
        }
    }

    /// What every gate says at `at`.
    pub(in crate::commands) fn checks(&self, facts: &Facts<'_>, at: DateTime<Utc>) -> Vec<Check> {
        let mut checks = facts.walk(at);
        if self.has_unreadable_preferred_time(facts) {
            for check in &mut checks {
                if check.gate == Gate::PreferredTime {
                    check.verdict = Verdict::Block { reason: "unreadable_preferred_time", until: None };
                }
            }
        }
        checks
    }

    /// The planner calls nobody whose preferred time it cannot read.
    fn has_unreadable_preferred_time(&self, facts: &Facts<'_>) -> bool {
        self.enrolled.candidate.preferred_time.is_some() && facts.preferred_time.is_none() && facts.retry.is_none()
    }

    /// The next moment from `from` on at which all gates say yes.
    pub(in crate::commands) async fn next_call(&self, tx: &mut Tx, from: DateTime<Utc>) -> Result<Next> {
        if let Some((_, retry)) = &self.waiting {
            match self.search(tx, Some(*retry), from, false).await? {
                // The waiting call will be ended; a new one may follow it.
                Next::Never { reason: "slot_expired", .. } => {}
                next => return self.lift(tx, Some(*retry), from, next).await,
            }
        }
        let next = self.search(tx, None, from, false).await?;
        self.lift(tx, None, from, next).await
    }

    async fn lift(&self, tx: &mut Tx, retry: Option<RetryFacts>, from: DateTime<Utc>, next: Next) -> Result<Next> {
        let Next::Never { reason, .. } = next else { return Ok(next) };
        if !LIFTABLE.contains(&reason) {
            return Ok(next);
        }
        let once_lifted_at = match self.search(tx, retry, from, true).await? {
            Next::At(at) => Some(at),
            Next::Never { .. } => None,
        };
        Ok(Next::Never { reason, once_lifted_at })
    }

    /// Follows the gates from moment to moment. Slots, rings of the last days and suppressions that end are looked at
    /// anew at each moment reached, since they differ between moments.
    async fn search(&self, tx: &mut Tx, retry: Option<RetryFacts>, from: DateTime<Utc>, lifted: bool) -> Result<Next> {
        let never = |reason| Next::Never { reason, once_lifted_at: None };
        let horizon = from + TimeDelta::days(SEARCH_DAYS);
        let mut at = from;
        let mut last_reason = "no_common_window";
        for _ in 0..MAX_LOOKS {
            let seen = self.look(tx, retry, at).await?;
            let mut facts = self.facts(&seen);
            if self.has_unreadable_preferred_time(&facts) {
                return Ok(never("unreadable_preferred_time"));
            }
            if lifted {
                lift_all(&mut facts);
            }
            let Some((_, reason, until)) = facts.first_block(at) else { return Ok(Next::At(at)) };
            last_reason = reason;
            let next = match reason {
                "suppressed" => seen.suppressions.first().and_then(|longest| longest.expires_at),
                "slot_taken" => until,
                _ => {
                    // Both hold at this moment only, and are asked again at the one that is found.
                    let mut onwards = Facts { slot_taken: false, ..facts.clone() };
                    onwards.suppressed &= seen.suppressions.first().is_none_or(|longest| longest.expires_at.is_none());
                    let next = onwards.next_due(at);
                    if next.is_none() {
                        return Ok(never(dead_end(&onwards, at)));
                    }
                    next
                }
            };
            match next.filter(|next| *next > at && *next <= horizon) {
                Some(next) => at = next,
                None => return Ok(never(reason)),
            }
        }
        Ok(never(last_reason))
    }
}

/// The account's key by its reference, or why it cannot be read. The key itself is dropped unseen.
pub(crate) fn credentials(app: &App, context: &Context) -> Result<String, String> {
    let settings = context.account.settings().map_err(|error| error.to_string())?;
    let reference: SecretRef = settings.api_key.parse().map_err(|error| format!("api_key: {error}"))?;
    reference.resolve(&app.config.environment).map_err(|error| format!("{error:#}"))?;
    if let Some(secret) = &settings.api_secret {
        let secret: SecretRef = secret.parse().map_err(|error| format!("api_secret: {error}"))?;
        secret.resolve(&app.config.environment).map_err(|error| format!("{error:#}"))?;
    }
    Ok(reference.to_string())
}

fn lift_all(facts: &mut Facts<'_>) {
    facts.paused = false;
    facts.campaign_active = true;
    facts.live_attempt = false;
    facts.has_credentials = true;
    facts.has_capacity = true;
}

/// The reason at which a search along the gates ends without a moment.
fn dead_end(facts: &Facts<'_>, from: DateTime<Utc>) -> &'static str {
    let mut at = from;
    let mut last_reason = "no_common_window";
    for _ in 0..SEARCH_DAYS {
        let Some((_, reason, until)) = facts.first_block(at) else { break };
        last_reason = reason;
        match until.filter(|until| *until > at) {
            Some(until) => at = until,
            None => break,
        }
    }
    last_reason
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::campaign::{Rules, TenantSettings};
    use crate::domain::zone::{Zone, Zones};

    fn rules(frequency: &str, window: &str, days: &[&str]) -> Rules {
        serde_json::from_value(json!({
            "frequency": frequency,
            "schedule": {"window": window, "days": days},
            "zone_policy": "campaign",
            "agent": {},
            "retry": crate::domain::evidence::RetryPolicy::default(),
            "look_back_seconds": 900, "answer_timeout_seconds": 600, "call_timeout_seconds": 3600,
            "max_calls_per_day": 2, "max_calls_per_week": 1
        }))
        .expect("rules")
    }

    proptest! {
        /// The verdicts that are shown and the moment that is given cannot contradict each other.
        #[test]
        fn every_gate_passes_exactly_when_the_next_moment_is_now(
            frequency in prop::sample::select(vec!["once", "daily", "weekly"]),
            window in prop::sample::select(vec!["09:00-17:00", "22:00-02:00", "00:00-24:00", "02:15-02:45"]),
            days in prop::sample::select(vec![vec![], vec!["mon", "fri"], vec!["sun"]]),
            zone in prop::sample::select(vec!["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
            preferred in prop::option::of(prop::sample::select(vec!["09:30", "23:10", "02:30"])),
            rang_hours_ago in prop::option::of(0_i64..400),
            flags in 0_u16..(1 << 9),
            at_minutes in 0_i64..(600 * 24 * 60),
        ) {
            let at = "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().expect("an instant")
                + TimeDelta::minutes(at_minutes);
            let (rules, tenant) = (rules(frequency, window, &days), TenantSettings::default());
            let zones = Zones::from(Zone::parse(zone).expect("a zone"));
            let rang = rang_hours_ago.map(|hours| at - TimeDelta::hours(hours));
            let rings: Vec<DateTime<Utc>> = rang.into_iter().collect();
            // Mostly open, so that the interesting gates are reached.
            let rare = |bit: u16| flags & (1 << bit) != 0 && flags % 8 == 0;
            let facts = Facts {
                rules: &rules,
                tenant: &tenant,
                paused: rare(3),
                campaign_active: !rare(4),
                enrolled: true,
                zones: if rare(5) { None } else { Some(&zones) },
                has_common_window: true,
                reminder: None,
                phone: "+14155550100",
                preferred_time: preferred.map(|text| text.parse().expect("a time")),
                run_interval_seconds: 60,
                enrolled_at: at - TimeDelta::days(30),
                last_rang_for_purpose: rang.filter(|_| flags & 1 == 0),
                last_rang: rang,
                recent_rings: &rings,
                live_attempt: rare(6),
                slot_taken: false,
                suppressed: rare(7),
                retry: None,
                held_until: (flags & 2 != 0).then(|| at + TimeDelta::hours(5)),
                has_credentials: true,
                has_capacity: !rare(8),
            };
            let all_pass = |at| facts.walk(at).iter().all(|check| check.verdict == Verdict::Pass);
            prop_assert_eq!(all_pass(at), facts.next_due(at) == Some(at));
            match facts.next_due(at) {
                Some(next) => prop_assert!(all_pass(next), "blocked at its own next moment {next}"),
                None => prop_assert!(!dead_end(&facts, at).is_empty()),
            }
        }
    }
}
