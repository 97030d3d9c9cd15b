//! `apply`: accounts, tenants and campaigns from TOML files.

mod account;
mod agent;
mod billing;
mod check;
mod costly;
mod numbers;
pub(super) mod plan;
mod problems;
mod read;
mod records;
mod reminders;
mod signature;
mod welcome;

use std::path::PathBuf;

use self::plan::{Change, Put};
use self::problems::Problems;
use self::read::Wanted;
use crate::app::App;
use crate::config::Document;
use crate::error::{Exit, Failure};
use crate::store::setup::{Account, Campaign, Tenant};
use crate::store::{self, Tx, control, setup};

/// Arguments of `apply`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops apply acme.toml --dry-run
  callops apply accounts.toml acme.toml
  callops apply acme.toml --format json

What the files do not name stays as it is. Within a table that they do name, a key that is left out has its default.
All files are applied or none; applying them again changes nothing. A new campaign calls nobody before
`callops start-campaign`.")]
pub struct Args {
    /// Files of accounts, tenants and campaigns
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What the database holds.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    accounts: Vec<Account>,
    tenants: Vec<Tenant>,
    campaigns: Vec<Campaign>,
    is_rehearsal: bool,
}

impl Stored {
    async fn read(tx: &mut Tx) -> store::Result<Self> {
        Ok(Self {
            accounts: setup::accounts(tx).await?,
            tenants: setup::tenants(tx).await?,
            campaigns: setup::campaigns(tx).await?,
            is_rehearsal: control::is_rehearsal(tx).await?,
        })
    }
}

/// Brings the database to what the files say, in one transaction, and prints the differences.
///
/// # Errors
/// Exit 6 for everything that is wrong with the files, all of it at once; nothing is changed then. What is wrong with
/// the database.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let mut problems = Problems::default();
    let mut documents = Vec::new();
    for file in &args.files {
        documents.extend(problems.take(Document::read(file).map(Some)));
    }
    let mut wanted = Wanted::default();
    for document in &documents {
        wanted.read(document, &mut problems);
    }
    // Before a database is made for files that are wrong.
    let exists = has_schema(app).await?;
    let stored = if exists {
        let mut tx = app.db().await?.read().await?;
        Stored::read(&mut tx).await?
    } else {
        Stored::default()
    };
    check::check(&wanted, &stored, &mut problems);
    problems.finish()?;

    let changes =
        if args.dry_run { plan::plan(&wanted, &stored, || app.new_id()) } else { write(app, exists, &wanted).await? };
    app.printer.rows(&plan::rows(&changes))?;
    say(app, &args, &wanted, &changes);
    Ok(Exit::Success)
}

/// Plans again on what is stored by now, and writes.
async fn write(app: &App, exists: bool, wanted: &Wanted<'_>) -> anyhow::Result<Vec<Change>> {
    let db = if exists {
        app.db().await?
    } else {
        let db = app.db_created().await?;
        if app.clock.is_shifted() {
            return Err(Failure::usage("--now moves the clock, and this is no rehearsal database")
                .hint("make one with `callops init --rehearsal`")
                .into());
        }
        db
    };
    let written = db
        .write_unless(async |tx| {
            // One `apply` at a time, and none while somebody commits to dial.
            control::lock_dialling(tx).await?;
            let stored = Stored::read(tx).await?;
            let mut problems = Problems::default();
            check::check(wanted, &stored, &mut problems);
            if let Err(failure) = problems.finish() {
                return Ok(Err(failure));
            }
            let changes = plan::plan(wanted, &stored, || app.new_id());
            let now = app.clock.now();
            for change in changes.iter().filter(|change| change.is_needed()) {
                match &change.put {
                    Put::Account(account) => setup::put_account(tx, account, now).await?,
                    Put::Tenant(tenant) => setup::put_tenant(tx, tenant, now).await?,
                    Put::Campaign(campaign) => setup::put_campaign(tx, campaign, now).await?,
                }
                let subject = format!("{}:{}", change.kind, change.name);
                app.audit(tx, "apply", &subject, change.detail()).await?;
            }
            Ok(Ok(changes))
        })
        .await?;
    Ok(written?)
}

/// Whether there is a database with tables of ours in it.
async fn has_schema(app: &App) -> anyhow::Result<bool> {
    let url = &app.config.database()?.url;
    if store::sqlite_path(url.as_str()).is_some_and(|path| !path.exists()) {
        return Ok(false);
    }
    let db = app.connect(1, false).await?;
    let version = db.schema_version().await?;
    db.close().await;
    Ok(version > 0)
}

fn say(app: &App, args: &Args, wanted: &Wanted<'_>, changes: &[Change]) {
    if changes.is_empty() {
        app.printer.warn("the files describe no account, tenant or campaign");
        return;
    }
    for change in changes.iter().filter(|change| !change.is_new) {
        if change.kind == "campaign" && change.fields.iter().any(|(field, ..)| field == "purpose") {
            app.printer.warn(format!(
                "{}: the purpose changed: who was called for the old one may be called again for the new one",
                change.name
            ));
        }
    }
    for account in &wanted.accounts {
        let reference = account.settings.api_key.parse::<crate::domain::secret_ref::SecretRef>();
        if let Some(Err(error)) = reference.ok().map(|reference| reference.resolve(&app.config.environment)) {
            app.printer.warn(format!("account {}: {error:#}", account.at.value));
        }
    }
    if !changes.iter().any(Change::is_needed) {
        app.printer.say("nothing changed");
    } else if args.dry_run {
        app.printer.say("nothing was changed: this was a dry run");
    } else {
        let fresh = changes.iter().filter(|change| change.kind == "campaign" && change.is_new);
        for campaign in fresh {
            app.printer.say(format!(
                "{name} calls nobody yet; start it with `callops start-campaign {name}`",
                name = campaign.name
            ));
        }
    }
}
