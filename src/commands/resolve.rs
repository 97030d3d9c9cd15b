//! `resolve`: an operator's word on what came of an attempt.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::ValueEnum;
use serde_json::json;

use super::draining;
use super::telling::{record_of, tell};
use crate::app::App;
use crate::domain::call::{AttemptState, Evidence};
use crate::domain::conversation::Record;
use crate::domain::evidence::{Ending, Observation, Seen};
use crate::domain::outcome::Outcome;
use crate::error::{Exit, Failure};
use crate::store::{attempts, evidence, runs};

/// Arguments of `resolve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops resolve 01JD5Q3G7V9M2C8K4R6T0W1XYZ --as answered --reason 'the customer says we called'
  callops resolve 01JD5Q3G7V9M2C8K4R6T0W1XYZ --as lost --reason 'the provider cannot say'
  callops resolve 01JD5Q3G7V9M2C8K4R6T0W1XYZ --as not_sent --reason 'provider, ticket 4711' --yes

What the provider says later replaces your word. `not_sent` says that nothing rang: the phone is dialled again, a second
time if you are wrong. It needs --yes, or the attempt's id typed on a terminal; without either the exit code is 5.")]
pub struct Args {
    /// The id of the attempt
    #[arg(value_name = "ATTEMPT")]
    pub attempt: String,
    /// What came of it
    #[arg(long = "as", value_enum, value_name = "VERDICT")]
    pub verdict: Verdict,
    /// How you know
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Say `not_sent` without being asked again
    #[arg(long)]
    pub yes: bool,
}

/// What an operator can know about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Verdict {
    /// A person was reached
    Answered,
    /// It rang and nobody picked up
    NoAnswer,
    /// The line was engaged
    Busy,
    /// A machine picked up
    Voicemail,
    /// Nobody will ever know; the slot stays spent
    Lost,
    /// Nothing rang; the phone is dialled again
    NotSent,
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("say how you know".to_owned()) } else { Ok(text.to_owned()) }
}

/// Records the operator's word.
///
/// # Errors
/// Exit 2 when there is no such attempt; exit 4 with the reason when it can no longer be settled so; exit 5 when
/// `not_sent` is not confirmed.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let attempt = attempts::attempt(&mut tx, &args.attempt).await?;
    drop(tx);
    let attempt = attempt.ok_or_else(|| {
        Failure::usage(format!("there is no attempt {}", args.attempt))
            .hint("`callops list attempts --status unknown` shows those that are unclear")
    })?;
    if args.verdict == Verdict::NotSent {
        confirm(app, &args, &attempt)?;
    }
    let applied = db
        .write_unless(async |tx| {
            let now = app.clock.now();
            let Some(attempt) = attempts::attempt(tx, &args.attempt).await? else {
                return Ok(Err(Failure::usage(format!("there is no attempt {}", args.attempt))));
            };
            if let Some(why) = why_not(&attempt, args.verdict, now - draining::longest_request(app)) {
                return Ok(Err(Failure::partial(format!("attempt {} stays as it is: {why}", attempt.id))));
            }
            let observation = Observation {
                attempt_id: attempt.id.clone(),
                by: Evidence::Operator,
                at: now,
                seen: seen(args.verdict, &args.reason, now),
            };
            let applied = evidence::apply(tx, &[observation], now).await?.pop();
            let Some(applied) = applied.filter(|applied| applied.moved) else {
                let failure = Failure::partial(format!("attempt {} stays {}", attempt.id, attempt.state));
                return Ok(Err(failure.hint("more is known about it than an operator's word can replace")));
            };
            if attempt.state == AttemptState::Unknown {
                runs::resolve_finding(tx, "unnamed_call", &format!("attempt:{}", attempt.id), now).await?;
            }
            let detail = json!({
                "before": attempt.state.as_str(), "after": applied.state.as_str(), "as": word(args.verdict),
                "reason": args.reason, "phone": attempt.phone, "call": attempt.call_id,
            });
            app.audit(tx, "resolve", &format!("attempt:{}", attempt.id), detail).await?;
            Ok(Ok(applied))
        })
        .await??;
    let record = json!({
        "attempt": applied.attempt_id, "before": attempt.state.as_str(), "state": applied.state.as_str(),
        "as": word(args.verdict), "call": attempt.call_id, "call_status": applied.call_status.as_str(),
    });
    let sentence = format!(
        "attempt {} to {} was {} and is {}; its call is {}",
        attempt.id, attempt.phone, attempt.state, applied.state, applied.call_status
    );
    tell(app, &record_of(record), &sentence)?;
    Ok(Exit::Success)
}

fn word(verdict: Verdict) -> String {
    verdict.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn seen(verdict: Verdict, reason: &str, now: chrono::DateTime<chrono::Utc>) -> Seen {
    let reason = reason.to_owned();
    let outcome = match verdict {
        Verdict::Lost => return Seen::Lost { reason },
        Verdict::NotSent => return Seen::NotSent { reason },
        Verdict::Answered => Outcome::Answered,
        Verdict::NoAnswer => Outcome::NoAnswer,
        Verdict::Busy => Outcome::Busy,
        Verdict::Voicemail => Outcome::Voicemail,
    };
    Seen::Ended(Ending {
        provider_call_id: None,
        outcome,
        never_rang: false,
        reason: Some(reason),
        ended_at: now,
        record: Record::default(),
    })
}

/// Why an operator cannot settle this attempt so. What committed after `sending_since` may be under way.
fn why_not(
    attempt: &attempts::Attempt,
    verdict: Verdict,
    sending_since: chrono::DateTime<chrono::Utc>,
) -> Option<String> {
    let doubtful = matches!(verdict, Verdict::NotSent | Verdict::Lost);
    match attempt.state {
        AttemptState::Placing if attempt.placing_at.is_none_or(|at| at > sending_since) => {
            Some("it is being sent at this moment; try again in half a minute".to_owned())
        }
        AttemptState::Placed | AttemptState::Answered if doubtful => {
            Some(format!("it is {}: the provider took it, so it may ring", attempt.state))
        }
        AttemptState::Placing | AttemptState::Unknown | AttemptState::Placed | AttemptState::Answered => None,
        AttemptState::Claimed => {
            Some("it is claimed and nothing was sent; `callops cancel` takes its call back".into())
        }
        over => Some(format!("it is {over}, which is settled")),
    }
}

/// Has the operator say again that nothing rang.
fn confirm(app: &App, args: &Args, attempt: &attempts::Attempt) -> Result<(), Failure> {
    app.printer.say(format!(
        "attempt {} to {} is {}. Resolved as not_sent, {} is dialled again: a second time if the first did ring.",
        attempt.id, attempt.phone, attempt.state, attempt.phone
    ));
    if args.yes {
        return Ok(());
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        app.printer.say(format!("Type {} to confirm:", attempt.id));
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == attempt.id {
            return Ok(());
        }
    }
    Err(Failure::refused("not confirmed, so nothing was changed")
        .hint("give --yes when you are sure that nothing rang"))
}
