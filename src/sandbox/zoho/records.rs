//! Every record, and the order in which a listing shows them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::contract::{CustomerFilter, InvoiceFilter, Listing};
use super::record::{Customer, Invoice, Organization, Status};

/// The first id that is given where nobody says which.
const FIRST_ID: u64 = 460_000_000_100_000;

/// Records by their ids.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) organizations: Vec<Organization>,
    pub(super) customers: BTreeMap<u64, Customer>,
    pub(super) invoices: BTreeMap<u64, Invoice>,
    pub(super) deleted_customers: u64,
    pub(super) deleted_invoices: u64,
    next_id: u64,
    /// The ids of a listing, for the pages that follow: until anything changes.
    orders: HashMap<String, Vec<u64>>,
}

/// What records are sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Text(String),
    Amount(i64),
    Day(NaiveDate),
    Time(DateTime<Utc>),
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            organizations: Vec::new(),
            customers: BTreeMap::new(),
            invoices: BTreeMap::new(),
            deleted_customers: 0,
            deleted_invoices: 0,
            next_id: FIRST_ID,
            orders: HashMap::new(),
        }
    }

    pub(super) fn organization(&self, id: &str) -> Option<usize> {
        self.organizations.iter().position(|organization| organization.id == id)
    }

    /// An id that nobody has.
    pub(super) fn new_id(&mut self) -> u64 {
        loop {
            self.next_id += 2;
            if !self.customers.contains_key(&self.next_id) && !self.invoices.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }

    /// Must be called after records were touched: what customers owe follows from their invoices.
    pub(super) fn settle(&mut self) {
        self.orders.clear();
        let mut owed: HashMap<u64, i64> = HashMap::new();
        for invoice in self.invoices.values() {
            *owed.entry(invoice.customer).or_default() += invoice.owed();
        }
        for customer in self.customers.values_mut() {
            customer.outstanding = owed.get(&customer.id).copied().unwrap_or_default();
        }
    }

    /// The ids of a page of the listing, and whether there are more.
    pub(super) fn customers_of(&mut self, whose: usize, listing: &Listing<CustomerFilter>) -> (Vec<u64>, bool) {
        let Listing { filter, sort_column, descends, .. } = listing;
        let key = format!("customers {whose} {filter:?} {sort_column} {descends}");
        if !self.orders.contains_key(&key) {
            let overdue: HashSet<u64> = self
                .invoices
                .values()
                .filter(|invoice| invoice.status == Status::Overdue)
                .map(|invoice| invoice.customer)
                .collect();
            let shown = self.customers.values().filter(|customer| {
                customer.organization == whose && filter.holds(customer, || overdue.contains(&customer.id))
            });
            let order = sorted(shown.map(|customer| (customer_key(customer, sort_column), customer.id)), *descends);
            self.orders.insert(key.clone(), order);
        }
        page(self.orders.get(&key), listing.page, listing.per_page)
    }

    /// The ids of a page of the listing, and whether there are more.
    pub(super) fn invoices_of(&mut self, whose: usize, listing: &Listing<InvoiceFilter>) -> (Vec<u64>, bool) {
        let Listing { filter, sort_column, descends, .. } = listing;
        let key = format!("invoices {whose} {filter:?} {sort_column} {descends}");
        if !self.orders.contains_key(&key) {
            let shown = self.invoices.values().filter(|invoice| invoice.organization == whose && filter.holds(invoice));
            let order = sorted(shown.map(|invoice| (self.invoice_key(invoice, sort_column), invoice.id)), *descends);
            self.orders.insert(key.clone(), order);
        }
        page(self.orders.get(&key), listing.page, listing.per_page)
    }

    fn invoice_key(&self, invoice: &Invoice, column: &str) -> SortKey {
        match column {
            "customer_name" => {
                let customer = self.customers.get(&invoice.customer);
                SortKey::Text(customer.map(|customer| customer.contact_name.clone()).unwrap_or_default())
            }
            "invoice_number" => SortKey::Text(invoice.number.clone()),
            "date" => SortKey::Day(invoice.date),
            "due_date" => SortKey::Day(invoice.due_date),
            "total" => SortKey::Amount(invoice.total),
            "balance" => SortKey::Amount(invoice.balance),
            _ => SortKey::Time(invoice.created_at),
        }
    }
}

fn customer_key(customer: &Customer, column: &str) -> SortKey {
    let of_primary = |field: fn(&super::record::Person) -> &str| {
        SortKey::Text(customer.primary().map(field).unwrap_or_default().to_owned())
    };
    match column {
        "first_name" => of_primary(|person| &person.first_name),
        "last_name" => of_primary(|person| &person.last_name),
        "email" => of_primary(|person| &person.email),
        "outstanding_receivable_amount" => SortKey::Amount(customer.outstanding),
        "created_time" => SortKey::Time(customer.created_at),
        "last_modified_time" => SortKey::Time(customer.modified_at),
        _ => SortKey::Text(customer.contact_name.clone()),
    }
}

/// Ids by their keys; of equal keys, by themselves.
fn sorted(keys: impl Iterator<Item = (SortKey, u64)>, descends: bool) -> Vec<u64> {
    let mut keys: Vec<(SortKey, u64)> = keys.collect();
    keys.sort_unstable();
    let ids = keys.into_iter().map(|(_, id)| id);
    if descends { ids.rev().collect() } else { ids.collect() }
}

fn page(order: Option<&Vec<u64>>, page: usize, per_page: usize) -> (Vec<u64>, bool) {
    let order = order.map(Vec::as_slice).unwrap_or_default();
    let begin = (page - 1).saturating_mul(per_page).min(order.len());
    let end = (begin + per_page).min(order.len());
    (order[begin..end].to_vec(), end < order.len())
}

/// Times are shown in seconds, and so are kept in seconds.
pub(super) fn in_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::nanoseconds(at.timestamp_subsec_nanos().into())
}
