//! Where a callee may be, by a campaign's zone policy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::Context;
use crate::domain::campaign::ZonePolicy;
use crate::domain::schedule::Schedule;
use crate::domain::zone::{ZoneSource, Zones, zones_of_callee};
use crate::store::enrollments::Candidate;

/// Where a callee may be, as far as is known.
#[derive(Clone, Debug)]
pub struct Place {
    /// The zones whose windows all have to be open; none when nothing is known.
    pub zones: Option<Zones>,
    /// How they are known; none for the campaign's own clock.
    pub source: Option<ZoneSource>,
    /// Whether those windows have a minute in common.
    pub has_common_window: bool,
}

impl Place {
    /// The zones, where a window can be open in all of them.
    pub fn open_zones(&self) -> Option<&Zones> {
        self.zones.as_ref().filter(|_| self.has_common_window)
    }
}

/// Which sets of zones have a window in common: found once a set and run, since it takes a search of a year to say that
/// they have none. Thousands of people share a set, such as all mobiles of a country.
#[derive(Clone, Debug, Default)]
pub(super) struct CommonWindows(Arc<Mutex<HashMap<Zones, bool>>>);

impl CommonWindows {
    fn has(&self, schedule: &Schedule, zones: &Zones, now: DateTime<Utc>) -> bool {
        if zones.others().is_empty() {
            return true;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = known.get(zones) {
            return *has;
        }
        let has = schedule.has_common_window(zones, now);
        known.insert(zones.clone(), has);
        has
    }
}

impl Context {
    /// Where a contact may be: by the policy on the campaign's clock, or on that of the given zone, else of the phone.
    pub fn place(&self, candidate: &Candidate, now: DateTime<Utc>) -> Place {
        let (zones, source) = match self.rules.zone_policy {
            ZonePolicy::Campaign => (self.own_zone.clone(), None),
            ZonePolicy::Callee => zones_of_callee(candidate.timezone.as_deref(), &candidate.phone).unzip(),
        };
        let has_common_window =
            zones.as_ref().is_none_or(|zones| self.common_windows.has(&self.rules.schedule, zones, now));
        Place { zones, source, has_common_window }
    }
}
