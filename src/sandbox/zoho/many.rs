//! Customers and invoices by the thousand, as believable as chance makes them.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Deserialize;

use super::record::{Customer, Invoice, Person, Status};
use super::records::{Records, in_seconds};

/// How many records, and what they depend on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Many {
    pub(super) organization: Option<String>,
    customers: usize,
    invoices: usize,
    #[serde(default = "usual_seed")]
    seed: u64,
    /// The day around which invoices are due; the sandbox's own today where nobody says.
    today: Option<NaiveDate>,
}

fn usual_seed() -> u64 {
    1
}

const FIRST_NAMES: &[&str] = &[
    "Ada", "Bruno", "Chloe", "Dev", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Liam", "Maya", "Noah",
    "Olga", "Priya", "Quentin", "Rosa", "Sven", "Tara",
];
const LAST_NAMES: &[&str] = &[
    "Abbott", "Becker", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Hansen", "Ivanov", "Jensen", "Keller",
    "Lopez", "Moreau", "Novak", "Okafor", "Petit", "Quinn", "Roy", "Singh", "Turner",
];
const TRADES: &[&str] = &[
    "Bakery", "Bikes", "Books", "Builders", "Cafe", "Dental", "Florist", "Foods", "Garage", "Gym", "Hotel", "Legal",
    "Movers", "Optics", "Plumbing", "Roofing", "Studio", "Tiles", "Vets", "Wines",
];
/// The currency and the country of customers, and how many of a hundred are of it.
const COUNTRIES: &[(&str, &str, u32)] = &[
    ("USD", "U.S.A", 40),
    ("GBP", "United Kingdom", 15),
    ("EUR", "Germany", 15),
    ("EUR", "France", 10),
    ("AUD", "Australia", 10),
    ("CAD", "Canada", 10),
];
const AMERICAN_AREAS: &[u32] =
    &[202, 206, 212, 303, 305, 312, 404, 415, 503, 512, 602, 612, 617, 702, 713, 718, 802, 808];
const CANADIAN_AREAS: &[u32] = &[204, 403, 416, 506, 514, 604, 613, 902];

impl Many {
    /// # Errors
    /// Where there are too many, or invoices of nobody.
    pub(super) fn fill(&self, records: &mut Records, whose: usize, now: DateTime<Utc>) -> Result<(), String> {
        if self.customers > 200_000 || self.invoices > 1_000_000 {
            return Err("`many` are 200000 customers and a million invoices at most".to_owned());
        }
        if self.customers == 0 && self.invoices > 0 {
            return Err("`many` invoices need customers".to_owned());
        }
        let mut random = fastrand::Rng::with_seed(self.seed ^ 0x2040);
        let offset = records.organizations[whose].offset;
        let today = self.today.unwrap_or_else(|| now.with_timezone(&offset).date_naive());
        let first = records.customers.len();
        let mut ids = Vec::with_capacity(self.customers);
        for n in first..first + self.customers {
            let customer = customer(n, records, whose, now, &mut random);
            ids.push(customer.id);
            records.customers.insert(customer.id, customer);
        }
        for _ in 0..self.invoices {
            // The square lets some have many invoices and others none.
            let share = random.f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index"
            )]
            let index = ((share * share * ids.len() as f64) as usize).min(ids.len() - 1);
            let invoice = invoice(ids[index], records, whose, (today, now), &mut random);
            records.invoices.insert(invoice.id, invoice);
        }
        Ok(())
    }
}

fn pick<'a>(list: &[&'a str], random: &mut fastrand::Rng) -> &'a str {
    list[random.usize(..list.len())]
}

fn customer(n: usize, records: &mut Records, whose: usize, now: DateTime<Utc>, random: &mut fastrand::Rng) -> Customer {
    let mut share = random.u32(..100);
    let place = COUNTRIES.iter().find(|(.., of_hundred)| {
        let is_here = share < *of_hundred;
        share = share.wrapping_sub(if is_here { 0 } else { *of_hundred });
        is_here
    });
    let (currency_code, country, _) = place.copied().unwrap_or(COUNTRIES[0]);
    let last_name = pick(LAST_NAMES, random);
    let contact_name = format!("{last_name} {} {:05}", pick(TRADES, random), n + 1);
    let mut person = Person {
        contact_person_id: records.new_id().to_string(),
        first_name: pick(FIRST_NAMES, random).to_owned(),
        last_name: last_name.to_owned(),
        email: format!("customer{}@example.com", n + 1),
        is_primary_contact: true,
        ..Person::default()
    };
    let mut persons = Vec::new();
    match random.u32(..100) {
        // Nobody to be found at all, or only a name.
        0..5 => {}
        5..12 => persons.push(person),
        // Only a listing by itself shows whom to call.
        12..17 => {
            let other = Person {
                contact_person_id: records.new_id().to_string(),
                first_name: pick(FIRST_NAMES, random).to_owned(),
                mobile: phone(n, country, true),
                is_primary_contact: false,
                ..person.clone()
            };
            persons.extend([person, other]);
        }
        17..40 => {
            person.mobile = phone(n, country, true);
            persons.push(person);
        }
        40..75 => {
            person.phone = phone(n, country, false);
            persons.push(person);
        }
        _ => {
            person.phone = phone(n, country, false);
            person.mobile = phone(n, country, true);
            persons.push(person);
        }
    }
    let created_at = in_seconds(now - TimeDelta::minutes(random.i64(60 * 24 * 30..60 * 24 * 900)));
    let age = (now - created_at).num_seconds();
    Customer {
        id: records.new_id(),
        organization: whose,
        company_name: contact_name.clone(),
        contact_name,
        contact_type: "customer".to_owned(),
        is_active: random.u32(..100) < 95,
        currency_code: currency_code.to_owned(),
        country: country.to_owned(),
        payment_terms: [0, 15, 30][random.usize(..3)],
        payment_reminder_enabled: random.u32(..100) < 97,
        persons,
        created_at,
        modified_at: created_at + TimeDelta::seconds(random.i64(0..age)),
        outstanding: 0,
    }
}

/// Numbers that are kept for stories, written as people write them.
fn phone(n: usize, country: &str, is_mobile: bool) -> String {
    let in_country = u32::try_from(n % 100_000).unwrap_or_default();
    let (low, high) = (in_country % 100, in_country / 100);
    let area = |areas: &[u32]| areas[high as usize % areas.len()];
    // A mobile number of a country without its own range for them is another line of the same place.
    let line = 100 + (low + u32::from(is_mobile) * 50) % 100;
    match country {
        "United Kingdom" if is_mobile => format!("07700 900{:03}", in_country % 1000),
        "United Kingdom" => format!("020 7946 0{:03}", in_country % 1000),
        "Germany" if is_mobile => format!("+49 (0)30 23125-{:03}", (in_country + 500) % 1000),
        "Germany" => format!("+49 30 23125{:03}", in_country % 1000),
        "France" if is_mobile => format!("+33 6 39 98 {:02} {low:02}", high % 100),
        "France" => format!("01 99 00 {:02} {low:02}", high % 100),
        "Australia" if is_mobile => format!("0491 570 {:03}", 6 + in_country % 5),
        "Australia" => format!("(02) 5550 {:04}", in_country % 10_000),
        "Canada" => format!("+1-{}-555-{line:04}", area(CANADIAN_AREAS)),
        _ if is_mobile => format!("+1-{}555{line:04}", area(AMERICAN_AREAS)),
        _ => format!("({}) 555-{line:04}", area(AMERICAN_AREAS)),
    }
}

fn invoice(
    customer: u64,
    records: &mut Records,
    whose: usize,
    (today, now): (NaiveDate, DateTime<Utc>),
    random: &mut fastrand::Rng,
) -> Invoice {
    let (status, due_in) = match random.u32(..100) {
        0..50 => (Status::Paid, random.i64(-400..20)),
        50..72 => (Status::Overdue, random.i64(-60..0)),
        72..85 => (Status::Sent, random.i64(0..30)),
        85..88 => (Status::Viewed, random.i64(0..30)),
        88..95 => (Status::PartiallyPaid, random.i64(-30..20)),
        95..98 => (Status::Void, random.i64(-200..10)),
        _ => (Status::Draft, random.i64(0..45)),
    };
    let due_date = today + TimeDelta::days(due_in);
    let terms = records.customers.get(&customer).map_or(0, |customer| customer.payment_terms);
    let date = (due_date - Days::new(terms.max(15).into())).min(today);
    let total = random.i64(500..500_000);
    let balance = match status {
        Status::Paid | Status::Void => 0,
        Status::PartiallyPaid => random.i64(1..total),
        _ => total,
    };
    let created_at = (date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::seconds(random.i64(0..86_400))).min(now);
    let age = (now - created_at).num_seconds().max(1);
    let modified_at = created_at + TimeDelta::seconds(random.i64(0..age));
    let has_payment = matches!(status, Status::Paid | Status::PartiallyPaid);
    let reminders_sent = if status == Status::Overdue { random.u32(..4) } else { 0 };
    Invoice {
        id: records.new_id(),
        organization: whose,
        customer,
        number: format!("INV-{:06}", records.invoices.len() + 1),
        status,
        date,
        due_date,
        total,
        balance,
        currency_code: records.customers.get(&customer).map(|one| one.currency_code.clone()).unwrap_or_default(),
        reminders_sent,
        last_reminder_sent_date: (reminders_sent > 0).then(|| modified_at.date_naive()),
        last_payment_date: has_payment.then(|| modified_at.date_naive()),
        payment_reminder_enabled: true,
        custom_fields: Vec::new(),
        created_at: in_seconds(created_at),
        modified_at: in_seconds(modified_at),
    }
}
