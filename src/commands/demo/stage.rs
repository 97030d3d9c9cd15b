//! Where the demo plays: a folder, a rehearsal database, the stand-in, and one clock for all of it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{READ_AS, RunLine};
use crate::app::{App, new_id};
use crate::clock::Clock;
use crate::config::{Config, ConfigArgs, Environment};
use crate::domain::call::CallStatus;
use crate::domain::zone::Zone;
use crate::error::{Exit, Failure};
use crate::output::Printer;
use crate::sandbox::{Organisation, Running, Settings, serve};
use crate::store::{attempts, calls};

/// A Monday, ten o'clock in New York.
const STARTS_AT: &str = "2026-11-16T15:00:00Z";
/// Where the demo's people live.
const ZONE: &str = "America/New_York";
const KEY: &str = "demo-key";
const ORGANISATION: &str = "org-demo";
/// Decides every outcome, so that the demo is the same each time.
const SEED: u64 = 2;

const EXAMPLE: &str = include_str!("../../../examples/demo.toml");
/// What of the example differs from run to run.
const EXAMPLE_KEY: &str = "file:/tmp/demo-key";
const EXAMPLE_URL: &str = "http://127.0.0.1:8899";
/// How many calls the example's account may have live.
const LINES: usize = 120;

const LISTS: [(&str, &[u8]); 2] = [
    ("us_congress_district_offices.csv", include_bytes!("../../../examples/data/us_congress_district_offices.csv")),
    ("us_vermont_town_offices.csv", include_bytes!("../../../examples/data/us_vermont_town_offices.csv")),
];

/// A folder that is removed in the end, unless it is to be kept.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    fn new(keep: Option<&Path>) -> Result<Self> {
        let path = match keep {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("callops-demo-{}", new_id(Clock::system().now()))),
        };
        let is_used = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if is_used || path.is_file() {
            return Err(Failure::usage(format!("{} is there and not empty", path.display()))
                .hint("name a folder that is empty or does not exist")
                .into());
        }
        // It holds a key, of sorts.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| Failure::configuration(format!("cannot make the folder {}", path.display())))?;
        Ok(Self { path, is_kept: keep.is_some() })
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content));
        written.with_context(|| Failure::configuration(format!("cannot write {}", path.display())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            // A leftover in the temporary directory is no reason to fail.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The stage.
#[derive(Debug)]
pub(super) struct Stage {
    app: App,
    pub(super) sandbox: Running,
    pub(super) clock: Clock,
    /// Where its people live.
    pub(super) zone: Zone,
    folder: Folder,
    run_line: RunLine,
}

impl Stage {
    /// Makes the folder and starts the stand-in in it.
    pub(super) async fn set(keep: Option<&Path>, run_line: RunLine) -> Result<Self> {
        let folder = Folder::new(keep)?;
        let clock = Clock::manual(STARTS_AT.parse()?);
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on this machine")?;
        let organisation = Organisation { key: KEY.to_owned(), org: ORGANISATION.to_owned(), concurrency: LINES };
        let settings = Settings { seed: SEED, organisations: vec![organisation], ..Settings::new(clock.clone()) };
        let sandbox = serve(settings, listener).context("cannot start the stand-in")?;

        folder.write("key", format!("{KEY}\n").as_bytes())?;
        let key = format!("file:{}", folder.path.join("key").display());
        let example = EXAMPLE.replace(EXAMPLE_KEY, &key).replace(EXAMPLE_URL, &sandbox.url());
        folder.write("demo.toml", example.as_bytes())?;
        folder.write("callops.toml", b"database_url = \"demo.db\"\n")?;
        for (name, content) in LISTS {
            folder.write(name, content)?;
        }

        // Nothing of the user's environment or files counts here.
        let environment = Environment::of_variables([("", ""); 0], &folder.path);
        let config = Config::load(&ConfigArgs::default(), &environment)?;
        fastrand::seed(SEED);
        let (printer, _) = Printer::captured(READ_AS);
        let zone = Zone::parse(ZONE)?;
        Ok(Self { app: App::new(clock.clone(), printer, config, false), sandbox, clock, zone, folder, run_line })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// The time that it is there.
    pub(super) fn local_time(&self, format: &str) -> String {
        self.zone.local(self.clock.now()).format(format).to_string()
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// Runs a command line as a user would type it in the folder, and yields what it prints as JSON.
    pub(super) async fn run(&mut self, line: &str) -> Result<Value> {
        let (printer, captured) = Printer::captured(READ_AS);
        self.dispatch(line, printer).await?;
        let text = captured.text();
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("`callops {line}` printed no JSON"))
    }

    /// Runs a command line for a person to read.
    pub(super) async fn show(&mut self, line: &str, printer: &Printer) -> Result<()> {
        self.dispatch(line, printer.clone()).await
    }

    async fn dispatch(&mut self, line: &str, printer: Printer) -> Result<()> {
        let args = self.words(line);
        self.app.printer = printer;
        let exit = (self.run_line)(&self.app, args).await;
        match exit.with_context(|| format!("`callops {line}`"))? {
            // Rows without a phone are in the lists, and unknown attempts are meant to be there for a while.
            Exit::Success | Exit::Partial | Exit::Findings | Exit::Interrupted | Exit::Terminated => Ok(()),
            other => bail!("`callops {line}` ended with exit code {}", other.code()),
        }
    }

    /// The words of a command line, with files in the folder instead of the working directory.
    fn words(&self, line: &str) -> Vec<OsString> {
        let words = line.split(' ').map(|word| {
            let path = self.folder.path.join(word);
            if path.is_file() { path.into_os_string() } else { word.into() }
        });
        std::iter::once("callops".into()).chain(words).collect()
    }

    /// Loses the answers to these requests for calls, counted from 1, after or before the phone rings.
    pub(super) fn lose(&self, after_ringing: &[u64], before_ringing: &[u64]) -> Result<()> {
        let rule = |kind: &'static str| move |nth: &u64| json!({"kind": kind, "match": {"nth": nth}, "times": 1});
        let rules: Value = after_ringing
            .iter()
            .map(rule("accept_and_drop"))
            .chain(before_ringing.iter().map(rule("refuse_and_drop")))
            .collect();
        self.sandbox.add_faults(rules).map_err(|error| anyhow::anyhow!(error))
    }

    /// Whether any call waits or goes on.
    pub(super) async fn is_anything_open(&self) -> Result<bool> {
        let mut tx = self.app.db().await?.read().await?;
        for status in [CallStatus::Scheduled, CallStatus::Calling, CallStatus::InProgress] {
            let filter = calls::Filter { status: Some(status), limit: 1, ..calls::Filter::default() };
            if !calls::calls(&mut tx, &filter).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A phone that rang, and of which callops does not know it yet.
    pub(super) async fn lost_but_rung(&self) -> Result<Option<String>> {
        let mut tx = self.app.db().await?.read().await?;
        let unknown = attempts::unknown_due(&mut tx, self.clock.now() + TimeDelta::days(1)).await?;
        let rings = self.sandbox.rings();
        Ok(unknown.into_iter().map(|attempt| attempt.phone).find(|phone| rings.iter().any(|ring| ring.phone == *phone)))
    }

    /// Closes the database, so that its log is folded into the file, and the stand-in.
    pub(super) async fn strike(self) {
        self.app.close().await;
        self.sandbox.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    #[test]
    fn the_example_has_what_the_demo_replaces() {
        for text in [EXAMPLE_KEY, EXAMPLE_URL] {
            assert!(EXAMPLE.contains(text), "{text}");
        }
        assert!(EXAMPLE.contains(&format!("max_concurrency = {LINES}\n")));
        let starts_at: DateTime<Utc> = STARTS_AT.parse().expect("an instant");
        let zone = Zone::parse(ZONE).expect("a zone");
        assert_eq!(zone.local(starts_at).format("%a %H:%M").to_string(), "Mon 10:00");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("mine"), "x").expect("a file");
        let error = Folder::new(Some(folder.path())).expect_err("it is not empty");
        assert!(error.to_string().contains("not empty"), "{error}");
        let inner = folder.path().join("a/b");
        drop(Folder::new(Some(&inner)).expect("a new folder"));
        assert!(inner.is_dir(), "it was to be kept");
    }
}
