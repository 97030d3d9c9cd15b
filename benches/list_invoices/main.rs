//! What `list invoices` costs beside a program that connects, selects the same page and writes it, and does nothing else.
//!
//! Both are asked for the same pages of the same books, which `sync-zoho` read from a stand-in, and they take turns. All is
//! measured twice: with a network, on which nothing may be asked, and in a namespace that has none. Started by `scripts/bench
//! invoices`, and fails where callops takes more than [`LIMIT`] times as long.

mod bare;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use callops::clock::Clock;
use chrono::TimeDelta;
use clap::{Parser, ValueEnum as _};
use comfy_table::{ContentArrangement, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::bare::{Given, Page};

/// The most that callops may take, as a multiple of the bare program.
const LIMIT: f64 = 3.0;
/// The stand-in's organisation.
const ORGANIZATION: &str = "10229182";

/// Measures `list invoices` on SQLite and on PostgreSQL, beside bare selects
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The PostgreSQL server; its role must be allowed to create schemas
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Invoices
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    invoices: u32,
    /// Customers
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    customers: u32,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 21)]
    rounds: usize,
    /// Only this database: `sqlite` or `postgres`
    #[arg(long, value_name = "KIND")]
    database: Option<String>,
    /// Another build of callops to measure
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callops"))]
    callops: PathBuf,
    /// Few invoices, once: too few to judge by
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the bench starts itself as.
#[derive(Clone, Debug, clap::Subcommand)]
enum Part {
    /// One page, bare.
    #[command(hide = true)]
    Select { url: String, page: Page, customer: String, week_ago: String },
    /// All pages, where it is started; the rows go to stdout as JSON.
    #[command(hide = true)]
    Measure { url: String, folder: PathBuf, customer: String, week_ago: String, unreachable: Option<SocketAddr> },
}

/// What one page took.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    page: String,
    rows: usize,
    bare_seconds: f64,
    seconds: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.quick {
        (options.invoices, options.customers, options.rounds) = (2_000, 500, 1);
    }
    match options.part.clone() {
        None => {}
        Some(Part::Select { url, page, customer, week_ago }) => {
            return bare::run(&url, page, &Given { customer, week_ago }).await;
        }
        Some(Part::Measure { url, folder, customer, week_ago, unreachable }) => {
            if let Some(address) = unreachable {
                let answer = TcpStream::connect_timeout(&address, Duration::from_secs(1));
                ensure!(answer.is_err(), "{address} can be reached: this is no place without a network");
            }
            let bench = Bench { options, clock: Clock::machine(), folder };
            let taken = bench.take_turns(&url, &Given { customer, week_ago })?;
            #[expect(clippy::print_stdout, reason = "what the bench that started this reads")]
            {
                println!("{}", serde_json::to_string(&taken)?);
            }
            return Ok(());
        }
    }
    let scratch = tempfile::tempdir()?;
    let bench = Bench { options, clock: Clock::machine(), folder: scratch.path().to_owned() };
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled).set_header([
        "database",
        "network",
        "page",
        "rows",
        "bare ms",
        "callops ms",
        "times bare",
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
        let Options { invoices, customers, rounds, .. } = &bench.options;
        println!("{invoices} invoices of {customers} customers, pages of 50; medians of {rounds} rounds");
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
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
    async fn start(callops: &Path, customers: u32, invoices: u32) -> Result<Self> {
        let mut child = Command::new(callops)
            .arg("sandbox")
            .stdout(Stdio::piped())
            .spawn()
            .context("the sandbox cannot be started")?;
        let stdout = child.stdout.take().context("the sandbox has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let started: Value = serde_json::from_str(&line)?;
        let url = started["url"].as_str().context("the sandbox gives no address")?.to_owned();
        let sandbox = Self { child, url };
        let books = json!({
            "organizations": [{"id": ORGANIZATION, "name": "Zillium Inc", "refresh_token": "sandbox-key",
                "client_id": "1000.CLIENT", "client_secret": "a-secret"}],
            "many": {"customers": customers, "invoices": invoices},
        });
        let given = client().post(format!("{}/_sandbox/zoho", sandbox.url)).body(books.to_string());
        given.send().await?.error_for_status()?;
        Ok(sandbox)
    }

    /// How many requests it has answered.
    async fn requests(&self) -> Result<usize> {
        let answer = client().get(format!("{}/_sandbox/requests", self.url)).send().await?.error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let list = answer.as_array().or_else(|| answer["requests"].as_array()).context("no list of requests")?;
        Ok(list.len())
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.url.trim_start_matches("http://").parse()?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's own endpoints are no provider")]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

impl Bench {
    fn callops(&self, url: &str) -> Command {
        let mut command = Command::new(&self.options.callops);
        command.env("CALLOPS_DATABASE_URL", url).env("CALLOPS_DATABASE_SCHEMA", bare::SCHEMA);
        command.env("BENCH_TOKEN", "sandbox-key").env("BENCH_SECRET", "a-secret");
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
        let sandbox = Sandbox::start(&self.options.callops, self.options.customers, self.options.invoices).await?;
        let toml = format!(
            "[account.acme-zoho]\nprovider = \"zoho\"\napi_key = \"env:BENCH_TOKEN\"\napi_secret = \"env:BENCH_SECRET\"\n\
             client_id = \"1000.CLIENT\"\ndata_center = \"us\"\nbase_url = \"{}\"\n[tenant.acme]\nname = \"Acme\"\n\
             [tenant.acme.billing]\naccount = \"acme-zoho\"\norganization_id = \"{ORGANIZATION}\"\n\
             requests_per_minute = 100000\nrequests_per_day = 1000000\n",
            sandbox.url
        );
        std::fs::write(self.folder.join("acme.toml"), toml)?;
        for command in [&["init"][..], &["apply", "acme.toml"], &["sync-zoho"]] {
            let made = self.callops(&url).args(command).output().context("callops cannot be started")?;
            ensure!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
        }
        let (stored, customer) = bare::stored(&url).await?;
        ensure!(stored == i64::from(self.options.invoices), "{stored} invoices were stored");
        let week_ago = (self.clock.now() - TimeDelta::days(7)).date_naive().to_string();
        let given = Given { customer, week_ago };

        let before = sandbox.requests().await?;
        self.judge((kind, "on"), &self.take_turns(&url, &given)?, table, wrong);
        ensure!(sandbox.requests().await? == before, "the stand-in was asked for a list");
        match self.without_network(&url, &given, sandbox.address()?) {
            Ok(taken) => self.judge((kind, "off"), &taken, table, wrong),
            Err(error) => wrong.push(format!("without a network nothing was measured on {kind}: {error:#}")),
        }
        bare::forget(&url).await
    }

    /// The same in a namespace without a network. A unix socket leads out of it, so that a server is reached by one.
    fn without_network(&self, url: &str, given: &Given, unreachable: SocketAddr) -> Result<Vec<Taken>> {
        // Who is root keeps what root may do; a namespace of users lets anybody else.
        let is_root = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
        let is_root = is_root.context("unshare cannot be started")?.success();
        let mut command = Command::new("unshare");
        command.args(if is_root { &["--net"][..] } else { &["--map-root-user", "--net"] }).arg("--");
        command.arg(std::env::current_exe()?);
        command.arg("--rounds").arg(self.options.rounds.to_string()).arg("--callops").arg(&self.options.callops);
        command.args(["measure", url]).arg(&self.folder).args([&given.customer, &given.week_ago]);
        let output = command.arg(unreachable.to_string()).output().context("unshare cannot be started")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Each page by either, in turns.
    fn take_turns(&self, url: &str, given: &Given) -> Result<Vec<Taken>> {
        let this = std::env::current_exe()?;
        let mut all = Vec::new();
        for page in Page::value_variants() {
            let bare = || {
                let mut command = Command::new(&this);
                command.args(["select", url, &page.name(), &given.customer, &given.week_ago]);
                command
            };
            let ours = |format: &str| {
                let mut command = self.callops(url);
                command.args(["list", "invoices", "--format", format]).args(page.options(given));
                command
            };
            // Not measured: they show the same invoices, in the same order.
            let (_, shown) = self.run(&mut bare())?;
            let wanted: Vec<&str> = shown.lines().filter_map(|line| line.split('\t').next()).collect();
            let listed: Value = serde_json::from_str(&self.run(&mut ours("json"))?.1)?;
            let listed = listed.as_array().context("no list")?;
            let listed: Vec<&str> = listed.iter().filter_map(|row| row["id"].as_str()).collect();
            ensure!(listed == wanted, "{}: {listed:?} are listed, and not {wanted:?}", page.name());
            let (mut bare_seconds, mut seconds) = (Vec::new(), Vec::new());
            for _ in 0..self.options.rounds {
                bare_seconds.push(self.run(&mut bare())?.0);
                seconds.push(self.run(&mut ours("table"))?.0);
            }
            all.push(Taken {
                page: page.name(),
                rows: wanted.len(),
                bare_seconds: median(&mut bare_seconds),
                seconds: median(&mut seconds),
            });
        }
        Ok(all)
    }

    /// Runs a program to its end; yields the seconds that it took, and what it wrote.
    fn run(&self, command: &mut Command) -> Result<(f64, String)> {
        let started = self.clock.monotonic();
        let output = command.stdin(Stdio::null()).output().context("a program cannot be started")?;
        let seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok((seconds, String::from_utf8(output.stdout)?))
    }

    /// Adds a line for each page, and what is wrong with it.
    fn judge(&self, (kind, network): (&str, &str), taken: &[Taken], table: &mut Table, wrong: &mut Vec<String>) {
        for Taken { page, rows, bare_seconds, seconds } in taken {
            let times = seconds / bare_seconds;
            table.add_row([
                kind.to_owned(),
                network.to_owned(),
                page.clone(),
                rows.to_string(),
                format!("{:.1}", bare_seconds * 1000.0),
                format!("{:.1}", seconds * 1000.0),
                format!("{times:.2}"),
            ]);
            if times > LIMIT && !self.options.quick {
                wrong.push(format!(
                    "{page} on {kind} with the network {network} takes {times:.2} times the bare select"
                ));
            }
        }
    }
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
