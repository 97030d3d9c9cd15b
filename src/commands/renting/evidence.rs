//! What is known of the use of numbers: asked of Twilio, of the voice providers, and of the campaigns.

use std::collections::HashMap;

use chrono::{Days, NaiveDate};

use crate::app::App;
use crate::commands::calling::provider::Provider;
use crate::domain::agent::AgentKeys;
use crate::domain::numbers::evidence::{Evidence, RECENT_DAYS, Read, foreign_sms};
use crate::domain::numbers::{Number, NumberSettings, PROVIDER, VoiceNumber};
use crate::providers::twilio::Twilio;
use crate::store::setup::{self, Account};
use crate::store::{self, Tx, control};

/// A campaign's line.
#[derive(Debug)]
struct Caller {
    /// `tenant/name`.
    campaign: String,
    account: String,
    /// Its line in the provider's words.
    line: Option<String>,
    /// The number that it shows, where it says so itself.
    number: Option<String>,
}

/// What the database says of those who may use a number.
#[derive(Debug)]
pub struct Users {
    accounts: Vec<Account>,
    /// The campaigns, or why those of some tenant cannot be read.
    campaigns: Read<Vec<Caller>>,
    is_rehearsal: bool,
}

/// The numbers that the voice providers know at this moment, by digits.
#[derive(Debug)]
pub struct Sources {
    /// Who knows a number, each with its id there; or which account could not be asked, and why.
    voice: Read<HashMap<String, Vec<String>>>,
    /// The campaigns that call from a number.
    campaigns: Read<HashMap<String, Vec<String>>>,
}

impl Users {
    /// Reads it.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read(tx: &mut Tx) -> store::Result<Self> {
        let accounts = setup::accounts(tx).await?.into_iter().filter(|account| account.provider != PROVIDER).collect();
        let mut campaigns = Ok(Vec::new());
        for campaign in setup::campaigns(tx).await? {
            let rules = match campaign.rules() {
                Ok(rules) => rules,
                Err(error) => {
                    campaigns = Err(error.to_string());
                    break;
                }
            };
            let number = rules.agent.get("sip_number").and_then(serde_json::Value::as_str).map(str::to_owned);
            if let Ok(callers) = &mut campaigns {
                callers.push(Caller {
                    campaign: campaign.full_name(),
                    account: campaign.account.clone(),
                    line: AgentKeys::of_agent(&rules.agent).and(rules.line()).map(str::to_owned),
                    number,
                });
            }
        }
        Ok(Self { accounts, campaigns, is_rehearsal: control::is_rehearsal(tx).await? })
    }

    /// Asks every voice provider which numbers it knows.
    pub async fn ask(&self, app: &App) -> Sources {
        let asked = self.accounts.iter().map(|account| async move {
            let provider = Provider::of_account(app, account, self.is_rehearsal).await;
            let numbers = match provider {
                Ok(provider) => provider.numbers().await.map_err(|error| error.to_string()),
                Err(error) => Err(format!("{error:#}")),
            };
            (account, numbers.map_err(|error| format!("account {} cannot say what it knows: {error}", account.name)))
        });
        let answers = futures_util::future::join_all(asked).await;
        let mut voice = Ok(HashMap::new());
        let mut campaigns: Read<HashMap<String, Vec<String>>> = Ok(HashMap::new());
        let mut known: HashMap<&str, Vec<VoiceNumber>> = HashMap::new();
        for (account, numbers) in answers {
            match numbers {
                Ok(numbers) => {
                    if let Ok(voice) = &mut voice {
                        for number in &numbers {
                            let known: &mut Vec<String> = voice.entry(digits(&number.phone)).or_default();
                            known.push(format!("{} ({})", account.name, number.id));
                        }
                    }
                    known.insert(&account.name, numbers);
                }
                Err(error) => {
                    campaigns = Err(error.clone());
                    voice = Err(error);
                }
            }
        }
        match (&self.campaigns, &mut campaigns) {
            (Ok(callers), Ok(by_number)) => {
                for caller in callers {
                    for phone in caller.phones(&known) {
                        by_number.entry(digits(phone)).or_default().push(caller.campaign.clone());
                    }
                }
            }
            (Err(error), campaigns @ Ok(_)) => *campaigns = Err(error.clone()),
            (_, Err(_)) => {}
        }
        Sources { voice, campaigns }
    }
}

impl Caller {
    /// The numbers that it may call from.
    fn phones<'c>(&'c self, known: &'c HashMap<&str, Vec<VoiceNumber>>) -> Vec<&'c str> {
        if let Some(number) = &self.number {
            return vec![number];
        }
        let of_line = known.get(self.account.as_str()).into_iter().flatten();
        of_line.filter(|number| Some(&number.id) == self.line.as_ref()).map(|number| number.phone.as_str()).collect()
    }
}

impl Sources {
    /// What is known of the use of one number. Its calls are counted now.
    pub async fn of(
        &self,
        client: &Twilio,
        number: &Number,
        settings: &NumberSettings,
        in_database: bool,
        today: NaiveDate,
    ) -> Evidence {
        let since = today.checked_sub_days(Days::new(RECENT_DAYS.unsigned_abs())).unwrap_or(today);
        let calls = client.count_calls(&number.account_sid, &number.phone, since).await;
        let key = digits(&number.phone);
        let of = |known: &Read<HashMap<String, Vec<String>>>| {
            known.as_ref().map(|known| known.get(&key).cloned().unwrap_or_default()).map_err(Clone::clone)
        };
        Evidence {
            in_database,
            recent_calls: calls.map_err(|error| format!("its calls cannot be read: {error}")),
            voice_accounts: of(&self.voice),
            campaigns: of(&self.campaigns),
            trunk: number.trunk_sid.clone(),
            foreign_sms_url: foreign_sms(number, settings.sms_url.as_deref()),
        }
    }
}

/// The digits of a number, however it is written.
fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}
