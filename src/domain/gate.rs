//! The gates that a call must pass, as one ordered list that the planner and `explain` both walk.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::campaign::{CLOSE_MARGIN_SECONDS, Rules, TenantSettings};
use super::preferred::{PreferredState, PreferredTime};
use super::reminder::{Debt, Reminders};
use super::schedule::SEARCH_DAYS;
use super::slot::Period;
use super::zone::{Zone, Zones};

/// One reason why a call may have to wait or be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// Nobody pressed pause.
    Pause,
    /// The campaign is started and the contact is enrolled.
    Active,
    /// Between the campaign's first and last date, and not on an excluded one.
    Dates,
    /// The wall clock of the callee is known, and where it may be one of several, a window can be open on all of them.
    Zone,
    /// Where a campaign reminds of invoices: one of them is to be called about today.
    Reminder,
    /// The window is open, and stays open long enough.
    Window,
    /// The contact's preferred time has come.
    PreferredTime,
    /// The person was not called for this purpose in this period.
    Frequency,
    /// The slot is free, or held by this very call and still current.
    Slot,
    /// No other attempt to the phone is live.
    LiveAttempt,
    /// The last call to the phone is long enough ago.
    Gap,
    /// The phone was not called too often today, nor in the last seven days.
    Caps,
    /// The phone is not suppressed, and on the allow list where there is one.
    Suppression,
    /// A retry is due and within its budget.
    Retry,
    /// The provider has not refused the account or campaign lately.
    Breaker,
    /// The account has a usable key.
    Credentials,
    /// The account has room for another call.
    Capacity,
}

/// How a gate is asked.
type Ask = fn(&Facts<'_>, DateTime<Utc>) -> Verdict;

/// The gates in the order in which they are asked.
pub const GATES: &[(Gate, Ask)] = &[
    (Gate::Pause, pause),
    (Gate::Active, active),
    (Gate::Dates, dates),
    (Gate::Zone, zone),
    (Gate::Reminder, reminder),
    (Gate::Window, window),
    (Gate::PreferredTime, preferred_time),
    (Gate::Frequency, frequency),
    (Gate::Slot, slot),
    (Gate::LiveAttempt, live_attempt),
    (Gate::Gap, gap),
    (Gate::Caps, caps),
    (Gate::Suppression, suppression),
    (Gate::Retry, retry),
    (Gate::Breaker, breaker),
    (Gate::Credentials, credentials),
    (Gate::Capacity, capacity),
];

impl Gate {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Active => "active",
            Self::Dates => "dates",
            Self::Zone => "zone",
            Self::Reminder => "reminder",
            Self::Window => "window",
            Self::PreferredTime => "preferred_time",
            Self::Frequency => "frequency",
            Self::Slot => "slot",
            Self::LiveAttempt => "live_attempt",
            Self::Gap => "gap",
            Self::Caps => "caps",
            Self::Suppression => "suppression",
            Self::Retry => "retry",
            Self::Breaker => "breaker",
            Self::Credentials => "credentials",
            Self::Capacity => "capacity",
        }
    }
}

/// What a gate says about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// Not now.
    Block {
        /// The stable reason, counted and stored.
        reason: &'static str,
        /// The first later moment at which this gate may say yes by the passing of time alone.
        until: Option<DateTime<Utc>>,
    },
}

impl Verdict {
    const fn block(reason: &'static str, until: Option<DateTime<Utc>>) -> Self {
        Self::Block { reason, until }
    }
}

/// Everything that the gates look at. Holds no clock: the moment is an argument.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact that a gate asks for")]
pub struct Facts<'a> {
    /// The campaign's rules.
    pub rules: &'a Rules,
    /// The tenant's limits.
    pub tenant: &'a TenantSettings,
    /// Why dialling is paused, if it is.
    pub paused: bool,
    /// Whether the campaign is started.
    pub campaign_active: bool,
    /// Whether the contact is still enrolled.
    pub enrolled: bool,
    /// The zones that the callee may be in; none when not known.
    pub zones: Option<&'a Zones>,
    /// Whether the windows of those zones have a minute in common: [`super::schedule::Schedule::has_common_window`].
    pub has_common_window: bool,
    /// For campaigns that remind of invoices: how, and those of the contact.
    pub reminder: Option<ReminderFacts<'a>>,
    /// The phone, E.164.
    pub phone: &'a str,
    /// The contact's preferred time; never set for what an operator asks for by hand.
    pub preferred_time: Option<PreferredTime>,
    /// The time between two runs, which is added to the look-back so that no run can step over a preferred time.
    pub run_interval_seconds: i64,
    /// Since when the contact is enrolled: an earlier preferred time was not missed.
    pub enrolled_at: DateTime<Utc>,
    /// When the person may last have rung for this purpose, this call aside.
    pub last_rang_for_purpose: Option<DateTime<Utc>>,
    /// When the phone may last have rung for any purpose, this call aside.
    pub last_rang: Option<DateTime<Utc>>,
    /// When the phone may have rung for any purpose in the last eight days, once for each call, this call aside.
    pub recent_rings: &'a [DateTime<Utc>],
    /// Whether an attempt to the phone is live.
    pub live_attempt: bool,
    /// Whether another call holds the slot of this period.
    pub slot_taken: bool,
    /// Whether the phone is suppressed.
    pub suppressed: bool,
    /// For another attempt of a call that exists; none for a first attempt.
    pub retry: Option<RetryFacts>,
    /// Until when the provider's refusals hold the account or the campaign back.
    pub held_until: Option<DateTime<Utc>>,
    /// Whether the account's key can be read.
    pub has_credentials: bool,
    /// Whether the account has room for another call.
    pub has_capacity: bool,
}

/// What matters about a call that waits for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryFacts {
    /// When the next attempt is due.
    pub due_at: DateTime<Utc>,
    /// The period of the call's slot.
    pub period: Period,
}

/// What matters about the invoices of a contact.
#[derive(Clone, Copy, Debug)]
pub struct ReminderFacts<'a> {
    /// How the campaign reminds.
    pub reminders: &'a Reminders,
    /// The contact's invoices.
    pub debts: &'a [Debt],
}

/// What one gate said, in the order of [`GATES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The gate.
    pub gate: Gate,
    /// What it said.
    pub verdict: Verdict,
}

impl Facts<'_> {
    /// What every gate says at `now`.
    pub fn walk(&self, now: DateTime<Utc>) -> Vec<Check> {
        GATES.iter().map(|(gate, ask)| Check { gate: *gate, verdict: ask(self, now) }).collect()
    }

    /// The first gate that says no at `now`, with its reason and the time until which it does; none when all say yes.
    pub fn first_block(&self, now: DateTime<Utc>) -> Option<(Gate, &'static str, Option<DateTime<Utc>>)> {
        GATES.iter().find_map(|(gate, ask)| match ask(self, now) {
            Verdict::Pass => None,
            Verdict::Block { reason, until } => Some((*gate, reason, until)),
        })
    }

    /// The first moment from `from` on at which every gate says yes, if nothing but time changes.
    pub fn next_due(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let horizon = from + TimeDelta::days(SEARCH_DAYS);
        let mut at = from;
        // Each step moves to a later moment; two gates that never agree are given up rather than followed for ever.
        for _ in 0..SEARCH_DAYS {
            match self.first_block(at) {
                None => return Some(at),
                Some((_, _, until)) => at = until.filter(|until| *until > at && *until <= horizon)?,
            }
        }
        None
    }

    /// The zones, where a window can be open in all of them. Where none ever is, the zone gate says so and no other
    /// gate searches for it.
    fn open_zones(&self) -> Option<&Zones> {
        self.zones.filter(|_| self.has_common_window)
    }

    /// The date that a call at `now` counts for: that on which the open window opened, else the first zone's own.
    pub fn day_of(&self, zones: &Zones, now: DateTime<Utc>) -> NaiveDate {
        self.rules.schedule.opened_on(zones, now).unwrap_or_else(|| zones.first().local(now).date())
    }

    /// For how many calls the phone may have rung on the local dates that end with `last`, so many `days` of them.
    pub fn calls_on(&self, zone: Zone, last: NaiveDate, days: u64) -> i64 {
        let dates = last.checked_sub_days(Days::new(days - 1)).unwrap_or(NaiveDate::MIN)..=last;
        let count = self.recent_rings.iter().filter(|at| dates.contains(&zone.local(**at).date())).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    fn look_back(&self) -> TimeDelta {
        TimeDelta::seconds(self.rules.look_back_seconds + self.run_interval_seconds)
    }

    fn used_period(&self, zones: &Zones) -> Option<Period> {
        let last = self.last_rang_for_purpose?;
        Some(self.rules.schedule.period_of(zones, self.rules.frequency, last))
    }
}

fn pause(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if facts.paused { Verdict::block("paused", None) } else { Verdict::Pass }
}

fn active(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if !facts.campaign_active {
        Verdict::block("campaign_inactive", None)
    } else if !facts.enrolled {
        Verdict::block("not_enrolled", None)
    } else {
        Verdict::Pass
    }
}

fn dates(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let Some(zones) = facts.open_zones() else { return Verdict::Pass };
    let schedule = &facts.rules.schedule;
    if schedule.opened_on(zones, now).is_some() {
        return Verdict::Pass;
    }
    let today = zones.first().local(now).date();
    let next = || schedule.next_open(zones, now);
    if schedule.starts.is_some_and(|starts| today < starts) {
        Verdict::block("before_first_date", next())
    } else if schedule.ends.is_some_and(|ends| today > ends) {
        Verdict::block("after_last_date", next())
    } else if schedule.exclude_dates.contains(&today) {
        Verdict::block("excluded_date", next())
    } else {
        Verdict::Pass
    }
}

fn zone(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    match facts.zones {
        None => Verdict::block("no_timezone", None),
        Some(_) if !facts.has_common_window => Verdict::block("no_common_window", None),
        Some(_) => Verdict::Pass,
    }
}

fn reminder(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let (Some(reminder), Some(zones)) = (facts.reminder, facts.open_zones()) else { return Verdict::Pass };
    let day = facts.day_of(zones, now);
    match reminder.reminders.due(reminder.debts, day, zones.first(), facts.retry.is_some()) {
        Ok(_) => Verdict::Pass,
        Err((reason, from)) => {
            let before =
                |from: NaiveDate| Period::Dates { first: NaiveDate::MIN, last: from.pred_opt().unwrap_or(from) };
            let schedule = &facts.rules.schedule;
            let until = from.and_then(|from| {
                // Beyond the reach of a search, the date itself.
                let opens = schedule.next_open_outside(zones, Some(before(from)), now);
                opens.or_else(|| Some(zones.first().start_of(from)).filter(|start| *start > now))
            });
            Verdict::block(reason, until)
        }
    }
}

fn window(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let Some(zones) = facts.open_zones() else { return Verdict::Pass };
    let schedule = &facts.rules.schedule;
    match schedule.opening_at(zones, now) {
        None => Verdict::block("outside_window", schedule.next_open(zones, now)),
        Some(opening) if opening.closes_at - TimeDelta::seconds(CLOSE_MARGIN_SECONDS) <= now => {
            Verdict::block("window_closing", schedule.next_open(zones, opening.closes_at))
        }
        Some(_) => Verdict::Pass,
    }
}

fn preferred_time(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let (Some(preferred), Some(zones), None) = (facts.preferred_time, facts.open_zones(), facts.retry) else {
        return Verdict::Pass;
    };
    let used = facts.used_period(zones);
    let schedule = &facts.rules.schedule;
    let preferred = preferred.dialable_in(schedule.window);
    // Somebody who was called in this period already has missed nothing; the frequency gate says so.
    if let (Some(used), Some(opened_on)) = (used, schedule.opened_on(zones, now))
        && used.contains(opened_on)
    {
        return Verdict::Pass;
    }
    let next = || preferred.next_due(schedule, zones, facts.look_back(), used, now);
    match preferred.state(schedule, zones, facts.look_back(), now) {
        PreferredState::Due { .. } => Verdict::Pass,
        PreferredState::Missed { since, .. } if facts.enrolled_at <= since => {
            Verdict::block("missed_preferred_time", next())
        }
        PreferredState::Missed { .. } | PreferredState::NotYet { .. } => {
            Verdict::block("before_preferred_time", next())
        }
    }
}

fn frequency(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let (Some(zones), None) = (facts.open_zones(), facts.retry) else { return Verdict::Pass };
    let schedule = &facts.rules.schedule;
    let (Some(used), Some(opened_on)) = (facts.used_period(zones), schedule.opened_on(zones, now)) else {
        return Verdict::Pass;
    };
    if used.contains(opened_on) {
        Verdict::block("already_called", schedule.next_open_outside(zones, Some(used), now))
    } else {
        Verdict::Pass
    }
}

fn slot(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let Some(zones) = facts.open_zones() else { return Verdict::Pass };
    let schedule = &facts.rules.schedule;
    match facts.retry {
        Some(retry) if schedule.is_current(zones, retry.period, now) => Verdict::Pass,
        Some(retry) => match schedule.next_open_in_period(zones, retry.period, now) {
            Some(next) => Verdict::block("outside_slot_period", Some(next)),
            None => Verdict::block("slot_expired", None),
        },
        None if facts.slot_taken => {
            let period = schedule.opened_on(zones, now).map(|date| facts.rules.frequency.period(date));
            Verdict::block("slot_taken", schedule.next_open_outside(zones, period, now))
        }
        None => Verdict::Pass,
    }
}

fn live_attempt(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if facts.live_attempt { Verdict::block("live_attempt", None) } else { Verdict::Pass }
}

fn gap(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let Some(last) = facts.last_rang else { return Verdict::Pass };
    let until = last + TimeDelta::seconds(facts.rules.min_gap_seconds(facts.tenant));
    if now < until { Verdict::block("min_gap", Some(until)) } else { Verdict::Pass }
}

fn caps(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    let Some(zones) = facts.zones else { return Verdict::Pass };
    let zone = zones.first();
    let today = zone.local(now).date();
    let caps = [
        ("max_calls_per_week", 7, facts.rules.max_calls_per_week(facts.tenant)),
        ("max_calls_per_day", 1, facts.rules.max_calls_per_day(facts.tenant)),
    ];
    let reached = caps.into_iter().filter_map(|(reason, days, cap)| {
        let cap = cap.filter(|cap| facts.calls_on(zone, today, days) >= *cap)?;
        let until = (1..=days)
            .filter_map(|later| today.checked_add_days(Days::new(later)))
            .find(|date| facts.calls_on(zone, *date, days) < cap)
            .map(|date| zone.start_of(date));
        Some((reason, until))
    });
    // Of both, the one that holds longer: the other has nothing to say by then.
    match reached.max_by_key(|(_, until)| *until) {
        None => Verdict::Pass,
        Some((reason, until)) => Verdict::block(reason, until),
    }
}

fn suppression(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if facts.suppressed {
        return Verdict::block("suppressed", None);
    }
    match &facts.tenant.allow_only {
        Some(list) if !list.iter().any(|phone| phone == facts.phone) => Verdict::block("not_on_allow_list", None),
        _ => Verdict::Pass,
    }
}

fn retry(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    match facts.retry {
        Some(retry) if now < retry.due_at => Verdict::block("retry_waits", Some(retry.due_at)),
        _ => Verdict::Pass,
    }
}

fn breaker(facts: &Facts<'_>, now: DateTime<Utc>) -> Verdict {
    match facts.held_until {
        Some(until) if now < until => Verdict::block("provider_refused", Some(until)),
        _ => Verdict::Pass,
    }
}

fn credentials(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if facts.has_credentials { Verdict::Pass } else { Verdict::block("no_credentials", None) }
}

fn capacity(facts: &Facts<'_>, _: DateTime<Utc>) -> Verdict {
    if facts.has_capacity { Verdict::Pass } else { Verdict::block("no_capacity", None) }
}

#[cfg(test)]
mod tests;
