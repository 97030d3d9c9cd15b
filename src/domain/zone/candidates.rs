//! The set of zones that a person may be in.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Zone;

/// The zones that a person may be in: at least one, no zone twice. The first is the likeliest, and local dates are
/// counted in it.
///
/// Serialised as a list of names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Zone>", into = "Vec<Zone>")]
pub struct Zones {
    first: Zone,
    // Borrowed from the number plan's table, or a list of somebody's own.
    others: Cow<'static, [Zone]>,
}

impl Zones {
    /// The distinct zones in the given order; none when there are none.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Option<Self> {
        let mut zones = zones.into_iter();
        let first = zones.next()?;
        let mut others = Vec::new();
        for zone in zones {
            if zone != first && !others.contains(&zone) {
                others.push(zone);
            }
        }
        Some(Self { first, others: Cow::Owned(others) })
    }

    /// These zones, which are distinct; none when there are none. Copies nothing.
    pub(super) fn of_static(zones: &'static [Zone]) -> Option<Self> {
        let (first, others) = zones.split_first()?;
        Some(Self { first: *first, others: Cow::Borrowed(others) })
    }

    /// The zone in which local dates are counted.
    pub fn first(&self) -> Zone {
        self.first
    }

    /// The zones after the first.
    pub fn others(&self) -> &[Zone] {
        &self.others
    }

    /// The zones for people to read: their names, or of more than four the first three and how many more there are.
    pub fn summary(&self) -> String {
        match self.others.len() {
            0..=3 => self.to_string(),
            count => {
                let [second, third] = [self.others[0], self.others[1]];
                format!("{}, {second}, {third} and {} more", self.first, count - 2)
            }
        }
    }

    /// All zones, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = Zone> + '_ {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl From<Zone> for Zones {
    fn from(zone: Zone) -> Self {
        Self { first: zone, others: Cow::Borrowed(&[]) }
    }
}

impl From<Zones> for Vec<Zone> {
    fn from(zones: Zones) -> Self {
        zones.iter().collect()
    }
}

impl TryFrom<Vec<Zone>> for Zones {
    type Error = NoZone;

    fn try_from(zones: Vec<Zone>) -> Result<Self, NoZone> {
        Self::new(zones).ok_or(NoZone)
    }
}

/// An empty list where at least one zone is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of time zones must name at least one")]
pub struct NoZone;

impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.others.iter().try_for_each(|zone| write!(f, ", {zone}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_distinct_and_at_least_one() {
        let [berlin, paris] = ["Europe/Berlin", "Europe/Paris"].map(|name| Zone::parse(name).unwrap());
        let zones = Zones::new([berlin, paris, berlin]).unwrap();
        assert_eq!(zones.iter().collect::<Vec<_>>(), [berlin, paris]);
        assert_eq!(serde_json::to_string(&zones).unwrap(), r#"["Europe/Berlin","Europe/Paris"]"#);
        assert!(serde_json::from_str::<Zones>("[]").is_err());
        assert_eq!(Zones::new([]), None);
    }

    #[test]
    fn many_zones_are_summed_up() {
        let all: Vec<Zone> = ["UTC", "Asia/Tokyo", "Europe/Rome", "Europe/Oslo", "Africa/Lagos"]
            .iter()
            .map(|name| Zone::parse(name).unwrap())
            .collect();
        let summary = |count: usize| Zones::new(all[..count].iter().copied()).unwrap().summary();
        assert_eq!(summary(1), "UTC");
        assert_eq!(summary(4), "UTC, Asia/Tokyo, Europe/Rome, Europe/Oslo");
        assert_eq!(summary(5), "UTC, Asia/Tokyo, Europe/Rome and 2 more");
    }
}
