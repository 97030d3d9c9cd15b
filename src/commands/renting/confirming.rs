//! The word by which a person lets a command do what cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::app::App;
use crate::error::{Exit, Failure};

/// Options of commands that act on numbers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Consent {
    /// Do it, without asking
    #[arg(long)]
    pub yes: bool,
    /// Show the plan, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// How a command goes on from its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It acts.
    Act,
    /// The plan was all that was wanted.
    PlanOnly,
}

impl Consent {
    /// Whether the command may act: by `--yes`, or by the number of things that somebody types at a terminal.
    ///
    /// # Errors
    /// Exit 5 when something else is typed.
    pub fn ask(self, app: &App, count: usize, what: &str) -> anyhow::Result<Answer> {
        if self.yes {
            return Ok(Answer::Act);
        }
        let is_watched = io::stdin().is_terminal() && io::stderr().is_terminal();
        if self.dry_run || !is_watched || app.printer.is_quiet() {
            app.printer.say("nothing was done: --yes does it");
            return Ok(Answer::PlanOnly);
        }
        app.printer.say(format!("to {what}, type {count} and press Enter; anything else does nothing"));
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        if line.trim() == count.to_string() {
            return Ok(Answer::Act);
        }
        Err(Failure::refused(format!("{:?} is not {count}, so nothing was done", line.trim())).into())
    }
}

/// What limits how much a command does at once.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// The most things at once.
    pub most: usize,
    /// The option that raises it.
    pub option: &'static str,
    /// Whether it counts.
    pub is_forced: bool,
}

/// The most numbers of one account that are acted on at once, of a hundred.
pub const MOST_PERCENT: usize = 30;

impl Cap {
    /// Refuses what is too much: more things than allowed, or too great a share of one account's numbers. `of_accounts`
    /// holds for each account its name, how many of its numbers are acted on, and how many it has.
    ///
    /// # Errors
    /// Exit 5.
    pub fn check(self, what: &str, all: usize, of_accounts: &[(String, usize, usize)]) -> Result<(), Failure> {
        if self.is_forced {
            return Ok(());
        }
        if all > self.most {
            let failure = Failure::refused(format!("{all} are to {what}, and {} allows {}", self.option, self.most));
            return Err(failure.hint(format!("look at the plan; {} {all}, or --force, allows it", self.option)));
        }
        for (account, count, total) in of_accounts {
            if count * 100 > total * MOST_PERCENT {
                let failure = Failure::refused(format!(
                    "{count} of the {total} numbers of account {account} are to {what}, which is more than {MOST_PERCENT} %"
                ));
                return Err(failure.hint("look at the plan; --force allows it"));
            }
        }
        Ok(())
    }
}

/// What to end with where a plan was only shown.
pub const PLAN_SHOWN: Exit = Exit::Findings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_counts_things_and_shares() {
        let cap = Cap { most: 10, option: "--max-releases", is_forced: false };
        let of = |count, total| [("acme".to_owned(), count, total)];
        assert!(cap.check("be released", 4, &of(4, 17)).is_ok());
        assert!(cap.check("be released", 3, &of(3, 10)).is_ok(), "30 % is not more than 30 %");
        assert!(cap.check("be released", 4, &of(4, 13)).is_err());
        assert!(cap.check("be released", 11, &of(11, 1000)).is_err());
        assert!(cap.check("be released", 11, &[of(6, 1000)[0].clone(), of(5, 1000)[0].clone()]).is_err());
        assert!(Cap { is_forced: true, ..cap }.check("be released", 5, &of(5, 5)).is_ok());
        assert!(cap.check("be released", 0, &of(0, 0)).is_ok());
    }
}
