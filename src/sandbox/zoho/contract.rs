//! Which records a listing shows, and in which order.
//!
//! A parameter that the service is not known to have is left alone, as the service is seen to do; the ledger names it, and
//! a value that makes no sense is refused with code 2. What the service has and the stand-in does not play is refused,
//! too: nobody shall take a listing for a filtered one.

use chrono::{DateTime, NaiveDate, Utc};

use super::record::{Customer, Invoice, Status};
use crate::sandbox::query::Query;

/// What a value is refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) String);

fn wrong<T>(name: &str) -> Result<T, Wrong> {
    Err(Wrong(format!("Invalid value passed for {name}")))
}

/// The most records of a page, and how many there are where nobody says.
const MOST_PER_PAGE: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing<F> {
    pub(super) filter: F,
    pub(super) sort_column: &'static str,
    pub(super) descends: bool,
    pub(super) page: usize,
    pub(super) per_page: usize,
}

/// A filter of one kind of records.
pub(super) trait Filter: Sized {
    const PLAYED: &'static [&'static str];
    const NOT_PLAYED: &'static [&'static str];
    /// The columns to sort by; the first is the usual one.
    const COLUMNS: &'static [&'static str];
    const USUALLY_DESCENDS: bool;

    /// # Errors
    /// Naming the parameter whose value makes no sense.
    fn parse(query: &Query) -> Result<Self, Wrong>;
    /// What `page_context` calls it.
    fn applied(&self) -> &str;
}

impl<F: Filter> Listing<F> {
    pub(super) fn parse(query: &Query) -> Result<Self, Wrong> {
        if let Some(name) = query.names().find(|name| F::NOT_PLAYED.iter().any(|known| is_variant(known, name))) {
            return Err(Wrong(format!("{name} is not played by the sandbox")));
        }
        let sort_column = match query.get("sort_column") {
            None => F::COLUMNS[0],
            Some(name) => match F::COLUMNS.iter().find(|column| **column == name) {
                Some(column) => column,
                None => return wrong("sort_column"),
            },
        };
        let descends = match query.get("sort_order") {
            None => F::USUALLY_DESCENDS,
            Some("A") => false,
            Some("D") => true,
            Some(_) => return wrong("sort_order"),
        };
        let number = |name, usual, most| match query.get(name).map(str::parse) {
            None => Ok(usual),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
            Some(_) => wrong(name),
        };
        Ok(Self {
            filter: F::parse(query)?,
            sort_column,
            descends,
            page: number("page", 1, 1_000_000)?,
            per_page: number("per_page", MOST_PER_PAGE, MOST_PER_PAGE)?,
        })
    }

    /// The parameters that mean nothing here.
    pub(super) fn ignored(query: &Query) -> impl Iterator<Item = &str> {
        const COMMON: &[&str] = &["organization_id", "page", "per_page", "sort_column", "sort_order"];
        query.names().filter(|name| !COMMON.contains(name) && !F::PLAYED.contains(name))
    }
}

/// Whether a parameter is another, or a variant of it such as `contact_name_contains`.
fn is_variant(known: &str, name: &str) -> bool {
    name.strip_prefix(known).is_some_and(|rest| {
        rest.is_empty()
            || ["_startswith", "_contains", "_start", "_end", "_before", "_after"].contains(&rest)
            || rest.starts_with("_less_")
            || rest.starts_with("_greater_")
    })
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CustomerFilter {
    contact_type: Option<String>,
    filter_by: Option<&'static str>,
}

const CUSTOMERS_BY: &[&str] = &[
    "Status.All",
    "Status.Active",
    "Status.Inactive",
    "Status.Duplicate",
    "Status.PortalEnabled",
    "Status.PortalDisabled",
    "Invoice.OverDue",
    "Invoice.Unpaid",
    "Status.CreditLimitExceed",
    "Status.Crm",
];

impl Filter for CustomerFilter {
    const PLAYED: &'static [&'static str] = &["contact_type", "filter_by"];
    const NOT_PLAYED: &'static [&'static str] = &[
        "contact_name",
        "company_name",
        "first_name",
        "last_name",
        "address",
        "email",
        "phone",
        "search_text",
        "zcrm_contact_id",
        "zcrm_account_id",
        "zcrm_vendor_id",
    ];
    const COLUMNS: &'static [&'static str] = &[
        "contact_name",
        "first_name",
        "last_name",
        "email",
        "outstanding_receivable_amount",
        "created_time",
        "last_modified_time",
    ];
    const USUALLY_DESCENDS: bool = false;

    fn parse(query: &Query) -> Result<Self, Wrong> {
        let filter_by = match query.get("filter_by") {
            None => None,
            Some(word) => match CUSTOMERS_BY.iter().find(|known| **known == word) {
                Some(known) => Some(*known),
                None => return wrong("filter_by"),
            },
        };
        let contact_type = query.get("contact_type").map(str::to_owned);
        if contact_type.as_deref().is_some_and(|kind| !["customer", "vendor"].contains(&kind)) {
            return wrong("contact_type");
        }
        Ok(Self { contact_type, filter_by })
    }

    fn applied(&self) -> &str {
        self.filter_by.unwrap_or("Status.All")
    }
}

impl CustomerFilter {
    /// `is_overdue`: whether an invoice of its is.
    pub(super) fn holds(&self, customer: &Customer, is_overdue: impl Fn() -> bool) -> bool {
        self.contact_type.as_ref().is_none_or(|kind| *kind == customer.contact_type)
            && match self.applied() {
                "Status.All" | "Status.PortalDisabled" => true,
                "Status.Active" => customer.is_active,
                "Status.Inactive" => !customer.is_active,
                "Invoice.OverDue" => is_overdue(),
                "Invoice.Unpaid" => customer.outstanding > 0,
                // Nobody here has a portal, a double or a limit.
                _ => false,
            }
    }
}

/// Days of a range; `after` and `before` leave the day out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Days {
    on: Option<NaiveDate>,
    start: Option<NaiveDate>,
    end: Option<NaiveDate>,
    before: Option<NaiveDate>,
    after: Option<NaiveDate>,
}

impl Days {
    fn parse(query: &Query, name: &str) -> Result<Self, Wrong> {
        let day = |end: &str| {
            let name = format!("{name}{end}");
            match query.get(&name).map(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d")) {
                None => Ok(None),
                Some(Ok(day)) => Ok(Some(day)),
                Some(Err(_)) => wrong(&name),
            }
        };
        Ok(Self {
            on: day("")?,
            start: day("_start")?,
            end: day("_end")?,
            before: day("_before")?,
            after: day("_after")?,
        })
    }

    fn hold(&self, day: NaiveDate) -> bool {
        self.on.is_none_or(|on| day == on)
            && self.start.is_none_or(|start| day >= start)
            && self.end.is_none_or(|end| day <= end)
            && self.before.is_none_or(|before| day < before)
            && self.after.is_none_or(|after| day > after)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InvoiceFilter {
    status: Option<Status>,
    applied: Option<&'static str>,
    customer: Option<u64>,
    date: Days,
    due_date: Days,
    /// At this time or after it.
    modified_from: Option<DateTime<Utc>>,
}

/// What `status` says, what `filter_by` says, and what it is.
const INVOICES_BY: &[(&str, &str, Option<Status>)] = &[
    ("", "Status.All", None),
    ("sent", "Status.Sent", Some(Status::Sent)),
    ("draft", "Status.Draft", Some(Status::Draft)),
    ("overdue", "Status.OverDue", Some(Status::Overdue)),
    ("paid", "Status.Paid", Some(Status::Paid)),
    ("void", "Status.Void", Some(Status::Void)),
    ("unpaid", "Status.Unpaid", Some(Status::Unpaid)),
    ("partially_paid", "Status.PartiallyPaid", Some(Status::PartiallyPaid)),
    ("viewed", "Status.Viewed", Some(Status::Viewed)),
];

impl Filter for InvoiceFilter {
    const PLAYED: &'static [&'static str] = &[
        "status",
        "filter_by",
        "customer_id",
        "date",
        "date_start",
        "date_end",
        "date_before",
        "date_after",
        "due_date",
        "due_date_start",
        "due_date_end",
        "due_date_before",
        "due_date_after",
        "last_modified_time",
    ];
    const NOT_PLAYED: &'static [&'static str] = &[
        "invoice_number",
        "item_name",
        "item_id",
        "item_description",
        "reference_number",
        "customer_name",
        "recurring_invoice_id",
        "email",
        "total",
        "balance",
        "custom_field",
        "created_date",
        "search_text",
        "zcrm_potential_id",
        "response_option",
    ];
    const COLUMNS: &'static [&'static str] =
        &["created_time", "customer_name", "invoice_number", "date", "due_date", "total", "balance"];
    const USUALLY_DESCENDS: bool = true;

    fn parse(query: &Query) -> Result<Self, Wrong> {
        let by_status = match query.get("status") {
            None => None,
            Some(word) => match INVOICES_BY.iter().find(|(status, ..)| *status == word && !word.is_empty()) {
                Some(found) => Some(found),
                None => return wrong("status"),
            },
        };
        let by_filter = match query.get("filter_by") {
            None => None,
            Some(word) => match INVOICES_BY.iter().find(|(_, filter, _)| *filter == word) {
                Some(found) => Some(found),
                None => return wrong("filter_by"),
            },
        };
        let customer = match query.get("customer_id").map(str::parse) {
            None => None,
            Some(Ok(customer)) => Some(customer),
            Some(Err(_)) => return wrong("customer_id"),
        };
        let modified_from = match query.get("last_modified_time") {
            None => None,
            Some(text) => match DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%z") {
                Ok(at) => Some(at.to_utc()),
                Err(_) => return wrong("last_modified_time"),
            },
        };
        let by = by_status.or(by_filter);
        Ok(Self {
            status: by.and_then(|(.., status)| *status),
            applied: by.map(|(_, filter, _)| *filter),
            customer,
            date: Days::parse(query, "date")?,
            due_date: Days::parse(query, "due_date")?,
            modified_from,
        })
    }

    fn applied(&self) -> &str {
        self.applied.unwrap_or("Status.All")
    }
}

impl InvoiceFilter {
    pub(super) fn holds(&self, invoice: &Invoice) -> bool {
        let is_status = match self.status {
            None => true,
            Some(Status::Unpaid) => invoice.status.is_open(),
            Some(status) => invoice.status == status,
        };
        is_status
            && self.customer.is_none_or(|customer| customer == invoice.customer)
            && self.date.hold(invoice.date)
            && self.due_date.hold(invoice.due_date)
            && self.modified_from.is_none_or(|from| invoice.modified_at >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_of<F: Filter + std::fmt::Debug>(query: &str) -> Option<String> {
        Listing::<F>::parse(&Query::parse(query.as_bytes())).err().map(|wrong| wrong.0)
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for sound in ["", "status=overdue&page=3&per_page=200", "last_modified_time=2026-10-01T00:00:00%2B0530"] {
            assert_eq!(wrong_of::<InvoiceFilter>(sound), None, "{sound}");
        }
        for (query, name) in [
            ("status=late", "status"),
            ("status=", "status"),
            ("filter_by=Status.Late", "filter_by"),
            ("per_page=201", "per_page"),
            ("per_page=0", "per_page"),
            ("page=x", "page"),
            ("sort_column=last_modified_time", "sort_column"),
            ("sort_order=ASC", "sort_order"),
            ("due_date_before=20.11.2026", "due_date_before"),
            // A plus that was not encoded is a blank.
            ("last_modified_time=2026-10-01T00:00:00+0530", "last_modified_time"),
            ("customer_id=x", "customer_id"),
        ] {
            assert_eq!(wrong_of::<InvoiceFilter>(query), Some(format!("Invalid value passed for {name}")), "{query}");
        }
        assert_eq!(wrong_of::<CustomerFilter>("sort_column=last_modified_time&sort_order=D"), None);
        assert!(wrong_of::<CustomerFilter>("contact_type=lead").is_some());
        assert!(wrong_of::<CustomerFilter>("filter_by=Overdue").is_some());
    }

    #[test]
    fn what_is_not_played_is_refused_and_what_is_not_known_is_left_alone() {
        for query in ["search_text=a", "contact_name_contains=a"] {
            assert!(wrong_of::<CustomerFilter>(query).is_some(), "{query}");
        }
        for query in ["total_greater_than=5", "response_option=2"] {
            assert!(wrong_of::<InvoiceFilter>(query).is_some(), "{query}");
        }
        let query = Query::parse(b"organization_id=1&last_modified_time=x&statuss=paid&page=1");
        assert_eq!(wrong_of::<CustomerFilter>("last_modified_time=x&statuss=paid"), None);
        let ignored: Vec<&str> = Listing::<CustomerFilter>::ignored(&query).collect();
        assert_eq!(ignored, ["last_modified_time", "statuss"]);
    }
}
