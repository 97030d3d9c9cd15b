//! `import-contacts`: a list of contacts into a tenant, every row accounted for.

mod files;
mod known;
mod plan;
mod reader;
mod rows;
mod tally;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::clock::Clock;
use crate::commands::check_phone::region_option;
use crate::domain::campaign::{Rules, ZonePolicy};
use crate::domain::contact_row::{Field, Mapping, MappingProblem, RowReader, nearest};
use crate::domain::phone::CallAlso;
use crate::domain::region::Region;
use crate::error::{Exit, Failure};
use crate::output::Printer;
use crate::store::imports::{self, Import};
use crate::store::{self, Db, StoreError, Tx, contacts, setup};
use files::{RejectsFile, ReportFile, must_differ};
use reader::ListReader;
use rows::{Importer, Target};
pub use tally::{Tally, Verdict};

/// How often an import that the database rolled back for its own reasons is run again.
const MAX_TRIES: u32 = 4;
const REJECTS_SHOWN: usize = 5;

const MAP_HELP: &str = "\
Take a field from this column, as in phone=\"Mobile #\"; an empty column leaves the field out. Fields: phone, name, \
first_name, last_name, email, timezone, preferred_time, external_id, region";

/// Arguments of `import-contacts`.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  callops import-contacts list.csv --tenant acme --campaign checkup --region US
  callops import-contacts list.csv --tenant acme --map phone='Mobile #' --rejects rejects.csv
  callops import-contacts list.csv --region US --dry-run --report report.csv

A list is CSV in UTF-8 with a header; cells may also be parted by ; tab or |. Columns are recognised by their names.
Those that are not become attributes of the contact. The file is imported whole or not at all.")]
pub struct Args {
    /// The list
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Into which tenant; a dry run without one checks the file alone
    #[arg(long, required_unless_present = "dry_run")]
    pub tenant: Option<String>,
    /// Also enroll the contacts in this campaign
    #[arg(long, requires = "tenant")]
    pub campaign: Option<String>,
    /// Country of numbers without a country code, where the row names none; else the tenant's (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Takes a field from a column.
    #[arg(long, value_name = "FIELD=COLUMN", help = MAP_HELP)]
    pub map: Vec<String>,
    /// What to do with contacts that are there already
    #[arg(long, value_enum, default_value_t)]
    pub on_existing: OnExisting,
    /// Say what would happen, and write nothing to the database
    #[arg(long)]
    pub dry_run: bool,
    /// Write rejected rows to this file, with line and reason; edited, it can be imported again
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Write what became of every row to this file, as CSV
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
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

/// What an import did, once it is done.
struct Done {
    import_id: Option<String>,
    importer: Importer,
}

/// What the command line and the database say before the first row is read.
struct Setting<'a> {
    args: &'a Args,
    explicit: Vec<(Field, String)>,
    region: Option<Region>,
    also: CallAlso,
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
    let explicit = args.map.iter().map(|text| map_option(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let region = args.region.as_deref().map(region_option).transpose()?;
    for (option, output) in [("--rejects", &args.rejects), ("--report", &args.report)] {
        if let Some(output) = output {
            must_differ(option, output, &args.file)?;
        }
    }
    let mut setting = Setting { args, explicit, region, also: CallAlso::default(), campaign: None, now };
    let mut tries = 1;
    let done = loop {
        match run_once(db, printer, &mut setting).await {
            Err(error) if tries < MAX_TRIES && is_rolled_back(&error) => {
                tracing::debug!(%error, tries, "the database rolled the import back; running it again");
                tries += 1;
            }
            other => break other?,
        }
    };
    summarise(printer, &setting, &done)?;
    let rejected = done.importer.tally.of(Verdict::Rejected) > 0;
    Ok(if rejected { Exit::Partial } else { Exit::Success })
}

/// One whole import in one transaction.
async fn run_once(db: Option<&Db>, printer: &Printer, setting: &mut Setting<'_>) -> anyhow::Result<Done> {
    let args = setting.args;
    let mut list = ListReader::open(&args.file)?;
    let mapping = Mapping::new(list.header(), &setting.explicit).map_err(|problem| header_failure(args, problem))?;
    let mut tx = match db {
        Some(db) if args.dry_run => Some(db.read().await?),
        Some(db) => Some(db.begin().await?),
        None => None,
    };
    let mut target = None;
    if let (Some(tx), Some(tenant)) = (&mut tx, &args.tenant) {
        look_up(tx, tenant, setting).await?;
        target = Some(begin(tx, tenant, setting).await?);
    }
    say_mapping(printer, &mapping);
    let rejects =
        args.rejects.as_deref().map(|path| RejectsFile::create(path, list.header(), list.dialect())).transpose()?;
    let report = args.report.as_deref().map(ReportFile::create).transpose()?;
    let mut importer = Importer::new(RowReader::new(mapping, setting.region, setting.also), target, rejects, report);
    let progress = printer.progress(None, "importing");
    let outcome = importer.run(&mut list, tx.as_mut(), &progress).await;
    progress.finish_and_clear();
    outcome?;
    importer.tally.assert_adds_up();
    importer.flush()?;
    let mut import_id = None;
    if let (Some(mut tx), Some(target), false) = (tx, &importer.target, args.dry_run) {
        let counts = Value::Object(importer.tally.to_object()).to_string();
        imports::finish(&mut tx, &target.import_id, &list.sha256(), &counts).await?;
        tx.commit().await?;
        import_id = Some(target.import_id.clone());
    }
    importer.publish()?;
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
async fn begin(tx: &mut Tx, tenant: &str, setting: &Setting<'_>) -> anyhow::Result<Target> {
    let args = setting.args;
    let target = Target::new(
        tenant.to_owned(),
        setting.campaign.as_ref().map(|(campaign, _)| (campaign.id.clone(), campaign.rules_version)),
        args.on_existing,
        args.dry_run,
        setting.now,
    );
    if !args.dry_run {
        contacts::lock_tenant(tx, tenant).await?;
        let import = Import {
            id: target.import_id.clone(),
            tenant: tenant.to_owned(),
            campaign_id: setting.campaign.as_ref().map(|(campaign, _)| campaign.id.clone()),
            file_name: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            file_sha256: String::new(),
            counts: "{}".to_owned(),
            created_at: setting.now,
            undone_at: None,
        };
        imports::begin(tx, &import).await?;
    }
    Ok(target)
}

/// Reads `FIELD=COLUMN`.
fn map_option(text: &str) -> anyhow::Result<(Field, String)> {
    let names = || Field::ALL.iter().map(|field| field.name());
    let Some((field, column)) = text.split_once('=') else {
        return Err(Failure::usage(format!("`--map {text}` is not FIELD=COLUMN"))
            .hint("for example --map phone=\"Mobile #\"")
            .into());
    };
    if let Some(field) = Field::from_name(field) {
        return Ok((field, column.to_owned()));
    }
    let hint = match nearest(names(), field) {
        Some(name) => format!("did you mean `--map {name}={column}`?"),
        None => format!("fields: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Failure::usage(format!("`--map {text}`: there is no field `{field}`")).hint(hint).into())
}

fn header_failure(args: &Args, problem: MappingProblem) -> anyhow::Error {
    let failure = Failure::usage(format!("{}: {problem}", args.file.display()));
    match problem {
        MappingProblem::NoSuchColumn { field, nearest: Some(column), .. } => {
            failure.hint(format!("did you mean `--map {}=\"{column}\"`?", field.name()))
        }
        MappingProblem::NoPhoneColumn { .. } => failure.hint("say which one it is with --map phone=\"COLUMN\""),
        MappingProblem::NoSuchColumn { .. } | MappingProblem::Twice { .. } => failure,
    }
    .into()
}

fn say_mapping(printer: &Printer, mapping: &Mapping) {
    let fields: Vec<String> =
        mapping.fields().map(|(field, column)| format!("{} = `{column}`", field.name())).collect();
    printer.say(format!("columns: {}; {} more as attributes", fields.join(", "), mapping.attributes().len()));
    if !mapping.phone_alternatives().is_empty() {
        let others: Vec<String> = mapping.phone_alternatives().iter().map(|name| format!("`{name}`")).collect();
        printer.say(format!("these also look like phone numbers and are kept as attributes: {}", others.join(", ")));
    }
}

fn summarise(printer: &Printer, setting: &Setting<'_>, done: &Done) -> anyhow::Result<()> {
    let (args, importer) = (setting.args, &done.importer);
    let tally = &importer.tally;
    for example in importer.examples() {
        printer.say(example);
    }
    let reasons = tally.reasons();
    if !reasons.is_empty() {
        let list: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        printer.say(format!("rejected {}: {}", tally.of(Verdict::Rejected), list.join(", ")));
    }
    warn_about_calls(printer, setting, importer);
    let mut record = Map::new();
    record.insert("import".to_owned(), json!(done.import_id));
    record.insert("file".to_owned(), json!(args.file.display().to_string()));
    record.insert("tenant".to_owned(), json!(args.tenant));
    record.insert("campaign".to_owned(), json!(setting.campaign.as_ref().map(|(campaign, _)| campaign.full_name())));
    record.insert("dry_run".to_owned(), json!(args.dry_run));
    record.extend(tally.to_object());
    record.insert("enrolled".to_owned(), json!(importer.enrolled));
    if !printer.is_table() {
        let by_reason: Map<String, Value> =
            reasons.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect();
        record.insert("reasons".to_owned(), Value::Object(by_reason));
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
    if rules.zone_policy == ZonePolicy::Callee && importer.without_zone > 0 {
        printer.warn(format!(
            "{} rows give no time zone; campaign {} calls by the callee's, so a contact without one is not called",
            importer.without_zone,
            campaign.full_name()
        ));
    }
}

/// Whether the database rolled back for its own reasons: 40001 serialisation, 40P01 deadlock.
fn is_rolled_back(error: &anyhow::Error) -> bool {
    let code = match error.downcast_ref::<StoreError>() {
        Some(StoreError::Database(sqlx::Error::Database(error))) => error.code(),
        _ => None,
    };
    matches!(code.as_deref(), Some("40001" | "40P01"))
}
