//! From what an operator writes to the contact or campaign that is meant.

use anyhow::Result;

use crate::config::nearest;
use crate::domain::phone::parse_phone;
use crate::domain::region::Region;
use crate::error::Failure;
use crate::store::contacts::{self, Contact};
use crate::store::setup::{self, Campaign};
use crate::store::Tx;

/// The campaign `tenant/name`.
///
/// # Errors
/// Exit 2, with the nearest known name as a hint.
pub(super) async fn campaign(tx: &mut Tx, text: &str) -> Result<Campaign> {
    let found = match text.split_once('/') {
        Some((tenant, name)) => setup::campaign(tx, tenant, name).await?,
        None => None,
    };
    if let Some(campaign) = found {
        return Ok(campaign);
    }
    let names: Vec<String> = setup::campaigns(tx).await?.iter().map(Campaign::full_name).collect();
    let failure = Failure::usage(format!("there is no campaign {text:?}"));
    Err(match nearest(text, names.iter().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None if names.is_empty() => failure.hint("no campaign exists; `callops apply` puts them in"),
        None => failure.hint("a campaign is written TENANT/NAME; `callops status` names them all"),
    }
    .into())
}

/// The contact of this id or phone, of any tenant or of this one.
///
/// # Errors
/// Exit 2 when there is none, or several tenants have one with the phone.
pub(super) async fn contact(tx: &mut Tx, text: &str, tenant: Option<&str>) -> Result<Contact> {
    let text = text.trim();
    if let Some(found) = contacts::contact(tx, text).await?
        && tenant.is_none_or(|tenant| tenant == found.tenant)
    {
        return Ok(found);
    }
    let tenants = setup::tenants(tx).await?;
    if let Some(name) = tenant
        && !tenants.iter().any(|tenant| tenant.name == name)
    {
        let failure = Failure::usage(format!("there is no tenant {name:?}"));
        return Err(match nearest(name, tenants.iter().map(|tenant| tenant.name.as_str())) {
            Some(name) => failure.hint(format!("did you mean {name}?")),
            None => failure,
        }
        .into());
    }
    let mut found: Vec<Contact> = Vec::new();
    let mut problem = None;
    for one in tenants.iter().filter(|one| tenant.is_none_or(|tenant| tenant == one.name)) {
        // A number without a country code is one of the tenant's own region.
        let region = one.region.as_deref().and_then(|region| Region::from_cell(region).ok());
        match parse_phone(text, region) {
            Ok(parsed) => {
                let phones = [parsed.phone.as_str()];
                found.extend(contacts::contacts_by_phones(tx, &one.name, &phones, false).await?);
            }
            Err(error) => problem = Some(error.to_string()),
        }
    }
    if found.len() > 1 {
        let tenants: Vec<&str> = found.iter().map(|contact| contact.tenant.as_str()).collect();
        return Err(Failure::usage(format!("several tenants have a contact with {text}: {}", tenants.join(", ")))
            .hint(format!("name one: --tenant {}", tenants[0]))
            .into());
    }
    if let Some(contact) = found.pop() {
        return Ok(contact);
    }
    let of = tenant.map_or_else(String::new, |tenant| format!(" of {tenant}"));
    let mut failure = Failure::usage(format!("there is no contact{of} with the id or phone {text:?}"));
    if let Some(problem) = problem {
        failure = failure.hint(format!("as a phone: {problem}"));
    }
    Err(failure.hint("write the phone with its country code, such as +14155550100").into())
}
