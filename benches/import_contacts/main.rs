//! What `import-contacts` costs, beside what the same database takes to load rows that need no more work.
//!
//! Each import stands beside raw loads of the same run: `sqlite3`'s `.import`, and COPY to a temporary table with INSERT ON
//! CONFLICT on PostgreSQL, of all columns that an import stores, with the same keys and indexes. They take turns, so that
//! whatever else the machine does hits all of them. Started by `scripts/bench import`.

#[path = "../measure/cost.rs"]
mod cost;
mod list;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use callops::clock::Clock;
use clap::Parser;
use comfy_table::{ContentArrangement, Table};
use sqlx::{Connection as _, PgConnection};

use self::cost::{Cost, Measured, Server};
use self::list::Lists;

/// SQLite's cache for an import, as `src/store/imports.rs` sets it, in megabytes.
const SQLITE_CACHE_MB: f64 = 64.0;
const SCHEMA: &str = "callops_bench";

/// Measures `import-contacts` on SQLite and on PostgreSQL, beside raw loads
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The PostgreSQL server; its role must be allowed to create schemas
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Rows of a list, each measured
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    rows: Vec<u64>,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Only this database: `sqlite` or `postgres`
    #[arg(long, value_name = "KIND")]
    database: Option<String>,
    /// Another build of callops to measure
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callops"))]
    callops: PathBuf,
    /// A small list, once: too short to judge by
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    raw: Option<Raw>,
}

/// A raw load; the bench starts itself as this, since there is a client in it already.
#[derive(Clone, Debug, clap::Subcommand)]
enum Raw {
    #[command(hide = true)]
    Copy { url: String, file: PathBuf },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    if let Some(Raw::Copy { url, file }) = &options.raw {
        return copy(url, file).await;
    }
    if options.quick {
        (options.rows, options.rounds) = (vec![20_000], 1);
    }
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().to_owned();
    std::fs::write(folder.join("acme.toml"), ACME)?;
    let bench = Bench { options, clock: Clock::machine(), folder };
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled).set_header([
        "rows",
        "what",
        "seconds",
        "rows/s",
        "times raw",
        "CPU s",
        "server CPU s",
        "peak MB",
    ]);
    for rows in &bench.options.rows {
        let lists = Lists::write(&bench.folder, *rows)?;
        if bench.options.database.as_deref().is_none_or(|kind| kind == "sqlite") {
            bench.sqlite(&lists, &mut table)?;
        }
        if bench.options.database.as_deref().is_none_or(|kind| kind == "postgres") {
            bench.postgres(&lists, &mut table).await?;
        }
    }
    #[expect(clippy::print_stdout, reason = "the bench's result")]
    {
        println!("{table}");
        println!(
            "medians of {} rounds; CPU is of the process, which on SQLite is the database as well; of SQLite's peak up \
             to {SQLITE_CACHE_MB} MB are its cache",
            bench.options.rounds
        );
    }
    Ok(())
}

const ACME: &str = r#"
[account.acme-vapi]
provider = "vapi"
api_key = "env:ACME_VAPI_KEY"

[tenant.acme]
name = "Acme Dental"
region = "US"
timezone = "America/New_York"
"#;

struct Bench {
    options: Options,
    clock: Clock,
    folder: PathBuf,
}

/// What one load took; the server's share where there is one.
#[derive(Clone, Copy, Default)]
struct Load {
    cost: Cost,
    server_cpu: Option<f64>,
}

impl Bench {
    fn callops(&self, url: &str) -> Command {
        let mut command = Command::new(&self.options.callops);
        command.env("CALLOPS_DATABASE_URL", url).env("CALLOPS_DATABASE_SCHEMA", SCHEMA).env("ACME_VAPI_KEY", "none");
        command.env_remove("CALLOPS_CONFIG").current_dir(&self.folder).arg("--quiet");
        command
    }

    /// A new database with a tenant.
    fn prepare(&self, url: &str) -> Result<()> {
        for args in [&["init"][..], &["apply", "acme.toml"]] {
            let done = self.callops(url).args(args).output().context("callops cannot be started")?;
            ensure!(done.status.success(), "callops {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    fn import(&self, url: &str, lists: &Lists) -> Result<Cost> {
        let mut command = self.callops(url);
        command.arg("import-contacts").arg(&lists.list).args(["--tenant", "acme"]);
        // Some rows are rejected.
        Measured::start(&mut command, &self.clock)?.finish_with(4)
    }

    fn sqlite(&self, lists: &Lists, table: &mut Table) -> Result<()> {
        let path = self.folder.join("callops.db");
        let url = path.display().to_string();
        let shell = |database: &Path| {
            let mut command = Command::new("sqlite3");
            command.arg(database).current_dir(&self.folder);
            command
        };
        let remove = |path: &Path| {
            for tail in ["", "-wal", "-shm", "-journal"] {
                let _ = std::fs::remove_file(format!("{}{tail}", path.display()));
            }
        };
        remove(&path);
        self.prepare(&url)?;
        let schema = shell(&path).arg(".schema contacts").output().context("the shell `sqlite3` cannot be started")?;
        let schema = String::from_utf8(schema.stdout)?;
        ensure!(schema.contains("UNIQUE (tenant, phone)"), "the table of contacts has no unique key: {schema}");
        let (mut raw, mut bare, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.options.rounds {
            let other = self.folder.join("raw.db");
            remove(&other);
            ensure!(shell(&other).arg(&schema).status()?.success(), "the raw table cannot be made");
            let import = format!(".import {} contacts", lists.stored.display());
            raw.push(Load { cost: self.measure(shell(&other).arg(".mode csv").arg(import))?, server_cpu: None });
            remove(&other);
            let made = "CREATE TABLE list (name TEXT, phone TEXT, email TEXT, plan TEXT, city TEXT, notes TEXT);
                 CREATE UNIQUE INDEX list_phone ON list (phone)";
            ensure!(shell(&other).arg(made).status()?.success(), "the bare table cannot be made");
            let import = format!(".import {} list", lists.bare.display());
            bare.push(Load { cost: self.measure(shell(&other).arg(".mode csv").arg(import))?, server_cpu: None });
            remove(&other);
            remove(&path);
            self.prepare(&url)?;
            ours.push(Load { cost: self.import(&url, lists)?, server_cpu: None });
        }
        remove(&path);
        let raw = add(table, lists, "sqlite3 .import, the rows that an import stores", &mut raw, None);
        add(table, lists, "sqlite3 .import, the list's own columns", &mut bare, Some(raw));
        add(table, lists, "callops import-contacts, SQLite", &mut ours, Some(raw));
        Ok(())
    }

    fn measure(&self, command: &mut Command) -> Result<Cost> {
        Measured::start(command, &self.clock)?.finish_with(0)
    }

    async fn postgres(&self, lists: &Lists, table: &mut Table) -> Result<()> {
        let Some(url) = &self.options.postgres else { bail!("give a server with --postgres") };
        let mut client = PgConnection::connect(url).await?;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut client).await?;
        let server = Server::of_session(pid);
        let (mut raw, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.options.rounds {
            for is_raw in [true, false] {
                let made = "DROP SCHEMA IF EXISTS callops_bench CASCADE; DROP SCHEMA IF EXISTS raw CASCADE; CHECKPOINT";
                sqlx::raw_sql(made).execute(&mut client).await?;
                self.prepare(url)?;
                let before = server.cpu();
                let cost = if is_raw {
                    let made =
                        "CREATE SCHEMA raw; CREATE TABLE raw.contacts (LIKE callops_bench.contacts INCLUDING ALL)";
                    sqlx::raw_sql(made).execute(&mut client).await?;
                    let mut command = Command::new(std::env::current_exe()?);
                    self.measure(command.arg("copy").arg(url).arg(&lists.stored))?
                } else {
                    self.import(url, lists)?
                };
                let server_cpu = before.and_then(|before| Some(server.cpu()? - before));
                let load = Load { cost, server_cpu };
                if is_raw { raw.push(load) } else { ours.push(load) }
            }
        }
        let made = "DROP SCHEMA IF EXISTS callops_bench CASCADE; DROP SCHEMA IF EXISTS raw CASCADE";
        sqlx::raw_sql(made).execute(&mut client).await?;
        let raw = add(table, lists, "COPY to a temporary table, INSERT ON CONFLICT", &mut raw, None);
        add(table, lists, "callops import-contacts, PostgreSQL", &mut ours, Some(raw));
        Ok(())
    }
}

/// Adds a line with the medians; gives the seconds.
fn add(table: &mut Table, lists: &Lists, what: &str, loads: &mut [Load], raw: Option<f64>) -> f64 {
    let mut median = |value: &dyn Fn(&Load) -> f64| {
        loads.sort_by(|a, b| value(a).total_cmp(&value(b)));
        value(&loads[loads.len() / 2])
    };
    let seconds = median(&|load| load.cost.wall);
    let cpu = median(&|load| load.cost.cpu);
    let server = median(&|load| load.server_cpu.unwrap_or(-1.0));
    let peak = median(&|load| load.cost.peak_mb);
    let rows = if what.starts_with("callops") { lists.rows } else { lists.clean_rows };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rows as f64 / seconds;
    table.add_row([
        rows.to_string(),
        what.to_owned(),
        format!("{seconds:.2}"),
        format!("{rate:.0}"),
        raw.map_or_else(String::new, |raw| format!("{:.2}", seconds / raw)),
        format!("{cpu:.2}"),
        if server < 0.0 { String::new() } else { format!("{server:.2}") },
        format!("{peak:.0}"),
    ]);
    seconds
}

/// Loads rows as fast as PostgreSQL takes them without being asked which ones it has: as `psql`'s `\copy` does.
async fn copy(url: &str, file: &Path) -> Result<()> {
    let mut client = PgConnection::connect(url).await?;
    let mut tx = client.begin().await?;
    sqlx::raw_sql("CREATE TEMPORARY TABLE list (LIKE raw.contacts) ON COMMIT DROP").execute(&mut *tx).await?;
    let mut sink = tx.copy_in_raw("COPY list FROM STDIN (FORMAT csv)").await?;
    sink.read_from(tokio::fs::File::open(file).await?).await?;
    sink.finish().await?;
    let sql = "INSERT INTO raw.contacts SELECT * FROM list ON CONFLICT (tenant, phone) DO NOTHING";
    sqlx::raw_sql(sql).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
