//! How many contacts of a list can be called as far as their zones go.

use chrono::{DateTime, Utc};

use crate::domain::schedule::Schedule;
use crate::domain::zone::number_plan::PlanZones;

/// Counts contacts by what is known of their zones. Counting one costs two binary searches; the dear question whether
/// the windows of several zones have a moment in common is asked at the end, once for each set of zones that was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneTally {
    without_zone: u64,
    /// Contacts without a given zone, by the set that the number plan has for them; empty before the first.
    by_plan: Vec<u64>,
}

impl ZoneTally {
    /// Counts a contact: whether a zone is given, and the phone (E.164).
    pub fn count(&mut self, is_given: bool, e164: &str) {
        if is_given {
            return;
        }
        match PlanZones::of(e164) {
            None => self.without_zone += 1,
            Some(set) => {
                self.by_plan.resize(PlanZones::COUNT, 0);
                self.by_plan[set.index()] += 1;
            }
        }
    }

    /// The contacts of whom no zone is known.
    pub fn without_zone(&self) -> u64 {
        let unreadable: u64 = self.sets().filter(|(set, _)| set.zones().is_none()).map(|(_, count)| count).sum();
        self.without_zone + unreadable
    }

    /// The contacts who may be in several zones in which this schedule's window is at no moment from `from` on open in
    /// all of them: they are not called under `zone_policy = "callee"` until their zone is given.
    pub fn without_common_window(&self, schedule: &Schedule, from: DateTime<Utc>) -> u64 {
        self.sets()
            .filter(|(set, _)| set.zones().is_some_and(|zones| !schedule.has_common_window(&zones, from)))
            .map(|(_, count)| count)
            .sum()
    }

    fn sets(&self) -> impl Iterator<Item = (PlanZones, u64)> + '_ {
        PlanZones::all().zip(self.by_plan.iter().copied()).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_counted_by_their_zones() {
        let from = "2026-11-25T12:00:00Z".parse().unwrap();
        let schedule = |window: &str| Schedule::every_day(window.parse().unwrap());
        let mut tally = ZoneTally::default();
        assert_eq!((tally.without_zone(), tally.without_common_window(&schedule("09:00-17:00"), from)), (0, 0));
        for (is_given, phone) in [
            (false, "+18022236942"),
            (true, "+88212345678"),
            (false, "+88212345678"),
            // A Russian mobile, from UTC+2 to UTC+12; one of Australia, from UTC+6:30 to UTC+11.
            (false, "+79161234567"),
            (true, "+79161234567"),
            (false, "+79031234567"),
            (false, "+61412345678"),
        ] {
            tally.count(is_given, phone);
        }
        assert_eq!(tally.without_zone(), 1);
        assert_eq!(tally.without_common_window(&schedule("09:00-17:00"), from), 2);
        assert_eq!(tally.without_common_window(&schedule("09:00-20:00"), from), 0);
        assert_eq!(tally.without_common_window(&schedule("11:00-13:00"), from), 3);
    }
}
