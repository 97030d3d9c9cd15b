//! Whom the database knows of the people in a batch of rows.

use std::collections::HashMap;

use super::OnExisting;
use super::plan;
use super::settle::Target;
use crate::domain::contact_row::ContactRow;
use crate::store::Tx;
use crate::store::contacts::{self, Contact};

/// What the database shows of the people of a batch, kept up to date as its rows are looked at in their order.
pub(super) struct Known {
    pub(super) by_phone: HashMap<String, Contact>,
    /// The contact behind an external id that only one contact has.
    by_external_id: HashMap<String, Contact>,
}

impl Known {
    /// Looks the people up, and locks those that are about to change: a lock on the rest would keep calls waiting for
    /// the whole import.
    pub(super) async fn look_up(tx: &mut Tx, target: &Target, rows: &[(&ContactRow, bool)]) -> anyhow::Result<Self> {
        let tenant = target.tenant.as_str();
        let phones: Vec<&str> = rows.iter().map(|(row, _)| row.phone.as_str()).collect();
        let mut by_phone = by_phone(contacts::contacts_by_phones(tx, tenant, &phones, false).await?);
        let identified: Vec<&ContactRow> =
            rows.iter().filter(|(_, identifies)| *identifies).map(|(row, _)| *row).collect();
        let ids: Vec<&str> = identified.iter().filter_map(|row| row.external_id.as_deref()).collect();
        let mut by_external_id = by_external_id(contacts::contacts_by_external_ids(tx, tenant, &ids, false).await?);
        if target.on_existing == OnExisting::Update && !target.dry_run && matches!(tx, Tx::Postgres(_)) {
            let mut changing = Vec::new();
            for (row, _) in rows {
                if let Some(old) = by_phone.get(row.phone.as_str())
                    && plan::merged(old, row, target.now)?.is_some()
                {
                    changing.push(row.phone.as_str());
                }
            }
            let moving = |row: &&&ContactRow| {
                let owner = row.external_id.as_ref().and_then(|id| by_external_id.get(id));
                owner.is_some_and(|owner| owner.phone != row.phone.as_str())
            };
            let moving: Vec<&str> =
                identified.iter().filter(moving).filter_map(|row| row.external_id.as_deref()).collect();
            by_phone.extend(self::by_phone(contacts::contacts_by_phones(tx, tenant, &changing, true).await?));
            for id in &moving {
                by_external_id.remove(*id);
            }
            let locked = contacts::contacts_by_external_ids(tx, tenant, &moving, true).await?;
            by_external_id.extend(self::by_external_id(locked));
        }
        by_phone.retain(|phone, _| !target.given_up.contains(phone));
        Ok(Self { by_phone, by_external_id })
    }

    /// Takes note that a contact is now another one.
    pub(super) fn replace(&mut self, old: &Contact, new: &Contact) {
        if old.phone != new.phone {
            self.by_phone.remove(&old.phone);
        }
        self.by_phone.insert(new.phone.clone(), new.clone());
        if let Some(id) = old.external_id.as_ref().filter(|_| old.external_id != new.external_id) {
            self.by_external_id.remove(id);
        }
    }

    /// The contact whose row this is by its external id, where its phone is another one than `phone`.
    pub(super) fn moved(&self, external_id: &str, phone: &str) -> Option<&Contact> {
        self.by_external_id.get(external_id).filter(|owner| owner.phone != phone)
    }
}

fn by_phone(contacts: Vec<Contact>) -> HashMap<String, Contact> {
    contacts.into_iter().map(|contact| (contact.phone.clone(), contact)).collect()
}

/// The contacts by their external ids, but for ids that several have: those say nothing about one of them.
fn by_external_id(contacts: Vec<Contact>) -> HashMap<String, Contact> {
    let mut unique: HashMap<String, Option<Contact>> = HashMap::new();
    for contact in contacts {
        if let Some(id) = contact.external_id.clone() {
            unique.entry(id).and_modify(|other| *other = None).or_insert(Some(contact));
        }
    }
    unique.into_iter().filter_map(|(id, contact)| Some((id, contact?))).collect()
}
