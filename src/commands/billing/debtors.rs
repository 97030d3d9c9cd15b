//! Enrolling whoever has something to pay in the campaigns that remind of it.

use serde_json::{Value, json};

use crate::app::App;
use crate::domain::campaign::TenantSettings;
use crate::domain::phone::{CallAlso, ParsedPhone, parse_phone};
use crate::domain::region::Region;
use crate::store::billing::debtors::{self, Debtor, Reached};
use crate::store::enrollments;
use crate::store::setup::{self, Campaign, Tenant};

/// So many customers, or contacts, are looked at in one transaction.
const BATCH: i64 = 200;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debtors {
    /// Contacts that were put into a campaign.
    pub enrolled: u64,
    /// Customers with something to pay who have no phone that can be called.
    pub unreachable: i64,
}

/// Decides for each customer of a tenant with something to pay whom to call, where that was not decided by the same
/// phones before, and enrols those contacts in each campaign of the tenant that reminds of invoices. Whoever was withdrawn
/// stays so. Does nothing where no campaign reminds.
///
/// # Errors
/// When the database cannot be asked or written, or the tenant's settings cannot be read.
pub async fn enroll(app: &App, tenant: &str) -> anyhow::Result<Debtors> {
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let reminds = |campaign: &Campaign| campaign.rules().is_ok_and(|rules| rules.reminders.is_some());
    let campaigns: Vec<Campaign> = setup::campaigns(&mut tx)
        .await?
        .into_iter()
        .filter(|campaign| campaign.tenant == tenant && reminds(campaign))
        .collect();
    let stored = setup::tenant(&mut tx, tenant).await?;
    drop(tx);
    let (Some(stored), false) = (stored, campaigns.is_empty()) else { return Ok(Debtors::default()) };
    decide(app, &stored).await?;
    let mut done = Debtors::default();
    for campaign in &campaigns {
        done.enrolled += enroll_in(app, campaign).await?;
    }
    done.unreachable = debtors::count_unreachable(&mut db.read().await?, tenant).await?;
    Ok(done)
}

async fn decide(app: &App, tenant: &Tenant) -> anyhow::Result<()> {
    let settings = tenant.settings()?;
    let region: Option<Region> = tenant.region.as_deref().and_then(|code| code.parse().ok());
    let db = app.db().await?;
    let mut behind = String::new();
    loop {
        let batch = debtors::after(&mut db.read().await?, &tenant.name, &behind, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(()) };
        behind.clone_from(&last.customer_id);
        let news: Vec<(Debtor, String)> = batch
            .into_iter()
            .map(|debtor| {
                let decided_by = decided_by(&debtor, tenant.region.as_deref(), settings.call_also);
                (debtor, decided_by)
            })
            .filter(|(debtor, decided_by)| debtor.decided_by.as_ref() != Some(decided_by))
            .collect();
        if news.is_empty() {
            continue;
        }
        let now = app.clock.now();
        db.write(async |tx| {
            for (debtor, decided_by) in &news {
                match reach(debtor, region, &settings) {
                    Ok((phone, person)) => {
                        let reached = Reached {
                            phone: phone.phone.as_str(),
                            extension: phone.extension.as_deref(),
                            name: &person.name,
                            email: person.email.as_deref(),
                        };
                        let (id, new_id) = (&debtor.customer_id, app.new_id());
                        debtors::link(tx, &tenant.name, id, decided_by, &reached, &new_id, now).await?;
                    }
                    Err(problem) => {
                        let id = &debtor.customer_id;
                        debtors::set_problem(tx, &tenant.name, id, decided_by, &problem, now).await?;
                    }
                }
            }
            Ok(())
        })
        .await?;
    }
}

async fn enroll_in(app: &App, campaign: &Campaign) -> anyhow::Result<u64> {
    let db = app.db().await?;
    let mut enrolled = 0;
    loop {
        let now = app.clock.now();
        let (found, added) = db
            .write(async |tx| {
                let contacts = debtors::not_enrolled(tx, &campaign.tenant, &campaign.id, BATCH).await?;
                let pairs: Vec<(String, String)> =
                    contacts.iter().map(|contact_id| (app.new_id(), contact_id.clone())).collect();
                let added = enrollments::enroll(tx, &campaign.id, campaign.rules_version, &pairs, now).await?;
                Ok((contacts.len(), added))
            })
            .await?;
        enrolled += added;
        if found == 0 || added == 0 {
            return Ok(enrolled);
        }
    }
}

/// Somebody who may answer for a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Person {
    name: String,
    email: Option<String>,
    /// As somebody typed them, the one to try first first.
    phones: Vec<String>,
}

/// The customer's own phones, then those of its persons, the primary one first.
fn people(debtor: &Debtor) -> Vec<Person> {
    let full = |first: Option<&str>, last: Option<&str>| {
        let name = [first, last].into_iter().flatten().map(str::trim).collect::<Vec<_>>().join(" ");
        if name.trim().is_empty() { debtor.name.clone() } else { name.trim().to_owned() }
    };
    let typed = |phones: [Option<&str>; 2]| -> Vec<String> {
        phones.into_iter().flatten().map(str::trim).filter(|phone| !phone.is_empty()).map(str::to_owned).collect()
    };
    let mut people = vec![Person {
        name: full(debtor.first_name.as_deref(), debtor.last_name.as_deref()),
        email: debtor.email.clone(),
        phones: typed([debtor.mobile.as_deref(), debtor.phone.as_deref()]),
    }];
    let list = debtor.contact_persons.as_deref().and_then(|list| serde_json::from_str::<Vec<Value>>(list).ok());
    let mut persons = list.unwrap_or_default();
    persons.sort_by_key(|person| person["is_primary_contact"] != json!(true));
    people.extend(persons.iter().map(|person| Person {
        name: full(person["first_name"].as_str(), person["last_name"].as_str()),
        email: person["email"].as_str().map(str::trim).filter(|email| !email.is_empty()).map(str::to_owned),
        phones: typed([person["mobile"].as_str(), person["phone"].as_str()]),
    }));
    people
}

/// What a decision depends on, as text.
fn decided_by(debtor: &Debtor, region: Option<&str>, call_also: CallAlso) -> String {
    let phones: Vec<String> = people(debtor).into_iter().flat_map(|person| person.phones).collect();
    json!({"phones": phones, "region": region, "call_also": call_also}).to_string()
}

/// The first phone that can be called, and whose it is; or why there is none.
fn reach(debtor: &Debtor, region: Option<Region>, settings: &TenantSettings) -> Result<(ParsedPhone, Person), String> {
    let mut problem = "it has no phone".to_owned();
    for person in people(debtor) {
        for text in &person.phones {
            match parse_phone(text, region, settings.call_also) {
                Ok(phone) => return Ok((phone, person)),
                Err(why) => problem = format!("{text:?}: {why}"),
            }
        }
    }
    Err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debtor() -> Debtor {
        Debtor {
            customer_id: "7".to_owned(),
            name: "Acme Ltd".to_owned(),
            first_name: None,
            last_name: None,
            email: None,
            phone: None,
            mobile: None,
            contact_persons: None,
            decided_by: None,
        }
    }

    fn reached(debtor: &Debtor) -> Result<(String, String), String> {
        let us = "US".parse().expect("a region");
        reach(debtor, Some(us), &TenantSettings::default())
            .map(|(phone, person)| (phone.phone.to_string(), person.name))
    }

    #[test]
    fn the_first_phone_that_can_be_called_is_taken_and_whoever_has_it_is_addressed() {
        let both = Debtor {
            mobile: Some("802 223 6942".to_owned()),
            phone: Some("(415) 555-2671".to_owned()),
            first_name: Some("Ada".to_owned()),
            ..debtor()
        };
        assert_eq!(reached(&both), Ok(("+18022236942".to_owned(), "Ada".to_owned())));
        let wrong_mobile = Debtor { mobile: Some("ask reception".to_owned()), ..both };
        assert_eq!(reached(&wrong_mobile), Ok(("+14155552671".to_owned(), "Ada".to_owned())));
        let persons = json!([
            {"first_name": "Bo", "phone": "415-555-2672", "is_primary_contact": false},
            {"first_name": "Cy", "last_name": "Li", "mobile": " ", "phone": "+1 415 555 2673", "is_primary_contact": true},
        ]);
        let persons = Debtor { contact_persons: Some(persons.to_string()), ..debtor() };
        assert_eq!(reached(&persons), Ok(("+14155552673".to_owned(), "Cy Li".to_owned())));
    }

    #[test]
    fn why_nobody_can_be_called_is_said() {
        assert_eq!(reached(&debtor()), Err("it has no phone".to_owned()));
        let wrong = Debtor { phone: Some("12".to_owned()), ..debtor() };
        assert!(reached(&wrong).expect_err("no phone").starts_with("\"12\": "));
    }

    #[test]
    fn a_decision_stands_until_a_phone_or_the_plan_changes() {
        let one = Debtor { phone: Some("802 223 6942".to_owned()), ..debtor() };
        let other = Debtor { phone: Some("802 223 6943".to_owned()), ..debtor() };
        let decided_by = |debtor: &Debtor, region| decided_by(debtor, region, CallAlso::default());
        assert_eq!(
            decided_by(&one, Some("US")),
            decided_by(&Debtor { name: "B".to_owned(), ..one.clone() }, Some("US"))
        );
        assert_ne!(decided_by(&one, Some("US")), decided_by(&other, Some("US")));
        assert_ne!(decided_by(&one, Some("US")), decided_by(&one, Some("GB")));
        assert_ne!(decided_by(&one, Some("US")), super::decided_by(&one, Some("US"), CallAlso::ANY));
    }
}
