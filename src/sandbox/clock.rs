//! The sandbox's own time: it can be set, moved and stopped without touching the machine's.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Clock;

/// A clock at an offset from another one, or standing still.
#[derive(Debug)]
pub(super) struct SandboxClock {
    base: Clock,
    offset: TimeDelta,
    frozen_at: Option<DateTime<Utc>>,
}

/// What a control request changes; `now` is applied first, then `advance_seconds`, then `frozen`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    now: Option<DateTime<Utc>>,
    advance_seconds: Option<f64>,
    frozen: Option<bool>,
}

impl SandboxClock {
    pub(super) fn new(base: Clock) -> Self {
        Self { base, offset: TimeDelta::zero(), frozen_at: None }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.frozen_at.unwrap_or_else(|| self.base.now() + self.offset)
    }

    pub(super) fn set(&mut self, now: DateTime<Utc>) {
        match &mut self.frozen_at {
            Some(frozen_at) => *frozen_at = now,
            None => self.offset = now - self.base.now(),
        }
    }

    pub(super) fn advance(&mut self, by: TimeDelta) {
        self.set(self.now() + by);
    }

    /// # Errors
    /// When the seconds are no length of time.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), String> {
        let by = match change.advance_seconds {
            Some(seconds) => super::seconds(seconds)
                .ok_or_else(|| format!("advance_seconds {seconds} is no number of seconds up to a thousand years"))?,
            None => TimeDelta::zero(),
        };
        if let Some(now) = change.now {
            self.set(now);
        }
        self.advance(by);
        if let Some(frozen) = change.frozen {
            let now = self.now();
            self.frozen_at = frozen.then_some(now);
            if !frozen {
                self.offset = now - self.base.now();
            }
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"now": self.now(), "frozen": self.frozen_at.is_some()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn it_runs_from_where_it_is_set_and_stands_where_it_is_frozen() {
        let base = Clock::manual(at("2026-11-20T12:00:00Z"));
        let mut clock = SandboxClock::new(base.clone());
        clock.change(&Change { now: Some(at("2026-11-21T09:00:00Z")), ..Change::default() }).unwrap();
        base.advance(TimeDelta::seconds(5));
        assert_eq!(clock.now(), at("2026-11-21T09:00:05Z"));
        clock.change(&Change { frozen: Some(true), ..Change::default() }).unwrap();
        base.advance(TimeDelta::seconds(60));
        assert_eq!(clock.now(), at("2026-11-21T09:00:05Z"));
        clock.change(&Change { advance_seconds: Some(1.5), ..Change::default() }).unwrap();
        assert_eq!(clock.now(), at("2026-11-21T09:00:06.500Z"));
        clock.change(&Change { frozen: Some(false), ..Change::default() }).unwrap();
        base.advance(TimeDelta::seconds(1));
        assert_eq!(clock.now(), at("2026-11-21T09:00:07.500Z"));
        assert!(clock.change(&Change { advance_seconds: Some(f64::INFINITY), ..Change::default() }).is_err());
    }
}
