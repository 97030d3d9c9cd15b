//! `check-window`: whether a call may be placed at an instant, and when the next one may.

use chrono::{DateTime, Datelike, SecondsFormat, Utc, Weekday};
use serde_json::{Map, Value, json};

use crate::domain::schedule::Schedule;
use crate::domain::slot::Frequency;
use crate::domain::window::{Days, TimeOfDay, Window};
use crate::domain::zone::{Zone, Zones};
use crate::error::{Exit, Failure};
use crate::output::Printer;

const EXAMPLES: &str = "\
Examples:
  callops check-window --timezone America/New_York --start 09:00 --end 17:00 --days 1,2,3,4,5 \\
      --at 2026-11-20T13:59:00Z
  callops check-window --timezone Asia/Tokyo --start 22:00 --end 02:00 --frequency weekly \\
      --last-call 2026-11-17T14:00:00Z --at 2026-11-20T14:00:00Z --format json

`slot` is the key of the slot that a call would take: in the window around --at, else in the one at `next_open`.";

/// The years whose clock changes are known.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2200;

/// Ask whether a window allows a call at an instant; needs no database.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// IANA time zone of the person who would be called
    #[arg(long, value_name = "ZONE")]
    pub timezone: Zone,
    /// First minute of the window, on the local clock
    #[arg(long, value_name = "HH:MM", value_parser = parse_start)]
    pub start: TimeOfDay,
    /// First minute after the window, up to 24:00; not later than --start means on the next day
    #[arg(long, value_name = "HH:MM")]
    pub end: TimeOfDay,
    /// Weekdays on which the window opens: 1 or mon is Monday [default: every day]
    #[arg(long, value_name = "DAY,..", value_delimiter = ',', value_parser = Days::parse_day)]
    pub days: Vec<Weekday>,
    /// How often a person is called: once, daily or weekly
    #[arg(long, value_name = "FREQUENCY", default_value_t)]
    pub frequency: Frequency,
    /// When the person was last called, as an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub last_call: Option<DateTime<Utc>>,
    /// The instant to ask about, as an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub at: DateTime<Utc>,
}

/// Prints whether a call is allowed, the gate that decided, the next allowed instant and the slot.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(printer: &Printer, args: Args) -> anyhow::Result<Exit> {
    let window = Window::new(args.start, args.end).map_err(|error| Failure::usage(format!("--start: {error}")))?;
    let schedule = Schedule { days: Days::new(args.days), ..Schedule::every_day(window) };
    let verdict = judge(&schedule, &Zones::from(args.timezone), args.frequency, args.last_call, args.at);
    printer.record(&verdict)?;
    Ok(Exit::Success)
}

/// The window is asked first, then the frequency; `next_open` is the first instant at which both say yes.
fn judge(
    schedule: &Schedule,
    zones: &Zones,
    frequency: Frequency,
    last_call: Option<DateTime<Utc>>,
    at: DateTime<Utc>,
) -> Map<String, Value> {
    let opened_on = schedule.opened_on(zones, at);
    let reason = match opened_on {
        None => "window",
        Some(date) if !schedule.permits(zones, frequency, last_call, date) => "frequency",
        Some(_) => "ok",
    };
    let next_open = schedule.next_permitted(zones, frequency, last_call, at);
    let slot = opened_on
        .or_else(|| next_open.and_then(|next| schedule.opened_on(zones, next)))
        .map(|date| frequency.slot_key(date));
    let mut verdict = Map::new();
    verdict.insert("allowed".to_owned(), json!(reason == "ok"));
    verdict.insert("reason".to_owned(), json!(reason));
    verdict
        .insert("next_open".to_owned(), json!(next_open.map(|next| next.to_rfc3339_opts(SecondsFormat::AutoSi, true))));
    verdict.insert("slot".to_owned(), json!(slot));
    verdict
}

fn parse_start(text: &str) -> Result<TimeOfDay, String> {
    let time: TimeOfDay = text.parse().map_err(|error: crate::domain::window::TimeOfDayError| error.to_string())?;
    Window::new(time, TimeOfDay::END_OF_DAY).map_err(|error| error.to_string())?;
    Ok(time)
}

pub(super) fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    let at = DateTime::parse_from_rfc3339(text)
        .map_err(|_| "no RFC 3339 time; write 2026-11-20T09:00:00Z, or an offset in place of Z".to_owned())?
        .to_utc();
    if YEARS.contains(&at.year()) {
        Ok(at)
    } else {
        Err(format!("the year must be between {} and {}", YEARS.start(), YEARS.end()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(options: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(std::iter::once("check-window").chain(options.split_whitespace())).map(|cli| cli.args)
    }

    fn verdict(options: &str) -> String {
        let args = parse(options).unwrap();
        let window = Window::new(args.start, args.end).unwrap();
        let schedule = Schedule { days: Days::new(args.days), ..Schedule::every_day(window) };
        Value::Object(judge(&schedule, &args.timezone.into(), args.frequency, args.last_call, args.at)).to_string()
    }

    const OFFICE: &str = "--timezone America/New_York --start 09:00 --end 17:00";

    #[test]
    fn inside_the_window_the_next_opening_is_now() {
        assert_eq!(
            verdict(&format!("{OFFICE} --at 2026-11-20T15:00:00.5+01:00")),
            r#"{"allowed":true,"reason":"ok","next_open":"2026-11-20T14:00:00.500Z","slot":"2026-11-20"}"#
        );
    }

    #[test]
    fn outside_the_window_the_slot_is_that_of_the_next_opening() {
        assert_eq!(
            verdict(&format!("{OFFICE} --at 2026-11-20T22:00:00Z --days 1,wed")),
            r#"{"allowed":false,"reason":"window","next_open":"2026-11-23T14:00:00Z","slot":"2026-11-23"}"#
        );
        assert_eq!(
            verdict(&format!("{OFFICE} --at 2026-11-20T22:00:00Z --frequency once --last-call 2026-01-01T00:00:00Z")),
            r#"{"allowed":false,"reason":"window","next_open":null,"slot":null}"#
        );
    }

    #[test]
    fn the_frequency_is_asked_after_the_window() {
        assert_eq!(
            verdict(&format!("{OFFICE} --at 2026-11-20T15:00:00Z --last-call 2026-11-20T14:00:00Z")),
            r#"{"allowed":false,"reason":"frequency","next_open":"2026-11-21T14:00:00Z","slot":"2026-11-20"}"#
        );
        assert_eq!(
            verdict(&format!(
                "{OFFICE} --at 2026-11-20T15:00:00Z --last-call 2026-11-18T15:00:00Z --frequency weekly --days 1,5"
            )),
            r#"{"allowed":false,"reason":"frequency","next_open":"2026-11-23T14:00:00Z","slot":"2026-W47"}"#
        );
        assert_eq!(
            verdict(&format!("{OFFICE} --at 2026-11-20T15:00:00Z --last-call 2020-11-18T15:00:00Z --frequency once")),
            r#"{"allowed":false,"reason":"frequency","next_open":null,"slot":"once"}"#
        );
    }

    #[test]
    fn equal_ends_are_a_whole_day() {
        assert_eq!(
            verdict("--timezone UTC --start 09:00 --end 09:00 --at 2026-11-20T08:59:00Z"),
            r#"{"allowed":true,"reason":"ok","next_open":"2026-11-20T08:59:00Z","slot":"2026-11-19"}"#
        );
    }

    #[test]
    fn bad_options_name_the_value_and_the_rule() {
        let rest = "--at 2026-11-20T15:00:00Z";
        for (options, value, rule) in [
            ("--timezone GMT+25 --start 09:00 --end 17:00", "GMT+25", "is no IANA time zone"),
            ("--timezone UTC --start 24:00 --end 17:00", "24:00", "cannot start at 24:00"),
            ("--timezone UTC --start 09:00 --end 24:30", "24:30", "from 00:00 to 24:00"),
            ("--timezone UTC --start 9 --end 17:00", "'9'", "write HH:MM"),
            ("--timezone UTC --start 09:00 --end 17:00 --days 1,8", "'8'", "1 to 7 where 1 is Monday"),
            ("--timezone UTC --start 09:00 --end 17:00 --frequency hourly", "hourly", "once, daily or weekly"),
            ("--timezone UTC --start 09:00 --end 17:00 --last-call yesterday", "yesterday", "no RFC 3339 time"),
        ] {
            let error = parse(&format!("{options} {rest}")).expect_err(options);
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains(value) && text.contains(rule), "{text}");
        }
        for at in ["2026-11-20T15:00:00", "2026-11-20", "1600-01-01T00:00:00Z", "2201-01-01T00:00:00Z"] {
            assert!(parse(&format!("{OFFICE} --at {at}")).is_err(), "{at}");
        }
    }
}
