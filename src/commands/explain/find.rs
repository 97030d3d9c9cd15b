//! From what an operator writes to the contact that is meant.

use anyhow::Result;

use crate::commands::lookup::{self, Named};
use crate::error::Failure;
use crate::store::contacts::{self, Contact};
use crate::store::{Tx, setup};

/// The contact of this id or phone: of this tenant, or of any. A phone without a country code is one of the tenant's
/// own numbering plan.
///
/// # Errors
/// Exit 2 when there is none, or several tenants have one with the phone.
pub(super) async fn contact(tx: &mut Tx, text: &str, tenant: Option<&str>) -> Result<Contact> {
    let text = text.trim();
    let tenants = match tenant {
        Some(name) => vec![lookup::tenant(tx, name).await??],
        None => setup::tenants(tx).await?,
    };
    let mut found: Vec<Contact> = Vec::new();
    let mut refusal = None;
    for tenant in &tenants {
        match lookup::named(text, Some(tenant)) {
            Ok(Named::Id(id)) => {
                found.extend(contacts::contact(tx, &id).await?.filter(|contact| contact.tenant == tenant.name));
            }
            Ok(Named::Phone(phone, _)) => {
                found.extend(contacts::contacts_by_phones(tx, &tenant.name, &[&phone], false).await?);
            }
            Err(failure) => refusal = Some(failure),
        }
    }
    if found.len() > 1 {
        let tenants: Vec<&str> = found.iter().map(|contact| contact.tenant.as_str()).collect();
        return Err(Failure::usage(format!("several tenants have a contact with {text}: {}", tenants.join(", ")))
            .hint(format!("name one of them: --tenant {}", tenants[0]))
            .into());
    }
    match (found.pop(), refusal) {
        (Some(contact), _) => Ok(contact),
        (None, Some(refusal)) => Err(refusal.into()),
        (None, None) => {
            let of = tenant.map_or_else(String::new, |tenant| format!(" of {tenant}"));
            Err(Failure::usage(format!("there is no contact{of} with the id or phone {text}"))
                .hint("write the phone with its country code, such as +14155550100")
                .hint("`callops list contacts` shows them")
                .into())
        }
    }
}
