//! What is for sale: numbers that look like those of their country, the same for the same seed.

use std::collections::BTreeSet;

use super::numbers::Capabilities;

/// Area codes that are Canada's; every other one of +1 counts as the United States'.
const CANADA: &[u16] = &[
    204, 226, 236, 249, 250, 263, 289, 306, 343, 354, 365, 367, 368, 382, 403, 416, 418, 428, 431, 437, 438, 450, 468,
    474, 506, 514, 519, 548, 579, 581, 584, 587, 604, 613, 639, 647, 672, 683, 705, 709, 742, 753, 778, 780, 782, 807,
    819, 825, 867, 873, 879, 902, 905,
];

/// Area codes whose numbers are not local.
const TOLL_FREE: &[u16] = &[800, 822, 833, 844, 855, 866, 877, 888, 900];

/// Where nobody says where.
const USUAL: &[u16] = &[802, 415, 212, 416, 604];

/// Elsewhere: a country, what its numbers begin with, and how many follow.
const ELSEWHERE: &[(&str, u64, u32)] = &[
    ("AU", 6_125_550, 4),
    ("DE", 493_023_125, 3),
    ("FR", 3_319_900, 4),
    ("GB", 442_079_460, 3),
    ("IE", 3_531_555, 4),
    ("NL", 3_120_555, 4),
];

/// How many are looked at for a search that finds few.
const MAX_LOOKED_AT: usize = 20_000;

/// Whether a text is an area code of North America's.
pub(super) fn area_code(text: &str) -> Option<u16> {
    let digits = text.as_bytes();
    let is_code = digits.len() == 3
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(digits[0], b'2'..=b'9')
        && &digits[1..] != b"11";
    is_code.then(|| text.parse().ok())?
}

/// What a country's numbers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Country {
    America(&'static str),
    Elsewhere(&'static str, u64, u32),
}

impl Country {
    pub(super) fn of(code: &str) -> Option<Self> {
        match code {
            "US" => Some(Self::America("US")),
            "CA" => Some(Self::America("CA")),
            _ => ELSEWHERE
                .iter()
                .find(|(has, ..)| *has == code)
                .map(|(code, begin, rest)| Self::Elsewhere(code, *begin, *rest)),
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::America(code) | Self::Elsewhere(code, ..) => code,
        }
    }
}

/// What is sold.
#[derive(Debug)]
pub(super) struct Inventory {
    seed: u64,
    /// A search shows them, and whoever wants to buy them comes too late.
    pub(super) taken: BTreeSet<u64>,
    /// Area codes that have none left.
    pub(super) none_in: BTreeSet<u16>,
}

impl Inventory {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, taken: BTreeSet::new(), none_in: BTreeSet::new() }
    }

    /// Whether a phone is one of those that are sold, or would be if nobody had it.
    pub(super) fn sells(&self, phone: u64) -> bool {
        match america(phone) {
            Some(area) => self.has_any_in(area),
            None => ELSEWHERE.iter().any(|(_, begin, rest)| phone / 10_u64.pow(*rest) == *begin),
        }
    }

    fn has_any_in(&self, area: u16) -> bool {
        !TOLL_FREE.contains(&area) && !self.none_in.contains(&area)
    }

    /// What a country has for sale, in an area code or anywhere; those that are had are among them.
    pub(super) fn offers(&self, country: Country, area: Option<u16>) -> Box<dyn Iterator<Item = u64> + '_> {
        let taken = self.taken.iter().copied();
        let taken = taken.filter(move |phone| is_in(*phone, country, area) && self.sells(*phone));
        let made: Box<dyn Iterator<Item = u64>> = match country {
            Country::America(code) => {
                let areas = area.map_or_else(|| USUAL.to_vec(), |area| vec![area]);
                let is_here = move |area: &u16| is_of(*area, code) && self.has_any_in(*area);
                Box::new(areas.into_iter().filter(is_here).flat_map(|area| self.in_area(area)))
            }
            Country::Elsewhere(..) if area.is_some() => Box::new(std::iter::empty()),
            Country::Elsewhere(_, begin, rest) => {
                let many = 10_u64.pow(rest);
                Box::new((0..many).map(move |n| begin * many + (n + self.seed) % many))
            }
        };
        let made = made.filter(|phone| !self.taken.contains(phone));
        Box::new(taken.chain(made).take(MAX_LOOKED_AT))
    }

    /// First those that fiction uses, from one that the seed decides on, then whole exchanges.
    fn in_area(&self, area: u16) -> impl Iterator<Item = u64> + use<> {
        let seed = self.seed;
        let number =
            move |exchange: u64, line: u64| 10_000_000_000 + u64::from(area) * 10_000_000 + exchange * 10_000 + line;
        let fiction = (0..100).map(move |n| number(555, 100 + (n + seed) % 100));
        let exchanges = (220..=999).filter(|exchange| exchange % 100 != 11 && *exchange != 555);
        fiction.chain(exchanges.flat_map(move |exchange| (0..10_000).map(move |line| number(exchange, line))))
    }
}

/// The area code of a phone of North America's.
fn america(phone: u64) -> Option<u16> {
    let national = (10_000_000_000..20_000_000_000).contains(&phone).then_some(phone - 10_000_000_000)?;
    let exchange = national / 10_000 % 1_000;
    let area = area_code(&(national / 10_000_000).to_string())?;
    (exchange >= 200 && exchange % 100 != 11).then_some(area)
}

/// Whether an area code of North America's is that country's.
fn is_of(area: u16, country: &str) -> bool {
    (country == "CA") == CANADA.contains(&area)
}

fn is_in(phone: u64, country: Country, area: Option<u16>) -> bool {
    match (country, america(phone)) {
        (Country::America(code), Some(has)) => is_of(has, code) && area.is_none_or(|area| area == has),
        (Country::Elsewhere(_, begin, rest), None) => area.is_none() && phone / 10_u64.pow(rest) == begin,
        _ => false,
    }
}

/// What a number for sale can do: not all of them the same.
pub(super) fn capabilities(phone: u64) -> Capabilities {
    Capabilities { voice: phone % 10 != 7, sms: phone % 10 != 4, mms: !matches!(phone % 10, 4 | 5), fax: false }
}

/// Whether a phone is as a search's `Contains` wants it: `*` is any digit, `%` any digits, `+` its beginning, `$` its end,
/// and letters are those on the keys.
pub(super) fn contains(pattern: &str, phone: u64) -> bool {
    let (begins, rest) = pattern.strip_prefix('+').map_or((false, pattern), |rest| (true, rest));
    let (ends, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let wanted: Vec<u8> = rest.bytes().map(key).collect();
    let digits = phone.to_string();
    let last = if begins { 0 } else { digits.len() };
    (0..=last).any(|from| fits(&wanted, &digits.as_bytes()[from..], ends))
}

fn fits(wanted: &[u8], digits: &[u8], ends: bool) -> bool {
    match (wanted.split_first(), digits.split_first()) {
        (None, _) => !ends || digits.is_empty(),
        (Some((b'%', rest)), Some((_, after))) => fits(rest, digits, ends) || fits(wanted, after, ends),
        (Some((b'%', rest)), None) => fits(rest, digits, ends),
        (Some((wanted, rest)), Some((digit, after))) => (*wanted == b'*' || wanted == digit) && fits(rest, after, ends),
        (Some(_), None) => false,
    }
}

fn key(byte: u8) -> u8 {
    match byte.to_ascii_lowercase() {
        b'a'..=b'c' => b'2',
        b'd'..=b'f' => b'3',
        b'g'..=b'i' => b'4',
        b'j'..=b'l' => b'5',
        b'm'..=b'o' => b'6',
        b'p'..=b's' => b'7',
        b't'..=b'v' => b'8',
        b'w'..=b'z' => b'9',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_of_the_area_and_sold() {
        let mut inventory = Inventory::new(7);
        let us = Country::of("US").unwrap();
        let first: Vec<u64> = inventory.offers(us, Some(802)).take(101).collect();
        assert_eq!((first[0], first[100]), (18_025_550_107, 18_022_200_000));
        assert!(first.iter().all(|phone| inventory.sells(*phone) && phone / 10_000_000 == 1_802));
        assert_eq!(inventory.offers(us, Some(416)).next(), None);
        assert!(inventory.offers(Country::of("CA").unwrap(), Some(416)).next().is_some());
        inventory.taken.insert(18_029_990_001);
        assert_eq!(inventory.offers(us, Some(802)).next(), Some(18_029_990_001));
        inventory.none_in.insert(802);
        assert_eq!(inventory.offers(us, Some(802)).next(), None);
        for (code, ..) in ELSEWHERE {
            let country = Country::of(code).unwrap();
            let phone = inventory.offers(country, None).next().unwrap();
            assert!(inventory.sells(phone) && !inventory.sells(phone * 10), "{code} {phone}");
        }
    }

    #[test]
    fn patterns_fit_as_the_service_says() {
        for (pattern, fits) in [
            ("555", true),
            ("5550107$", true),
            ("555$", false),
            ("+1802", true),
            ("+802", false),
            ("802555****", true),
            ("802%107", true),
            ("80255501*7", true),
            ("107*", false),
            ("TWO", false),
            ("KLJ", true),
        ] {
            assert_eq!(contains(pattern, 18_025_550_107), fits, "{pattern}");
        }
    }
}
