//! `provision-number`: a tenant's one number, bought at most once.

use serde_json::{Value, json};

use super::renting::accounts::{RentingTenant, Setup};
use super::renting::confirming::{Answer, Consent, PLAN_SHOWN};
use super::renting::purchase::{Asking, Provided, WantedNumber};
use super::telling::{record_of, tell};
use crate::app::App;
use crate::domain::region::Region;
use crate::error::{Exit, Failure};
use crate::store::{numbers, purchases};

/// Arguments of `provision-number`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops provision-number --tenant acme
  callops provision-number --tenant acme --area-code 802 --capabilities voice,sms --yes

What is to be bought is shown, and bought only with --yes or after it was confirmed at a terminal. A tenant that has a
number keeps it, and nothing is bought. The intent is stored before anything is bought, and the number gets a name of its
own at Twilio: whatever becomes of the answer, the next run finds the number by that name, and buys none before two looks at
a distance proved that there is none. A tenant's new purchase begins at most once a minute.

Exit codes: 0 the tenant has its number; 3 the plan was shown; 4 nothing was bought, as Twilio has no such number or refused;
5 too soon after the last purchase; 6 credentials; 7 another one is buying it, or Twilio is not reached: ask again.")]
pub struct Args {
    /// For whom
    #[arg(long)]
    pub tenant: String,
    /// What it must be and do.
    #[command(flatten)]
    pub wishes: Wishes,
    /// A key of your own, such as an order's: asked for again with it, a purchase that failed is not tried anew
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub idempotency_key: Option<String>,
    /// Whether to act.
    #[command(flatten)]
    pub consent: Consent,
}

/// What a number must be and do.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wishes {
    /// Its country (ISO 3166, such as US); else the tenant's region
    #[arg(long, value_name = "REGION")]
    pub country: Option<String>,
    /// Its area code, in the United States and Canada
    #[arg(long, value_name = "CODE")]
    pub area_code: Option<String>,
    /// What it must be able to do, besides calls: voice, sms, mms
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub capabilities: Vec<String>,
}

/// The longest idempotency key.
const MAX_KEY_CHARS: usize = 255;

/// A key of whoever asks: printable ASCII.
pub(crate) fn idempotency_key(text: &str) -> Result<String, String> {
    let is_key = !text.is_empty() && text.len() <= MAX_KEY_CHARS && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key { Ok(text.to_owned()) } else { Err(format!("a key is 1 to {MAX_KEY_CHARS} signs without blanks")) }
}

impl Wishes {
    /// What to look for, for a tenant.
    ///
    /// # Errors
    /// Exit 2, naming what cannot be had.
    pub(crate) fn read(&self, tenant: &RentingTenant) -> Result<WantedNumber, Failure> {
        let country = match (&self.country, &tenant.region) {
            (Some(country), _) => country.to_uppercase(),
            (None, Some(region)) => region.clone(),
            (None, None) => {
                let failure = Failure::usage(format!("tenant {} has no region, and no country is given", tenant.name));
                return Err(failure.hint("give the country, such as US"));
            }
        };
        let region: Region =
            country.parse().map_err(|problem| Failure::usage(format!("{country:?} is no country: {problem}")))?;
        if let Some(code) = &self.area_code {
            let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
            if !is_code {
                return Err(Failure::usage(format!("{code:?} is no area code: three digits")));
            }
            if !matches!(region.code().as_str(), "US" | "CA") {
                let failure = Failure::usage(format!("Twilio knows no area codes of {country}"));
                return Err(failure.hint("area codes are for US and CA"));
            }
        }
        let mut wanted =
            WantedNumber { country: region.code(), area_code: self.area_code.clone(), sms: false, mms: false };
        for word in &self.capabilities {
            match word.trim() {
                "voice" => {}
                "sms" => wanted.sms = true,
                "mms" => wanted.mms = true,
                other => return Err(Failure::usage(format!("{other:?} is no capability; there are voice, sms, mms"))),
            }
        }
        Ok(wanted)
    }
}

/// Gets a tenant its number.
///
/// # Errors
/// Exit 2 for a tenant or wish that is none, 5 without consent, 6 for credentials, 7 for what may be tried again.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    app.check_database_clock().await?;
    let db = app.db().await?;
    let mut tx = db.read().await?;
    let setup = Setup::read(&mut tx).await?;
    let tenant = setup.tenant(&mut tx, &args.tenant).await?.clone();
    let has = numbers::tenant_number(&mut tx, &tenant.name).await?;
    let open = purchases::open_of(&mut tx, &tenant.name).await?;
    drop(tx);
    // What a tenant has, or was asked for before, does not depend on what is wished for now; and it was consented to.
    let is_new = has.is_none() && open.is_none();
    let wanted = if is_new { args.wishes.read(&tenant)? } else { WantedNumber::default() };
    if is_new {
        show(app, &tenant, &wanted);
        if args.consent.ask(app, 1, "buy 1 number")? == Answer::PlanOnly {
            return Ok(PLAN_SHOWN);
        }
    } else if args.consent.dry_run {
        app.printer.say("nothing is to be bought");
        return Ok(Exit::Success);
    }
    let asking =
        Asking { app, tenant: &tenant, wanted, idempotency_key: args.idempotency_key.clone(), on_intent: &|_| {} };
    let provided = asking.run(&setup).await?;
    report(app, &tenant.name, provided)
}

fn show(app: &App, tenant: &RentingTenant, wanted: &WantedNumber) {
    let what = [("sms", wanted.sms), ("mms", wanted.mms)];
    let capabilities: Vec<&str> =
        std::iter::once("voice").chain(what.into_iter().filter_map(|(word, is)| is.then_some(word))).collect();
    let settings = &tenant.numbers;
    app.printer.say(format!(
        "to buy: 1 number for {} with account {}: country {}, area code {}, {}",
        tenant.name,
        settings.account,
        wanted.country,
        wanted.area_code.as_deref().unwrap_or("any"),
        capabilities.join(" and "),
    ));
    let unset = |url: &Option<String>| url.clone().unwrap_or_else(|| "not set".to_owned());
    app.printer.say(format!(
        "voice URL {}, status callback {}, {} a month",
        unset(&settings.voice_url),
        unset(&settings.status_callback),
        settings.monthly_cost.map_or_else(|| "an unknown sum".to_owned(), |cost| cost.to_string()),
    ));
}

fn report(app: &App, tenant: &str, provided: Provided) -> anyhow::Result<Exit> {
    match provided {
        Provided::Number { sid, phone, had } => {
            let record =
                json!({"tenant": tenant, "result": if had { "had" } else { "bought" }, "sid": sid, "phone": phone});
            let sentence =
                if had { format!("{tenant} has {phone} already") } else { format!("{tenant} has {phone} now") };
            tell(app, &record_of(record), &sentence)?;
            Ok(Exit::Success)
        }
        Provided::InProgress { purchase_id, retry_after_seconds } => Err(Failure::unreachable(format!(
            "purchase {purchase_id} of {tenant} is under way, or nobody knows yet what came of it"
        ))
        .hint(format!("ask again in {retry_after_seconds} s: nothing is bought twice"))
        .into()),
        Provided::TooSoon { retry_after_seconds } => {
            Err(Failure::refused(format!("the last purchase of {tenant} began less than a minute ago"))
                .hint(format!("ask again in {retry_after_seconds} s"))
                .into())
        }
        Provided::Failed { purchase_id, reason } => {
            let id = purchase_id.map_or(Value::Null, Value::String);
            if !app.printer.is_table() {
                let record = json!({"tenant": tenant, "result": "failed", "purchase": id, "reason": reason});
                app.printer.record(&record_of(record))?;
            }
            Err(Failure::partial(format!("nothing was bought for {tenant}: {reason}")).into())
        }
    }
}
