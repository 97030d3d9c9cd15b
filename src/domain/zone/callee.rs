//! Where a person is, by what is known of them.

use super::number_plan::PlanZones;
use super::{Zone, Zones};

/// How a person's zones are known. Later ones are weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneSource {
    /// Somebody said so.
    Given,
    /// The number plan has the phone there.
    NumberPlan,
}

impl ZoneSource {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::NumberPlan => "number_plan",
        }
    }
}

/// The zones that a person may be in: the given one, else those of the phone (E.164).
///
/// None when neither is known, and when the given name is no zone: somebody meant something by it, so the number's
/// zones would be a guess. What the number says is worked out anew each time and never stored, so that it can neither
/// outlive a corrected number nor take the place of a given zone.
pub fn zones_of_callee(given: Option<&str>, e164: &str) -> Option<(Zones, ZoneSource)> {
    match given {
        Some(name) => Some((Zone::parse(name).ok()?.into(), ZoneSource::Given)),
        None => Some((PlanZones::of(e164)?.zones()?, ZoneSource::NumberPlan)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_zone_wins_and_is_never_replaced_by_a_guess() {
        let found =
            |given, phone| zones_of_callee(given, phone).map(|(zones, source)| format!("{zones} {}", source.as_str()));
        assert_eq!(found(Some("Asia/Tokyo"), "+18022236942").as_deref(), Some("Asia/Tokyo given"));
        assert_eq!(found(None, "+18022236942").as_deref(), Some("America/New_York number_plan"));
        assert_eq!(found(Some("America/New York"), "+18022236942"), None);
        assert_eq!(found(None, "+88212345678"), None);
    }
}
