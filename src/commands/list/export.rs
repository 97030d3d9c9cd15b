//! Contacts as CSV that an import takes back.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::commands::telling::instant;
use crate::domain::contact_row::{EXPORT_COLUMNS, Field, attribute_header};
use crate::store::contacts::Contact;

/// The columns for what every contact can hold. Attributes follow, then [`EXPORT_COLUMNS`].
const OWN_COLUMNS: [Field; 7] = [
    Field::Phone,
    Field::Extension,
    Field::Name,
    Field::Email,
    Field::ExternalId,
    Field::Timezone,
    Field::PreferredTime,
];

/// Contacts with a column for each attribute that one of them has.
pub(super) struct Export {
    contacts: Vec<(Contact, Map<String, Value>)>,
    /// The attributes' names, in the order in which they are met.
    names: Vec<String>,
}

impl Export {
    pub(super) fn new(contacts: Vec<Contact>) -> Self {
        let contacts: Vec<_> = contacts.into_iter().map(|contact| (attributes(&contact), contact)).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        let met = contacts.iter().flat_map(|(attributes, _)| attributes.keys());
        let names = met.filter(|name| seen.insert(name)).cloned().collect();
        Self { contacts: contacts.into_iter().map(|(attributes, contact)| (contact, attributes)).collect(), names }
    }

    pub(super) fn header(&self) -> Vec<String> {
        let own = OWN_COLUMNS.iter().map(|field| field.name().to_owned());
        let names = self.names.iter().map(|name| attribute_header(name).into_owned());
        own.chain(names).chain(EXPORT_COLUMNS.map(str::to_owned)).collect()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<Value>> + '_ {
        self.contacts.iter().map(|(contact, attributes)| {
            let mut row = vec![
                json!(contact.phone),
                json!(contact.extension),
                json!(contact.name),
                json!(contact.email),
                json!(contact.external_id),
                json!(contact.timezone),
                json!(contact.preferred_time),
            ];
            row.extend(self.names.iter().map(|name| attributes.get(name).cloned().unwrap_or_default()));
            // In the order of `EXPORT_COLUMNS`.
            row.extend([json!(contact.tenant), json!(contact.id), instant(Some(contact.created_at))]);
            row
        })
    }
}

/// Stored attributes; none where they cannot be read, as for calls.
fn attributes(contact: &Contact) -> Map<String, Value> {
    match serde_json::from_str(&contact.attributes) {
        Ok(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    }
}
