//! What an organisation's requests come to, and the limits that they must keep.
//!
//! Whatever comes is counted, also what is refused for coming too fast: whoever goes on asking stays blocked.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};

/// The free plan's, which are the narrowest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) per_minute: usize,
    pub(super) per_day: u64,
    pub(super) at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_minute: 100, per_day: 1000, at_once: 5 }
    }
}

/// The limit that a request breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    PerMinute,
    PerDay,
    AtOnce,
}

/// Days are those of UTC; a minute is any 60 seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last_minute: VecDeque<DateTime<Utc>>,
    most_in_a_minute: usize,
    by_day: BTreeMap<NaiveDate, u64>,
    at_once: usize,
    most_at_once: usize,
    too_fast: u64,
    too_many: u64,
    too_many_at_once: u64,
}

impl Meter {
    /// Counts a request that begins, and says which limit it breaks.
    pub(super) fn begins(&mut self, now: DateTime<Utc>, limits: Option<Limits>) -> Option<Broken> {
        within(&mut self.last_minute, now, TimeDelta::minutes(1));
        self.last_minute.push_back(now);
        self.most_in_a_minute = self.most_in_a_minute.max(self.last_minute.len());
        let today = self.by_day.entry(now.date_naive()).or_default();
        *today += 1;
        self.at_once += 1;
        self.most_at_once = self.most_at_once.max(self.at_once);
        let limits = limits?;
        let (broken, count) = if *today > limits.per_day {
            (Broken::PerDay, &mut self.too_many)
        } else if self.last_minute.len() > limits.per_minute {
            (Broken::PerMinute, &mut self.too_fast)
        } else if self.at_once > limits.at_once {
            (Broken::AtOnce, &mut self.too_many_at_once)
        } else {
            return None;
        };
        *count += 1;
        Some(broken)
    }

    pub(super) fn ends(&mut self) {
        self.at_once = self.at_once.saturating_sub(1);
    }

    /// What every answer says of the day.
    pub(super) fn headers(&self, now: DateTime<Utc>, limits: Limits) -> Vec<(&'static str, String)> {
        let used = self.by_day.get(&now.date_naive()).copied().unwrap_or_default();
        let midnight = (now.date_naive() + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
        vec![
            ("x-rate-limit-limit", limits.per_day.to_string()),
            ("x-rate-limit-remaining", limits.per_day.saturating_sub(used).to_string()),
            ("x-rate-limit-reset", (midnight - now).num_seconds().to_string()),
        ]
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "requests": self.by_day.values().sum::<u64>(), "requests_by_day": self.by_day,
            "most_in_a_minute": self.most_in_a_minute, "most_at_once": self.most_at_once,
            "refused": {
                "per_minute": self.too_fast, "per_day": self.too_many, "at_once": self.too_many_at_once,
            },
        })
    }
}

/// Forgets what is not of the last `length`.
pub(super) fn within(times: &mut VecDeque<DateTime<Utc>>, now: DateTime<Utc>, length: TimeDelta) {
    while times.front().is_some_and(|first| *first <= now - length) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_minute_is_any_sixty_seconds_and_a_day_ends_at_midnight() {
        let mut meter = Meter::default();
        let limits = Limits { per_minute: 2, per_day: 4, at_once: 10 };
        let begin = |meter: &mut Meter, text| {
            let broken = meter.begins(at(text), Some(limits));
            meter.ends();
            broken
        };
        for (text, broken) in [
            ("2026-11-20T23:58:00Z", None),
            ("2026-11-20T23:58:30Z", None),
            ("2026-11-20T23:58:59Z", Some(Broken::PerMinute)),
            // The one that was refused counts, too.
            ("2026-11-20T23:59:01Z", Some(Broken::PerMinute)),
            ("2026-11-20T23:59:59.900Z", Some(Broken::PerDay)),
            ("2026-11-21T00:00:01Z", None),
        ] {
            assert_eq!(begin(&mut meter, text), broken, "{text}");
        }
        assert_eq!(
            meter.to_json(),
            json!({
                "requests": 6, "requests_by_day": {"2026-11-20": 5, "2026-11-21": 1}, "most_in_a_minute": 3,
                "most_at_once": 1, "refused": {"per_minute": 2, "per_day": 1, "at_once": 0},
            })
        );
        let headers = meter.headers(at("2026-11-20T23:59:59Z"), limits);
        assert_eq!(headers.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["4", "0", "1"]);
    }

    #[test]
    fn what_is_not_answered_yet_is_at_once() {
        let mut meter = Meter::default();
        let limits = Some(Limits { at_once: 1, ..Limits::default() });
        let now = at("2026-11-20T12:00:00Z");
        assert_eq!(meter.begins(now, limits), None);
        assert_eq!(meter.begins(now, limits), Some(Broken::AtOnce));
        meter.ends();
        meter.ends();
        assert_eq!(meter.begins(now, limits), None);
        assert_eq!(meter.to_json()["most_at_once"], 2);
    }
}
