//! The only place that reads the machine's clocks.
//!
//! Everything else receives a [`Clock`], so that tests step time instead of sleeping and so that `--now`
//! moves a whole rehearsal at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// Wall-clock and monotonic time, as a value that is passed in.
///
/// Wall-clock instants are truncated to microseconds, which is what PostgreSQL keeps: an instant that was
/// stored and read back compares equal to the one that was written.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { offset: TimeDelta, origin: Instant },
    Manual { micros: Arc<AtomicI64> },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::offset_by(TimeDelta::zero())
    }

    /// The machine's clock moved so that it shows `now` at this moment and keeps running from there.
    pub fn starting_at(now: DateTime<Utc>) -> Self {
        Self::offset_by(now - system_now())
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual(now: DateTime<Utc>) -> Self {
        Self(Source::Manual { micros: Arc::new(AtomicI64::new(now.timestamp_micros())) })
    }

    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    fn offset_by(offset: TimeDelta) -> Self {
        Self(Source::System { offset, origin: Instant::now() })
    }

    /// The current instant, truncated to microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System { offset, .. } => (system_now() + *offset).trunc_subsecs(6),
            Source::Manual { micros } => {
                DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst)).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }

    /// Time since an arbitrary origin that no adjustment of the wall clock moves.
    #[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { origin, .. } => Instant::now().duration_since(*origin),
            Source::Manual { micros } => {
                Duration::from_micros(u64::try_from(micros.load(Ordering::SeqCst)).unwrap_or(0))
            }
        }
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
            Source::System { offset, .. } => !offset.is_zero(),
            Source::Manual { .. } => true,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is where the clock is read")]
fn system_now() -> DateTime<Utc> {
    Utc::now()
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
    fn a_manual_clock_moves_only_when_told() {
        let start: DateTime<Utc> = "2026-11-02T09:00:00Z".parse().expect("an instant");
        let clock = Clock::manual(start);
        assert_eq!(clock.now(), start);
        clock.advance(TimeDelta::minutes(5));
        assert_eq!(clock.now(), start + TimeDelta::minutes(5));
    }
}
