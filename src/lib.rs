//! callops calls each person at most once per slot, at the right local time, and can explain itself.
//!
//! Layers: `main -> commands | server -> store | providers -> domain`. See `docs/architecture.md`.

pub mod app;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod domain;
pub mod error;
pub mod fail_point;
pub mod output;
pub mod providers;
pub mod sandbox;
pub mod server;
pub mod store;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::rc::Rc;

use anyhow::Result;
use clap::CommandFactory as _;
use futures_util::future::LocalBoxFuture;
use tracing_subscriber::EnvFilter;

use self::app::App;
use self::cli::{Cli, Command, Global};
use self::clock::Clock;
use self::config::{Config, Environment};
use self::error::{Exit, classify};
use self::output::{Format, Printer};

/// The most connections of `serve` to a PostgreSQL server.
const SERVER_CONNECTIONS: u32 = 8;

/// Runs one command line, and says how the process should end. Everything that a person or program is told has been
/// written by then.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match cli::parse(args.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error, &args),
    };
    let printer = Printer::new(cli.global.format, cli.global.quiet);
    // The futures of all commands together are large; on the heap they do not weigh on the stack.
    let result = Box::pin(dispatch(cli, &printer)).await;
    match result {
        Ok(exit) => exit,
        // The reader has seen enough: `callops list calls | head` is no failure.
        Err(error) if is_broken_pipe(&error) => Exit::Success,
        Err(error) => {
            printer.error(&error);
            classify(&error)
        }
    }
}

fn refuse_usage(error: &clap::Error, args: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // Help and version. A closed pipe is not worth a word.
        let _ = error.print();
        return Exit::Success;
    }
    let wants_json = args.windows(2).any(|pair| pair[0] == "--format" && pair[1].to_string_lossy().starts_with("json"))
        || args.iter().any(|arg| arg.to_string_lossy().starts_with("--format=json"));
    if wants_json {
        let message = error.render().to_string();
        let message = message.trim().strip_prefix("error: ").unwrap_or(message.trim()).to_owned();
        Printer::new(Format::Json, false).error(&error::Failure::usage(message).into());
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

async fn dispatch(cli: Cli, printer: &Printer) -> Result<Exit> {
    if cli.command.is_standalone() {
        start_logging("warn", &cli.global, true);
        return match cli.command {
            Command::CheckWindow(args) => commands::check_window::run(printer, args),
            Command::CheckPhone(args) => commands::check_phone::run(printer, &args),
            Command::CheckSignature(args) => {
                let clock = cli.global.now.map_or_else(Clock::system, Clock::starting_at);
                commands::check_signature::run(printer, &Environment::of_process(), clock.now(), &args)
            }
            Command::Completions(args) => commands::completions::run(&args, Cli::command()),
            Command::ImportContacts(args) => {
                let clock = cli.global.now.map_or_else(Clock::system, Clock::starting_at);
                commands::import_contacts::run_standalone(printer, &clock, &args).await
            }
            Command::Demo(args) => {
                cli.global.refuse_settings("demo")?;
                commands::demo::run(printer, args, run_line).await
            }
            Command::Sandbox(args) => commands::sandbox::run(printer, args).await,
            Command::SendEvent(args) => {
                commands::send_event::run(printer, &Environment::of_process(), &Clock::system(), &args).await
            }
            _ => Err(anyhow::anyhow!("this command needs a configuration")),
        };
    }
    let config = match (Config::load(&cli.global.config, &Environment::of_process()), &cli.command) {
        (Err(error), Command::Doctor(_)) => return commands::doctor::run_without_configuration(printer, &error),
        (config, _) => config?,
    };
    // Whoever runs a server wants to see what comes in.
    let is_server = matches!(cli.command, Command::Serve(_));
    let log = if is_server && !config.log_is_chosen { "warn,callops=info" } else { &config.log };
    start_logging(log, &cli.global, config.may_color());
    for warning in &config.warnings {
        printer.warn(warning);
    }
    // What goes on for days follows the wall clock; a run carries its own time.
    let clock = match cli.global.now {
        Some(now) => Clock::starting_at(now),
        None if is_server => Clock::machine(),
        None => Clock::system(),
    };
    let app = App::new(clock, printer.clone(), config, cli.command.is_dry_run());
    if let Command::Serve(args) = cli.command {
        let app = Rc::new(app.with_connections(SERVER_CONNECTIONS));
        let result = commands::serve::run(Rc::clone(&app), args).await;
        let result = result.map_err(|error| app.explain_lost_database(error));
        app.close().await;
        return result;
    }
    let result = Box::pin(run_command(&app, cli.command)).await;
    let result = result.map_err(|error| app.explain_lost_database(error));
    app.end().await;
    result
}

async fn run_command(app: &App, command: Command) -> Result<Exit> {
    match command {
        Command::Apply(args) => commands::apply::run(app, args).await,
        Command::Call(args) => Box::pin(commands::call::run(app, args)).await,
        Command::Cancel(args) => commands::cancel::run(app, args).await,
        Command::CollectOutcomes(args) => Box::pin(commands::collect_outcomes::run(app, args)).await,
        Command::DetectDuplicates(args) => commands::detect_duplicates::run(app, args).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(app, args)).await,
        Command::Enroll(args) => commands::enroll::run(app, args).await,
        Command::Explain(args) => commands::explain::run(app, args).await,
        Command::ImportContacts(args) => commands::import_contacts::run(app, args).await,
        Command::ImportQueue(args) => Box::pin(commands::import_queue::run(app, args)).await,
        Command::Init(args) => commands::init::run(app, args).await,
        Command::List(args) => commands::list::run(app, args).await,
        Command::Migrate(args) => commands::migrate::run(app, args).await,
        Command::Pause(args) => commands::pause::run(app, args).await,
        Command::ProcessCalls(args) => Box::pin(commands::process_calls::run(app, args)).await,
        Command::ProvisionNumber(args) => Box::pin(commands::provision_number::run(app, args)).await,
        Command::ReconcileTwilio(args) => Box::pin(commands::reconcile_twilio::run(app, args)).await,
        Command::ReleaseDuplicateNumbers(args) => Box::pin(commands::release_duplicate_numbers::run(app, args)).await,
        Command::ReplayEvents(args) => Box::pin(commands::replay_events::run(app, args)).await,
        Command::Resolve(args) => commands::resolve::run(app, args).await,
        Command::Resume(args) => commands::resume::run(app, args).await,
        Command::Retry(args) => commands::retry::run(app, args).await,
        Command::Show(args) => commands::show::run(app, args).await,
        Command::StartCampaign(args) => commands::start_campaign::run(app, args).await,
        Command::Status(args) => commands::status::run(app, args).await,
        Command::StopCampaign(args) => commands::stop_campaign::run(app, args).await,
        Command::SweepTimeouts(args) => Box::pin(commands::sweep_timeouts::run(app, args)).await,
        Command::SyncStripe(args) => Box::pin(commands::sync_stripe::run(app, args)).await,
        Command::SyncZoho(args) => Box::pin(commands::sync_zoho::run(app, args)).await,
        Command::UndoImport(args) => commands::undo_import::run(app, args).await,
        Command::Suppress(args) => commands::suppress::run(app, args).await,
        Command::Unsuppress(args) => commands::unsuppress::run(app, args).await,
        Command::Withdraw(args) => commands::withdraw::run(app, args).await,
        Command::CheckPhone(_)
        | Command::CheckSignature(_)
        | Command::CheckWindow(_)
        | Command::Completions(_)
        | Command::Demo(_)
        | Command::Sandbox(_)
        | Command::SendEvent(_)
        | Command::Serve(_) => Err(anyhow::anyhow!("this command runs by itself")),
    }
}

/// Runs a command line on an app that is there already, for the commands that play others.
fn run_line(app: &App, args: Vec<OsString>) -> LocalBoxFuture<'_, Result<Exit>> {
    Box::pin(async move { run_command(app, cli::parse(args)?.command).await })
}

fn start_logging(filter: &str, global: &Global, may_color: bool) {
    let filter = match global.verbose {
        // A slow disk is no news to whoever reads cron's mail; whoever names sqlx in the filter is told.
        0 if !filter.contains("sqlx") => &format!("{filter},sqlx=error"),
        0 => filter,
        1 => "callops=info",
        2 => "callops=debug",
        _ => "trace",
    };
    // A second subscriber is refused; the first one stays, which only matters to tests within one process.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(io::stderr)
        .with_ansi(may_color && io::stderr().is_terminal())
        .try_init();
}

/// Whether the reader of our output went away. The pipe to a database server breaks in the same words when the server
/// goes down, which is a failure, and has a class of its own.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    classify(error) == Exit::Unexpected
        && error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_pipe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_database_that_did_is_one() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&broken().into()));
        assert!(is_broken_pipe(&anyhow::Error::new(broken()).context("cannot write the list")));
        assert!(!is_broken_pipe(&sqlx::Error::Io(broken()).into()));
        assert!(!is_broken_pipe(&StoreError::from(sqlx::Error::Io(broken())).into()));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
