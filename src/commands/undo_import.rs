//! `undo-import`: takes an import back.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::import_contacts::changes::{Changes, attributes_of, fields_mut};
use super::telling::record_of;
use crate::app::App;
use crate::error::{Exit, Failure};
use crate::output::Rows;
use crate::store::contacts::{self, Contact};
use crate::store::imports::{self, Import, undo};
use crate::store::{StoreError, Tx, control, spent};

/// Why somebody stays whom a payment has put into the campaign as well.
const WELCOMED: &str = "a customer is welcomed by it";

/// Contacts that an error names.
const NAMED: usize = 10;

/// Arguments of `undo-import`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops undo-import 01JD5Q3G7V9M2C8K4R6T0W1XYZ --dry-run
  callops undo-import 01JD5Q3G7V9M2C8K4R6T0W1XYZ
  callops undo-import 01JD5Q3G7V9M2C8K4R6T0W1XYZ --keep-called

Contacts that the import made are removed, and each field that still holds what it wrote holds again what it held
before. What somebody changed or enrolled since stays, and so do customers who paid since: all are listed (exit code
4). Where calls were made for its contacts since, nothing is done (exit code 5), unless those are to be kept. Slots
and suppressions stay in any case: nobody is called twice because a list was taken back. Only slots that import-queue
has spent without a call go with it: import the queue again before anybody calls. `callops list imports` shows ids.")]
pub struct Args {
    /// The import's id
    #[arg(value_name = "IMPORT")]
    pub import: String,
    /// Leave contacts as they are that calls were made for since, and take back the rest
    #[arg(long)]
    pub keep_called: bool,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What an undo did.
#[derive(Default)]
struct Undone {
    removed: u64,
    restored: u64,
    unenrolled: u64,
    /// Slots that were spent without a call of ours.
    unspent: u64,
    /// What stays: contact, phone, why.
    kept: Vec<(String, String, String)>,
}

/// Why nothing was undone.
enum Stop {
    Refused(Failure),
    Already(DateTime<Utc>),
    Called(Vec<undo::Kept>),
    Preview(Undone),
}

/// Undoes an import.
///
/// # Errors
/// Exit 2 for an import that is not there, 5 where calls were made for its contacts since.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let outcome = db
        .write_unless(async |tx| {
            let Some(import) = imports::import(tx, &args.import, true).await? else {
                let failure = Failure::usage(format!("there is no import {}", args.import));
                return Ok(Err(Stop::Refused(failure.hint("`callops list imports` shows them"))));
            };
            if let Some(at) = import.undone_at {
                return Ok(Err(Stop::Already(at)));
            }
            contacts::lock_tenant(tx, &import.tenant).await?;
            control::lock_dialling(tx).await?;
            let called = undo::called_since(tx, &import).await?;
            if !called.is_empty() && !args.keep_called {
                return Ok(Err(Stop::Called(called)));
            }
            let now = app.clock.now();
            let undone = take_back(tx, &import, &called, now).await?;
            if args.dry_run {
                return Ok(Err(Stop::Preview(undone)));
            }
            if !undo::mark_undone(tx, &import.id, now).await? {
                return Err(StoreError::Conflict(format!("import {} was undone by somebody else", import.id)));
            }
            let detail = json!({
                "removed": undone.removed, "restored": undone.restored, "unenrolled": undone.unenrolled,
                "unspent": undone.unspent, "kept": undone.kept.len(),
            });
            app.audit(tx, "undo-import", &format!("import:{}", import.id), detail).await?;
            Ok(Ok(undone))
        })
        .await?;
    match outcome {
        Ok(undone) | Err(Stop::Preview(undone)) => tell(app, &args, &undone),
        Err(Stop::Refused(failure)) => Err(failure.into()),
        Err(Stop::Already(at)) => {
            let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
            app.printer.say(format!("import {} was undone at {at}; there is nothing to do", args.import));
            Ok(Exit::Success)
        }
        Err(Stop::Called(called)) => Err(refuse(&args, &called).into()),
    }
}

fn refuse(args: &Args, called: &[undo::Kept]) -> Failure {
    let mut named: Vec<&str> = called.iter().take(NAMED).map(|kept| kept.phone.as_str()).collect();
    let more = format!("and {} more", called.len().saturating_sub(NAMED));
    if called.len() > NAMED {
        named.push(&more);
    }
    Failure::refused(format!(
        "calls were made since for {} contacts of import {}: {}",
        called.len(),
        args.import,
        named.join(", ")
    ))
    .hint("--keep-called leaves those as they are and takes back the rest; with --dry-run it lists them all")
}

async fn take_back(
    tx: &mut Tx,
    import: &Import,
    called: &[undo::Kept],
    now: DateTime<Utc>,
) -> Result<Undone, StoreError> {
    let mut undone = Undone::default();
    let is_called: HashSet<&str> = called.iter().map(|kept| kept.contact_id.as_str()).collect();
    for kept in called {
        undone.kept.push((kept.contact_id.clone(), kept.phone.clone(), "called".to_owned()));
    }
    for kept in
        undo::withdrawn(tx, import).await?.into_iter().filter(|kept| !is_called.contains(kept.contact_id.as_str()))
    {
        undone.kept.push((kept.contact_id, kept.phone, "withdrawn since".to_owned()));
    }
    // What the import made goes first: it may have the phones that others get back.
    undone.unspent = spent::take_back(tx, import, now).await?;
    undone.unenrolled = undo::remove_enrollments(tx, import).await?;
    for (id, phone, is_welcomed) in undo::still_enrolled(tx, import).await? {
        if !is_called.contains(id.as_str()) {
            let reason = if is_welcomed { WELCOMED } else { "enrolled since" };
            undone.kept.push((id, phone, reason.to_owned()));
        }
    }
    undone.removed = undo::remove_contacts(tx, import).await?;
    let restored = restore_all(tx, import, &is_called, now, &mut undone).await?;
    contacts::recheck(tx, &restored, now).await?;
    undone.restored = restored.len() as u64;
    let listed: HashSet<String> = undone.kept.iter().map(|(id, ..)| id.clone()).collect();
    for (id, phone, is_changed, is_customer) in undo::left_contacts(tx, import).await? {
        if !listed.contains(&id) {
            let reason = match (is_customer, is_changed) {
                (true, _) => "a customer who paid has its phone",
                (false, true) => "changed since",
                (false, false) => "enrolled since",
            };
            undone.kept.push((id, phone, reason.to_owned()));
        }
    }
    Ok(undone)
}

/// Takes out again whom the import had brought back: each with the enrollment, and the reason that it had.
async fn withdraw_again(
    tx: &mut Tx,
    import: &Import,
    revived: &[(Contact, String, String)],
    now: DateTime<Utc>,
    undone: &mut Undone,
) -> Result<(), StoreError> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (_, enrollment, reason) in revived {
        by_reason.entry(reason).or_default().push(enrollment);
    }
    let mut written = HashSet::new();
    for (reason, ids) in by_reason {
        written.extend(undo::withdraw_again(tx, import, &ids, reason, now).await?);
    }
    undone.unenrolled += written.len() as u64;
    for (contact, enrollment, _) in revived.iter().filter(|(_, enrollment, _)| !written.contains(enrollment)) {
        tracing::debug!(enrollment, "somebody else has decided about it since");
        undone.kept.push((contact.id.clone(), contact.phone.clone(), "enrolled or withdrawn since".to_owned()));
    }
    Ok(())
}

/// Puts back what the import changed about contacts and their enrollments; gives the ids of those that were written.
async fn restore_all(
    tx: &mut Tx,
    import: &Import,
    is_called: &HashSet<&str>,
    now: DateTime<Utc>,
    undone: &mut Undone,
) -> Result<Vec<String>, StoreError> {
    let mut written = Vec::new();
    // Each with the phone that it has now. One gives up the phone that another gets back, so they are written in rounds.
    let mut waiting: Vec<(Contact, String)> = Vec::new();
    let mut after = String::new();
    loop {
        let changes = undo::changes(tx, &import.id, &after).await?;
        let Some(last) = changes.last() else { break };
        after.clone_from(&last.contact_id);
        let ids: Vec<&str> =
            changes.iter().map(|change| change.contact_id.as_str()).filter(|id| !is_called.contains(id)).collect();
        if ids.is_empty() {
            continue;
        }
        let mut ready = Vec::new();
        let mut revived = Vec::new();
        for old in undo::lock_contacts(tx, &ids).await? {
            let Some(change) = changes.iter().find(|change| change.contact_id == old.id) else { continue };
            let changes: Changes = serde_json::from_str(&change.changes).map_err(|error| unreadable(import, &error))?;
            for (enrollment, reason) in &changes.revived {
                revived.push((old.clone(), enrollment.clone(), reason.clone()));
            }
            let (contact, still_other) = restore(&old, &changes, now).map_err(|error| unreadable(import, &error))?;
            for field in still_other {
                undone.kept.push((old.id.clone(), old.phone.clone(), format!("{field} was changed since")));
            }
            match contact {
                Some(contact) if contact.phone != old.phone => waiting.push((contact, old.phone)),
                Some(contact) => ready.push(contact),
                None => {}
            }
        }
        written.extend(contacts::correct(tx, &ready).await?);
        withdraw_again(tx, import, &revived, now, undone).await?;
    }
    loop {
        let mut progress = false;
        for batch in waiting.chunks(contacts::BATCH_ROWS) {
            let batch: Vec<Contact> = batch.iter().map(|(contact, _)| contact.clone()).collect();
            let done = contacts::correct(tx, &batch).await?;
            progress |= !done.is_empty();
            written.extend(done);
        }
        let done: HashSet<&str> = written.iter().map(String::as_str).collect();
        waiting.retain(|(contact, _)| !done.contains(contact.id.as_str()));
        if !progress || waiting.is_empty() {
            break;
        }
    }
    // Whose phone somebody else has keeps the one that it has, and gets the rest back.
    let mut rest = Vec::new();
    for (contact, phone) in waiting {
        let reason = format!("another contact has {} now", contact.phone);
        undone.kept.push((contact.id.clone(), phone.clone(), reason));
        rest.push(Contact { phone, updated_at: now, ..contact });
    }
    for batch in rest.chunks(contacts::BATCH_ROWS) {
        written.extend(contacts::correct(tx, batch).await?);
    }
    Ok(written)
}

fn unreadable(import: &Import, problem: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable { what: "changes", subject: format!("import {}", import.id), problem: problem.to_string() }
}

/// A contact with each field as it was before the import, where it still holds what the import wrote; none where no
/// field does. Also gives the fields that hold something else by now.
fn restore(old: &Contact, changes: &Changes, now: DateTime<Utc>) -> anyhow::Result<(Option<Contact>, Vec<String>)> {
    let mut new = old.clone();
    let mut still_other = Vec::new();
    if let Some((Some(before), Some(after))) = changes.fields.get("phone") {
        if old.phone == *after {
            new.phone.clone_from(before);
        } else {
            still_other.push("phone".to_owned());
        }
    }
    for (name, field) in fields_mut(&mut new) {
        let Some((before, after)) = changes.fields.get(name) else { continue };
        if field == after {
            field.clone_from(before);
        } else {
            still_other.push(name.to_owned());
        }
    }
    if new.timezone.is_none() {
        new.timezone_source = None;
    }
    if !changes.attributes.is_empty() {
        let mut attributes = attributes_of(old)?;
        for (name, (before, after)) in &changes.attributes {
            if attributes.get(name) != after.as_ref() {
                still_other.push(format!("attribute {name}"));
            } else if let Some(before) = before {
                attributes.insert(name.clone(), before.clone());
            } else {
                attributes.shift_remove(name);
            }
        }
        new.attributes = Value::Object(attributes).to_string();
    }
    if new == *old {
        return Ok((None, still_other));
    }
    // Whatever was changed: a claim made before must not ring.
    new.version += 1;
    new.updated_at = match changes.updated_at {
        // As if it had never been changed: the import that made it can then be undone as well.
        Some((before, after)) if old.updated_at == after && still_other.is_empty() => before,
        _ => now,
    };
    Ok((Some(new), still_other))
}

fn tell(app: &App, args: &Args, undone: &Undone) -> anyhow::Result<Exit> {
    let kept = undone.kept.iter().map(|(id, phone, reason)| vec![json!(id), json!(phone), json!(reason)]);
    let mut rows = Rows::new(&["contact", "phone", "reason"]);
    kept.for_each(|row| rows.push(row));
    let mut record = record_of(json!({
        "import": args.import, "dry_run": args.dry_run, "removed": undone.removed, "restored": undone.restored,
        "unenrolled": undone.unenrolled, "unspent": undone.unspent, "kept": undone.kept.len(),
    }));
    if app.printer.is_table() {
        app.printer.record(&record)?;
        if !rows.is_empty() {
            app.printer.line("\nthese stay as they are:")?;
            app.printer.rows(&rows)?;
        }
    } else {
        record.insert("kept".to_owned(), rows.objects().map(Value::Object).collect());
        app.printer.record(&record)?;
    }
    Ok(if undone.kept.is_empty() { Exit::Success } else { Exit::Partial })
}
