//! What is known of the use of a number, and what could not be learned.

use super::Number;

/// What a source says, or why it could not be read.
pub type Read<T> = Result<T, String>;

/// What is known of the use of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether it is the number that the database holds for its tenant.
    pub in_database: bool,
    /// Calls to it and from it in the last [`RECENT_DAYS`] days, by Twilio's records.
    pub recent_calls: Read<u64>,
    /// The voice accounts that know it, each with its id there.
    pub voice_accounts: Read<Vec<String>>,
    /// The campaigns that call from it.
    pub campaigns: Read<Vec<String>>,
    /// The SIP trunk that takes its calls.
    pub trunk: Option<String>,
    /// Who takes its text messages, where that is neither the tenant's `sms_url` nor Twilio's own example. Messages are
    /// not counted anywhere else.
    pub foreign_sms_url: Option<String>,
}

/// How far back calls count as use.
pub const RECENT_DAYS: i64 = 30;

/// Where Twilio sends messages and calls of a number that nobody set up.
const EXAMPLE_HOST: &str = "https://demo.twilio.com/";

/// Who takes the text messages of a number, where its tenant did not say so itself: an application, or an address.
pub fn foreign_sms(number: &Number, configured: Option<&str>) -> Option<String> {
    if let Some(application) = &number.sms_application_sid {
        return Some(format!("application {application}"));
    }
    foreign_sms_url(number.sms_url.as_deref(), configured)
}

fn foreign_sms_url(found: Option<&str>, configured: Option<&str>) -> Option<String> {
    let found = found.filter(|url| !url.is_empty() && !url.starts_with(EXAMPLE_HOST));
    found.filter(|url| Some(*url) != configured).map(str::to_owned)
}

impl Evidence {
    /// Each way in which the number is in use.
    pub fn uses(&self) -> Vec<String> {
        let mut uses = Vec::new();
        match self.recent_calls {
            Ok(0) | Err(_) => {}
            Ok(1) => uses.push(format!("1 call in {RECENT_DAYS} days")),
            Ok(calls) => uses.push(format!("{calls} calls in {RECENT_DAYS} days")),
        }
        uses.extend(self.voice_accounts.iter().flatten().map(|account| format!("known to {account}")));
        uses.extend(self.campaigns.iter().flatten().map(|campaign| format!("caller id of {campaign}")));
        uses.extend(self.trunk.iter().map(|trunk| format!("on trunk {trunk}")));
        uses.extend(self.foreign_sms_url.iter().map(|url| format!("text messages go to {url}")));
        uses
    }

    /// Each source that could not be read: what it may know keeps the number.
    pub fn doubts(&self) -> Vec<String> {
        let sources =
            [self.recent_calls.as_ref().err(), self.voice_accounts.as_ref().err(), self.campaigns.as_ref().err()];
        sources.into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_somebody_else_takes_are_use() {
        let own = Some("https://acme.example/sms");
        assert_eq!(foreign_sms_url(None, own), None);
        assert_eq!(foreign_sms_url(Some(""), own), None);
        assert_eq!(foreign_sms_url(own, own), None);
        assert_eq!(foreign_sms_url(Some("https://demo.twilio.com/welcome/sms/reply/"), own), None);
        assert_eq!(
            foreign_sms_url(Some("https://other.example/sms"), own).as_deref(),
            Some("https://other.example/sms")
        );
        assert_eq!(foreign_sms_url(own, None).as_deref(), own);
        let application = Number { sms_application_sid: Some("AP1".to_owned()), ..Number::default() };
        assert_eq!(foreign_sms(&application, own).as_deref(), Some("application AP1"));
    }
}
