//! What a row makes of a contact: pure.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

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
}

/// The contact that a row makes where there was none.
pub(super) fn created(row: &ContactRow, id: String, tenant: &str, import_id: &str, now: DateTime<Utc>) -> Contact {
    Contact {
        id,
        tenant: tenant.to_owned(),
        phone: row.phone.as_str().to_owned(),
        extension: row.extension.clone(),
        name: row.name.clone(),
        email: row.email.clone(),
        external_id: row.external_id.clone(),
        timezone: row.timezone.map(|zone| zone.name().to_owned()),
        timezone_source: row.timezone.map(|_| GIVEN.to_owned()),
        preferred_time: row.preferred_time.map(|time| time.to_string()),
        attributes: Value::Object(row.attributes.clone()).to_string(),
        version: 1,
        import_id: Some(import_id.to_owned()),
        created_at: now,
        updated_at: now,
    }
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
    if !row.attributes.is_empty() {
        let stored: Map<String, Value> = serde_json::from_str(&old.attributes)
            .with_context(|| format!("the stored attributes of contact {} cannot be read", old.id))?;
        let mut attributes = stored.clone();
        attributes.extend(row.attributes.clone());
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
    Ok(Some(Merged { contact: new, concerns_calls }))
}

/// The contact with the row's phone in place of its own, and with what else the row says.
///
/// # Errors
/// As [`merged`].
pub(super) fn corrected(old: &Contact, row: &ContactRow, now: DateTime<Utc>) -> anyhow::Result<Contact> {
    let contact = merged(old, row, now)?.map_or_else(|| old.clone(), |merged| merged.contact);
    Ok(Contact { phone: row.phone.as_str().to_owned(), version: old.version + 1, updated_at: now, ..contact })
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
            attributes: Map::new(),
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
            attributes: Map::from_iter([("plan".to_owned(), "gold".into())]),
            ..row()
        }
    }

    #[test]
    fn empty_cells_never_erase() {
        let old = created(&full_row(), "id".to_owned(), "acme", "import", at(0));
        assert_eq!(merged(&old, &row(), at(1)).unwrap(), None);
        assert_eq!(merged(&old, &full_row(), at(1)).unwrap(), None);
    }

    #[test]
    fn only_what_decides_when_it_rings_moves_the_version() {
        let old = created(&full_row(), "id".to_owned(), "acme", "import", at(0));
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
        let old = created(&full_row(), "id".to_owned(), "acme", "import", at(0));
        let more = ContactRow { attributes: Map::from_iter([("city".to_owned(), "Barre".into())]), ..row() };
        let merged = merged(&old, &more, at(1)).unwrap().unwrap();
        assert_eq!(merged.contact.attributes, r#"{"plan":"gold","city":"Barre"}"#);
        assert!(!merged.concerns_calls);
    }

    proptest! {
        #[test]
        fn applying_a_row_twice_changes_nothing_the_second_time(
            name in prop::option::of("[a-c]"), extension in prop::option::of("[1-3]"), attribute in prop::option::of("[x-z]")
        ) {
            let old = created(&full_row(), "id".to_owned(), "acme", "import", at(0));
            let mut row = ContactRow { extension, name, ..row() };
            row.attributes.extend(attribute.map(|value| ("plan".to_owned(), value.into())));
            let once = merged(&old, &row, at(1)).unwrap().map_or(old, |merged| merged.contact);
            prop_assert_eq!(merged(&once, &row, at(2)).unwrap(), None);
        }
    }
}
