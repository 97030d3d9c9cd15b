//! What an import says before and after.

use serde_json::{Map, Value, json};

use super::columns::Columns;
use super::importer::Importer;
use super::list::ListReader;
use super::tally::Verdict;
use super::{Done, Setting};
use crate::domain::campaign::ZonePolicy;
use crate::domain::contact_row::ALTERNATE_PHONES;
use crate::output::Printer;

/// Says how a list is read.
pub(super) fn say_columns(printer: &Printer, columns: &Columns, list: &ListReader) {
    let mapping = &columns.mapping;
    let fields: Vec<String> =
        mapping.fields().map(|(field, column)| format!("{} = `{column}`", field.name())).collect();
    let delimiter = match list.dialect().delimiter {
        b'\t' => "tab".to_owned(),
        sign => format!("`{}`", char::from(sign)),
    };
    let header = if columns.has_header { "" } else { ", no header" };
    printer.say(format!("reading {}, cells parted by {delimiter}{header}", list.encoding().name()));
    printer.say(format!("columns: {}; {} more as attributes", fields.join(", "), mapping.attributes().len()));
    if !mapping.phone_alternatives().is_empty() {
        let others: Vec<String> = mapping.phone_alternatives().iter().map(|name| format!("`{name}`")).collect();
        printer.say(format!("these also look like phone numbers and are kept as attributes: {}", others.join(", ")));
    }
}

/// Tells what became of a list.
pub(super) fn summarise(printer: &Printer, setting: &Setting<'_>, done: &Done) -> anyhow::Result<()> {
    let (args, importer) = (setting.args, &done.importer);
    let tally = &importer.tally;
    for example in &importer.examples {
        printer.say(example);
    }
    let reasons = tally.reasons();
    if !reasons.is_empty() {
        let list: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        printer.say(format!("rejected {}: {}", tally.of(Verdict::Rejected), list.join(", ")));
    }
    if importer.with_alternates > 0 {
        printer.say(format!(
            "rows with several valid numbers in one cell: {}; the first is called, the others are kept as the attribute \
             `{ALTERNATE_PHONES}`",
            importer.with_alternates
        ));
    }
    warn_about_calls(printer, setting, importer);
    let changes = importer.target.as_ref().map(|target| target.changes_shown.as_slice()).unwrap_or_default();
    for change in changes {
        printer.say(change);
    }
    let mut record = Map::new();
    record.insert("import".to_owned(), json!(done.import_id));
    record.insert("file".to_owned(), json!(setting.source.name()));
    record.insert("tenant".to_owned(), json!(args.tenant));
    record.insert("campaign".to_owned(), json!(setting.campaign.as_ref().map(|(campaign, _)| campaign.full_name())));
    record.insert("dry_run".to_owned(), json!(args.dry_run));
    record.extend(tally.to_object());
    record.insert("enrolled".to_owned(), json!(importer.enrolled()));
    if !printer.is_table() {
        let by_reason: Map<String, Value> =
            reasons.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect();
        record.insert("reasons".to_owned(), Value::Object(by_reason));
        if args.dry_run && importer.target.is_some() {
            record.insert("changes".to_owned(), json!(changes));
        }
    }
    printer.record(&record)?;
    Ok(())
}

/// Says what of the list the campaign will not call, or not when asked.
fn warn_about_calls(printer: &Printer, setting: &Setting<'_>, importer: &Importer) {
    let Some((campaign, Some(rules))) = &setting.campaign else { return };
    let window = &rules.schedule.window;
    let outside: u64 =
        importer.preferred_times.iter().filter(|(time, _)| time.is_clamped_by(*window)).map(|(_, n)| n).sum();
    if outside > 0 {
        printer
            .warn(format!("{outside} contacts prefer a time outside the window {window}; they are due when it opens"));
    }
    if rules.zone_policy != ZonePolicy::Callee {
        return;
    }
    let name = campaign.full_name();
    let without_zone = importer.zones.without_zone();
    if without_zone > 0 {
        printer.warn(format!(
            "of {without_zone} rows no time zone is known, neither by the list nor by the phone; campaign {name} calls by \
             the callee's, so these are not called"
        ));
    }
    let without_window = importer.zones.without_common_window(&rules.schedule, setting.now);
    if without_window > 0 {
        printer.warn(format!(
            "{without_window} rows may be in zones so far apart that the window {window} of campaign {name} is never open \
             in all of them; they are not called until their zone is given"
        ));
    }
}
