//! The command line: global options, and the subcommands.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::error::ErrorKind;
use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands;
use crate::config::ConfigArgs;
use crate::domain::zone;
use crate::error::Failure;
use crate::output::Format;

/// Calls each person at most once, at the right local time, and can say why.
#[derive(Debug, Parser)]
#[command(
    name = "callops",
    version,
    long_version = long_version(),
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    help_template = HELP_TEMPLATE,
    after_help = AFTER_HELP,
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the configuration is, and what overrides it.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How results are written to stdout
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true,
        help = "How results are written to stdout: table, json, jsonl or csv"
    )]
    pub format: Format,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more to stderr: -v info, -vv debug, -vvv trace
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Pretend that it is this time; only with --dry-run or on a rehearsal database
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_instant)]
    pub now: Option<DateTime<Utc>>,
}

impl Global {
    /// Refuses the options that say which database, configuration or time counts, for a command that has its own.
    pub(crate) fn refuse_settings(&self, command: &str) -> Result<(), Failure> {
        let given = [
            ("--config", self.config.config.is_some()),
            ("--database-url", self.config.database_url.is_some()),
            ("--now", self.now.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                Err(Failure::usage(format!("{command} takes no {option}: it has a database and a clock of its own")))
            }
            None => Ok(()),
        }
    }
}

const HELP_TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Commands:
  set up    demo, init, migrate, apply, start-campaign, stop-campaign, doctor, completions
  calling   process-calls, sweep-timeouts, collect-outcomes, pause, resume, call, enroll, withdraw,
            cancel, retry, resolve, explain, status
  contacts  import-contacts, import-queue, undo-import, suppress, unsuppress
  numbers   detect-duplicates, provision-number, release-duplicate-numbers, reconcile-twilio
  billing   sync-zoho, sync-stripe
  events    serve, send-event, replay-events
  look      list, show, check-window, check-phone, check-signature, sandbox

`callops COMMAND --help` says more about each, with examples.

{options}{after-help}";

const AFTER_HELP: &str = "
Exit codes:
  0  done, or nothing to do
  1  unexpected failure
  2  usage
  3  findings: look at them
  4  some items failed or were rejected, the rest is done
  5  refused by a cap or a missing confirmation
  6  configuration, credentials, schema or clock wrong: mend it
  7  database or provider unreachable: try again later

Try it without any account: callops demo";

/// Reads a command line.
///
/// # Errors
/// What is wrong with it; or the help, when that was asked for.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(cli) = parse_tick(&args) {
        return Ok(cli);
    }
    let matches = match Cli::command().try_get_matches_from(&args) {
        // Only help shows the notes, and to prepare those of every command takes as long as all else that is parsed.
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) =>
        {
            Cli::command().mut_subcommands(with_flowing_notes).try_get_matches_from(args)?
        }
        matches => matches?,
    };
    Cli::from_arg_matches(&matches)
}

/// Gives a command the options of one subcommand.
type Augment = fn(clap::Command) -> clap::Command;

/// What cron starts every minute. To build all other commands for each of these takes longer than all that an idle one
/// does besides.
const TICKS: [(&str, Augment); 3] = [
    (commands::process_calls::COMMAND, commands::process_calls::Args::augment_args),
    (commands::sweep_timeouts::COMMAND, commands::sweep_timeouts::Args::augment_args),
    (commands::collect_outcomes::COMMAND, commands::collect_outcomes::Args::augment_args),
];

/// Reads a command line of one of the [`TICKS`], if it is one and nothing about it is special: help, mistakes, and other
/// commands that the name is an argument of, go the long way.
fn parse_tick(args: &[OsString]) -> Option<Cli> {
    let (name, augment) = TICKS.iter().find(|(name, _)| args.iter().any(|arg| arg == name))?;
    let command = Global::augment_args(clap::Command::new("callops")).subcommand_required(true);
    let command = command.subcommand(augment(clap::Command::new(*name)));
    Cli::from_arg_matches(&command.try_get_matches_from(args).ok()?).ok()
}

/// The command with notes that are broken where the terminal ends, and not where the source does.
fn with_flowing_notes(command: clap::Command) -> clap::Command {
    match command.get_after_help().map(|notes| flowing(&notes.to_string())) {
        Some(notes) => command.after_help(notes),
        None => command,
    }
}

/// The text with the lines of each paragraph joined. Indented lines are examples and stay as they are; so does a line
/// that ends a sentence, since each may be about another thing.
fn flowing(text: &str) -> String {
    const SHORTEST_BROKEN_LINE: usize = 60;
    let mut flowing = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        flowing.push_str(line);
        let Some(next) = lines.peek() else { break };
        let runs_on = line.chars().count() >= SHORTEST_BROKEN_LINE
            && !line.starts_with(' ')
            && !line.ends_with('.')
            && !next.is_empty()
            && !next.starts_with(' ');
        flowing.push(if runs_on { ' ' } else { '\n' });
    }
    flowing
}

fn long_version() -> String {
    let (zones, plans) = (zone::tzdata_version(), zone::number_plan::version());
    format!("{} (time-zone data {zones}, number plans {plans})", env!("CARGO_PKG_VERSION"))
}

/// Reads an RFC 3339 time.
pub(crate) fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| format!("`{text}` is no RFC 3339 time, such as 2026-11-20T14:00:00Z"))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try everything with real lists and a stand-in for the provider: no account, no network
    Demo(commands::demo::Args),
    /// Make the database, or bring it up to date
    Init(commands::init::Args),
    /// Bring the database's schema up to date
    Migrate(commands::migrate::Args),
    /// Check configuration, database, accounts and campaigns, and say how to mend what is wrong
    Doctor(commands::doctor::Args),
    /// Say why somebody is called or not, and when they can next be
    Explain(commands::explain::Args),
    /// Put accounts, tenants and campaigns in from TOML files
    Apply(commands::apply::Args),
    /// Let campaigns call
    StartCampaign(commands::start_campaign::Args),
    /// Stop campaigns: cancel what waits, let what rings go on
    StopCampaign(commands::stop_campaign::Args),
    /// Put people into a campaign
    Enroll(commands::enroll::Args),
    /// Take people out of a campaign
    Withdraw(commands::withdraw::Args),
    /// Stop all dialling at once
    Pause(commands::pause::Args),
    /// End a pause
    Resume(commands::resume::Args),
    /// Call one person now, if every gate says yes
    Call(commands::call::Args),
    /// Take calls back that wait
    Cancel(commands::cancel::Args),
    /// Give a failed call another attempt
    Retry(commands::retry::Args),
    /// Say what came of an attempt that nobody knows about
    Resolve(commands::resolve::Args),
    /// List campaigns, contacts, calls, attempts, runs, events and more
    List(commands::list::Args),
    /// Show all about one campaign, contact, call, attempt, run or event
    Show(commands::show::Args),
    /// Write the completions of a shell
    Completions(commands::completions::Args),
    /// Bring a list of contacts into a tenant
    ImportContacts(commands::import_contacts::Args),
    /// Take over the queue of another system, without calling anybody again
    ImportQueue(commands::import_queue::Args),
    /// Take an import back, until its contacts were called
    UndoImport(commands::undo_import::Args),
    /// Forbid calling numbers, or all that begin alike
    Suppress(commands::suppress::Args),
    /// Let suppressed numbers be called again
    Unsuppress(commands::unsuppress::Args),
    /// Say what phone numbers would be dialled as; needs no database
    CheckPhone(commands::check_phone::Args),
    /// Say whether a webhook was signed with a secret; needs no database
    CheckSignature(commands::check_signature::Args),
    /// Report what became of a call; needs no database
    SendEvent(commands::send_event::Args),
    /// Ask whether a window allows a call at a moment; needs no database
    CheckWindow(commands::check_window::Args),
    /// Show every campaign at a glance: who is due, what is live, what today brought
    Status(commands::status::Args),
    /// Call everybody who is due, once
    ProcessCalls(commands::process_calls::Args),
    /// Settle attempts past a deadline, and unknown ones
    SweepTimeouts(commands::sweep_timeouts::Args),
    /// Ask the providers what became of calls
    CollectOutcomes(commands::collect_outcomes::Args),
    /// Find what is there twice: numbers, contacts, calls, conversations
    DetectDuplicates(commands::detect_duplicates::Args),
    /// Take webhooks, and run what a hosted cron service asks for
    Serve(commands::serve::Args),
    /// Apply stored webhooks once more
    ReplayEvents(commands::replay_events::Args),
    /// Get a business its one phone number
    ProvisionNumber(commands::provision_number::Args),
    /// Release the numbers that a business has beyond one, and never one in use
    ReleaseDuplicateNumbers(commands::release_duplicate_numbers::Args),
    /// Compare the database with what Twilio holds
    ReconcileTwilio(commands::reconcile_twilio::Args),
    /// Read customers and invoices from Zoho Books
    SyncZoho(commands::sync_zoho::Args),
    /// Read payments that Stripe's webhooks may have missed
    SyncStripe(commands::sync_stripe::Args),
    /// Run a local stand-in for the providers
    Sandbox(commands::sandbox::Args),
}

impl Command {
    /// Whether the command was asked to change nothing.
    pub fn is_dry_run(&self) -> bool {
        match self {
            Self::Apply(args) => args.dry_run,
            Self::Call(args) => args.dry_run,
            Self::ImportContacts(args) => args.dry_run,
            Self::ImportQueue(args) => args.dry_run,
            Self::Doctor(_) | Self::Explain(_) | Self::Status(_) => true,
            Self::ProcessCalls(args) => args.dry_run,
            Self::ProvisionNumber(args) => args.consent.dry_run,
            Self::ReleaseDuplicateNumbers(args) => args.consent.dry_run,
            _ => false,
        }
    }

    /// Whether the command stands on its own, needing neither configuration nor database.
    pub fn is_standalone(&self) -> bool {
        match self {
            Self::CheckPhone(_)
            | Self::CheckSignature(_)
            | Self::CheckWindow(_)
            | Self::Completions(_)
            | Self::Demo(_)
            | Self::Sandbox(_)
            | Self::SendEvent(_) => true,
            Self::ImportContacts(args) => args.is_standalone(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let long_way = |args: &[OsString]| {
            let matches = Cli::command().try_get_matches_from(args).ok()?;
            Cli::from_arg_matches(&matches).ok().map(|cli| format!("{cli:?}"))
        };
        for line in [
            "callops process-calls",
            "callops -q --format json process-calls --max-runtime 30s --limit 5 --concurrency 7 --tenant acme -vv",
            "callops --database-url sqlite:x --now 2026-11-20T14:00:00Z process-calls --campaign acme/checkup --dry-run",
            "callops sweep-timeouts",
            "callops collect-outcomes --format=csv",
        ] {
            let args = words(line);
            let short = parse_tick(&args).unwrap_or_else(|| panic!("{line} goes the long way"));
            assert_eq!(Some(format!("{short:?}")), long_way(&args), "{line}");
        }
        for line in [
            "callops",
            "callops process-calls --help",
            "callops process-calls --limit many",
            "callops process-calls sweep-timeouts",
            "callops --config process-calls status",
            "callops explain --contact process-calls",
            "callops --version process-calls",
            "process-calls",
        ] {
            assert!(parse_tick(&words(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn notes_flow_and_examples_stay() {
        let text = "Examples:\n  callops a\n  callops b --with-an-option-so-long-that-it-is-over-sixty-characters\n\n\
                    A sentence that is long enough to have been broken by hand goes\non here.\nAnother.";
        let expected = "Examples:\n  callops a\n  callops b --with-an-option-so-long-that-it-is-over-sixty-characters\n\n\
                        A sentence that is long enough to have been broken by hand goes on here.\nAnother.";
        assert_eq!(flowing(text), expected);
    }

    #[test]
    fn the_grouped_help_names_every_command() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let listed = HELP_TEMPLATE.split([' ', ',', '\n']).any(|word| word == name);
            assert!(listed, "{name} is missing from the help");
        }
    }
}
