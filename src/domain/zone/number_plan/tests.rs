//! The table against libphonenumber's own answers, and against the zone database.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

fn zones_of(e164: &str) -> BTreeSet<&'static str> {
    PlanZones::of(e164).and_then(PlanZones::zones).iter().flat_map(Zones::iter).map(Zone::name).collect()
}

#[test]
fn every_zone_of_the_table_is_known() {
    for name in NAMES.lines() {
        assert_eq!(Zone::parse(name).map(Zone::name), Ok(name));
    }
    assert!(PlanZones::all().count() > 300);
    for set in PlanZones::all() {
        let zones = set.zones().unwrap_or_else(|| panic!("{set:?} has a zone that is not known"));
        let (first, others) = (zones.first(), zones.others());
        assert!(others.iter().is_sorted() && others.iter().all(|other| *other > first), "{zones}");
    }
}

/// Never fewer zones than the library gives, but where the digits behind a shared calling code name the country.
#[test]
fn the_table_says_what_the_library_says() {
    let mut sets: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let whole_code = |phone: &str| zones_of(if phone.starts_with("+1") { "+1" } else { "+7" });
    for line in include_str!("fixture.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some((number, zones)) = line.strip_prefix("set ").and_then(|rest| rest.split_once(':')) {
            sets.insert(number, zones.split_whitespace().collect());
            continue;
        }
        let [phone, region, kind, set, relation] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (ours, theirs) = (zones_of(phone), &sets[set]);
        *counts.entry(relation).or_default() += 1;
        match relation {
            "=" => assert_eq!(ours, *theirs, "{line}"),
            "wider" => assert!(region == "FM" && ours.is_superset(theirs) && ours != *theirs, "{line}: {ours:?}"),
            "region" => {
                assert!(!["US", "CA", "RU"].contains(&region) && !ours.is_empty(), "{line} {kind}");
                assert!(ours.is_subset(theirs) && *theirs == whole_code(phone) || region == "IM" || region == "BQ");
            }
            _ => panic!("{line}"),
        }
    }
    assert!(counts["="] >= 400 && counts["region"] >= 50 && counts["wider"] >= 10, "{counts:?}");
}

#[test]
fn well_known_numbers_are_where_they_are() {
    for (phone, zones) in [
        ("+18022236942", &["America/New_York"][..]),
        ("+12025550101", &["America/New_York"]),
        ("+14155550100", &["America/Los_Angeles"]),
        ("+16025550100", &["America/Phoenix"]),
        ("+4930227012345", &["Europe/Berlin"]),
        ("+4915112345678", &["Europe/Berlin"]),
        ("+919876543210", &["Asia/Calcutta"]),
        // A mobile of the Bahamas, for which the library gives all of North America.
        ("+12423591234", &["America/Nassau"]),
        ("+77011234567", &["Asia/Almaty", "Asia/Aqtobe"]),
        ("+33612345678", &["Europe/Paris"]),
        ("+390669812345", &["Europe/Vatican"]),
        ("+88123456789", &[]),
        ("+80012345678", &[]),
        ("+999", &[]),
        ("+", &[]),
        ("", &[]),
        ("18022236942", &[]),
        ("+1802x236942", &[]),
    ] {
        let zones: BTreeSet<&str> = zones.iter().copied().collect();
        assert_eq!(zones_of(phone), zones, "{phone}");
    }
    // Mobiles and toll-free numbers are at home anywhere in their country.
    for (phone, among) in [
        ("+79161234567", ["Europe/Moscow", "Asia/Kamchatka"]),
        ("+18003569377", ["America/New_York", "Pacific/Honolulu"]),
        ("+61412345678", ["Australia/Perth", "Australia/Sydney"]),
    ] {
        let zones = zones_of(phone);
        assert!(among.iter().all(|zone| zones.contains(zone)), "{phone}: {zones:?}");
    }
}

#[test]
fn a_set_is_looked_up_once_and_shared() {
    let [one, other] = ["+18003569377", "+18882346543"].map(|phone| PlanZones::of(phone).unwrap());
    assert_eq!(one, other);
    let [one, other] = [one, other].map(|set| set.zones().unwrap());
    assert_eq!(one, other);
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in ".{0,20}", digits in "\\+[0-9]{0,15}") {
        let _ = PlanZones::of(&text);
        let _ = PlanZones::of(&digits).and_then(PlanZones::zones);
    }
}
