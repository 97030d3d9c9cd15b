//! `import-queue`: takes over the queue of another system, so that nobody whom it has called is called again.

mod columns;
mod settle;
mod survey;
mod tell;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::app::App;
use crate::commands::calling::stop::Stop;
use crate::commands::check_phone::region_option;
use crate::commands::import_contacts::files::must_differ;
use crate::commands::import_contacts::list::{ListReader, ReadAs, Source, delimiter_option, encoding_option};
use crate::commands::import_contacts::rejects::RejectsFile;
use crate::commands::import_contacts::{MAX_TRIES, is_rolled_back};
use crate::commands::lookup::{self, CampaignName};
use crate::domain::contact_row::RowReader;
use crate::domain::phone::{CallAlso, PhoneParser};
use crate::domain::region::Region;
use crate::domain::slot::Frequency;
use crate::error::{Exit, Failure};
use crate::fail_point;
use crate::output::Printer;
use crate::store::imports::{self, Import};
use crate::store::setup::Campaign;
use crate::store::{Db, StoreError, Tx, contacts};
use columns::{Maps, QueueReader};
use settle::Target;
use survey::Survey;
use tell::{ReportFile, Tally};

/// Who asked for the calls that another system placed.
const COMMAND: &str = "import-queue";

const MAP_HELP: &str = "\
Take a field from this column, as in status=\"Call state\"; an empty column leaves the field out. Fields: status, \
welcome_call_completed, customer_id, created_at, attempts, and those of import-contacts (phone, name, timezone, ..)";

/// Arguments of `import-queue`.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the help shows these texts as they are")]
#[command(after_help = "Examples:
  callops import-queue call_queue.csv --campaign acme/welcome --dry-run
  callops import-queue call_queue.csv --campaign acme/welcome --map customer_id=stripe_id --rejects rejects.csv
  psql -c \"\\copy call_queue to stdout csv header\" | callops import-queue - --campaign acme/welcome

Stop the old system first. Whom it has called (status completed or done, or welcome_call_completed true) has had the one
call that the campaign allows: their slot is spent before anybody is enrolled. So it is where a call was under way when the
queue was written (calling, in_progress, processing), since it may have rung. Who waits (pending, queued, retrying,
scheduled) is enrolled. Failed and cancelled ones are not called unless somebody enrolls them; --retry-failed enrolls the
failed ones. A status that is none of these rejects its row, and nobody is called who has such a row.

Rows with the same phone or the same customer are one person, also by way of a third row: one that is spent wins over all
others; of those that wait the oldest is kept, else the first. Every row ends as exactly one of enrolled, already_enrolled,
spent, already_spent, left_out, duplicate and rejected. The file is taken over whole or not at all; once more, it changes
nothing. Contacts that are there already stay as they are.")]
pub struct Args {
    /// The queue, as CSV with a header; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Into which campaign; its frequency must be once
    #[arg(long, value_name = "TENANT/NAME")]
    pub campaign: CampaignName,
    /// Takes a field from a column.
    #[arg(long, value_name = "FIELD=COLUMN", help = MAP_HELP)]
    pub map: Vec<String>,
    /// Also enroll whom the old system tried and did not reach
    #[arg(long)]
    pub retry_failed: bool,
    /// Country of numbers without a country code, where the row names none; else the tenant's (ISO 3166, such as US)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The file's encoding, such as windows-1252, utf-16le or shift_jis; else what its bytes look like
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// What parts the file's cells: one sign, or tab; else what stands most often in its first line
    #[arg(long, value_name = "SIGN")]
    pub delimiter: Option<String>,
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

/// What a run works with.
struct Setting<'a> {
    args: &'a Args,
    source: Source,
    read_as: ReadAs,
    campaign: Campaign,
    /// Whether it is the campaign that welcomes those who pay.
    is_welcome: bool,
    region: Option<Region>,
    now: DateTime<Utc>,
}

/// What was done, once it is.
struct Done {
    import_id: Option<String>,
    tally: Tally,
    rejects: Option<RejectsFile>,
    report: Option<ReportFile>,
    /// Customers who may have been called, and whom nothing here tells of.
    unheld: Vec<String>,
}

/// Takes a queue over.
///
/// # Errors
/// Exit 2 for the file, its columns and options, a campaign that is not there or calls more than once; what the database
/// says. Nothing is taken over then. Rejected rows are no error: the exit is then [`Exit::Partial`].
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let maps = Maps::of(&args.map)?;
    let read_as = ReadAs {
        encoding: args.encoding.as_deref().map(encoding_option).transpose()?,
        delimiter: args.delimiter.as_deref().map(delimiter_option).transpose()?,
    };
    let region = args.region.as_deref().map(region_option).transpose()?;
    let outputs = [("--rejects", &args.rejects), ("--report", &args.report)];
    let outputs: Vec<_> = outputs.iter().filter_map(|(option, path)| Some((*option, path.as_deref()?))).collect();
    must_differ(&outputs, &args.file)?;
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let Known { campaign, is_welcome, region, also } = look_up(&mut tx, &args, region).await?;
    // Standard input may be slow, and a long file takes a while: no transaction waits for them.
    drop(tx);
    let source = Source::open(&args.file, read_as.encoding)?;
    let stop = Stop::on_signals()?;
    let mut list = ListReader::open(&source, read_as)?;
    let (queue, mapping) = columns::of(&mut list, &source, &maps)?;
    columns::say(&app.printer, &queue, &mapping, &list);
    let rows = RowReader::with_parser(mapping, region, also, Arc::new(PhoneParser::default()));
    let reader = QueueReader { rows, queue };
    let progress = app.printer.progress(Some(source.size_bytes()), "reading");
    let survey = Survey::of(list, &reader, args.retry_failed, &progress, &stop);
    progress.finish_and_clear();
    let mut survey = survey?;
    let setting = Setting { args: &args, source, read_as, campaign, is_welcome, region, now: app.clock.now() };
    survey.learn_customers(&mut survey::opened(&setting)?, &reader)?;
    let mut tries = 1;
    let mut done = loop {
        match Box::pin(run_once(db, &app.printer, &setting, &reader, &survey, &stop)).await {
            Err(error) if tries < MAX_TRIES && (is_rolled_back(&error) || is_overtaken(&error)) => {
                tracing::debug!(%error, tries, "somebody else was faster; taking the queue over again");
                tries += 1;
            }
            other => break other?,
        }
    };
    // The queue is taken over now, whatever becomes of what is written about it.
    let published = publish(&mut done);
    if let Some(id) = &done.import_id {
        app.printer.say(format!("imported as {id}; `callops undo-import {id}` takes it back"));
    }
    tell::summarise(&app.printer, &setting, &survey, &done)?;
    published.with_context(|| match &done.import_id {
        Some(id) => format!("the queue is taken over as {id}, but not all files about it are written"),
        None => "not all files are written".to_owned(),
    })?;
    Ok(if done.tally.has_rejected() { Exit::Partial } else { Exit::Success })
}

/// What the database says of the campaign and its tenant.
struct Known {
    campaign: Campaign,
    is_welcome: bool,
    /// How numbers are read.
    region: Option<Region>,
    also: CallAlso,
}

async fn look_up(tx: &mut Tx, args: &Args, region: Option<Region>) -> anyhow::Result<Known> {
    let campaign = lookup::campaign(tx, &args.campaign).await??;
    let tenant = lookup::tenant(tx, &args.campaign.tenant).await??;
    let frequency = campaign.rules()?.frequency;
    if frequency != Frequency::Once {
        return Err(Failure::usage(format!(
            "campaign {} calls people {frequency}: a call that another system placed spends nothing of it",
            args.campaign
        ))
        .hint("a queue is taken over into a campaign with frequency = \"once\"; `callops import-contacts` takes lists")
        .into());
    }
    let own = || tenant.region.as_deref().map(str::parse).transpose();
    let region = match region {
        Some(region) => Some(region),
        None => own().map_err(|problem| {
            Failure::configuration(format!("tenant {}: {problem}", tenant.name))
                .hint("mend it with `callops apply FILE`")
        })?,
    };
    let settings = tenant.settings()?;
    let is_welcome = settings.welcome.is_some_and(|welcome| welcome.campaign == campaign.name);
    Ok(Known { campaign, is_welcome, region, also: settings.call_also })
}

/// One whole takeover in one transaction: what is spent first, then everybody else.
async fn run_once(
    db: &Db,
    printer: &Printer,
    setting: &Setting<'_>,
    reader: &QueueReader,
    survey: &Survey,
    stop: &Stop,
) -> anyhow::Result<Done> {
    let args = setting.args;
    let interrupted = |exit| Failure::new(exit, "interrupted: nothing was imported");
    let begin_transaction = async { if args.dry_run { db.read().await } else { db.begin().await } };
    // Another import may keep it waiting.
    let mut tx = tokio::select! {
        tx = begin_transaction => tx?,
        exit = stop.asked() => return Err(interrupted(exit).into()),
    };
    let mut target = Target::new(&setting.campaign, setting.is_welcome, args.dry_run, setting.now);
    if !args.dry_run {
        begin(&mut tx, setting, &target.import_id, reader).await?;
    }
    let progress = printer.progress(Some(setting.source.size_bytes() * 2), "importing");
    let outcome = async {
        let mut outcomes = survey.outcomes();
        let mut list = survey::opened(setting)?;
        while let Some(batch) = survey.next_spent(&mut list, reader)? {
            if let Some(exit) = stop.exit() {
                return Err(interrupted(exit).into());
            }
            target.spend(&mut tx, &batch, &mut outcomes).await?;
            progress.set_position(list.bytes_read());
        }
        fail_point::hit("queue.spent");
        let unheld = target.unheld(&mut tx, &survey.unheld_customers()).await?;
        let mut list = survey::opened(setting)?;
        let rejects = args.rejects.as_deref().map(|path| RejectsFile::create(path, &list, None)).transpose()?;
        let mut done = Done {
            import_id: None,
            tally: Tally::default(),
            rejects,
            report: args.report.as_deref().map(ReportFile::create).transpose()?,
            unheld,
        };
        let mut from = 0;
        while let Some(batch) = survey.next_rest(&mut list, reader, done.rejects.is_some())? {
            if let Some(exit) = stop.exit() {
                return Err(interrupted(exit).into());
            }
            target.enroll(&mut tx, &batch.items, &mut outcomes).await?;
            let to = from + batch.rows;
            done.account(survey, &outcomes, from..to, &batch.raw)?;
            from = to;
            progress.set_position(setting.source.size_bytes() + list.bytes_read());
        }
        if list.sha256() != survey.sha256 {
            return Err(Failure::usage(format!("{} changed while it was read", setting.source.name()))
                .hint("nothing was imported; stop what writes to it, or take a copy")
                .into());
        }
        done.tally.assert_adds_up(survey.len());
        Ok::<_, anyhow::Error>(done)
    }
    .await;
    progress.finish_and_clear();
    let mut done = outcome?;
    done.flush()?;
    if !args.dry_run {
        let counts = Value::Object(done.tally.to_object()).to_string();
        fail_point::hit("queue.finish");
        imports::finish(&mut tx, &target.import_id, &survey.sha256, &counts).await?;
        fail_point::hit("queue.commit");
        tx.commit().await?;
        fail_point::hit("queue.committed");
        done.import_id = Some(target.import_id);
    }
    Ok(done)
}

/// Records that the queue is being taken over; other imports of the tenant wait from here on.
async fn begin(tx: &mut Tx, setting: &Setting<'_>, import_id: &str, reader: &QueueReader) -> anyhow::Result<()> {
    imports::make_room(tx).await?;
    contacts::lock_tenant(tx, &setting.campaign.tenant).await?;
    let reading = json!({
        "queue": true,
        "columns": reader.columns(),
        "region": setting.region.map(|region| region.to_string()),
        "retry_failed": setting.args.retry_failed,
    });
    let import = Import {
        id: import_id.to_owned(),
        tenant: setting.campaign.tenant.clone(),
        campaign_id: Some(setting.campaign.id.clone()),
        file_name: setting.source.file_name(),
        file_sha256: String::new(),
        reading: reading.to_string(),
        counts: "{}".to_owned(),
        created_at: setting.now,
        undone_at: None,
    };
    Ok(imports::begin(tx, &import).await?)
}

/// Gives the files their names.
fn publish(done: &mut Done) -> anyhow::Result<()> {
    done.rejects.take().map(RejectsFile::publish).transpose()?;
    done.report.take().map(ReportFile::publish).transpose()?;
    Ok(())
}

/// Whether somebody else wrote a row that this one was about to write.
fn is_overtaken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Conflict(_)))
}
