//! What `detect-duplicates` costs, beside the bare statements: the same GROUP BYs and windows, run on the same database by a
//! program that does nothing else.
//!
//! They take turns, so that whatever else the machine does hits both. Started by `scripts/bench duplicates`, and fails where
//! callops takes more than [`LIMIT`] times as long, or where its memory grows with the tables.

mod bare;
#[path = "../measure/cost.rs"]
mod cost;
mod data;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use callops::clock::Clock;
use clap::Parser;
use comfy_table::{ContentArrangement, Table};

use self::bare::Statements;
use self::cost::{Cost, Measured, Server};
use self::data::{Sizes, World};

/// The most that callops may take, as a multiple of the bare statements.
const LIMIT: f64 = 1.1;
/// Shorter ones say nothing: to start a program and to connect is a part of them that does not grow.
const TOO_SHORT_SECONDS: f64 = 2.0;
/// The most memory that callops may have resident at once, in megabytes, whatever the size of the tables.
const MAX_PEAK_MB: f64 = 64.0;

/// Measures `detect-duplicates` on SQLite and on PostgreSQL, beside bare statements
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The PostgreSQL server; its role must be allowed to create schemas and to turn triggers off
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Contacts, and recorded conversations
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    contacts: u64,
    /// Attempts, a fifth of them within the last day
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    calls: u64,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Only this database: `sqlite` or `postgres`
    #[arg(long, value_name = "KIND")]
    database: Option<String>,
    /// Another build of callops to measure
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callops"))]
    callops: PathBuf,
    /// Small tables, once: too short to judge by
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    bare: Option<Bare>,
}

/// The bare statements; the bench starts itself as this, since there is a client in it already.
#[derive(Clone, Debug, clap::Subcommand)]
enum Bare {
    #[command(hide = true)]
    Run { url: String, statements: Statements, since: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    if let Some(Bare::Run { url, statements, since }) = &options.bare {
        return bare::run(url, *statements, since.parse()?).await;
    }
    if options.quick {
        (options.contacts, options.calls, options.rounds) = (20_000, 100_000, 1);
    }
    let scratch = tempfile::tempdir()?;
    let bench = Bench { options, clock: Clock::machine(), folder: scratch.path().to_owned() };
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled).set_header([
        "database",
        "what",
        "bare s",
        "callops s",
        "times bare",
        "CPU s",
        "server CPU s",
        "peak MB",
    ]);
    let mut wrong = Vec::new();
    for kind in ["sqlite", "postgres"] {
        if bench.options.database.as_deref().is_none_or(|only| only == kind) {
            bench.measure(kind, &mut table, &mut wrong).await?;
        }
    }
    #[expect(clippy::print_stdout, reason = "the bench's result")]
    {
        println!("{table}");
        println!(
            "{} contacts, as many conversations, {} calls; medians of {} rounds",
            bench.options.contacts, bench.options.calls, bench.options.rounds
        );
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

struct Bench {
    options: Options,
    clock: Clock,
    folder: PathBuf,
}

impl Bench {
    fn callops(&self, url: &str) -> Command {
        let mut command = Command::new(&self.options.callops);
        command.env("CALLOPS_DATABASE_URL", url).env("CALLOPS_DATABASE_SCHEMA", bare::SCHEMA);
        command.env_remove("CALLOPS_CONFIG").current_dir(&self.folder).arg("--quiet");
        command
    }

    async fn measure(&self, kind: &'static str, table: &mut Table, wrong: &mut Vec<String>) -> Result<()> {
        let url = if kind == "sqlite" {
            self.folder.join("callops.db").display().to_string()
        } else {
            let Some(url) = &self.options.postgres else { bail!("give a server with --postgres") };
            url.clone()
        };
        bare::forget(&url).await?;
        let made = self.callops(&url).arg("init").output().context("callops cannot be started")?;
        ensure!(made.status.success(), "callops init: {}", String::from_utf8_lossy(&made.stderr));
        let now = self.clock.now();
        let sizes = Sizes { contacts: self.options.contacts, calls: self.options.calls };
        World::new(sizes, now).fill(&url).await?;
        let since = now - chrono::TimeDelta::days(1);
        let server = bare::server(&url).await?;
        for statements in [
            Statements::All,
            Statements::Contacts,
            Statements::Calls,
            Statements::Conversations,
            Statements::CallsSince,
        ] {
            let (mut bare, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..self.options.rounds {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["run", &url, &statements.to_string(), &since.to_rfc3339()]);
                bare.push(Measured::start(&mut command, &self.clock)?.finish_with(0)?);
                let mut command = self.callops(&url);
                command.args(["detect-duplicates", "--format", "jsonl"]).args(statements.options());
                if statements == Statements::CallsSince {
                    command.args(["--since", &since.to_rfc3339()]);
                }
                let before = server.and_then(Server::cpu);
                // There are some.
                let cost = Measured::start(&mut command, &self.clock)?.finish_with(3)?;
                let after = server.and_then(Server::cpu);
                ours.push((cost, before.zip(after).map_or(0.0, |(before, after)| after - before)));
            }
            judge(kind, statements, &mut bare, &mut ours, table, wrong);
        }
        bare::forget(&url).await
    }
}

/// Adds a line with the medians, and what is wrong with them.
fn judge(
    kind: &str,
    statements: Statements,
    bare: &mut [Cost],
    ours: &mut [(Cost, f64)],
    table: &mut Table,
    wrong: &mut Vec<String>,
) {
    let (limit, seconds) = (median(bare, |cost| cost.wall), median(ours, |(cost, _)| cost.wall));
    let peak = ours.iter().map(|(cost, _)| cost.peak_mb).fold(0.0, f64::max);
    table.add_row([
        kind.to_owned(),
        statements.to_string(),
        format!("{limit:.2}"),
        format!("{seconds:.2}"),
        format!("{:.2}", seconds / limit),
        format!("{:.2}", median(ours, |(cost, _)| cost.cpu)),
        format!("{:.2}", median(ours, |(_, server)| *server)),
        format!("{peak:.0}"),
    ]);
    if limit >= TOO_SHORT_SECONDS && seconds > LIMIT * limit {
        wrong.push(format!("{statements} on {kind} takes {:.2} times the bare statements", seconds / limit));
    }
    if peak > MAX_PEAK_MB {
        wrong.push(format!("{statements} on {kind} takes {peak:.0} MB"));
    }
}

fn median<T>(measured: &mut [T], value: fn(&T) -> f64) -> f64 {
    measured.sort_by(|a, b| value(a).total_cmp(&value(b)));
    value(&measured[measured.len() / 2])
}
