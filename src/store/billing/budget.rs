//! How often organisations are asked: the one account of it for all processes and machines.
//!
//! A request counts for the minute until 60 seconds after it was over. When it arrived is known to lie between its
//! beginning and its end only, so that whoever counts arrivals never sees more of them within 60 seconds.

use chrono::{DateTime, Days, TimeDelta, Utc};
use sqlx::FromRow;

use super::{Result, StoreError, Tx, execute, fetch};
use crate::domain::billing::RequestLimits;

/// The span that a limit by the minute is about.
const MINUTE: TimeDelta = TimeDelta::seconds(60);

/// What an organisation was asked on one day.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
pub struct Budget {
    /// When the day ends, and all requests are to be had again.
    pub day_ends_at: DateTime<Utc>,
    /// How many requests were begun.
    pub used: i64,
    /// No request is wanted before.
    pub held_until: Option<DateTime<Utc>>,
}

/// Whether a request may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, and counts.
    Go,
    /// Not before then.
    NotBefore(DateTime<Utc>),
    /// As many as may be are under way.
    Busy,
    /// There is none left on this day, which ends then.
    Spent(DateTime<Utc>),
}

/// The requests of a day so far; none: there was never one. A day that is over has none.
pub async fn budget(tx: &mut Tx, organization_id: &str, now: DateTime<Utc>) -> Result<Option<Budget>> {
    let sql = "SELECT day_ends_at, used, held_until FROM billing_budgets WHERE organization_id = $1";
    let budget = fetch!(tx, Budget, fetch_optional, sql, organization_id)?;
    Ok(budget.map(|budget| today(budget, now)))
}

/// Asks to send a request, which is over at `over_at` at the latest. `most_of_day` of the day's requests may be used up by
/// it.
pub async fn admit(
    tx: &mut Tx,
    organization_id: &str,
    limits: RequestLimits,
    most_of_day: i64,
    request_id: &str,
    over_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Admission> {
    execute!(
        tx,
        "INSERT INTO billing_budgets (organization_id, day_ends_at, used) VALUES ($1, $2, 0)
         ON CONFLICT (organization_id) DO NOTHING",
        organization_id,
        midnight_after(now)
    )?;
    // One at a time, so that nobody counts what another is about to send.
    let sql = match tx {
        Tx::Sqlite(_) => "SELECT day_ends_at, used, held_until FROM billing_budgets WHERE organization_id = $1",
        Tx::Postgres(_) => {
            "SELECT day_ends_at, used, held_until FROM billing_budgets WHERE organization_id = $1 FOR UPDATE"
        }
    };
    let budget = today(fetch!(&mut *tx, Budget, fetch_one, sql, organization_id)?, now);
    if budget.used >= most_of_day {
        return Ok(Admission::Spent(budget.day_ends_at));
    }
    if let Some(held_until) = budget.held_until.filter(|until| *until > now) {
        return Ok(Admission::NotBefore(held_until));
    }
    let since = now - MINUTE;
    execute!(tx, "DELETE FROM billing_requests WHERE organization_id = $1 AND over_at <= $2", organization_id, since)?;
    let recent: Vec<(DateTime<Utc>, bool)> = fetch!(
        tx,
        (DateTime<Utc>, bool),
        fetch_all,
        "SELECT over_at, is_over FROM billing_requests WHERE organization_id = $1 ORDER BY over_at",
        organization_id
    )?;
    let (under_way, count) = (recent.iter().filter(|(at, is_over)| !is_over && *at > now).count(), recent.len());
    let most = usize::try_from(limits.per_minute).unwrap_or(usize::MAX);
    if let Some((first, _)) = recent.get(count.saturating_sub(most)).filter(|_| count >= most) {
        return Ok(Admission::NotBefore(*first + MINUTE));
    }
    if under_way >= usize::try_from(limits.at_once).unwrap_or(usize::MAX) {
        return Ok(Admission::Busy);
    }
    execute!(
        tx,
        "INSERT INTO billing_requests (id, organization_id, over_at, is_over) VALUES ($1, $2, $3, FALSE)",
        request_id,
        organization_id,
        over_at
    )?;
    let counted = execute!(
        tx,
        "UPDATE billing_budgets SET day_ends_at = $2, used = $3, held_until = NULL WHERE organization_id = $1",
        organization_id,
        budget.day_ends_at,
        budget.used + 1
    )?;
    if counted != 1 {
        return Err(StoreError::Conflict(format!("the requests to organisation {organization_id} are not counted")));
    }
    Ok(Admission::Go)
}

/// Notes that a request is over, and when the organisation's day ends, if it said so.
pub async fn end(
    tx: &mut Tx,
    organization_id: &str,
    request_id: &str,
    day_ends_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<()> {
    // It may have been forgotten, if it took longer than it was allowed to.
    execute!(tx, "UPDATE billing_requests SET over_at = $2, is_over = TRUE WHERE id = $1", request_id, now)?;
    if let Some(day_ends_at) = day_ends_at {
        // Whole seconds are told, so that it wavers.
        execute!(
            tx,
            "UPDATE billing_budgets SET day_ends_at = $2
             WHERE organization_id = $1 AND day_ends_at > $3 AND (day_ends_at < $4 OR day_ends_at > $5)",
            organization_id,
            day_ends_at,
            now,
            day_ends_at - MINUTE,
            day_ends_at + MINUTE
        )?;
    }
    Ok(())
}

/// Sends no request before `until`, since the organisation asked for that.
pub async fn hold(tx: &mut Tx, organization_id: &str, until: DateTime<Utc>) -> Result<()> {
    execute!(
        tx,
        "UPDATE billing_budgets SET held_until = $2
         WHERE organization_id = $1 AND (held_until IS NULL OR held_until < $2)",
        organization_id,
        until
    )?;
    Ok(())
}

/// Counts the day's requests as spent, since the organisation said so. `day_ends_at` is when it takes requests again, if it
/// said that, too. Gives when that is.
pub async fn spend(
    tx: &mut Tx,
    organization_id: &str,
    limits: RequestLimits,
    day_ends_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>> {
    let sql = "SELECT day_ends_at, used, held_until FROM billing_budgets WHERE organization_id = $1";
    let budget = fetch!(&mut *tx, Budget, fetch_optional, sql, organization_id)?;
    let day_ends_at =
        day_ends_at.or(budget.map(|budget| today(budget, now).day_ends_at)).unwrap_or_else(|| midnight_after(now));
    execute!(
        tx,
        "INSERT INTO billing_budgets (organization_id, day_ends_at, used) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id) DO UPDATE SET day_ends_at = excluded.day_ends_at,
             used = CASE WHEN billing_budgets.used > excluded.used THEN billing_budgets.used ELSE excluded.used END",
        organization_id,
        day_ends_at,
        limits.per_day
    )?;
    Ok(day_ends_at)
}

/// The budget on the day that `now` is of.
fn today(budget: Budget, now: DateTime<Utc>) -> Budget {
    let over = now - budget.day_ends_at;
    if over < TimeDelta::zero() {
        return budget;
    }
    Budget { day_ends_at: budget.day_ends_at + TimeDelta::days(over.num_days() + 1), used: 0, ..budget }
}

/// When a day ends of which nobody said it.
fn midnight_after(now: DateTime<Utc>) -> DateTime<Utc> {
    let today = now.date_naive();
    today.checked_add_days(Days::new(1)).unwrap_or(today).and_time(chrono::NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_day_that_is_over_begins_anew_at_the_same_hour() {
        let budget = Budget { day_ends_at: at("2026-11-26T08:00:00Z"), used: 7, held_until: None };
        assert_eq!(today(budget, at("2026-11-26T07:59:59Z")), budget);
        for (now, ends) in [
            ("2026-11-26T08:00:00Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27T07:59:59Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27T08:00:00Z", "2026-11-28T08:00:00Z"),
        ] {
            assert_eq!(today(budget, at(now)), Budget { day_ends_at: at(ends), used: 0, held_until: None }, "{now}");
        }
        assert_eq!(midnight_after(at("2026-11-26T23:59:59Z")), at("2026-11-27T00:00:00Z"));
    }
}
