//! How the plan and what came of it are shown.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::act::Outcome;
use super::checklist::Checklist;
use super::plan::Plan;
use crate::app::App;
use crate::commands::telling::instant;
use crate::domain::numbers::Number;
use crate::domain::numbers::keeper::Verdict;
use crate::output::Rows;

/// Says that there is nothing to do, and of whom more is known.
pub(super) fn nothing_to_do(app: &App, plan: &Plan) -> Result<()> {
    if plan.tenants.is_empty() {
        left_out(app, plan);
        app.printer.say("no business has numbers to release");
        return Ok(());
    }
    self::plan(app, plan)?;
    app.printer.say("every number is kept; there is nothing to release");
    Ok(())
}

fn left_out(app: &App, plan: &Plan) {
    for (tenant, why) in &plan.left_out {
        app.printer.warn(format!("all numbers of {tenant} are kept: {why}"));
    }
}

/// Shows people what is to be done, before they are asked.
pub(super) fn plan(app: &App, plan: &Plan) -> Result<()> {
    left_out(app, plan);
    if app.printer.is_table() {
        app.printer.rows(&rows_for_people(plan))?;
    }
    for tenant in plan.tenants.iter().filter(|tenant| tenant.moves_record) {
        if let Some(keeper) = tenant.keeper() {
            app.printer.say(format!("{} becomes the number of {} in the database", keeper.phone, tenant.tenant));
        }
    }
    Ok(())
}

/// A text of a number, where it has it.
type Text = fn(&Number) -> Option<&String>;

/// What people decide by: calls and the database are among the reasons, and what no number has is left out.
fn rows_for_people(plan: &Plan) -> Rows {
    let verdicts = || {
        plan.tenants.iter().flat_map(|tenant| tenant.verdicts().map(move |(verdict, number)| (tenant, verdict, number)))
    };
    let has = |text: Text| verdicts().any(|(.., number)| text(number).is_some());
    let urls: [(&'static str, Text); 3] = [
        ("voice_url", |number| number.voice_url.as_ref()),
        ("sms_url", |number| number.sms_url.as_ref()),
        ("trunk", |number| number.trunk_sid.as_ref()),
    ];
    let urls: Vec<_> = urls.into_iter().filter(|(_, text)| has(*text)).collect();
    let columns: Vec<&'static str> = ["tenant", "phone", "verdict", "reasons", "bought_at"]
        .into_iter()
        .chain(urls.iter().map(|(name, _)| *name))
        .collect();
    let mut rows = Rows::new(&columns);
    for (tenant, verdict, number) in verdicts() {
        let mut row = vec![
            json!(tenant.tenant),
            json!(number.phone),
            json!(word(verdict)),
            json!(verdict.reasons.join("; ")),
            instant(number.bought_at),
        ];
        row.extend(urls.iter().map(|(_, text)| json!(text(number))));
        rows.push(row);
    }
    rows
}

const fn word(verdict: &Verdict) -> &'static str {
    if verdict.keeps { "KEEP" } else { "RELEASE" }
}

/// Shows programs a plan that is not carried out.
pub(super) fn plan_for_programs(app: &App, plan: &Plan) -> Result<()> {
    if !app.printer.is_table() {
        app.printer.record(&Map::from_iter([("plan".to_owned(), list(&rows(plan)))]))?;
    }
    Ok(())
}

fn rows(plan: &Plan) -> Rows {
    let mut rows = Rows::new(&[
        "tenant",
        "phone",
        "verdict",
        "reasons",
        "bought_at",
        "in_database",
        "recent_calls",
        "voice_url",
        "sms_url",
        "trunk",
        "sid",
    ]);
    for tenant in &plan.tenants {
        for (verdict, number) in tenant.verdicts() {
            let evidence = tenant.number(&verdict.sid).map(|(_, evidence)| evidence);
            rows.push(vec![
                json!(tenant.tenant),
                json!(number.phone),
                json!(word(verdict)),
                json!(verdict.reasons.join("; ")),
                instant(number.bought_at),
                json!(evidence.is_some_and(|evidence| evidence.in_database)),
                json!(evidence.and_then(|evidence| evidence.recent_calls.as_ref().ok())),
                json!(number.voice_url),
                json!(number.sms_url),
                json!(number.trunk_sid),
                json!(number.sid),
            ]);
        }
    }
    rows
}

/// Shows what was done, and the checklist.
pub(super) fn finished(app: &App, plan: &Plan, outcomes: &[Outcome], checklist: &Checklist) -> Result<()> {
    let mut lines = Rows::new(&["check", "verdict", "what"]);
    for line in &checklist.lines {
        lines.push(vec![json!(line.check), json!(if line.is_ok { "ok" } else { "open" }), json!(line.what)]);
    }
    if app.printer.is_table() {
        if !outcomes.is_empty() {
            app.printer.line("")?;
        }
        app.printer.rows(&lines)?;
        return Ok(());
    }
    let mut released = Rows::new(&["tenant", "phone", "sid", "result", "reason"]);
    for outcome in outcomes {
        released.push(vec![
            json!(outcome.tenant),
            json!(outcome.phone),
            json!(outcome.sid),
            json!(outcome.word()),
            json!(outcome.reason()),
        ]);
    }
    let record = Map::from_iter([
        ("plan".to_owned(), list(&rows(plan))),
        ("releases".to_owned(), list(&released)),
        ("checklist".to_owned(), list(&lines)),
        ("saving_per_month".to_owned(), json!(checklist.saving_per_month.map(|saving| format!("{saving:.2}")))),
    ]);
    app.printer.record(&record)?;
    Ok(())
}

fn list(rows: &Rows) -> Value {
    rows.objects().map(Value::Object).collect()
}
