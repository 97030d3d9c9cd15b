//! The accounts that hold bills, and how old what is kept of them is.

use chrono::{DateTime, TimeDelta, Utc};

use super::Report;
use crate::app::App;
use crate::commands::billing::accounts::Setup;
use crate::commands::billing::asking::{Asked, Asker, Purpose};
use crate::commands::explain::evidence::{length, utc};
use crate::domain::billing::{PROVIDER, RecordKind};
use crate::error::Exit;
use crate::store::billing::{self, budget, passes};
use crate::store::setup::Account;
use crate::store::{Result, StoreError, Tx};

/// What was read may be so old before it is said.
const FRESH_FOR: TimeDelta = TimeDelta::hours(6);

/// Looks at one account; with `online`, Zoho is asked for the organisations that its token reaches, which is a request
/// to the first tenant's.
pub(super) async fn account(app: &App, setup: &Setup, account: &Account, online: bool, report: &mut Report) {
    let check = format!("account:{}", account.name);
    let books = match setup.books(app, account).await {
        Ok(books) => books,
        Err(error) => {
            report.error(&check, &error);
            return;
        }
    };
    let key = format!("{PROVIDER}: the refresh token, the client and its secret can be read");
    if !online {
        report.ok(&check, format!("{key}; Zoho was not asked (--online)"));
        return;
    }
    let tenants: Vec<_> = setup.tenants.iter().filter(|tenant| tenant.billing.account == account.name).collect();
    let Some(first) = tenants.first() else {
        report.ok(&check, format!("{key}; no tenant has bills there, so that Zoho was not asked"));
        return;
    };
    let asker = Asker::new(app, &books, &first.billing.organization_id, first.billing.limits());
    match asker.ask(Purpose::Keeping, async |zoho, token, _| zoho.organizations(token).await).await {
        Ok(Asked::Told(told)) => {
            let is_missing = |id: &&str| !told.value.iter().any(|one| one.id == *id);
            let wanted = tenants.iter().map(|tenant| tenant.billing.organization_id.as_str());
            let missing: Vec<&str> = wanted.filter(is_missing).collect();
            if missing.is_empty() {
                let names =
                    told.value.iter().map(|one| format!("{} ({})", one.name.as_deref().unwrap_or("no name"), one.id));
                let names: Vec<String> = names.collect();
                report.ok(&check, format!("{key}; Zoho answers; it reaches {}", names.join(", ")));
            } else {
                report.problem(
                    Exit::Configuration,
                    &check,
                    format!("{key}; Zoho answers, but its token does not reach organisation {}", missing.join(", ")),
                    "compare billing.organization_id with the organisations that the user is of",
                );
            }
        }
        Ok(Asked::Spent(until)) => report.warning(
            &check,
            format!("{key}; the day's requests are spent, until {}", utc(until)),
            "try again then",
        ),
        Err(error) => report.error(&check, &error),
    }
}

/// Says how old what is kept of each tenant's bills is, and how many requests its organisation has left today.
pub(super) async fn cache(tx: &mut Tx, setup: &Setup, now: DateTime<Utc>, report: &mut Report) -> Result<()> {
    for tenant in &setup.tenants {
        let check = format!("billing:{}", tenant.name);
        let (name, organization_id) = (&tenant.name, &tenant.billing.organization_id);
        let hint = "`callops sync-zoho` reads them; put it into the crontab, every 15 minutes";
        let is_theirs = passes::organization_of(tx, name).await?.as_ref() == Some(organization_id);
        let passes = if is_theirs { passes::of_tenant(tx, name).await? } else { Vec::new() };
        let synced_at: Option<Vec<DateTime<Utc>>> = passes.iter().map(|pass| pass.synced_at).collect();
        let Some(oldest) = synced_at.and_then(|all| all.into_iter().min()) else {
            report.warning(
                &check,
                format!("the books of organisation {organization_id} were never read to their end"),
                hint,
            );
            continue;
        };
        let used = budget::budget(tx, organization_id, now).await?.map_or(0, |budget| budget.used);
        let per_day = tenant.billing.limits().per_day;
        let customers = billing::count(tx, name, RecordKind::Customers).await?;
        let invoices = billing::count(tx, name, RecordKind::Invoices).await?;
        let what = format!(
            "{customers} customers and {invoices} invoices as of {}, {} ago; requests today {used} of {per_day}",
            utc(oldest),
            length((now - oldest).num_seconds())
        );
        if now - oldest > FRESH_FOR {
            report.warning(&check, what, hint);
        } else if used >= per_day {
            report.warning(&check, what, "there are new requests tomorrow; a larger plan has more (billing.plan)");
        } else {
            report.ok(&check, what);
        }
    }
    Ok(())
}

/// Says that where bills are cannot be said.
pub(super) fn unreadable(error: &StoreError, report: &mut Report) {
    let hint = "put the tenant in again with `callops apply`";
    report.problem(Exit::Configuration, "billing", error.to_string(), hint);
}
