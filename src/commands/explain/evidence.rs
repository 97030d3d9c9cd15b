//! What each gate looked at, in sentences with the actual values.

use chrono::{DateTime, Days, SecondsFormat, TimeDelta, Utc};

use super::person::{Person, Seen};
use crate::domain::campaign::ZonePolicy;
use crate::domain::gate::{Facts, Gate};
use crate::domain::preferred::PreferredState;
use crate::domain::reminder::Standing;
use crate::domain::zone::{Zone, ZoneSource};
use crate::store::control::Pause;
use crate::store::overview::{LiveAttempt, Ring};

/// What the sentences need besides the facts, read once at the moment in question.
#[derive(Debug)]
pub(super) struct Background {
    /// The pauses that stop this campaign.
    pub(super) pauses: Vec<Pause>,
    /// The latest rings, the newest first.
    pub(super) rings: Vec<Ring>,
    /// The attempt that occupies the phone.
    pub(super) live: Option<LiveAttempt>,
}

/// An instant as it is written in JSON.
pub(crate) fn utc(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An instant on a zone's wall clock: `Fri 2026-11-20 09:00 in America/New_York`.
pub(crate) fn local(at: DateTime<Utc>, zone: Zone) -> String {
    format!("{} in {zone}", zone.local(at).format("%a %Y-%m-%d %H:%M"))
}

/// A length of time in whole seconds, in its two largest units: `4h`, `1d 2h`, `59m 30s`.
pub(crate) fn length(seconds: i64) -> String {
    let mut rest = seconds.max(0);
    let mut parts = Vec::new();
    for (unit, unit_seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        let count = rest / unit_seconds;
        rest %= unit_seconds;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count}{unit}"));
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Why a gate said what it said.
pub(super) fn sentence(
    gate: Gate,
    person: &Person<'_>,
    seen: &Seen,
    facts: &Facts<'_>,
    background: &Background,
    at: DateTime<Utc>,
) -> String {
    match gate {
        Gate::Pause => pause(background),
        Gate::Active => active(person),
        Gate::Dates => dates(facts, at),
        Gate::Zone => zone(person),
        Gate::Reminder => reminder(facts, at),
        Gate::Window => window(facts, at),
        Gate::PreferredTime => preferred_time(person, facts, at),
        Gate::Frequency => frequency(person, facts, background),
        Gate::Slot => slot(person, seen, facts),
        Gate::LiveAttempt => match &background.live {
            Some(live) => {
                format!("attempt {} of call {} is {} since {}", live.id, live.call_id, live.state, utc(live.claimed_at))
            }
            None => "no attempt to this phone is live".to_owned(),
        },
        Gate::Gap => gap(facts, background, at),
        Gate::Caps => caps(facts, at),
        Gate::Suppression => suppression(seen, facts),
        Gate::Retry => match &person.waiting {
            Some((call, retry)) if facts.retry.is_some() => {
                format!("attempt {} of call {} is due at {}", call.attempt_count + 1, call.call_id, utc(retry.due_at))
            }
            _ => "no call waits for another attempt".to_owned(),
        },
        Gate::Breaker => breaker(person, at),
        Gate::Credentials => match &person.credentials {
            Ok(reference) => format!("the key of account {} is in {reference}", person.context.account.name),
            Err(problem) => format!("account {}: {problem}", person.context.account.name),
        },
        Gate::Capacity => {
            let account = &person.context.account;
            let pace = match account.calls_per_minute {
                Some(pace) => format!(", {pace} a minute"),
                None => String::new(),
            };
            format!(
                "account {} may start {} now (at most {} at once{pace})",
                account.name, seen.free_capacity, account.max_concurrency
            )
        }
    }
}

fn pause(background: &Background) -> String {
    if background.pauses.is_empty() {
        return "nobody paused".to_owned();
    }
    let pauses = background.pauses.iter().map(|pause| {
        let reason = pause.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("paused ({}) since {}{reason}", pause.scope, utc(pause.created_at))
    });
    pauses.collect::<Vec<_>>().join("; ")
}

fn active(person: &Person<'_>) -> String {
    let candidate = &person.enrolled.candidate;
    let campaign = person.context.campaign.full_name();
    let started = if person.context.campaign.active { "is started" } else { "is not started" };
    let enrolled = match candidate.enrollment_status.as_str() {
        "active" => format!("enrolled since {}", utc(candidate.enrolled_at)),
        "withdrawn" => "the contact was withdrawn".to_owned(),
        _ => "the contact is not enrolled".to_owned(),
    };
    format!("{campaign} {started}; {enrolled}")
}

fn dates(facts: &Facts<'_>, at: DateTime<Utc>) -> String {
    let schedule = &facts.rules.schedule;
    let range = match (schedule.starts, schedule.ends) {
        (None, None) => "no first or last date".to_owned(),
        (Some(starts), None) => format!("from {starts}"),
        (None, Some(ends)) => format!("to {ends}"),
        (Some(starts), Some(ends)) => format!("from {starts} to {ends}"),
    };
    let excluded = match schedule.exclude_dates.len() {
        0 => String::new(),
        count => format!(", {count} excluded"),
    };
    match facts.zones {
        Some(zones) => format!("{range}{excluded}; today is {}", zones.first().local(at).date()),
        None => format!("{range}{excluded}"),
    }
}

fn zone(person: &Person<'_>) -> String {
    let (rules, place) = (&person.context.rules, &person.place);
    match (rules.zone_policy, &place.zones, &person.enrolled.candidate.timezone) {
        (ZonePolicy::Callee, Some(zones), _) => {
            let source = place.source.map_or("given", ZoneSource::as_str);
            let common = if place.has_common_window {
                String::new()
            } else {
                format!("; {} is at no moment in all of them", rules.schedule.window)
            };
            format!("{} ({source}){common}", zones.summary())
        }
        (ZonePolicy::Callee, None, Some(name)) => format!("the contact's zone {name:?} is no IANA time zone"),
        (ZonePolicy::Callee, None, None) => {
            "no zone was given, and the phone is of no place; the campaign goes by the callee's".to_owned()
        }
        (ZonePolicy::Campaign, Some(zones), _) => {
            format!("{zones}, the {}'s", if rules.timezone.is_some() { "campaign" } else { "tenant" })
        }
        (ZonePolicy::Campaign, None, _) => "neither campaign nor tenant has a zone".to_owned(),
    }
}

/// How many invoices a sentence names.
const MOST_INVOICES: usize = 8;

fn reminder(facts: &Facts<'_>, at: DateTime<Utc>) -> String {
    let Some(reminder) = facts.reminder else { return "the campaign reminds of no invoices".to_owned() };
    let Some(zones) = facts.zones else { return format!("{} invoices; no zone to ask in", reminder.debts.len()) };
    if reminder.debts.is_empty() {
        return "no invoice is to be paid".to_owned();
    }
    let day = facts.day_of(zones, at);
    let mut invoices: Vec<String> = reminder
        .debts
        .iter()
        .map(|debt| {
            let said = match reminder.reminders.standing(debt, day, zones.first(), facts.retry.is_some()) {
                Standing::Due { offset } => format!("due for {offset:+} days"),
                Standing::Not { reason, from: Some(from) } => format!("{reason} until {from}"),
                Standing::Not { reason, from: None } => reason.to_owned(),
            };
            let name = debt.number.as_deref().unwrap_or(&debt.invoice_id);
            format!("{name} ({}, to be paid on {}): {said}", debt.status, debt.due_date)
        })
        .collect();
    let count = invoices.len();
    invoices.truncate(MOST_INVOICES);
    if count > MOST_INVOICES {
        invoices.push(format!("{} more", count - MOST_INVOICES));
    }
    invoices.join("; ")
}

fn window(facts: &Facts<'_>, at: DateTime<Utc>) -> String {
    let schedule = &facts.rules.schedule;
    let days = if schedule.days.is_every_day() { "every day".to_owned() } else { format!("on {}", schedule.days) };
    let Some(zones) = facts.zones else { return format!("{} {days}; no zone to ask in", schedule.window) };
    if !facts.has_common_window {
        return format!("{} {days}; never open in all zones at once", schedule.window);
    }
    // Of many zones the first and the last clock say all that matters.
    let mut by_clock: Vec<Zone> = zones.iter().collect();
    by_clock.sort_by_key(|zone| (zone.offset_seconds(at), zone.name()));
    by_clock.dedup_by_key(|zone| zone.offset_seconds(at));
    let clocks: Vec<String> = match by_clock[..] {
        [earliest, _, _, .., latest] => vec![local(at, earliest), format!("up to {}", local(at, latest))],
        _ => by_clock.iter().map(|zone| local(at, *zone)).collect(),
    };
    let closes = match schedule.opening_at(zones, at) {
        Some(opening) => format!(", open until {}", utc(opening.closes_at)),
        None => String::new(),
    };
    format!("{} {days}; it is {}{closes}", schedule.window, clocks.join(" and "))
}

fn preferred_time(person: &Person<'_>, facts: &Facts<'_>, at: DateTime<Utc>) -> String {
    let Some(text) = &person.enrolled.candidate.preferred_time else { return "no preferred time".to_owned() };
    let Some(preferred) = facts.preferred_time else { return format!("{text:?} cannot be read as HH:MM") };
    if facts.retry.is_some() {
        return format!("{preferred}, which holds for a first attempt only");
    }
    let Some(zones) = facts.zones else { return preferred.to_string() };
    let look_back = TimeDelta::seconds(facts.rules.look_back_seconds + facts.run_interval_seconds);
    let dialable = preferred.dialable_in(facts.rules.schedule.window);
    let state = match dialable.state(&facts.rules.schedule, zones, look_back, at) {
        PreferredState::Due { since, until, is_clamped } => {
            let clamped =
                if is_clamped || dialable != preferred { "outside the window, so its opening counts; " } else { "" };
            format!("{clamped}due from {} to {}", utc(since), utc(until))
        }
        PreferredState::NotYet { next: Some(next) } => format!("next due at {}", utc(next)),
        PreferredState::NotYet { next: None } => "never due".to_owned(),
        PreferredState::Missed { since, .. } => {
            format!("came at {} and is due for {}", utc(since), length(look_back.num_seconds()))
        }
    };
    format!("{preferred}; {state}")
}

fn frequency(person: &Person<'_>, facts: &Facts<'_>, background: &Background) -> String {
    let (campaign, frequency) = (&person.context.campaign, facts.rules.frequency);
    if facts.reminder.is_some() {
        return "once for each invoice and offset".to_owned();
    }
    let Some(last) = facts.last_rang_for_purpose else {
        return format!("{frequency}; never called for {}", campaign.purpose);
    };
    let attempt = background
        .rings
        .iter()
        .find(|ring| ring.at == last && ring.purpose == campaign.purpose)
        .map_or_else(String::new, |ring| format!(" (attempt {})", ring.attempt_id));
    let used = facts.zones.map_or_else(String::new, |zones| {
        format!(", which used {}", facts.rules.schedule.period_of(zones, frequency, last))
    });
    format!("{frequency}; last called for {} at {}{attempt}{used}", campaign.purpose, utc(last))
}

fn slot(person: &Person<'_>, seen: &Seen, facts: &Facts<'_>) -> String {
    let campaign = &person.context.campaign;
    if facts.reminder.is_some() && facts.retry.is_none() {
        return "each invoice and offset has a slot of its own".to_owned();
    }
    if let (Some((call, _)), true) = (&person.waiting, facts.retry.is_some()) {
        return format!("call {} holds {} {}", call.call_id, campaign.purpose, call.slot_key);
    }
    match &seen.slot {
        Some(slot) => match &slot.holder {
            Some(call) => format!("call {call} holds {} {}", campaign.purpose, slot.key),
            None => format!("{} {} is free", campaign.purpose, slot.key),
        },
        None => "no window from which a slot could be named".to_owned(),
    }
}

fn gap(facts: &Facts<'_>, background: &Background, at: DateTime<Utc>) -> String {
    let gap = length(facts.rules.min_gap_seconds(facts.tenant));
    let Some(last) = facts.last_rang else { return format!("at least {gap} between calls; none so far") };
    let attempt = background
        .rings
        .iter()
        .find(|ring| ring.at == last)
        .map_or_else(String::new, |ring| format!(" (attempt {}, {})", ring.attempt_id, ring.purpose));
    let ago = if last <= at { format!("{} ago", length((at - last).num_seconds())) } else { "later".to_owned() };
    format!("at least {gap} between calls; the last was at {}{attempt}, {ago}", utc(last))
}

fn caps(facts: &Facts<'_>, at: DateTime<Utc>) -> String {
    let (day, week) = (facts.rules.max_calls_per_day(facts.tenant), facts.rules.max_calls_per_week(facts.tenant));
    let Some(zones) = facts.zones else {
        let most = [day.map(|cap| format!("at most {cap} a day")), week.map(|cap| format!("at most {cap} a week"))];
        return told(most);
    };
    let zone = zones.first();
    let today = zone.local(at).date();
    let day = day.map(|cap| {
        let until = today
            .checked_add_days(Days::new(1))
            .map_or_else(String::new, |date| format!(", counted until {}", utc(zone.start_of(date))));
        format!("{} of at most {cap} on {today}{until}", facts.calls_on(zone, today, 1))
    });
    let week = week.map(|cap| {
        let first = today.checked_sub_days(Days::new(6)).unwrap_or(today);
        format!("{} of at most {cap} from {first} to {today}", facts.calls_on(zone, today, 7))
    });
    told([day, week])
}

fn told(caps: [Option<String>; 2]) -> String {
    let caps: Vec<String> = caps.into_iter().flatten().collect();
    if caps.is_empty() { "no limit by day or week".to_owned() } else { caps.join("; ") }
}

fn suppression(seen: &Seen, facts: &Facts<'_>) -> String {
    if let Some(found) = seen.suppressions.first() {
        let until = found.expires_at.map_or_else(|| "for good".to_owned(), |until| format!("until {}", utc(until)));
        return format!(
            "{} is suppressed {until} since {}: {} ({})",
            found.what(),
            utc(found.created_at),
            found.reason,
            found.source
        );
    }
    match &facts.tenant.allow_only {
        None => "not suppressed".to_owned(),
        Some(list) => {
            let on = if list.iter().any(|phone| phone == facts.phone) { "on" } else { "not on" };
            format!("not suppressed; {on} the tenant's allow_only list of {}", list.len())
        }
    }
}

fn breaker(person: &Person<'_>, at: DateTime<Utc>) -> String {
    let (account, campaign) = (&person.context.account, &person.context.campaign);
    let holds = [
        (format!("account {}", account.name), account.held_until, &account.held_reason),
        (format!("campaign {}", campaign.full_name()), campaign.held_until, &campaign.held_reason),
    ];
    let held: Vec<String> = holds
        .into_iter()
        .filter_map(|(who, until, words)| {
            let until = until.filter(|until| *until > at)?;
            Some(format!("{who} is held back until {}: {}", utc(until), words.as_deref().unwrap_or("no reason given")))
        })
        .collect();
    if held.is_empty() { "no refusal holds calls back".to_owned() } else { held.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (3600, "1h"), (3630, "1h 30s"), (93_784, "1d 2h"), (86_400 * 8, "8d")]
        {
            assert_eq!(length(seconds), text);
        }
    }
}
