//! What is there more than once: numbers of a business, contacts, calls to one phone, records of one conversation.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Months, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::call::{UnknownWord, words};

/// The most ids or phones that one finding names; its count tells of all.
pub const NAMED: usize = 20;

/// What can be there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Phone numbers that one business rents.
    Numbers,
    /// Contacts of a tenant that differ by formatting only.
    Contacts,
    /// Calls to one phone within minutes.
    Calls,
    /// Records of one conversation.
    Conversations,
}

words!(Kind, "kind of duplicate", {
    Numbers => "numbers", Contacts => "contacts", Calls => "calls", Conversations => "conversations",
});

/// Several of what should be one.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Of what kind.
    pub kind: Kind,
    /// Whose.
    pub tenant: String,
    /// What they share, such as `phone:+12025550101`.
    pub subject: String,
    /// How many there are.
    pub count: i64,
    /// When the first one came about, as far as that is known.
    pub first_at: Option<DateTime<Utc>>,
    /// When the last one came about.
    pub last_at: Option<DateTime<Utc>>,
    /// What else is known, under names of the kind's own.
    pub detail: Map<String, Value>,
    /// By what an alert knows it again: one that was told under all of these is nothing new.
    pub identities: Vec<String>,
}

impl Finding {
    /// Whole minutes from the first to the last.
    pub fn minutes_between(&self) -> Option<i64> {
        Some((self.last_at? - self.first_at?).num_minutes())
    }
}

/// An active number of a business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The number's SID.
    pub sid: String,
    /// E.164.
    pub phone: String,
    /// When it was bought, if the service says so.
    pub bought_at: Option<DateTime<Utc>>,
    /// When it was first seen, which is no earlier than it was bought.
    pub first_seen_at: DateTime<Utc>,
}

/// What a number is known by in alerts.
pub fn number_identity(tenant: &str, sid: &str) -> String {
    format!("{tenant} {sid}")
}

/// The numbers of a business as a finding, in the order of purchase; none when it has but one. `monthly_cost` is of one
/// number.
pub fn numbers(tenant: &str, numbers: &[Owned], monthly_cost: Option<Decimal>, now: DateTime<Utc>) -> Option<Finding> {
    let (_, extra) = numbers.split_first().filter(|(_, extra)| !extra.is_empty())?;
    let wasted_per_month = monthly_cost.map(|cost| cost * Decimal::from(extra.len()));
    let months: u32 =
        extra.iter().map(|number| months_begun(number.bought_at.unwrap_or(number.first_seen_at), now)).sum();
    let wasted_so_far = monthly_cost.map(|cost| cost * Decimal::from(months));
    let named = |text: fn(&Owned) -> &str| numbers.iter().take(NAMED).map(text).collect::<Vec<_>>();
    Some(Finding {
        kind: Kind::Numbers,
        tenant: tenant.to_owned(),
        subject: format!("tenant:{tenant}"),
        count: i64::try_from(numbers.len()).unwrap_or(i64::MAX),
        first_at: numbers.iter().filter_map(|number| number.bought_at).min(),
        last_at: numbers.iter().filter_map(|number| number.bought_at).max(),
        detail: object([
            ("phones", json!(named(|number| &number.phone))),
            ("sids", json!(named(|number| &number.sid))),
            ("wasted_per_month", json!(wasted_per_month.map(|cost| cost.to_string()))),
            ("wasted_so_far", json!(wasted_so_far.map(|cost| cost.to_string()))),
        ]),
        identities: numbers.iter().map(|number| number_identity(tenant, &number.sid)).collect(),
    })
}

/// How many months were begun between two moments: a number is paid for by the month, and in advance.
pub fn months_begun(from: DateTime<Utc>, to: DateTime<Utc>) -> u32 {
    if to < from {
        return 0;
    }
    let turned = (to.year() - from.year()) * 12 + (to.month().cast_signed() - from.month().cast_signed());
    let turned = u32::try_from(turned).unwrap_or(0);
    let is_full = from.checked_add_months(Months::new(turned)).is_some_and(|end| end <= to);
    if is_full { turned + 1 } else { turned }
}

/// By what two contacts of a tenant are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SameBy {
    /// The e-mail address, without blanks around it and with no regard to case.
    Email,
    /// The id in another system, without blanks, dashes and dots, and with no regard to case.
    ExternalId,
    /// The phone, without the prefixes by which Mexico and Argentina told mobiles apart.
    Phone,
}

words!(SameBy, "key of contacts", { Email => "email", ExternalId => "external_id", Phone => "phone" });

/// A dial that may have rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Its call.
    pub call_id: String,
    /// For which purpose.
    pub purpose: String,
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// Whether an alert told of a burst that begins with its call.
    pub is_known: bool,
}

/// Rings of several calls, each soon after the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The ids of the first calls, in the order of their first ring.
    pub calls: Vec<String>,
    /// How many calls.
    pub count: usize,
    /// Their purposes.
    pub purposes: BTreeSet<String>,
    /// The first ring.
    pub first_at: DateTime<Utc>,
    /// The last ring.
    pub last_at: DateTime<Utc>,
    /// Whether an alert told of it.
    pub is_known: bool,
}

/// Finds bursts among the rings of one phone, which come in the order of time.
#[derive(Debug)]
pub struct Bursts {
    within: TimeDelta,
    open: Option<Burst>,
    calls: HashSet<String>,
}

impl Bursts {
    /// Rings belong together when no more than `within` lies between one and the next.
    pub fn new(within: TimeDelta) -> Self {
        Self { within, open: None, calls: HashSet::new() }
    }

    /// Takes the next ring; gives the burst that ended before it.
    pub fn push(&mut self, ring: Ring) -> Option<Burst> {
        let is_near = self.open.as_ref().is_some_and(|open| ring.at - open.last_at <= self.within);
        let ended = if is_near { None } else { self.end() };
        let is_new_call = self.calls.insert(ring.call_id.clone());
        let open = self.open.get_or_insert_with(|| Burst {
            calls: Vec::new(),
            count: 0,
            purposes: BTreeSet::new(),
            first_at: ring.at,
            last_at: ring.at,
            is_known: ring.is_known,
        });
        open.last_at = ring.at;
        open.purposes.insert(ring.purpose);
        if is_new_call {
            open.count += 1;
            if open.calls.len() < NAMED {
                open.calls.push(ring.call_id);
            }
        }
        ended
    }

    /// Gives the last burst, and begins anew. Several attempts of one call are none: that is what a retry is.
    pub fn end(&mut self) -> Option<Burst> {
        self.calls.clear();
        self.open.take().filter(|burst| burst.count > 1)
    }
}

impl Burst {
    /// It as a finding.
    pub fn finding(self, tenant: &str, phone: &str) -> Finding {
        let first = self.calls.first().map_or("", String::as_str);
        Finding {
            kind: Kind::Calls,
            tenant: tenant.to_owned(),
            subject: format!("phone:{phone}"),
            count: i64::try_from(self.count).unwrap_or(i64::MAX),
            first_at: Some(self.first_at),
            last_at: Some(self.last_at),
            identities: vec![format!("{tenant} {phone} {first}")],
            detail: object([("purposes", json!(self.purposes)), ("call_ids", json!(self.calls))]),
        }
    }
}

/// An object with these keys, in this order.
pub fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    fn owned(sid: &str, bought_at: Option<&str>) -> Owned {
        let first_seen_at = at("2026-09-01T00:00:00Z");
        Owned { sid: sid.to_owned(), phone: format!("+1{sid}"), bought_at: bought_at.map(at), first_seen_at }
    }

    #[test]
    fn a_month_is_paid_for_when_it_begins() {
        for (from, to, months) in [
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z", 1),
            ("2026-01-31T10:00:00Z", "2026-02-28T09:59:59Z", 1),
            ("2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z", 2),
            ("2026-01-15T10:00:00Z", "2027-01-15T09:00:00Z", 12),
            ("2026-01-15T10:00:00Z", "2027-01-15T10:00:00Z", 13),
            ("2026-01-15T10:00:00Z", "2026-01-14T10:00:00Z", 0),
            ("2026-01-15T10:00:00Z", "2025-01-14T10:00:00Z", 0),
        ] {
            assert_eq!(months_begun(at(from), at(to)), months, "{from} to {to}");
        }
    }

    #[test]
    fn all_numbers_but_the_first_are_wasted() {
        let now = at("2026-10-10T00:00:00Z");
        let cost = Some("1.15".parse().expect("a cost"));
        assert_eq!(numbers("acme", &[owned("1", None)], cost, now), None);
        assert_eq!(numbers("acme", &[], cost, now), None);
        // One that nobody knows the purchase of is paid for since it was seen.
        let three =
            [owned("1", Some("2026-08-01T00:00:00Z")), owned("2", Some("2026-08-01T00:03:30Z")), owned("3", None)];
        let finding = numbers("acme", &three, cost, now).expect("a finding");
        assert_eq!((finding.count, finding.minutes_between()), (3, Some(3)));
        assert_eq!(finding.detail["wasted_per_month"], "2.30");
        assert_eq!(finding.detail["wasted_so_far"], "5.75");
        assert_eq!(finding.identities, ["acme 1", "acme 2", "acme 3"]);
        let finding = numbers("acme", &three, None, now).expect("a finding");
        assert_eq!(finding.detail["wasted_per_month"], Value::Null);
    }

    fn bursts(within_seconds: i64, rings: &[(i64, u8)]) -> Vec<Burst> {
        let mut bursts = Bursts::new(TimeDelta::seconds(within_seconds));
        let ring = |(seconds, call): &(i64, u8)| Ring {
            call_id: call.to_string(),
            purpose: "checkup".to_owned(),
            at: DateTime::UNIX_EPOCH + TimeDelta::seconds(*seconds),
            is_known: false,
        };
        let mut found: Vec<Burst> = rings.iter().filter_map(|next| bursts.push(ring(next))).collect();
        found.extend(bursts.end());
        found
    }

    #[test]
    fn a_burst_is_of_several_calls_each_soon_after_the_one_before() {
        let counts = |rings: &[(i64, u8)]| {
            let times = |burst: &Burst| (burst.first_at.timestamp(), burst.last_at.timestamp(), burst.count);
            bursts(60, rings).iter().map(times).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[(0, 1), (60, 2)]), [(0, 60, 2)]);
        assert_eq!(counts(&[(0, 1), (61, 2)]), []);
        assert_eq!(counts(&[(0, 1), (30, 1), (60, 1)]), [], "retries");
        assert_eq!(counts(&[(0, 1), (50, 2), (100, 1), (150, 3)]), [(0, 150, 3)]);
        assert_eq!(counts(&[(0, 1), (1, 2), (100, 3), (101, 4), (102, 5)]), [(0, 1, 2), (100, 102, 3)]);
        assert_eq!(counts(&[(0, 1), (100, 1), (101, 2)]), [(100, 101, 2)]);
    }

    proptest! {
        /// Two rings of different calls that are near are in one burst, and no burst has a gap.
        #[test]
        fn near_rings_of_different_calls_are_always_found(
            mut rings in prop::collection::vec((0_i64..2000, 0_u8..6), 0..40),
            within in 0_i64..120,
        ) {
            rings.sort_unstable();
            let found = bursts(within, &rings);
            let covers = |seconds: i64| {
                let is_inside = |burst: &&Burst| {
                    (burst.first_at.timestamp()..=burst.last_at.timestamp()).contains(&seconds)
                };
                found.iter().find(is_inside)
            };
            for (i, (a, first)) in rings.iter().enumerate() {
                for (b, second) in &rings[i + 1..] {
                    if first != second && b - a <= within {
                        prop_assert!(covers(*a).is_some() && covers(*a) == covers(*b), "{a} and {b} in {found:?}");
                    }
                }
            }
            for burst in &found {
                let span = burst.first_at.timestamp()..=burst.last_at.timestamp();
                let inside: Vec<_> = rings.iter().filter(|(at, _)| span.contains(at)).collect();
                prop_assert!(inside.windows(2).all(|pair| pair[1].0 - pair[0].0 <= within));
                let calls: HashSet<_> = inside.iter().map(|(_, call)| call).collect();
                prop_assert_eq!(calls.len(), burst.count);
                prop_assert!(burst.count > 1);
            }
        }
    }
}
