//! What `reconcile-twilio` costs beside fetching the pages alone: a program that follows them to the end and keeps nothing.
//!
//! Both ask the same stand-in, which takes its time for each page, and they take turns. Started by `scripts/bench numbers`, and
//! fails where callops takes more than [`LIMIT`] times as long, or more memory than [`MAX_PEAK_MB`].

#[path = "../measure/cost.rs"]
mod cost;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use callops::clock::Clock;
use clap::Parser;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use self::cost::{Cost, Measured, Server};

/// The most that callops may take, as a multiple of the pages alone.
const LIMIT: f64 = 1.1;
/// Shorter ones say nothing: to start a program is a part of them that does not grow.
const TOO_SHORT_SECONDS: f64 = 2.0;
/// The most memory that callops may have resident at once, in megabytes.
const MAX_PEAK_MB: f64 = 40.0;
/// The stand-in's account.
const ACCOUNT: &str = "AC0000000000000000000000000000005a";
/// Where PostgreSQL's tables are.
const SCHEMA: &str = "callops_bench";

/// Measures `reconcile-twilio` on SQLite and on PostgreSQL, beside fetching the pages alone
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The PostgreSQL server; its role must be allowed to create schemas
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Numbers, in pages of a thousand
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    numbers: usize,
    /// How long the stand-in takes for each page
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    latency: String,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Only this database: `sqlite` or `postgres`
    #[arg(long, value_name = "KIND")]
    database: Option<String>,
    /// Another build of callops to measure
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callops"))]
    callops: PathBuf,
    /// Few numbers, once: too short to judge by
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pages: Option<Pages>,
}

/// The pages alone; the bench starts itself as this.
#[derive(Clone, Debug, clap::Subcommand)]
enum Pages {
    #[command(hide = true)]
    Fetch { url: String },
}

#[derive(serde::Deserialize)]
struct Page {
    next_page_uri: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    if let Some(Pages::Fetch { url }) = &options.pages {
        return fetch(url).await;
    }
    if options.quick {
        (options.numbers, options.rounds) = (3_000, 1);
    }
    let scratch = tempfile::tempdir()?;
    let bench = Bench { clock: Clock::machine(), folder: scratch.path().to_owned(), options };
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled).set_header([
        "database",
        "what",
        "pages s",
        "callops s",
        "times pages",
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
        let Options { numbers, latency, rounds, .. } = &bench.options;
        println!("{numbers} numbers in pages of 1,000, {latency} each; medians of {rounds} rounds");
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Follows the pages to the end.
async fn fetch(url: &str) -> Result<()> {
    let client = client();
    let mut next = Some(format!("/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json?PageSize=1000"));
    while let Some(path) = next {
        let request = client.get(format!("{url}{path}")).basic_auth(ACCOUNT, Some("sandbox-key"));
        let body = request.send().await?.error_for_status()?.bytes().await?;
        next = serde_json::from_slice::<Page>(&body)?.next_page_uri;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the limit that the program's own client is measured against")]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

struct Bench {
    options: Options,
    clock: Clock,
    folder: PathBuf,
}

/// The stand-in, until it is dropped.
struct Sandbox {
    child: Child,
    url: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    async fn start(callops: &Path, numbers: usize, latency: &str) -> Result<Self> {
        let mut command = Command::new(callops);
        command.args(["sandbox", "--latency", latency]).stdout(Stdio::piped());
        let mut child = command.spawn().context("the sandbox cannot be started")?;
        let stdout = child.stdout.take().context("the sandbox has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let started: serde_json::Value = serde_json::from_str(&line)?;
        let url = started["url"].as_str().context("the sandbox gives no address")?.to_owned();
        let sandbox = Self { child, url };
        let numbers = json!({"many_numbers": {"account": ACCOUNT, "count": numbers, "friendly_name": "Acme Dental",
            "voice_url": "https://voice.acme.example/twilio"}});
        let given = client().post(format!("{}/_sandbox/twilio", sandbox.url)).body(numbers.to_string());
        given.send().await?.error_for_status()?;
        Ok(sandbox)
    }
}

impl Bench {
    fn callops(&self, url: &str) -> Command {
        let mut command = Command::new(&self.options.callops);
        command.env("CALLOPS_DATABASE_URL", url).env("CALLOPS_DATABASE_SCHEMA", SCHEMA).env("BENCH_KEY", "sandbox-key");
        command.env_remove("CALLOPS_CONFIG").current_dir(&self.folder).arg("--quiet");
        command
    }

    async fn measure(&self, kind: &'static str, table: &mut Table, wrong: &mut Vec<String>) -> Result<()> {
        let sandbox = Sandbox::start(&self.options.callops, self.options.numbers, &self.options.latency).await?;
        let toml = format!(
            "[account.acme-twilio]\nprovider = \"twilio\"\naccount_sid = \"{ACCOUNT}\"\napi_key = \"env:BENCH_KEY\"\n\
             base_url = \"{}\"\n[tenant.acme]\nname = \"Acme\"\n[tenant.acme.numbers]\naccount = \"acme-twilio\"\n\
             friendly_name = \"Acme *\"\nvoice_url = \"https://voice.acme.example/twilio\"\n",
            sandbox.url
        );
        std::fs::write(self.folder.join("acme.toml"), toml)?;
        let (mut pages, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let server = self.server(kind).await?;
        for _ in 0..self.options.rounds {
            let url = self.fresh(kind).await?;
            for command in [&["init"][..], &["apply", "acme.toml"]] {
                let made = self.callops(&url).args(command).output().context("callops cannot be started")?;
                ensure!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
            }
            let mut command = Command::new(std::env::current_exe()?);
            pages.push(Measured::start(command.args(["fetch", &sandbox.url]), &self.clock)?.finish_with(0)?);
            for costs in [&mut first, &mut again] {
                let mut command = self.callops(&url);
                let before = server.and_then(Server::cpu);
                // Each number is one that could be adopted.
                let cost = Measured::start(command.arg("reconcile-twilio"), &self.clock)?.finish_with(3)?;
                let after = server.and_then(Server::cpu);
                costs.push((cost, before.zip(after).map_or(0.0, |(before, after)| after - before)));
            }
        }
        for (what, ours) in [("never seen before", &mut first), ("seen before", &mut again)] {
            judge((kind, what), &mut pages, ours, table, wrong);
        }
        self.fresh(kind).await?;
        Ok(())
    }

    /// The server of PostgreSQL, whose work counts beside that of callops.
    async fn server(&self, kind: &str) -> Result<Option<Server>> {
        let Some(url) = self.options.postgres.as_ref().filter(|_| kind == "postgres") else { return Ok(None) };
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await?;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Some(Server::of_session(pid)))
    }

    /// The address of a database that is not there.
    async fn fresh(&self, kind: &str) -> Result<String> {
        if kind == "sqlite" {
            for name in ["callops.db", "callops.db-wal", "callops.db-shm"] {
                match std::fs::remove_file(self.folder.join(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            return Ok(self.folder.join("callops.db").display().to_string());
        }
        let Some(url) = &self.options.postgres else { bail!("give a server with --postgres") };
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await?;
        let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"));
        sqlx::query(drop).execute(&mut connection).await?;
        Ok(url.clone())
    }
}

/// Adds a line with the medians, and what is wrong with them.
fn judge(
    (kind, what): (&str, &str),
    pages: &mut [Cost],
    ours: &mut [(Cost, f64)],
    table: &mut Table,
    wrong: &mut Vec<String>,
) {
    let (limit, seconds) = (median(pages, |cost| cost.wall), median(ours, |(cost, _)| cost.wall));
    let peak = ours.iter().map(|(cost, _)| cost.peak_mb).fold(0.0, f64::max);
    table.add_row([
        kind.to_owned(),
        what.to_owned(),
        format!("{limit:.2}"),
        format!("{seconds:.2}"),
        format!("{:.3}", seconds / limit),
        format!("{:.2}", median(ours, |(cost, _)| cost.cpu)),
        format!("{:.2}", median(ours, |(_, server)| *server)),
        format!("{peak:.0}"),
    ]);
    if limit >= TOO_SHORT_SECONDS && seconds > LIMIT * limit {
        wrong.push(format!("numbers {what} on {kind} take {:.2} times the pages alone", seconds / limit));
    }
    if peak > MAX_PEAK_MB {
        wrong.push(format!("numbers {what} on {kind} take {peak:.0} MB"));
    }
}

fn median<T>(measured: &mut [T], value: fn(&T) -> f64) -> f64 {
    measured.sort_by(|a, b| value(a).total_cmp(&value(b)));
    value(&measured[measured.len() / 2])
}
