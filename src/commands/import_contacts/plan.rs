//! What a row makes of a contact: pure.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::changes::{Changes, attributes_of};
use crate::domain::contact_row::ContactRow;
use crate::store::contacts::Contact;

/// Where the zone of a row comes from.
const GIVEN: &str = "given";

/// A stored contact with what a row says written over it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) contact: Contact,
    /// Whether something changed that decides when or where it rings: a claim made before must not ring.
    pub(super) concerns_calls: bool,
    pub(super) changes: Changes,
}

/// The contact with what the row says; none where the row says nothing new. What the row leaves empty stays.
///
/// # Errors
/// When the stored attributes are no JSON object.
pub(super) fn merged(old: &Contact, row: &ContactRow, now: DateTime<Utc>) -> anyhow::Result<Option<Merged>> {
    let mut new = old.clone();
    let mut concerns_calls = set(&mut new.extension, row.extension.as_deref());
    if let Some(zone) = row.timezone {
        concerns_calls |= set(&mut new.timezone, Some(zone.name()));
        new.timezone_source = Some(GIVEN.to_owned());
    }
    concerns_calls |= set(&mut new.preferred_time, row.preferred_time.map(|time| time.to_string()).as_deref());
    set(&mut new.name, row.name.as_deref());
    set(&mut new.email, row.email.as_deref());
    set(&mut new.external_id, row.external_id.as_deref());
    if !row.attributes.is_empty() && row.attributes != old.attributes {
        let stored = attributes_of(old)?;
        let mut attributes = stored.clone();
        let said: Map<String, Value> = serde_json::from_str(&row.attributes)?;
        attributes.extend(said);
        if attributes != stored {
            new.attributes = Value::Object(attributes).to_string();
        }
    }
    if new == *old {
        return Ok(None);
    }
    if concerns_calls {
        new.version += 1;
    }
    new.updated_at = now;
    let changes = Changes::between(old, &new)?;
    Ok(Some(Merged { contact: new, concerns_calls, changes }))
}

/// The contact with the row's phone in place of its own, and with what else the row says.
///
/// # Errors
/// As [`merged`].
pub(super) fn corrected(old: &Contact, row: &ContactRow, now: DateTime<Utc>) -> anyhow::Result<Merged> {
    let contact = merged(old, row, now)?.map_or_else(|| old.clone(), |merged| merged.contact);
    let contact =
        Contact { phone: row.phone.as_str().to_owned(), version: old.version + 1, updated_at: now, ..contact };
    let changes = Changes::between(old, &contact)?;
    Ok(Merged { contact, concerns_calls: true, changes })
}

/// Takes a value over; says whether it differs.
fn set(field: &mut Option<String>, value: Option<&str>) -> bool {
    let Some(value) = value.filter(|value| field.as_deref() != Some(*value)) else { return false };
    *field = Some(value.to_owned());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::phone::Phone;
    use proptest::prelude::*;

    fn row() -> ContactRow {
        ContactRow {
            phone: Phone::from_e164("+18022236942").unwrap(),
            extension: None,
            alternates: Vec::new(),
            name: None,
            email: None,
            external_id: None,
            timezone: None,
            preferred_time: None,
            attributes: String::new(),
        }
    }

    fn created(row: &ContactRow) -> Contact {
        let text = |value: &Option<String>| value.clone();
        Contact {
            id: "id".to_owned(),
            tenant: "acme".to_owned(),
            phone: row.phone.as_str().to_owned(),
            extension: text(&row.extension),
            name: text(&row.name),
            email: text(&row.email),
            external_id: text(&row.external_id),
            timezone: row.timezone.map(|zone| zone.name().to_owned()),
            timezone_source: row.timezone.map(|_| GIVEN.to_owned()),
            preferred_time: row.preferred_time.map(|time| time.to_string()),
            attributes: if row.attributes.is_empty() { "{}".to_owned() } else { row.attributes.clone() },
            version: 1,
            import_id: Some("import".to_owned()),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    fn at(minute: u32) -> DateTime<Utc> {
        format!("2026-11-20T12:{minute:02}:00Z").parse().unwrap()
    }

    fn full_row() -> ContactRow {
        ContactRow {
            extension: Some("12".to_owned()),
            name: Some("Ada".to_owned()),
            email: Some("ada@example.com".to_owned()),
            external_id: Some("A-1".to_owned()),
            timezone: Some("America/New_York".parse().unwrap()),
            preferred_time: Some("09:30".parse().unwrap()),
            attributes: r#"{"plan":"gold"}"#.to_owned(),
            ..row()
        }
    }

    #[test]
    fn empty_cells_never_erase() {
        let old = created(&full_row());
        assert_eq!(merged(&old, &row(), at(1)).unwrap(), None);
        assert_eq!(merged(&old, &full_row(), at(1)).unwrap(), None);
    }

    #[test]
    fn only_what_decides_when_it_rings_moves_the_version() {
        let old = created(&full_row());
        let renamed = ContactRow { name: Some("Ada L.".to_owned()), ..row() };
        let merged_name = merged(&old, &renamed, at(1)).unwrap().unwrap();
        assert!(!merged_name.concerns_calls);
        assert_eq!((merged_name.contact.version, merged_name.contact.updated_at), (1, at(1)));
        for moved in [
            ContactRow { extension: Some("13".to_owned()), ..row() },
            ContactRow { timezone: Some("Europe/Berlin".parse().unwrap()), ..row() },
            ContactRow { preferred_time: Some("10:00".parse().unwrap()), ..row() },
        ] {
            let merged = merged(&old, &moved, at(1)).unwrap().unwrap();
            assert!(merged.concerns_calls);
            assert_eq!(merged.contact.version, 2);
            assert_eq!(merged.contact.name.as_deref(), Some("Ada"));
        }
    }

    #[test]
    fn attributes_are_added_to_and_replaced_one_by_one() {
        let old = created(&full_row());
        let more = ContactRow { attributes: r#"{"city":"Barre"}"#.to_owned(), ..row() };
        let merged = merged(&old, &more, at(1)).unwrap().unwrap();
        assert_eq!(merged.contact.attributes, r#"{"plan":"gold","city":"Barre"}"#);
        assert!(!merged.concerns_calls);
        assert_eq!(merged.changes.to_string(), r#"city: nothing -> "Barre""#);
    }

    proptest! {
        #[test]
        fn applying_a_row_twice_changes_nothing_the_second_time(
            name in prop::option::of("[a-c]"), extension in prop::option::of("[1-3]"), attribute in prop::option::of("[x-z]")
        ) {
            let old = created(&full_row());
            let mut row = ContactRow { extension, name, ..row() };
            row.attributes = attribute.map(|value| format!(r#"{{"plan":"{value}"}}"#)).unwrap_or_default();
            let once = merged(&old, &row, at(1)).unwrap().map_or(old, |merged| merged.contact);
            prop_assert_eq!(merged(&once, &row, at(2)).unwrap(), None);
        }
    }
}
