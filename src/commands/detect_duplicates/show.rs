//! Findings on stdout.

use std::io;

use serde_json::{Value, json};

use crate::app::App;
use crate::commands::telling::instant;
use crate::domain::alert::row;
use crate::domain::duplicates::{Finding, Kind};
use crate::output::Rows;

const COLUMNS: [&str; 8] = ["kind", "tenant", "subject", "count", "first_at", "last_at", "minutes_between", "detail"];

/// Writes findings: a row for each to programs, and a table for each kind to people, who read 80 columns.
pub(super) fn show(app: &App, findings: &[Finding]) -> io::Result<()> {
    if !app.printer.is_table() {
        let mut rows = Rows::new(&COLUMNS);
        for finding in findings {
            let mut row = row(finding);
            rows.push(COLUMNS.iter().map(|column| row.remove(*column).unwrap_or_default()).collect());
        }
        return app.printer.rows(&rows);
    }
    let mut is_first = true;
    for kind in Kind::ALL {
        let mut rows = Rows::new(columns(*kind));
        findings.iter().filter(|finding| finding.kind == *kind).for_each(|finding| rows.push(cells(finding)));
        if rows.is_empty() {
            continue;
        }
        if !is_first {
            app.printer.line("")?;
        }
        is_first = false;
        app.printer.line(format!("{kind}:"))?;
        app.printer.rows(&rows)?;
    }
    Ok(())
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Numbers => &["tenant", "count", "first_bought", "minutes", "a_month", "so_far", "phones"],
        Kind::Contacts => &["tenant", "count", "same", "contacts"],
        Kind::Calls => &["tenant", "phone", "count", "first_rang", "minutes", "purposes"],
        Kind::Conversations => &["tenant", "count", "same", "records"],
    }
}

fn cells(finding: &Finding) -> Vec<Value> {
    let detail = |key: &str| finding.detail.get(key).cloned().unwrap_or_default();
    let list = |key: &str| json!(words(&detail(key)));
    let (tenant, count) = (json!(finding.tenant), json!(finding.count));
    let first = instant(finding.first_at);
    let minutes = json!(finding.minutes_between());
    match finding.kind {
        Kind::Numbers => {
            vec![tenant, count, first, minutes, detail("wasted_per_month"), detail("wasted_so_far"), list("phones")]
        }
        Kind::Contacts => vec![tenant, count, json!(finding.subject), list("contact_ids")],
        Kind::Calls => {
            let phone = finding.subject.strip_prefix("phone:").unwrap_or(&finding.subject);
            vec![tenant, json!(phone), count, first, minutes, list("purposes")]
        }
        Kind::Conversations => {
            let same = match finding.subject.split_once(':') {
                Some(("conversation", id)) => json!(id),
                _ => detail("same_by"),
            };
            vec![tenant, count, same, list("record_ids")]
        }
    }
}

/// A list in one line each: a table is read downward.
fn words(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}
