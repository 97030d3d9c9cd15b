//! The zones that a phone number leaves open, by the world's number plans.
//!
//! The table is libphonenumber's, worked out by `scripts/make-number-plan-zones`. It lies in the program as plain
//! numbers, so that a command that asks for no zone pays nothing for it, and a lookup allocates nothing.

use std::sync::OnceLock;

use super::{Zone, Zones};

#[expect(clippy::unreadable_literal, reason = "digits of phone numbers, which nobody groups by thousands")]
mod table;

use table::{LENGTHS, MEMBERS, NAMES, SET_STARTS, SETS, STARTS};

/// How many of a number's digits make a key of [`STARTS`].
const KEY_DIGITS: usize = 9;
/// As many as the longest calling code has make a key of [`LENGTHS`].
const CODE_DIGITS: usize = 3;
/// With the empty one.
const SET_COUNT: usize = SET_STARTS.len() - 1;

/// The release of libphonenumber whose data the table holds, such as `9.0.43`.
pub fn version() -> &'static str {
    table::VERSION
}

/// The zones that numbers of one stretch of a number plan can be in. Costs a few bytes to keep and compare; the zones
/// themselves are looked up by [`PlanZones::zones`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanZones(u16);

impl PlanZones {
    /// How many there are.
    pub const COUNT: usize = SET_COUNT - 1;

    /// The stretch of a number in E.164; none where no place has the number, such as a satellite phone's.
    ///
    /// Whether such a number exists is not asked.
    pub fn of(e164: &str) -> Option<Self> {
        let digits = e164.strip_prefix('+')?.as_bytes();
        let key = |width: usize| {
            (0..width).try_fold(0_u32, |key, index| match digits.get(index) {
                Some(digit) if digit.is_ascii_digit() => Some(key * 10 + u32::from(digit - b'0')),
                Some(_) => None,
                None => Some(key * 10),
            })
        };
        let length_key =
            u16::try_from(digits.len() * 1000).ok()?.checked_add(u16::try_from(key(CODE_DIGITS)?).ok()?)?;
        let by_length = LENGTHS[LENGTHS.partition_point(|(start, _)| *start <= length_key).checked_sub(1)?].1;
        let set = if by_length == u16::MAX {
            let key = key(KEY_DIGITS)?;
            SETS[STARTS.partition_point(|start| *start <= key).checked_sub(1)?]
        } else {
            by_length
        };
        (set != 0).then_some(Self(set))
    }

    /// The zones; none where the zone database does not know all of them, since the rest alone would be a guess.
    pub fn zones(self) -> Option<Zones> {
        static FOUND: [OnceLock<Option<Box<[Zone]>>>; SET_COUNT] = [const { OnceLock::new() }; SET_COUNT];
        let zones =
            FOUND[usize::from(self.0)].get_or_init(|| self.names().map(|name| Zone::parse(name).ok()).collect());
        zones.as_deref().and_then(Zones::of_static)
    }

    /// All of them, by their index.
    pub fn all() -> impl Iterator<Item = Self> {
        (1_u16..).take(Self::COUNT).map(Self)
    }

    /// A number below [`PlanZones::COUNT`], to keep counts under.
    pub fn index(self) -> usize {
        usize::from(self.0 - 1)
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let [start, end] = [0, 1].map(|offset| usize::from(SET_STARTS[usize::from(self.0) + offset]));
        let names: Vec<&str> = NAMES.lines().collect();
        MEMBERS[start..end].iter().map(move |index| names[usize::from(*index)])
    }
}

#[cfg(test)]
mod tests;
