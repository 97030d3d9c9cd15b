//! Asking an organisation, as often as it allows: each request is admitted by the account of all of them that the database
//! keeps, and waits for its turn by the app's clock.

use std::cell::{Cell, RefCell};

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::{Books, explain_ask, explain_refresh};
use crate::app::App;
use crate::domain::billing::RequestLimits;
use crate::error::Failure;
use crate::fail_point;
use crate::providers::zoho::{AskError, Token, Told, Zoho};
use crate::store::billing::budget::{self, Admission};

/// How often a question is asked before a passing failure is believed.
const TRIES: u32 = 4;
/// How long the organisation is left alone where it says that it got too much in a minute, and not how long to wait.
const MINUTE: TimeDelta = TimeDelta::seconds(60);
/// How long to wait for one of several requests to end.
const TURN: TimeDelta = TimeDelta::milliseconds(100);
/// Nobody waits longer than this for a turn: whoever waits keeps others from what he holds.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(2);
/// What a request may take beyond the time for which its answer is waited for.
const MARGIN: TimeDelta = TimeDelta::seconds(2);

/// What a question is for, which decides how much of the day's requests it may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Keeping up: all of them.
    Keeping,
    /// An invoice that somebody is about to be called about: nine tenths, so that reading what changed goes on.
    Dialling,
    /// Single records, of which there may be more than a day has requests: three quarters.
    Details,
}

impl Purpose {
    fn most_of_day(self, limits: RequestLimits) -> i64 {
        match self {
            Self::Keeping => limits.per_day,
            Self::Dialling => limits.per_day * 9 / 10,
            Self::Details => limits.per_day * 3 / 4,
        }
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// An answer.
    Told(Told<T>),
    /// The requests are spent, those of the day as far as the purpose may use them, or those of a minute for whoever does not
    /// wait; there are new ones then.
    Spent(DateTime<Utc>),
}

/// Asks one organisation.
#[derive(Debug)]
pub struct Asker<'a> {
    app: &'a App,
    books: &'a Books,
    /// The organisation.
    pub organization_id: &'a str,
    limits: RequestLimits,
    patience: Option<TimeDelta>,
    token: RefCell<Option<Token>>,
    asked: Cell<u64>,
}

impl<'a> Asker<'a> {
    /// Asks an organisation by an account's client, within its limits.
    pub fn new(app: &'a App, books: &'a Books, organization_id: &'a str, limits: RequestLimits) -> Self {
        Self { app, books, organization_id, limits, patience: None, token: RefCell::new(None), asked: Cell::new(0) }
    }

    /// Waits for a turn no longer than this, and says then when there is one.
    #[must_use]
    pub fn with_patience(self, patience: TimeDelta) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// How many requests were sent.
    pub fn asked(&self) -> u64 {
        self.asked.get()
    }

    /// Asks until there is an answer, waiting where the limits say so.
    ///
    /// # Errors
    /// Exit 6 when credentials or the organisation are refused; exit 7 when there is no answer, or none is wanted for long.
    pub async fn ask<T>(
        &self,
        purpose: Purpose,
        question: impl AsyncFn(&Zoho, &Token, &str) -> Result<Told<T>, AskError>,
    ) -> anyhow::Result<Asked<T>> {
        let org = self.organization_id;
        let (mut tries, mut worn) = (0, None);
        loop {
            let token = self.token(worn.as_ref()).await?;
            let request_id = match self.admit(purpose).await? {
                Ok(request_id) => request_id,
                Err(until) => return Ok(Asked::Spent(until)),
            };
            let answer = question(&self.books.zoho, &token, org).await;
            fail_point::hit("zoho.asked");
            self.end(&request_id, answer.as_ref()).await?;
            let error = match answer {
                Ok(told) => return Ok(Asked::Told(told)),
                Err(error) => error,
            };
            tries += 1;
            let now = self.app.clock.now();
            let hold_until = match &error {
                // A second token that is refused is not worn: it may not do this.
                AskError::TokenRefused { .. } if worn.is_none() => {
                    worn = Some(token);
                    continue;
                }
                AskError::DaySpent { day_ends_in } => {
                    let day_ends_at = day_ends_in.and_then(|length| Some(now + TimeDelta::from_std(length).ok()?));
                    let spend = async |tx: &mut _| budget::spend(tx, org, self.limits, day_ends_at, now).await;
                    return Ok(Asked::Spent(self.app.db().await?.write(spend).await?));
                }
                AskError::TooManyInMinute { retry_after } => {
                    now + retry_after.and_then(|wait| TimeDelta::from_std(wait).ok()).unwrap_or(MINUTE)
                }
                AskError::TooManyAtOnce => now + TimeDelta::seconds(i64::from(tries)),
                AskError::Read(error) if error.is_transient() => {
                    tracing::debug!(%error, tries, "no answer");
                    if tries < TRIES {
                        self.app.clock.reach(now + TimeDelta::seconds(i64::from(tries))).await;
                        continue;
                    }
                    now
                }
                _ => return Err(explain_ask(&self.books.account, org, &error).into()),
            };
            if hold_until > now {
                self.app.db().await?.write(async |tx| budget::hold(tx, org, hold_until).await).await?;
            }
            if tries >= TRIES || hold_until > now + self.patience.unwrap_or(LONGEST_WAIT) {
                return Err(explain_ask(&self.books.account, org, &error).into());
            }
        }
    }

    async fn token(&self, worn: Option<&Token>) -> anyhow::Result<Token> {
        if worn.is_none()
            && let Some(token) = self.token.borrow().clone().filter(|token| token.is_good(self.app.clock.now()))
        {
            return Ok(token);
        }
        let Books { account, zoho, file } = self.books;
        let token = zoho.token(file, worn, || self.app.clock.now()).await;
        let token = token.map_err(|error| explain_refresh(account, &error))?;
        *self.token.borrow_mut() = Some(token.clone());
        Ok(token)
    }

    /// Waits for the turn of a request; or says when there are new ones.
    async fn admit(&self, purpose: Purpose) -> anyhow::Result<Result<String, DateTime<Utc>>> {
        let (db, clock) = (self.app.db().await?, &self.app.clock);
        let longest = TimeDelta::from_std(self.books.zoho.request_timeout()).unwrap_or(MINUTE) + MARGIN;
        let most_of_day = purpose.most_of_day(self.limits);
        let request_id = self.app.new_id();
        loop {
            let now = clock.now();
            let ask = async |tx: &mut _| {
                let over_at = now + longest;
                budget::admit(tx, self.organization_id, self.limits, most_of_day, &request_id, over_at, now).await
            };
            match db.write(ask).await? {
                Admission::Go => {
                    self.asked.set(self.asked.get() + 1);
                    return Ok(Ok(request_id));
                }
                Admission::Spent(until) => return Ok(Err(until)),
                Admission::NotBefore(moment) if self.patience.is_some_and(|patience| moment > now + patience) => {
                    return Ok(Err(moment));
                }
                Admission::NotBefore(moment) if moment > now + LONGEST_WAIT => {
                    let org = self.organization_id;
                    let moment = moment.format("%Y-%m-%d %H:%M:%S UTC");
                    let failure = format!("organisation {org} wants no request before {moment}, as it said");
                    return Err(Failure::unreachable(failure).hint("a run after that goes on").into());
                }
                Admission::NotBefore(moment) => clock.reach(moment).await,
                Admission::Busy => clock.reach(now + TURN).await,
            }
        }
    }

    async fn end<T>(&self, request_id: &str, answer: Result<&Told<T>, &AskError>) -> anyhow::Result<()> {
        let now = self.app.clock.now();
        let day_ends_in = match answer {
            Ok(told) => told.day_ends_in,
            Err(AskError::Unknown { day_ends_in, .. } | AskError::DaySpent { day_ends_in }) => *day_ends_in,
            Err(_) => None,
        };
        let day_ends_at = day_ends_in.and_then(|length| Some(now + TimeDelta::from_std(length).ok()?));
        let end = async |tx: &mut _| budget::end(tx, self.organization_id, request_id, day_ends_at, now).await;
        self.app.db().await?.write(end).await?;
        Ok(())
    }
}
