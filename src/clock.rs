//! The only place that reads the machine's clocks.
//!
//! Everything else receives a [`Clock`], so that tests step time instead of sleeping and so that `--now`
//! moves a whole rehearsal at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use crate::fail_point;

/// How far two clocks that should agree may be apart before no call is placed.
pub const MAX_CLOCK_SKEW_SECONDS: i64 = 60;

/// How far the wall clock may move in the middle of a run before no more calls are placed. What was compared at its
/// beginning may have been as far apart as is tolerated already, and both together must stay within the margins of
/// windows.
pub const MAX_CLOCK_STEP_SECONDS: i64 = 20;

/// Wall-clock and monotonic time, as a value that is passed in.
///
/// A run reads the machine's wall clock once and carries it on by the monotonic one. Somebody who sets the wall clock
/// in the middle of the run moves nothing that it decides or writes down, and [`Clock::step`] shows it. A machine that
/// was asleep shows the same way, since the monotonic clock stood still: then it is this clock that is behind.
///
/// Wall-clock instants are truncated to microseconds, which is what PostgreSQL keeps: an instant that was
/// stored and read back compares equal to the one that was written.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Carried { began: DateTime<Utc>, offset: TimeDelta, origin: Instant },
    Machine { origin: Instant },
    Manual { micros: Arc<AtomicI64> },
}

impl Clock {
    /// The machine's clock as it is at this moment, carried on by the monotonic one: for a run.
    pub fn system() -> Self {
        Self::offset_by(TimeDelta::zero())
    }

    /// As [`Clock::system`], moved so that it shows `now` at this moment.
    pub fn starting_at(now: DateTime<Utc>) -> Self {
        Self::offset_by(now - system_now())
    }

    /// The machine's wall clock, read anew each time, with every step of it: for what goes on for days.
    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    pub fn machine() -> Self {
        Self(Source::Machine { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self(Source::Manual { micros: Arc::new(AtomicI64::new(now.timestamp_micros())) })
    }

    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    fn offset_by(offset: TimeDelta) -> Self {
        Self(Source::Carried { began: system_now() + offset, offset, origin: Instant::now() })
    }

    /// The current instant, truncated to microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::Carried { began, .. } => (*began + self.monotonic()).trunc_subsecs(6),
            Source::Machine { .. } => system_now().trunc_subsecs(6),
            Source::Manual { micros } => {
                DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst)).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }

    /// What the wall clock shows, with every step of it.
    pub fn wall(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::Carried { offset, .. } => system_now() + *offset,
            Source::Machine { .. } | Source::Manual { .. } => self.now(),
        }
    }

    /// How far the wall clock was moved since this clock was made, where that is more than
    /// [`MAX_CLOCK_STEP_SECONDS`]: either clock may be the wrong one, so nothing may be placed by them any more.
    pub fn step(&self) -> Option<TimeDelta> {
        let moved = self.wall() - self.now();
        (moved.abs() > TimeDelta::seconds(MAX_CLOCK_STEP_SECONDS)).then_some(moved)
    }

    /// Time since an arbitrary origin that no adjustment of the wall clock moves.
    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Carried { origin, .. } | Source::Machine { origin } => Instant::now().duration_since(*origin),
            Source::Manual { micros } => {
                Duration::from_micros(u64::try_from(micros.load(Ordering::SeqCst)).unwrap_or(0))
            }
        }
    }

    /// Waits until this clock shows `moment`. Whoever waits on a manual clock makes the time pass, for everybody.
    pub async fn reach(&self, moment: DateTime<Utc>) {
        if let Source::Manual { micros } = &self.0 {
            micros.fetch_max(moment.timestamp_micros(), Ordering::SeqCst);
            // What others began meanwhile takes its own time to end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        }
        let wait = (moment - self.now()).to_std().unwrap_or_default();
        tokio::time::sleep(wait).await;
    }

    /// Moves a manual clock; a system clock is left alone.
    pub fn advance(&self, by: TimeDelta) {
        if let Source::Manual { micros } = &self.0 {
            micros.fetch_add(by.num_microseconds().unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Whether the clock was moved away from the machine's own (`--now`, or a test).
    pub fn is_shifted(&self) -> bool {
        match &self.0 {
            Source::Carried { offset, .. } => !offset.is_zero(),
            Source::Machine { .. } => false,
            Source::Manual { .. } => true,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
fn system_now() -> DateTime<Utc> {
    Utc::now() + fail_point::wall_clock_step()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_shows_the_given_instant_and_runs() {
        let start = "2026-11-02T09:00:00Z".parse().expect("an instant");
        let clock = Clock::starting_at(start);
        let drift = clock.now() - start;
        assert!(drift >= TimeDelta::microseconds(-1) && drift < TimeDelta::seconds(5), "{drift}");
        assert!(clock.is_shifted());
        assert!(!Clock::system().is_shifted());
    }

    #[test]
    fn a_wall_clock_that_moves_is_shown_and_moves_nothing_else() {
        for (moved, shows) in [(3600, true), (-86_400, true), (21, true), (-19, false), (0, false)] {
            let Clock(Source::Carried { began, offset, origin }) = Clock::system() else { panic!("a carried clock") };
            let before = Clock(Source::Carried { began, offset, origin }).now();
            let clock = Clock(Source::Carried { began, offset: offset + TimeDelta::seconds(moved), origin });
            assert_eq!(clock.step().is_some(), shows, "{moved}");
            let drift = clock.now() - before;
            assert!(drift >= TimeDelta::zero() && drift < TimeDelta::seconds(1), "{drift}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let start: DateTime<Utc> = "2026-11-02T09:00:00Z".parse().expect("an instant");
        let clock = Clock::manual(start);
        assert_eq!(clock.now(), start);
        clock.advance(TimeDelta::minutes(5));
        assert_eq!(clock.now(), start + TimeDelta::minutes(5));
    }

    #[tokio::test]
    async fn waiting_on_a_manual_clock_moves_it_and_never_back() {
        let start: DateTime<Utc> = "2026-11-02T09:00:00Z".parse().expect("an instant");
        let clock = Clock::manual(start);
        clock.reach(start + TimeDelta::hours(1)).await;
        assert_eq!(clock.now(), start + TimeDelta::hours(1));
        clock.reach(start).await;
        assert_eq!(clock.now(), start + TimeDelta::hours(1));
    }
}
