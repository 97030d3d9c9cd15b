//! What people write into the time-zone column of a list: IANA names, and what Americans and their programs call theirs.
//!
//! A wrong hour is worse than a rejected row. So a US name is taken only for a phone that may be American, and only
//! where one zone can be meant; `EST` is an IANA name for a clock without summer time, which hardly anybody who writes it
//! has in mind.

use std::borrow::Cow;

use super::number_plan::PlanZones;
use super::{Zone, ZoneError};
use crate::domain::phone::Phone;

/// What a US name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsName {
    /// One zone.
    One(&'static str),
    /// The Rocky Mountains with summer time, or Arizona without.
    Mountain,
    /// As [`UsName::Mountain`], but what Arizona's clock is called all year round.
    MountainStandard,
}

const EASTERN: UsName = UsName::One("America/New_York");
const CENTRAL: UsName = UsName::One("America/Chicago");
const PACIFIC: UsName = UsName::One("America/Los_Angeles");
const ALASKA: UsName = UsName::One("America/Anchorage");
const HAWAII: UsName = UsName::One("Pacific/Honolulu");
const DENVER: &str = "America/Denver";
const PHOENIX: &str = "America/Phoenix";

/// Names that may be followed by `Time`, `Standard Time` or `Daylight Time`.
const STEMS: [(&str, UsName); 8] = [
    ("eastern", EASTERN),
    ("central", CENTRAL),
    ("mountain", UsName::Mountain),
    ("pacific", PACIFIC),
    ("alaska", ALASKA),
    ("alaskan", ALASKA),
    ("hawaii", HAWAII),
    ("hawaiian", HAWAII),
];

/// Abbreviations, and the names that Windows (and with it Excel and Outlook) writes for the two that are no stems.
/// Source of the latter: CLDR, `windowsZones.xml`.
const WHOLE: [(&str, UsName); 17] = [
    ("et", EASTERN),
    ("est", EASTERN),
    ("edt", EASTERN),
    ("ct", CENTRAL),
    ("cst", CENTRAL),
    ("cdt", CENTRAL),
    ("mt", UsName::Mountain),
    ("mst", UsName::MountainStandard),
    ("mdt", UsName::One(DENVER)),
    ("pt", PACIFIC),
    ("pst", PACIFIC),
    ("pdt", PACIFIC),
    ("akst", ALASKA),
    ("akdt", ALASKA),
    ("hst", HAWAII),
    ("us mountain standard time", UsName::One(PHOENIX)),
    ("us eastern standard time", UsName::One("America/Indiana/Indianapolis")),
];

/// A cell that names no zone, or not just one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneCellError {
    /// Neither an IANA name nor a US one.
    #[error(transparent)]
    Unknown(#[from] ZoneError),
    /// A US name beside a phone that is not American.
    #[error(
        "{0:?} is a time zone's name in the United States, where the phone is not: write an IANA name instead, such as {1}"
    )]
    NotAmerican(String, &'static str),
    /// Two zones with different hours share the name.
    #[error("{0:?} can be America/Denver (with summer time) or America/Phoenix (without): write the one that is meant")]
    Ambiguous(String),
}

impl Zone {
    /// The zone that a cell of a list names, beside this phone: an IANA name, or a US name that can mean just one.
    ///
    /// US names are `Eastern`, `Central`, `Pacific`, `Alaska`, `Hawaii` (bare, or with `Time`, `Standard Time` or
    /// `Daylight Time`), their abbreviations such as `ET`, `EST` and `EDT`, and the forms of Windows and Excel such as
    /// `(UTC-05:00) Eastern Time (US & Canada)`. `Mountain` and its kin are taken where the number plan has the phone in
    /// that zone and not in Arizona; `MST` and `Mountain Standard Time` also where it has it in Arizona alone.
    ///
    /// # Errors
    /// A [`ZoneCellError`], which says what to write instead.
    pub fn from_cell(text: &str, phone: &Phone) -> Result<Self, ZoneCellError> {
        let Some(name) = us_name(text) else { return Ok(Self::parse(text)?) };
        let plan: Vec<&str> = PlanZones::of(phone.as_str())
            .filter(|_| phone.as_str().starts_with("+1"))
            .and_then(PlanZones::zones)
            .iter()
            .flat_map(|zones| zones.iter().map(Zone::name))
            .collect();
        let shown = || text.chars().take(60).collect();
        // Canada, the Caribbean and the Pacific have clocks of their own under the same names.
        if !plan.iter().any(|zone| AMERICAN.contains(zone)) {
            let example = match name {
                UsName::One(zone) => zone,
                UsName::Mountain | UsName::MountainStandard => DENVER,
            };
            return Err(ZoneCellError::NotAmerican(shown(), example));
        }
        let (denver, phoenix) = (plan.contains(&DENVER), plan.contains(&PHOENIX));
        match name {
            UsName::One(zone) => Ok(Self::parse(zone)?),
            UsName::Mountain | UsName::MountainStandard if denver && !phoenix => Ok(Self::parse(DENVER)?),
            UsName::MountainStandard if phoenix && !denver => Ok(Self::parse(PHOENIX)?),
            UsName::Mountain | UsName::MountainStandard => Err(ZoneCellError::Ambiguous(shown())),
        }
    }
}

/// The zones in which the number plan has the numbers of the fifty states.
const AMERICAN: [&str; 11] = [
    "America/Adak",
    "America/Anchorage",
    "America/Boise",
    "America/Chicago",
    "America/Denver",
    "America/Juneau",
    "America/Los_Angeles",
    "America/New_York",
    "America/North_Dakota/Center",
    "America/Phoenix",
    "Pacific/Honolulu",
];

/// What the text stands for as a US name; none where it is none.
fn us_name(text: &str) -> Option<UsName> {
    // Nearly every name is an IANA one with a slash; it never gets further.
    if text.contains('/') || text.len() > 60 {
        return None;
    }
    let lower = text.trim().to_ascii_lowercase();
    // As in `(UTC-05:00) Eastern Time (US & Canada)`.
    let name = match lower.strip_prefix("(utc").or_else(|| lower.strip_prefix("(gmt")) {
        Some(rest) => rest.split_once(')')?.1.trim(),
        None => &lower,
    };
    let name = name.strip_suffix("(us & canada)").unwrap_or(name).trim();
    let name: Cow<'_, str> =
        if name.contains(['.', '_']) { name.replace('.', "").replace('_', " ").into() } else { name.into() };
    if let Some((_, zone)) = WHOLE.iter().find(|(whole, _)| *whole == name) {
        return Some(*zone);
    }
    let (stem, is_standard) = match name.strip_suffix(" time") {
        None => (&*name, false),
        Some(rest) => match (rest.strip_suffix(" standard"), rest.strip_suffix(" daylight")) {
            (Some(stem), _) => (stem, true),
            (None, Some(stem)) => (stem, false),
            (None, None) => (rest, false),
        },
    };
    let (_, zone) = STEMS.iter().find(|(known, _)| *known == stem)?;
    Some(if is_standard && *zone == UsName::Mountain { UsName::MountainStandard } else { *zone })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERMONT: &str = "+18022236942";
    const COLORADO: &str = "+13035550100";
    const ARIZONA: &str = "+16025550100";
    const TOLL_FREE: &str = "+18003569377";

    fn read(text: &str, phone: &str) -> Result<&'static str, ZoneCellError> {
        Zone::from_cell(text, &phone.parse().unwrap()).map(Zone::name)
    }

    #[test]
    fn iana_names_are_taken_beside_any_phone() {
        for (text, name) in [
            ("America/New_York", "America/New_York"),
            ("us/eastern", "US/Eastern"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("UTC", "UTC"),
            ("EST5EDT", "EST5EDT"),
        ] {
            for phone in [VERMONT, "+4930227012345"] {
                assert_eq!(read(text, phone), Ok(name), "{text}");
            }
        }
        for text in ["America/New York", "East", "Eastern Europe", "(UTC", "GMT+25", "Zeit", "Atlantic", "IST"] {
            assert!(matches!(read(text, VERMONT), Err(ZoneCellError::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn us_names_are_taken_beside_us_phones() {
        for (texts, name) in [
            (
                &[
                    "Eastern",
                    "EASTERN TIME",
                    "Eastern Standard Time",
                    "Eastern Daylight Time",
                    "ET",
                    "E.S.T.",
                    "EST",
                    "edt",
                ][..],
                "America/New_York",
            ),
            (&["(UTC-05:00) Eastern Time (US & Canada)", "Eastern Time (US & Canada)"], "America/New_York"),
            (&["Central", "Central Time", "CT", "CST", "CDT", "Central Standard Time"], "America/Chicago"),
            (&["Pacific", "PT", "PST", "PDT", "Pacific Time"], "America/Los_Angeles"),
            (&["Alaska", "Alaskan Standard Time", "AKST", "AKDT"], "America/Anchorage"),
            (&["Hawaii", "Hawaiian Standard Time", "HST"], "Pacific/Honolulu"),
            (&["MDT"], "America/Denver"),
            (&["US Mountain Standard Time"], "America/Phoenix"),
            (&["US Eastern Standard Time"], "America/Indiana/Indianapolis"),
        ] {
            for text in texts {
                // People keep their numbers when they move.
                for phone in [VERMONT, ARIZONA, TOLL_FREE] {
                    assert_eq!(read(text, phone), Ok(name), "{text} {phone}");
                }
            }
        }
    }

    /// `EST` beside a New York number is not the clock that stays at five hours behind UTC in summer.
    #[test]
    fn est_has_a_summer() {
        let zone = Zone::from_cell("EST", &VERMONT.parse().unwrap()).unwrap();
        assert_eq!(zone.offset_seconds("2026-07-01T12:00:00Z".parse().unwrap()), -4 * 3600);
        assert_eq!(Zone::parse("EST").unwrap().offset_seconds("2026-07-01T12:00:00Z".parse().unwrap()), -5 * 3600);
    }

    #[test]
    fn mountain_time_is_taken_where_arizona_is_out_of_the_question() {
        for text in ["Mountain", "MT", "Mountain Time", "MST", "Mountain Standard Time", "Mountain Time (US & Canada)"]
        {
            assert_eq!(read(text, COLORADO), Ok("America/Denver"), "{text}");
            for phone in [VERMONT, TOLL_FREE] {
                assert_eq!(read(text, phone), Err(ZoneCellError::Ambiguous(text.to_owned())), "{text}");
            }
        }
        assert_eq!(read("Mountain", ARIZONA), Err(ZoneCellError::Ambiguous("Mountain".to_owned())));
        assert_eq!(read("MST", ARIZONA), Ok("America/Phoenix"));
        assert_eq!(read("Mountain Standard Time", ARIZONA), Ok("America/Phoenix"));
    }

    #[test]
    fn us_names_are_refused_beside_other_phones() {
        // Sydney, Shanghai, Kingston and Vancouver call their clocks so too; none runs like the one in the States.
        for (text, phone) in [
            ("EST", "+61291234567"),
            ("CST", "+862112345678"),
            ("Eastern", "+18765550100"),
            ("Pacific", "+16045550100"),
            ("HST", "+88212345678"),
            ("Central", "+4930227012345"),
        ] {
            let error = read(text, phone).expect_err(text);
            assert!(matches!(error, ZoneCellError::NotAmerican(..)), "{text} {phone}: {error}");
        }
        assert_eq!(
            read("EST", "+61291234567").expect_err("not American").to_string(),
            "\"EST\" is a time zone's name in the United States, where the phone is not: write an IANA name instead, \
             such as America/New_York"
        );
    }

    #[test]
    fn every_name_stands_for_a_zone_that_is_known() {
        let names = STEMS.iter().chain(&WHOLE).filter_map(|(_, name)| match name {
            UsName::One(zone) => Some(*zone),
            UsName::Mountain | UsName::MountainStandard => None,
        });
        for zone in names.chain(AMERICAN).chain([DENVER, PHOENIX]) {
            assert_eq!(Zone::parse(zone).map(Zone::name), Ok(zone));
        }
        for (name, _) in STEMS.iter().chain(&WHOLE) {
            assert!(us_name(name).is_some(), "{name}");
        }
    }
}
