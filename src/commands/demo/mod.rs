//! `demo`: the whole loop on this machine, with real lists, a stand-in for the provider and no phones.

mod report;
mod stage;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use futures_util::future::LocalBoxFuture;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use self::report::Ledger;
use self::stage::Stage;
use crate::app::App;
use crate::clock::Clock;
use crate::commands::calling::stop::Stop;
use crate::error::{Exit, Failure};
use crate::output::{Format, Printer};
use crate::store::calls::Call;

/// Try everything with real lists and a stand-in for the provider: no account, no network
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops demo
  callops demo --keep ./demo              leave database, key and lists there to look around
  callops demo --format json

It reads no configuration and leaves nothing behind unless told to. Time is simulated: a Monday morning
passes in a few seconds. Every step is a command that is shown and that you could have typed.")]
pub struct Args {
    /// Work in this folder, which must be empty or absent, and leave it
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// Answers that are lost after the phone rang, and requests that are lost before it: by the number of the request.
const LOST_AFTER_RINGING: [u64; 3] = [301, 512, 777];
const LOST_BEFORE_RINGING: [u64; 2] = [340, 650];
/// The simulated minutes after which the demo gives up. It needs about half of them.
const MAX_MINUTES: u32 = 120;

/// Runs a command line, its first word the program's name, on an app.
pub type RunLine = fn(&App, Vec<OsString>) -> LocalBoxFuture<'_, Result<Exit>>;

/// Plays the demo.
///
/// # Errors
/// When the folder cannot be used, or what the demo shows does not hold.
pub async fn run(printer: &Printer, args: Args, run_line: RunLine) -> Result<Exit> {
    let stopwatch = Clock::system();
    let stop = Stop::on_signals()?;
    let mut stage = Stage::set(args.keep.as_deref(), run_line).await?;
    let say = |line: &str| printer.say(line);
    say("No phone rings and nothing leaves this machine. The provider is a stand-in at");
    say(&format!("{}, everything else is in {}.\n", stage.sandbox.url(), stage.folder().display()));

    step(printer, &mut stage, "init --rehearsal").await?;
    let applied = step(printer, &mut stage, "apply demo.toml").await?;
    say(&format!("    {}", report::changes(&applied)));
    let mut imports = Vec::new();
    for line in [
        "import-contacts us_congress_district_offices.csv --tenant congress --campaign opening-hours",
        "import-contacts us_vermont_town_offices.csv --tenant vermont --campaign flood-survey",
    ] {
        let import = step(printer, &mut stage, line).await?;
        say(&format!("    {}", report::import(&import)));
        imports.push(import);
    }
    let contacts: u64 = imports.iter().filter_map(|import| import["created"].as_u64()).sum();
    step(printer, &mut stage, "start-campaign congress/opening-hours").await?;
    step(printer, &mut stage, "start-campaign vermont/flood-survey").await?;

    stage.lose(&LOST_AFTER_RINGING, &LOST_BEFORE_RINGING)?;
    say(&format!(
        "\nIt is {} in New York. From here on both commands below run every minute, as cron\n\
         would run them. On the way, {} answers get lost after the phone rang, and {} requests before it.\n",
        stage.local_time("%A, %H:%M"),
        LOST_AFTER_RINGING.len(),
        LOST_BEFORE_RINGING.len()
    ));
    say("$ callops process-calls");
    say("$ callops collect-outcomes");
    let Some(day) = morning(printer, &mut stage, &stop).await? else {
        return Ok(stop.exit().unwrap_or(Exit::Interrupted));
    };

    let calls = report::calls(&stage).await?;
    let ledger = Ledger::of(&stage.sandbox.rings());
    if printer.is_table() {
        say("\nWhat came of the calls:\n");
        printer.rows(&report::outcomes(&calls))?;
        say("\nThe latest ten:\n");
        printer.rows(&report::latest(&calls, stage.zone))?;
        say("");
    }
    say(&format!(
        "The stand-in keeps a ledger of its own, which callops never sees: {} rings of {} phones, no\n\
         phone more often than {}.",
        HumanCount(ledger.rings),
        HumanCount(ledger.phones),
        report::times(ledger.most_rings)
    ));
    say(&format!(
        "Of those that got lost, {} had rung: they were found at the provider and not rung again. {} had\n\
         not: that was proven, which takes 20 minutes, and then they were rung once.",
        day.total("found"),
        day.total("proven_absent")
    ));
    let explained = match &day.lost_but_rung {
        Some(phone) => explain(printer, &mut stage, phone).await?,
        None => Value::Null,
    };
    prove(&ledger, &calls, contacts, &day)?;

    if !printer.is_table() {
        let kept = args.keep.is_some().then(|| stage.folder().display().to_string());
        printer.record(&summary(kept.as_deref(), contacts, &imports, &day, &calls, &ledger, explained))?;
    }
    let seconds = stopwatch.monotonic().as_secs_f64();
    say(&format!("\n{} calls of a simulated {} minutes took {seconds:.1} s.", HumanCount(day.placed()), day.minutes));
    farewell(printer, &stage, args.keep.is_some());
    stage.strike().await;
    Ok(Exit::Success)
}

/// Shows a command line and runs it; yields what it would have printed as JSON.
async fn step(printer: &Printer, stage: &mut Stage, line: &str) -> Result<Value> {
    printer.say(format!("$ callops {line}"));
    stage.run(line).await
}

/// What a morning of runs did.
#[derive(Debug, Default)]
struct Day {
    minutes: u32,
    runs: Vec<Map<String, Value>>,
    /// A phone that rang though the answer to the request was lost.
    lost_but_rung: Option<String>,
}

impl Day {
    fn take(&mut self, run: Value) {
        if let Value::Object(counts) = run {
            self.runs.push(counts);
        }
    }

    fn total(&self, name: &str) -> u64 {
        self.runs.iter().filter_map(|run| run.get(name)?.as_u64()).sum()
    }

    /// Calls that the provider took. One whose answer was lost counts once it is found.
    fn placed(&self) -> u64 {
        self.total("placed") + self.total("found")
    }
}

/// Lets minutes pass until nobody is due and nothing is under way; none when somebody asked the process to end.
async fn morning(printer: &Printer, stage: &mut Stage, stop: &Stop) -> Result<Option<Day>> {
    let mut day = Day::default();
    let progress = printer.progress(None, "calling");
    while day.minutes < MAX_MINUTES {
        let first = day.runs.len();
        let run = stage.run("process-calls").await?;
        let was_idle = run.as_object().is_none_or(Map::is_empty);
        day.take(run);
        day.take(stage.run("collect-outcomes").await?);
        if stop.is_asked() {
            return Ok(None);
        }
        let latest = Day { runs: day.runs[first..].to_vec(), ..Day::default() };
        if latest.total("unknown") > 0 && day.lost_but_rung.is_none() {
            day.lost_but_rung = stage.lost_but_rung().await?;
        }
        progress.set_position(day.placed());
        if let Some(line) = report::minute(&latest, day.minutes) {
            progress.suspend(|| printer.say(format!("    {}  {line}", stage.local_time("%H:%M"))));
        }
        if was_idle && !stage.is_anything_open().await? {
            break;
        }
        stage.clock.advance(chrono::TimeDelta::minutes(1));
        day.minutes += 1;
    }
    progress.finish_and_clear();
    Ok(Some(day))
}

/// Insists on what the demo claims.
fn prove(ledger: &Ledger, calls: &[Call], contacts: u64, day: &Day) -> Result<()> {
    let failed = |what: String| Failure::new(Exit::Unexpected, what).hint("please report this with the output above");
    ensure!(ledger.most_rings <= 1, failed(format!("a phone rang {} times", ledger.most_rings)));
    ensure!(
        ledger.phones == contacts && calls.len() as u64 == contacts,
        failed(format!("{contacts} contacts, but {} calls and {} phones rung", calls.len(), ledger.phones))
    );
    let lost = (LOST_AFTER_RINGING.len() as u64, LOST_BEFORE_RINGING.len() as u64);
    let settled = (day.total("found"), day.total("proven_absent"));
    ensure!(settled == lost, failed(format!("{lost:?} requests were lost, {settled:?} were settled")));
    Ok(())
}

/// Says, in its own words, why one of those whose answer was lost is not called again.
async fn explain(printer: &Printer, stage: &mut Stage, phone: &str) -> Result<Value> {
    let line = format!("explain --contact {phone}");
    printer.say(format!("\n$ callops {line}"));
    if printer.is_table() {
        stage.show(&line, printer).await?;
        return Ok(Value::Null);
    }
    stage.run(&line).await
}

fn summary(
    kept: Option<&str>,
    contacts: u64,
    imports: &[Value],
    day: &Day,
    calls: &[Call],
    ledger: &Ledger,
    explained: Value,
) -> Map<String, Value> {
    let mut summary = Map::new();
    summary.insert("folder".to_owned(), json!(kept));
    summary.insert("imports".to_owned(), json!(imports));
    summary.insert("contacts".to_owned(), json!(contacts));
    summary.insert("simulated_minutes".to_owned(), json!(day.minutes));
    summary.insert("calls".to_owned(), json!(calls.len()));
    summary.insert("statuses".to_owned(), json!(report::by_status(calls)));
    summary.insert("outcomes".to_owned(), json!(report::by_outcome(calls)));
    summary.insert(
        "lost_requests".to_owned(),
        json!({"rung_and_found": day.total("found"), "proven_not_rung": day.total("proven_absent")}),
    );
    summary.insert(
        "ledger".to_owned(),
        json!({"rings": ledger.rings, "phones": ledger.phones, "most_rings_of_one_phone": ledger.most_rings}),
    );
    summary.insert("explained".to_owned(), explained);
    summary
}

fn farewell(printer: &Printer, stage: &Stage, is_kept: bool) {
    if is_kept {
        printer.say(format!(
            "\nLook around, with the provider gone:\n    cd {}\n    callops list calls\n    callops status",
            stage.folder().display()
        ));
    } else {
        printer.say("\nThe folder is gone; `callops demo --keep FOLDER` leaves it to look around.");
    }
    printer.say(
        "For calls of your own: write a campaign as in README.md, then `callops init`, `callops apply FILE`,\n\
         and `callops process-calls --dry-run`.",
    );
}

/// The format in which the demo reads what its commands print.
const READ_AS: Format = Format::Json;
