//! What operators name on the command line, found in the database, or refused with what they may have meant.

use std::fmt;
use std::str::FromStr;

use crate::config::nearest;
use crate::domain::phone::{CallAlso, parse_phone};
use crate::domain::region::Region;
use crate::error::Failure;
use crate::store::billing::invoices::{self, StoredInvoice};
use crate::store::contacts::{self, Contact};
use crate::store::setup::{self, Campaign, Tenant};
use crate::store::{self, Tx};

/// `TENANT/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignName {
    /// The tenant.
    pub tenant: String,
    /// The campaign's name within it.
    pub name: String,
}

impl FromStr for CampaignName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((tenant, name)) if !tenant.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { tenant: tenant.to_owned(), name: name.to_owned() })
            }
            _ => Err("a campaign is named TENANT/NAME, such as acme/checkup".to_owned()),
        }
    }
}

impl fmt::Display for CampaignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// What was looked for, or why it was not found.
pub type Found<T> = store::Result<Result<T, Failure>>;

/// A campaign by its name.
///
/// # Errors
/// Inside: exit 2, with the name that is closest. Outside: what the database says.
pub async fn campaign(tx: &mut Tx, name: &CampaignName) -> Found<Campaign> {
    if let Some(campaign) = setup::campaign(tx, &name.tenant, &name.name).await? {
        return Ok(Ok(campaign));
    }
    let names: Vec<String> = setup::campaigns(tx).await?.iter().map(Campaign::full_name).collect();
    let known = names.iter().map(String::as_str);
    let elsewhere = names.iter().find(|known| known.rsplit('/').next() == Some(&name.name)).map(String::as_str);
    let failure = Failure::usage(format!("there is no campaign {name}"));
    Ok(Err(match nearest(&name.to_string(), known).or(elsewhere) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint("`callops list campaigns` shows them; `callops apply` makes one"),
    }))
}

/// A tenant by its name.
///
/// # Errors
/// As [`campaign`].
pub async fn tenant(tx: &mut Tx, name: &str) -> Found<Tenant> {
    if let Some(tenant) = setup::tenant(tx, name).await? {
        return Ok(Ok(tenant));
    }
    let names: Vec<String> = setup::tenants(tx).await?.into_iter().map(|tenant| tenant.name).collect();
    let failure = Failure::usage(format!("there is no tenant {name}"));
    Ok(Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint("`callops list tenants` shows them; `callops apply` makes one"),
    }))
}

/// A tenant's invoice by its id or number, as it was read last.
///
/// # Errors
/// As [`campaign`]; a number that several invoices have.
pub async fn invoice(tx: &mut Tx, tenant: &str, name: &str) -> Found<StoredInvoice> {
    if let Err(failure) = self::tenant(tx, tenant).await? {
        return Ok(Err(failure));
    }
    let mut found = invoices::named(tx, Some(tenant), name).await?;
    Ok(match (found.pop(), found.is_empty()) {
        (Some(invoice), true) => Ok(invoice),
        (Some(_), false) => {
            Err(Failure::usage(format!("{tenant} has several invoices {name}")).hint("name it by its id"))
        }
        (None, _) => Err(Failure::usage(format!("{tenant} has no invoice {name}"))
            .hint("`callops list invoices` shows them, as they were read last; `callops sync-zoho` reads them")),
    })
}

/// How a contact was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its id.
    Id(String),
    /// By its phone, E.164, with the extension that was written behind it.
    Phone(String, Option<String>),
}

/// Reads what names a contact: an id, or a phone by the tenant's numbering plan.
///
/// # Errors
/// Exit 2 when it is neither.
pub fn named(text: &str, tenant: Option<&Tenant>) -> Result<Named, Failure> {
    if is_id(text) {
        return Ok(Named::Id(text.to_uppercase()));
    }
    // A contact is found by any phone that it may once have been given.
    match parse_phone(text, tenant.and_then(region_of), CallAlso::ANY) {
        Ok(parsed) => Ok(Named::Phone(parsed.phone.to_string(), parsed.extension)),
        Err(problem) => Err(Failure::usage(format!("{text:?} is no contact's id, and no phone: {problem}"))
            .hint("`callops list contacts` shows ids; a phone is safest as +<country code>...")),
    }
}

/// Whether a phone that nobody has yet may become a contact of the tenant: not if its calls cost extra, unless the tenant
/// calls such numbers.
///
/// # Errors
/// Inside: exit 2 with the class of the number. Outside: when the tenant's settings cannot be read.
pub fn may_be_new(text: &str, tenant: &Tenant) -> store::Result<Result<(), Failure>> {
    let also = tenant.settings()?.call_also;
    Ok(match parse_phone(text, region_of(tenant), also) {
        Ok(_) => Ok(()),
        Err(problem) => Err(Failure::usage(format!("{text}: {problem}"))),
    })
}

fn region_of(tenant: &Tenant) -> Option<Region> {
    tenant.region.as_deref().and_then(|code| code.parse().ok())
}

/// Whether a text has the shape of an id.
pub fn is_id(text: &str) -> bool {
    text.len() == 26 && ulid::Ulid::from_string(text).is_ok()
}

/// A tenant's contact; none when nobody has the phone yet.
///
/// # Errors
/// As [`campaign`]; an id that names nobody, or somebody of another tenant.
pub async fn contact(tx: &mut Tx, tenant: &Tenant, text: &str) -> Found<Option<Contact>> {
    let named = match named(text, Some(tenant)) {
        Ok(named) => named,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(match named {
        Named::Phone(phone, _) => Ok(contacts::contacts_by_phones(tx, &tenant.name, &[&phone], false).await?.pop()),
        Named::Id(id) => match contacts::contact(tx, &id).await? {
            Some(contact) if contact.tenant == tenant.name => Ok(Some(contact)),
            Some(contact) => {
                Err(Failure::usage(format!("contact {id} belongs to {}, not to {}", contact.tenant, tenant.name)))
            }
            None => Err(Failure::usage(format!("there is no contact {id}")).hint("`callops list contacts` shows them")),
        },
    })
}
