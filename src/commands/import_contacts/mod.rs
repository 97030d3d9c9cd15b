//! `import-contacts`: a list of contacts into a tenant, every row accounted for.

pub(in crate::commands) mod changes;
mod columns;
pub(in crate::commands) mod entries;
pub(in crate::commands) mod files;
#[cfg(test)]
mod fuzz;
mod importer;
mod known;
pub(in crate::commands) mod list;
mod plan;
pub(in crate::commands) mod rejects;
mod seen;
mod settle;
mod summary;
mod tally;
mod temporary;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::Value;

use crate::app::App;
use crate::clock::Clock;
use crate::commands::calling::stop::Stop;
use crate::commands::check_phone::region_option;
use crate::domain::campaign::Rules;
use crate::domain::contact_row::{Field, RowReader, nearest};
use crate::domain::phone::{CallAlso, PhoneParser};
use crate::domain::region::Region;
use crate::error::{Exit, Failure};
use crate::fail_point;
use crate::output::Printer;
use crate::store::imports::{self, Import};
use crate::store::{self, Db, StoreError, Tx, contacts, setup};
use columns::Columns;
use files::{ReportFile, must_differ};
use importer::Importer;
use list::{ListReader, ReadAs, Source};
use rejects::RejectsFile;
use settle::Target;
pub use tally::{Tally, Verdict};

/// How often an import that the database rolled back for its own reasons is run again.
pub(in crate::commands) const MAX_TRIES: u32 = 4;
const REJECTS_SHOWN: usize = 5;

const MAP_HELP: &str = "\
Take a field from this column, as in phone=\"Mobile #\"; an empty column leaves the field out. Fields: phone, \
extension, name, first_name, last_name, email, timezone, preferred_time, external_id, region, state, postal_code";

/// Arguments of `import-contacts`.
#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::doc_markdown, reason = "the help shows these texts as they are")]
#[command(after_help = "Examples:
  callops import-contacts list.csv --tenant acme --campaign checkup --region US
  callops import-contacts list.csv --tenant acme --map phone='Mobile #' --rejects rejects.csv
  callops import-contacts list.csv --region US --dry-run --report report.csv

A list is CSV as spreadsheets and databases write it: encoding, delimiter (, ; tab |) and header are found out, or set.
Columns are recognised by their names; those that are not become attributes of the contact. Of several numbers in one
cell the first valid one is called, and the others are kept. The file is imported whole or not at all, and can be taken
back with undo-import until its contacts were called.")]
pub struct Args {
    /// The list; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Into which tenant; a dry run without one checks the file alone
    #[arg(long, required_unless_present = "dry_run")]
    pub tenant: Option<String>,
    /// Also enroll the contacts in this campaign, but for skipped ones and those that were withdrawn from it
    #[arg(long, requires = "tenant")]
    pub campaign: Option<String>,
    /// Country of numbers without a country code, where the row names none; else the tenant's (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Takes a field from a column.
    #[arg(long, value_name = "FIELD=COLUMN", help = MAP_HELP)]
    pub map: Vec<String>,
    /// The list's encoding, such as windows-1252, utf-16le or shift_jis; else what its bytes look like
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// What parts the list's cells: one sign, or tab; else what stands most often in its first line
    #[arg(long, value_name = "SIGN")]
    pub delimiter: Option<String>,
    /// Whether the first record names the columns; without names they are column_1, column_2 and so on
    #[arg(long, value_enum, default_value_t)]
    pub header: Header,
    /// What to do with contacts that are there already
    #[arg(long, value_enum, default_value_t)]
    pub on_existing: OnExisting,
    /// Say what would happen, and write nothing to the database
    #[arg(long)]
    pub dry_run: bool,
    /// Write rejected rows to this file as they were, with line and reason; edited, it can be imported again
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Write what became of every row to this file, as CSV
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Whether a list has a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Header {
    /// It has none where a cell of its first record is a number and no name of a column
    #[default]
    Auto,
    /// It has one
    Yes,
    /// It has none
    No,
}

/// What happens to a contact that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnExisting {
    /// Take over what the row says; what it leaves empty stays
    #[default]
    Update,
    /// Leave it as it is
    Skip,
    /// Import nothing at all
    Fail,
}

impl OnExisting {
    /// The word of the command line.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Skip => "skip",
            Self::Fail => "fail",
        }
    }
}

/// What an import did, once it is done.
struct Done {
    import_id: Option<String>,
    importer: Importer,
}

/// What the command line and the database say before the first row is read.
struct Setting<'a> {
    args: &'a Args,
    source: Source,
    read_as: ReadAs,
    explicit: Vec<(Field, String)>,
    region: Option<Region>,
    also: CallAlso,
    phones: Arc<PhoneParser>,
    campaign: Option<(setup::Campaign, Option<Rules>)>,
    now: DateTime<Utc>,
}

impl Args {
    /// Whether the file alone is checked, with neither configuration nor database.
    pub fn is_standalone(&self) -> bool {
        self.dry_run && self.tenant.is_none()
    }
}

/// Imports the list.
///
/// # Errors
/// As [`import`]; what is wrong with the database. A dry run goes on without a database that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let url = &app.config.database()?.url;
    let missing = store::sqlite_path(url.as_str()).filter(|path| !path.exists());
    let db = match missing {
        Some(path) if args.dry_run => {
            app.printer.warn(format!("there is no database at {}: only the file is checked", path.display()));
            None
        }
        _ => Some(app.db().await?),
    };
    import(db, app.clock.now(), &app.printer, &args).await
}

/// Checks a list with neither configuration nor database.
///
/// # Errors
/// As [`import`].
pub async fn run_standalone(printer: &Printer, clock: &Clock, args: &Args) -> anyhow::Result<Exit> {
    import(None, clock.now(), printer, args).await
}

/// Imports the list; with a dry run, `db` may be none and only the file is checked.
///
/// # Errors
/// Usage errors for the file, its header, the options; a tenant or campaign that is not there; what the database says.
/// Nothing is imported then. Rejected rows are no error: the exit is then [`Exit::Partial`].
pub async fn import(db: Option<&Db>, now: DateTime<Utc>, printer: &Printer, args: &Args) -> anyhow::Result<Exit> {
    let explicit = args.map.iter().map(|text| columns::map_option(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let read_as = ReadAs {
        encoding: args.encoding.as_deref().map(list::encoding_option).transpose()?,
        delimiter: args.delimiter.as_deref().map(list::delimiter_option).transpose()?,
    };
    let region = args.region.as_deref().map(region_option).transpose()?;
    let outputs = [("--rejects", &args.rejects), ("--report", &args.report)];
    let outputs: Vec<_> = outputs.iter().filter_map(|(option, path)| Some((*option, path.as_deref()?))).collect();
    must_differ(&outputs, &args.file)?;
    let source = Source::open(&args.file, read_as.encoding)?;
    let also = CallAlso::default();
    let mut setting =
        Setting { args, source, read_as, explicit, region, also, phones: Arc::default(), campaign: None, now };
    let stop = Stop::on_signals()?;
    let mut tries = 1;
    let mut done = loop {
        match run_once(db, printer, &mut setting, &stop).await {
            Err(error) if tries < MAX_TRIES && is_rolled_back(&error) => {
                tracing::debug!(%error, tries, "the database rolled the import back; running it again");
                tries += 1;
            }
            other => break other?,
        }
    };
    // The list is imported now, whatever becomes of what is written about it.
    let published = done.importer.publish();
    if let Some(id) = &done.import_id {
        printer.say(format!("imported as {id}; `callops undo-import {id}` takes it back"));
    }
    summary::summarise(printer, &setting, &done)?;
    published.with_context(|| match &done.import_id {
        Some(id) => format!("the list is imported as {id}, but not all files about it are written"),
        None => "not all files are written".to_owned(),
    })?;
    let rejected = done.importer.tally.of(Verdict::Rejected) > 0;
    Ok(if rejected { Exit::Partial } else { Exit::Success })
}

/// One whole import in one transaction.
async fn run_once(db: Option<&Db>, printer: &Printer, setting: &mut Setting<'_>, stop: &Stop) -> anyhow::Result<Done> {
    let args = setting.args;
    let mut list = ListReader::open(&setting.source, setting.read_as)?;
    let columns = Columns::of(&mut list, setting)?;
    let begin_transaction = async {
        Ok::<_, StoreError>(match db {
            Some(db) if args.dry_run => Some(db.read().await?),
            Some(db) => Some(db.begin().await?),
            None => None,
        })
    };
    // Another import may keep it waiting.
    let mut tx = tokio::select! {
        tx = begin_transaction => tx?,
        exit = stop.asked() => return Err(Failure::new(exit, "interrupted: nothing was imported").into()),
    };
    let mut target = None;
    if let (Some(tx), Some(tenant)) = (&mut tx, &args.tenant) {
        look_up(tx, tenant, setting).await?;
        target = Some(begin(tx, tenant, setting, &columns.reading(&list, setting)).await?);
    }
    summary::say_columns(printer, &columns, &list);
    let names = columns.written_names();
    let rejects = args.rejects.as_deref().map(|path| RejectsFile::create(path, &list, names.as_deref())).transpose()?;
    let report = args.report.as_deref().map(ReportFile::create).transpose()?;
    let mut importer = Importer::new(target, rejects, report, stop.clone());
    let phones = Arc::clone(&setting.phones);
    let rows = RowReader::with_parser(columns.mapping, setting.region, setting.also, phones);
    let progress = printer.progress(Some(setting.source.size_bytes()), "importing");
    let outcome = importer.run(list, rows, tx.as_mut(), &progress).await;
    progress.finish_and_clear();
    let sha256 = outcome?;
    importer.flush()?;
    let mut import_id = None;
    if let (Some(mut tx), Some(target), false) = (tx, &importer.target, args.dry_run) {
        let counts = Value::Object(importer.tally.to_object()).to_string();
        fail_point::hit("import.finish");
        imports::finish(&mut tx, &target.import_id, &sha256, &counts).await?;
        fail_point::hit("import.commit");
        tx.commit().await?;
        fail_point::hit("import.committed");
        import_id = Some(target.import_id.clone());
    }
    Ok(Done { import_id, importer })
}

/// Finds the tenant and the campaign, and the region where no option said it.
async fn look_up(tx: &mut Tx, tenant: &str, setting: &mut Setting<'_>) -> anyhow::Result<()> {
    let Some(found) = setup::tenant(tx, tenant).await? else {
        let tenants = setup::tenants(tx).await?;
        let mut failure = Failure::usage(format!("there is no tenant `{tenant}`"));
        failure = match nearest(tenants.iter().map(|tenant| tenant.name.as_str()), tenant) {
            Some(name) => failure.hint(format!("did you mean `--tenant {name}`?")),
            None => failure.hint("tenants come from `callops apply FILE`"),
        };
        return Err(failure.into());
    };
    setting.also = found.settings()?.call_also;
    if setting.region.is_none() {
        setting.region = found.region.as_deref().map(str::parse).transpose().map_err(|problem| {
            Failure::configuration(format!("tenant {tenant}: {problem}")).hint("mend it with `callops apply FILE`")
        })?;
    }
    if let Some(name) = &setting.args.campaign {
        let own = name.strip_prefix(tenant).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        let Some(campaign) = setup::campaign(tx, tenant, own).await? else {
            let campaigns = setup::campaigns(tx).await?;
            let names = campaigns.iter().filter(|campaign| campaign.tenant == tenant).map(|c| c.name.as_str());
            let mut failure = Failure::usage(format!("tenant {tenant} has no campaign `{own}`"));
            if let Some(name) = nearest(names, own) {
                failure = failure.hint(format!("did you mean `--campaign {name}`?"));
            }
            return Err(failure.into());
        };
        let rules = campaign.rules().ok();
        setting.campaign = Some((campaign, rules));
    }
    Ok(())
}

/// Records the import, unless it is a dry run, and says where its rows go.
async fn begin(tx: &mut Tx, tenant: &str, setting: &Setting<'_>, reading: &Value) -> anyhow::Result<Target> {
    let args = setting.args;
    if !args.dry_run {
        imports::make_room(tx).await?;
        contacts::lock_tenant(tx, tenant).await?;
    }
    let target = Target::new(
        tx,
        tenant.to_owned(),
        setting.campaign.as_ref().map(|(campaign, _)| (campaign.id.clone(), campaign.rules_version)),
        args.on_existing,
        args.dry_run,
        setting.now,
    )
    .await?;
    if !args.dry_run {
        let import = Import {
            id: target.import_id.clone(),
            tenant: tenant.to_owned(),
            campaign_id: setting.campaign.as_ref().map(|(campaign, _)| campaign.id.clone()),
            file_name: setting.source.file_name(),
            file_sha256: String::new(),
            reading: reading.to_string(),
            counts: "{}".to_owned(),
            created_at: setting.now,
            undone_at: None,
        };
        imports::begin(tx, &import).await?;
    }
    Ok(target)
}

/// Whether the database rolled back for its own reasons: 40001 serialisation, 40P01 deadlock.
pub(in crate::commands) fn is_rolled_back(error: &anyhow::Error) -> bool {
    let code = match error.downcast_ref::<StoreError>() {
        Some(StoreError::Database(sqlx::Error::Database(error))) => error.code(),
        _ => None,
    };
    matches!(code.as_deref(), Some("40001" | "40P01"))
}
