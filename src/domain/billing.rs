//! Bills that a tenant writes elsewhere: where they are, and how often they may be asked for.

pub mod records;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::call::{UnknownWord, words};

/// The provider word of accounts that hold customers and invoices.
pub const PROVIDER: &str = "zoho";

/// The seconds after which everything is read once more, unless a tenant says otherwise: a day.
pub const DEFAULT_FULL_SYNC_AFTER_SECONDS: i64 = 24 * 3600;

/// What a tenant says of its bills. Stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingSettings {
    /// The Zoho account, by its name here, that its books are read with.
    pub account: String,
    /// Its organisation there.
    pub organization_id: String,
    /// The seconds after which everything is read once more, which is what finds deletions.
    #[serde(default)]
    pub full_sync_after_seconds: Option<i64>,
    /// What its organisation pays for.
    #[serde(default)]
    pub plan: Option<Plan>,
    /// The most requests in a minute, if it is not the plan's.
    #[serde(default)]
    pub requests_per_minute: Option<i64>,
    /// The most requests in a day, if it is not the plan's.
    #[serde(default)]
    pub requests_per_day: Option<i64>,
    /// The most requests at once, if it is not the plan's.
    #[serde(default)]
    pub requests_at_once: Option<i64>,
}

impl BillingSettings {
    /// The seconds after which everything is read once more.
    pub fn full_sync_after_seconds(&self) -> i64 {
        self.full_sync_after_seconds.unwrap_or(DEFAULT_FULL_SYNC_AFTER_SECONDS)
    }

    /// How often its organisation may be asked.
    pub fn limits(&self) -> RequestLimits {
        let plan = self.plan.unwrap_or_default().limits();
        RequestLimits {
            per_minute: self.requests_per_minute.unwrap_or(plan.per_minute),
            per_day: self.requests_per_day.unwrap_or(plan.per_day),
            at_once: self.requests_at_once.unwrap_or(plan.at_once),
        }
    }
}

/// How often an organisation may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests in any 60 seconds.
    pub per_minute: i64,
    /// Requests in a day.
    pub per_day: i64,
    /// Requests that are under way.
    pub at_once: i64,
}

/// What an organisation pays for, which decides how often it may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// Nothing: 1,000 requests a day, 5 at once.
    #[default]
    Free,
    /// 2,000 requests a day, 10 at once.
    Standard,
    /// 5,000 requests a day, 10 at once.
    Professional,
    /// Premium and what is above it: 10,000 requests a day, 10 at once.
    Premium,
}

words!(Plan, "plan", {
    Free => "free", Standard => "standard", Professional => "professional", Premium => "premium",
});

impl Plan {
    /// Its limits.
    pub const fn limits(self) -> RequestLimits {
        let (per_day, at_once) = match self {
            Self::Free => (1000, 5),
            Self::Standard => (2000, 10),
            Self::Professional => (5000, 10),
            Self::Premium => (10_000, 10),
        };
        RequestLimits { per_minute: 100, per_day, at_once }
    }
}

/// Where an organisation's data are. A client and its tokens work in one data centre only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataCenter {
    /// United States.
    Us,
    /// European Union.
    Eu,
    /// India.
    In,
    /// Australia.
    Au,
    /// Japan.
    Jp,
    /// Canada.
    Ca,
    /// China.
    Cn,
    /// Saudi Arabia.
    Sa,
    /// United Kingdom.
    Uk,
}

words!(DataCenter, "data centre", {
    Us => "us", Eu => "eu", In => "in", Au => "au", Jp => "jp", Ca => "ca", Cn => "cn", Sa => "sa", Uk => "uk",
});

impl DataCenter {
    /// Where tokens are given out.
    pub const fn accounts_url(self) -> &'static str {
        match self {
            Self::Us => "https://accounts.zoho.com",
            Self::Eu => "https://accounts.zoho.eu",
            Self::In => "https://accounts.zoho.in",
            Self::Au => "https://accounts.zoho.com.au",
            Self::Jp => "https://accounts.zoho.jp",
            Self::Ca => "https://accounts.zohocloud.ca",
            Self::Cn => "https://accounts.zoho.com.cn",
            Self::Sa => "https://accounts.zoho.sa",
            Self::Uk => "https://accounts.zoho.uk",
        }
    }

    /// Where books are read, unless the answer with the token names another host; none: only that answer says it.
    pub const fn api_url(self) -> Option<&'static str> {
        Some(match self {
            Self::Us => "https://www.zohoapis.com",
            Self::Eu => "https://www.zohoapis.eu",
            Self::In => "https://www.zohoapis.in",
            Self::Au => "https://www.zohoapis.com.au",
            Self::Jp => "https://www.zohoapis.jp",
            Self::Ca => "https://www.zohoapis.ca",
            Self::Cn => "https://www.zohoapis.com.cn",
            Self::Sa => "https://www.zohoapis.sa",
            Self::Uk => return None,
        })
    }
}

/// What is kept of the books, each in a table and with a state of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Whom invoices are written to.
    Customers,
    /// What is to be paid.
    Invoices,
}

words!(RecordKind, "kind of record", { Customers => "customers", Invoices => "invoices" });

/// The statuses of invoices, in Zoho's words.
pub const INVOICE_STATUSES: [&str; 8] =
    ["draft", "sent", "viewed", "overdue", "unpaid", "partially_paid", "paid", "void"];

/// Those of them of which something is to be paid.
pub const OPEN_STATUSES: [&str; 5] = ["sent", "viewed", "overdue", "unpaid", "partially_paid"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_own_limits_win_over_its_plans() {
        let settings = BillingSettings::default();
        assert_eq!(settings.limits(), RequestLimits { per_minute: 100, per_day: 1000, at_once: 5 });
        assert_eq!(settings.full_sync_after_seconds(), 86_400);
        let settings = BillingSettings {
            plan: Some(Plan::Professional),
            requests_per_day: Some(300),
            requests_at_once: Some(2),
            ..settings
        };
        assert_eq!(settings.limits(), RequestLimits { per_minute: 100, per_day: 300, at_once: 2 });
    }
}
