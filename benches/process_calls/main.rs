//! What `process-calls` costs, beside the limit of the same machine at the same time.
//!
//! Each figure of callops stands beside a bare process that does only what cannot be avoided: a connect-and-select for
//! an idle tick, an HTTP client that posts the same bodies for a run. Both take turns, so that whatever else the
//! machine does hits both. Started by `scripts/bench`.

#[path = "../measure/cost.rs"]
mod cost;
mod limit;
mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use callops::clock::Clock;
use clap::Parser;
use comfy_table::{ContentArrangement, Table};

use self::cost::{Cost, Measured, Server};
use self::world::{BEFORE_THE_WINDOW, IN_THE_WINDOW, Place, Sandbox, Seed};

/// Measures `process-calls` on SQLite and on PostgreSQL, beside the limits of this machine
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The PostgreSQL server; its role must be allowed to create schemas
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Due calls of a run
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    calls: u64,
    /// Contacts of the large database on which an idle tick is measured
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    contacts: u64,
    /// Campaigns of the large database
    #[arg(long, value_name = "N", default_value_t = 1000)]
    campaigns: u64,
    /// Requests under way at once, each measured
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [10, 50, 200])]
    concurrency: Vec<u64>,
    /// How long the provider takes to answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50)]
    latency_ms: u64,
    /// How often each run is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How often each idle tick is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 101)]
    ticks: usize,
    /// Only these: `idle`, `calls`, `two`
    #[arg(long, value_name = "PART,..", value_delimiter = ',', default_values_t = ["idle".to_owned(), "calls".to_owned(), "two".to_owned()])]
    only: Vec<String>,
    /// Only this database: `sqlite` or `postgres`
    #[arg(long, value_name = "KIND")]
    database: Option<String>,
    /// Another build of callops to measure
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callops"))]
    callops: PathBuf,
    /// A tenth of everything, once: too short to judge by
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    limit: Option<Limit>,
}

/// The bare processes; the bench starts itself as these.
#[derive(Clone, Debug, clap::Subcommand)]
enum Limit {
    #[command(hide = true)]
    ConnectAndSelect { url: String, schema: String },
    #[command(hide = true)]
    Post { url: String, first: u64, calls: u64, concurrency: u64 },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    match &options.limit {
        Some(Limit::ConnectAndSelect { url, schema }) => return limit::connect_and_select(url, schema).await,
        Some(Limit::Post { url, first, calls, concurrency }) => {
            return limit::post(url, *first, *calls, *concurrency).await;
        }
        None => {}
    }
    if options.quick {
        (options.calls, options.contacts, options.campaigns) =
            (options.calls / 10, options.contacts / 10, options.campaigns / 10);
        (options.rounds, options.ticks) = (1, 21);
    }
    let mut bench = Bench::new(options)?;
    bench.run().await?;
    bench.print()
}

/// One line of the table.
struct Row {
    what: String,
    figure: String,
    limit: String,
    share: String,
    bound_by: String,
}

struct Bench {
    options: Options,
    clock: Clock,
    folder: PathBuf,
    places: u64,
    rows: Vec<Row>,
}

impl Bench {
    fn new(options: Options) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { options, clock: Clock::system(), folder, places: 0, rows: Vec::new() })
    }

    async fn run(&mut self) -> Result<()> {
        let kinds: Vec<&'static str> = ["sqlite", "postgres"]
            .into_iter()
            .filter(|kind| self.options.database.as_ref().is_none_or(|only| only == kind))
            .collect();
        let wants = |part: &str, options: &Options| options.only.iter().any(|only| only == part);
        for kind in kinds {
            if wants("idle", &self.options) {
                self.idle(kind).await?;
            }
            if wants("calls", &self.options) {
                for concurrency in self.options.concurrency.clone() {
                    self.calls(kind, concurrency).await?;
                }
            }
            if wants("two", &self.options) {
                self.two_at_once(kind).await?;
            }
        }
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    /// A place for a database that nobody has used.
    fn place(&mut self, kind: &'static str) -> Result<Place> {
        self.places += 1;
        let name = format!("callops_bench_{}_{}", std::process::id(), self.places);
        let folder = self.folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        let url = if kind == "sqlite" {
            format!("sqlite:{}", folder.join("callops.db").display())
        } else {
            self.options.postgres.clone().context("--postgres names no server: start this with scripts/bench")?
        };
        Ok(Place { kind, url, schema: name, folder, callops: self.options.callops.clone() })
    }

    async fn idle(&mut self, kind: &'static str) -> Result<()> {
        let (contacts, campaigns) = (self.options.contacts, self.options.campaigns);
        for (contacts, campaigns) in [(0, 0), (contacts, campaigns)] {
            let place = self.place(kind)?;
            say(&format!("{kind}: an idle tick with {contacts} contacts and {campaigns} campaigns"));
            place.fill(Seed { contacts, campaigns, sandbox: "http://127.0.0.1:1" }).await?;
            let what = format!("idle tick, {contacts} contacts, {campaigns} campaigns");
            let all_overdue = if contacts > 0 { ", all overdue, windows closed" } else { "" };
            self.tick(&place, &format!("{what}{all_overdue}"))?;
            place.drop().await?;
        }
        Ok(())
    }

    fn tick(&mut self, place: &Place, what: &str) -> Result<()> {
        let me = std::env::current_exe()?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        // A copy of its own: neither shall put away, or read, what the other left in a file.
        let limit_url = place.copy_of_file()?;
        // The first tick puts away what is not due until the window opens; it is paid once a day.
        let mut tick = place.process_calls(BEFORE_THE_WINDOW, 50);
        let first = wall_of(&mut tick, &self.clock)?;
        for _ in 0..self.options.ticks {
            let mut limit = Command::new(&me);
            bare.push(wall_of(limit.args(["connect-and-select", &limit_url, &place.schema]), &self.clock)?);
            ours.push(wall_of(&mut tick, &self.clock)?);
        }
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        self.rows.push(Row {
            what: format!("{}: {what}", place.kind),
            figure: format!("{:.1} ms (the day's first {:.1})", ours * 1e3, first * 1e3),
            limit: format!("{:.1} ms, sqlx connect and select", bare * 1e3),
            share: format!("{:.2} times", ours / bare),
            bound_by: "starting a process and connecting".to_owned(),
        });
        Ok(())
    }

    async fn calls(&mut self, kind: &'static str, concurrency: u64) -> Result<()> {
        let calls = self.options.calls;
        let (mut ours, mut bare, mut database) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.options.rounds {
            say(&format!("{kind}: {calls} calls, {concurrency} at once, round {round}"));
            let sandbox = Sandbox::start(&self.folder, self.options.latency_ms).await?;
            let run = self.post(&sandbox, 0, calls, concurrency)?;
            bare.push(run.finish_with(0)?);
            ensure!(sandbox.rings().await? == calls, "the bare client did not place every call");
            drop(sandbox);

            let sandbox = Sandbox::start(&self.folder, self.options.latency_ms).await?;
            let place = self.place(kind)?;
            place.fill(Seed { contacts: calls, campaigns: 1, sandbox: &sandbox.url }).await?;
            let session = place.session().await?;
            let server = session.as_ref().map(|(_, pid)| Server::of_session(*pid));
            let before = server.and_then(Server::cpu);
            let run = Measured::start(&mut place.process_calls(IN_THE_WINDOW, concurrency), &self.clock)?;
            ours.push(run.finish_with(0)?);
            if let (Some(before), Some(after)) = (before, server.and_then(Server::cpu)) {
                database.push(after - before);
            }
            let rings = sandbox.rings().await?;
            ensure!(rings == calls, "{rings} of {calls} phones rang");
            place.drop().await?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
        let per_call = |seconds: f64| seconds / calls as f64;
        let of = |costs: &[Cost], part: fn(&Cost) -> f64| median(&mut costs.iter().map(part).collect::<Vec<_>>());
        let (wall, limit) = (of(&ours, |cost| cost.wall), of(&bare, |cost| cost.wall));
        let what = format!("{kind}: {calls} due calls, {concurrency} at once");
        self.rows.push(Row {
            what: what.clone(),
            figure: format!("{:.0} calls/s ({wall:.2} s)", 1.0 / per_call(wall)),
            limit: format!("{:.0} calls/s, HTTP client alone", 1.0 / per_call(limit)),
            share: format!("{:.1} %", 100.0 * limit / wall),
            bound_by: if concurrency < 100 {
                "the provider's answers: concurrency divided by latency".to_owned()
            } else {
                "the CPUs, which client, database and sandbox share".to_owned()
            },
        });
        let (cpu, bare_cpu) = (of(&ours, |cost| cost.cpu), of(&bare, |cost| cost.cpu));
        let server = if database.is_empty() { None } else { Some(median(&mut database)) };
        self.rows.push(Row {
            what: format!("{what}: CPU a call"),
            figure: match server {
                Some(server) => format!(
                    "{:.3} ms ({:.3} callops, {:.3} PostgreSQL)",
                    per_call(cpu + server) * 1e3,
                    per_call(cpu) * 1e3,
                    per_call(server) * 1e3
                ),
                None if kind == "sqlite" => format!("{:.3} ms, the database in it", per_call(cpu) * 1e3),
                None => format!("{:.3} ms, the server's share unknown", per_call(cpu) * 1e3),
            },
            limit: format!("{:.3} ms, HTTP client alone", per_call(bare_cpu) * 1e3),
            share: format!("{:.1} times", (cpu + server.unwrap_or(0.0)) / bare_cpu),
            bound_by: "the rows and index entries that a call leaves behind, in batches of up to 100".to_owned(),
        });
        self.rows.push(Row {
            what: format!("{what}: peak memory"),
            figure: format!("{:.1} MB", of(&ours, |cost| cost.peak_mb)),
            limit: format!("{:.1} MB, HTTP client alone", of(&bare, |cost| cost.peak_mb)),
            share: String::new(),
            bound_by: "the program itself, the HTTP client and the people looked at ahead".to_owned(),
        });
        Ok(())
    }

    async fn two_at_once(&mut self, kind: &'static str) -> Result<()> {
        const CONCURRENCY: u64 = 50;
        let calls = self.options.calls;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for round in 1..=self.options.rounds {
            say(&format!("{kind}: two processes at once, round {round}"));
            let sandbox = Sandbox::start(&self.folder, self.options.latency_ms).await?;
            let half = calls / 2;
            let first = self.post(&sandbox, 0, half, CONCURRENCY)?;
            let second = self.post(&sandbox, half, calls - half, CONCURRENCY)?;
            bare.push(first.finish_with(0)?.wall.max(second.finish_with(0)?.wall));
            drop(sandbox);

            let sandbox = Sandbox::start(&self.folder, self.options.latency_ms).await?;
            let place = self.place(kind)?;
            place.fill(Seed { contacts: calls, campaigns: 1, sandbox: &sandbox.url }).await?;
            let mut command = place.process_calls(IN_THE_WINDOW, CONCURRENCY);
            let first = Measured::start(&mut command, &self.clock)?;
            let second = Measured::start(&mut command, &self.clock)?;
            ours.push(first.finish_with(0)?.wall.max(second.finish_with(0)?.wall));
            let rings = sandbox.rings().await?;
            ensure!(rings == calls, "{rings} of {calls} phones rang");
            place.drop().await?;
        }
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
        let rate = |seconds: f64| calls as f64 / seconds;
        self.rows.push(Row {
            what: format!("{kind}: {calls} due calls, two processes, {CONCURRENCY} at once each"),
            figure: format!("{:.0} calls/s, no phone twice", rate(ours)),
            limit: format!("{:.0} calls/s, two HTTP clients", rate(bare)),
            share: format!("{:.1} %", 100.0 * bare / ours),
            bound_by: "the provider's answers; claims wait for one lock, of the account or of the file".to_owned(),
        });
        Ok(())
    }

    fn post(&self, sandbox: &Sandbox, first: u64, calls: u64, concurrency: u64) -> Result<Measured> {
        let numbers = [first, calls, concurrency].map(|number| number.to_string());
        let mut command = Command::new(std::env::current_exe()?);
        Measured::start(command.arg("post").arg(&sandbox.url).args(numbers), &self.clock)
    }

    fn print(&self) -> Result<()> {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(160);
        table.set_header(["what", "callops", "limit, same run", "callops against it", "bounded by"]);
        for row in &self.rows {
            table.add_row([&row.what, &row.figure, &row.limit, &row.share, &row.bound_by]);
        }
        writeln!(std::io::stdout(), "{table}")?;
        Ok(())
    }
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "[bench] {what}");
}

/// The middle one, of the upper half where there are two.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How long a process takes from its start to its end, waited for without looking, for short ones.
fn wall_of(command: &mut Command, clock: &Clock) -> Result<f64> {
    let started = clock.monotonic();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start a process")?;
    let wall = clock.monotonic().saturating_sub(started).as_secs_f64();
    ensure!(status.success(), "a measured process ended with {status}");
    Ok(wall)
}
