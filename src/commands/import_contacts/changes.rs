//! What an import changes about a contact that was there, so that it can be shown, and undone.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::contacts::Contact;

/// What a field held, and what was written.
type Change<T> = (Option<T>, Option<T>);

/// The fields and attributes that differ between a contact before and after an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct Changes {
    /// By the field's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::commands) fields: BTreeMap<String, Change<String>>,
    /// By the attribute's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::commands) attributes: BTreeMap<String, Change<Value>>,
    /// When the contact had been changed, and when this changed it: who restores all of it restores this too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) updated_at: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Enrollments that count again by the import, each with why it was withdrawn before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::commands) revived: BTreeMap<String, String>,
}

/// The fields of a contact that an import can change, by name. Where a zone comes from goes with the zone.
pub(in crate::commands) fn fields_mut(contact: &mut Contact) -> [(&'static str, &mut Option<String>); 6] {
    [
        ("extension", &mut contact.extension),
        ("name", &mut contact.name),
        ("email", &mut contact.email),
        ("external_id", &mut contact.external_id),
        ("timezone", &mut contact.timezone),
        ("preferred_time", &mut contact.preferred_time),
    ]
}

/// A contact's attributes.
///
/// # Errors
/// When they are no JSON object.
pub(in crate::commands) fn attributes_of(contact: &Contact) -> anyhow::Result<Map<String, Value>> {
    serde_json::from_str(&contact.attributes)
        .with_context(|| format!("the stored attributes of contact {} cannot be read", contact.id))
}

impl Changes {
    /// What differs.
    ///
    /// # Errors
    /// When stored attributes are no JSON object.
    pub(in crate::commands) fn between(old: &Contact, new: &Contact) -> anyhow::Result<Self> {
        let mut changes = Self { updated_at: Some((old.updated_at, new.updated_at)), ..Self::default() };
        if old.phone != new.phone {
            changes.fields.insert("phone".to_owned(), (Some(old.phone.clone()), Some(new.phone.clone())));
        }
        let (mut before, mut after) = (old.clone(), new.clone());
        for ((name, before), (_, after)) in fields_mut(&mut before).into_iter().zip(fields_mut(&mut after)) {
            if before != after {
                changes.fields.insert(name.to_owned(), (before.take(), after.take()));
            }
        }
        if old.attributes != new.attributes {
            let before = attributes_of(old)?;
            for (name, after) in attributes_of(new)? {
                if before.get(&name) != Some(&after) {
                    changes.attributes.insert(name.clone(), (before.get(&name).cloned(), Some(after)));
                }
            }
        }
        Ok(changes)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, (before, after)) in &self.fields {
            let shown =
                |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |text| format!("{text:?}"));
            write!(f, "{separator}{name}: {} -> {}", shown(before), shown(after))?;
            separator = ", ";
        }
        for (name, (before, after)) in &self.attributes {
            let shown = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
            write!(f, "{separator}{name}: {} -> {}", shown(before), shown(after))?;
            separator = ", ";
        }
        Ok(())
    }
}
