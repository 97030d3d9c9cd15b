//! Numbers: listed, looked for, bought, set up and released.

use reqwest::Method;
use serde::Deserialize;

use super::super::http::{Acted, LastLook, ReadError, act, exchange, once, unbuilt};
use super::answer::{bought, released};
use super::{Bought, MAX_PAGES, PAGE_SIZE, Released, Twilio, date, endless, next_page, path_of, patiently, said, told};
use crate::domain::numbers::Number;

const FORM: &str = "application/x-www-form-urlencoded";
const NUMBERS: &str = "IncomingPhoneNumbers";

/// A number as the service writes it; what it may leave out or leave empty is none.
#[derive(Deserialize)]
pub(super) struct NumberRecord {
    sid: String,
    account_sid: String,
    phone_number: String,
    #[serde(default)]
    friendly_name: Option<String>,
    #[serde(default)]
    voice_url: Option<String>,
    #[serde(default)]
    sms_url: Option<String>,
    #[serde(default)]
    status_callback: Option<String>,
    #[serde(default)]
    sms_application_sid: Option<String>,
    #[serde(default)]
    trunk_sid: Option<String>,
    #[serde(default)]
    voice_application_sid: Option<String>,
    #[serde(default)]
    date_created: Option<String>,
}

impl From<NumberRecord> for Number {
    fn from(record: NumberRecord) -> Self {
        Self {
            sid: record.sid,
            account_sid: record.account_sid,
            phone: record.phone_number,
            friendly_name: said(record.friendly_name),
            voice_url: address(record.voice_url),
            sms_url: address(record.sms_url),
            status_callback: address(record.status_callback),
            sms_application_sid: said(record.sms_application_sid),
            trunk_sid: said(record.trunk_sid),
            voice_application_sid: said(record.voice_application_sid),
            bought_at: date(record.date_created),
        }
    }
}

/// An address without the user and password that may stand in it: they are secrets of whoever answers there.
fn address(text: Option<String>) -> Option<String> {
    let text = said(text)?;
    let Some((scheme, rest)) = text.split_once("://") else { return Some(text) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => Some(format!("{scheme}://{host}{path}")),
        None => Some(text),
    }
}

/// A page of an account's numbers, and where the next one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberPage {
    /// The numbers, in the service's order.
    pub numbers: Vec<Number>,
    /// The path of the next page; none: that was the last.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    incoming_phone_numbers: Vec<NumberRecord>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct Available {
    available_phone_numbers: Vec<AvailableNumber>,
}

#[derive(Deserialize)]
struct AvailableNumber {
    phone_number: String,
}

/// What a number that is to be bought must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Two letters, such as `US`.
    pub country: String,
    /// The area code, in the United States and Canada.
    pub area_code: Option<String>,
    /// That it takes text messages.
    pub sms: bool,
    /// That it takes messages with pictures.
    pub mms: bool,
}

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase<'p> {
    /// The number, E.164: one number can be had once, so that to ask for it again buys nothing twice.
    pub phone: &'p str,
    /// By what it is found again.
    pub friendly_name: &'p str,
    /// Whom the service asks about calls to it.
    pub voice_url: Option<&'p str>,
    /// Whom it hands text messages.
    pub sms_url: Option<&'p str>,
    /// Whom it tells what became of calls.
    pub status_callback: Option<&'p str>,
}

impl Twilio {
    /// Asks something that every key of the account may.
    ///
    /// # Errors
    /// When the key is refused, or there is no usable answer.
    pub(super) async fn probe(&self) -> Result<(), ReadError> {
        let query = [("PageSize", "1".to_owned())];
        self.get::<Page>(&path_of(self.account_sid(), NUMBERS), &query).await.map(drop)
    }

    /// One page of the numbers that an account holds: the first, or the one whose path the page before it gave.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn numbers_page(&self, account_sid: &str, path: Option<&str>) -> Result<NumberPage, ReadError> {
        let first = || format!("{}?PageSize={PAGE_SIZE}", path_of(account_sid, NUMBERS));
        let path = path.map_or_else(first, str::to_owned);
        let page: Page = self.get(&path, &[]).await?;
        let next = next_page(&path, page.next_page_uri)?;
        Ok(NumberPage { numbers: page.incoming_phone_numbers.into_iter().map(Number::from).collect(), next })
    }

    /// Every number of an account that bears exactly this friendly name.
    ///
    /// # Errors
    /// When the listing could not be read to its end: then what it lacks proves nothing.
    pub async fn numbers_named(&self, account_sid: &str, friendly_name: &str) -> Result<Vec<Number>, ReadError> {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("FriendlyName", friendly_name)
            .append_pair("PageSize", PAGE_SIZE)
            .finish();
        let mut next = Some(format!("{}?{query}", path_of(account_sid, NUMBERS)));
        let mut numbers = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some(path) = next.take() else { return Ok(numbers) };
            let page = self.numbers_page(account_sid, Some(&path)).await?;
            let is_named = |number: &Number| number.friendly_name.as_deref() == Some(friendly_name);
            numbers.extend(page.numbers.into_iter().filter(is_named));
            next = page.next;
        }
        Err(endless())
    }

    /// One number; none when the account does not hold it (any more).
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn number(&self, account_sid: &str, sid: &str) -> Result<Option<Number>, ReadError> {
        let record: Option<NumberRecord> =
            self.get_if_there(&path_of(account_sid, &format!("{NUMBERS}/{sid}"))).await?;
        Ok(record.map(Number::from))
    }

    /// Up to `most` numbers that can be bought, each E.164.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn available(&self, account_sid: &str, wanted: &Wanted, most: u32) -> Result<Vec<String>, ReadError> {
        let mut query = vec![("VoiceEnabled", "true".to_owned()), ("PageSize", most.to_string())];
        query.extend(wanted.area_code.clone().map(|code| ("AreaCode", code)));
        for (key, is_wanted) in [("SmsEnabled", wanted.sms), ("MmsEnabled", wanted.mms)] {
            query.extend(is_wanted.then(|| (key, "true".to_owned())));
        }
        let path = path_of(account_sid, &format!("AvailablePhoneNumbers/{}/Local", wanted.country));
        let answer: Available = match self.get(&path, &query).await {
            // A country that has none of this kind.
            Err(ReadError::NotFound { .. }) => return Ok(Vec::new()),
            answer => answer?,
        };
        Ok(answer.available_phone_numbers.into_iter().map(|number| number.phone_number).collect())
    }

    /// Asks for a number exactly once, unless the last look forbids it.
    pub async fn buy(&self, account_sid: &str, purchase: &Purchase<'_>, last_look: &LastLook) -> Bought {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("PhoneNumber", purchase.phone).append_pair("FriendlyName", purchase.friendly_name);
        for (url, method, value) in [
            ("VoiceUrl", "VoiceMethod", purchase.voice_url),
            ("SmsUrl", "SmsMethod", purchase.sms_url),
            ("StatusCallback", "StatusCallbackMethod", purchase.status_callback),
        ] {
            if let Some(value) = value {
                form.append_pair(url, value).append_pair(method, "POST");
            }
        }
        let request = self.send(Method::POST, &path_of(account_sid, NUMBERS));
        bought(act(request, (FORM, form.finish()), last_look).await)
    }

    /// Sets addresses of a number; yields it as it is then, none when it is gone. To set them again changes nothing.
    ///
    /// # Errors
    /// When there is no usable answer: they may be set nevertheless.
    pub async fn set_urls(
        &self,
        account_sid: &str,
        sid: &str,
        urls: &[(&'static str, &str)],
    ) -> Result<Option<Number>, ReadError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (key, value) in urls {
            form.append_pair(key, value);
        }
        let (form, path) = (form.finish(), path_of(account_sid, &format!("{NUMBERS}/{sid}")));
        let ask = async || {
            let request = self.send(Method::POST, &path).map_err(|error| unbuilt(&error))?;
            once(request.header(reqwest::header::CONTENT_TYPE, FORM).body(form.clone())).await
        };
        match patiently(ask).await.map_err(told) {
            Err(ReadError::NotFound { .. }) => Ok(None),
            answer => super::parse::<NumberRecord>(&answer?).map(|record| Some(record.into())),
        }
    }

    /// Releases a number, once, unless `may_send` forbids it at the last moment. There is no way back. Read the number
    /// before, so that a connection stands: then nothing that takes time lies between the look and the request.
    pub async fn release(
        &self,
        account_sid: &str,
        sid: &str,
        may_send: impl FnOnce() -> Result<(), String>,
    ) -> Released {
        let request = match self.send(Method::DELETE, &path_of(account_sid, &format!("{NUMBERS}/{sid}"))) {
            Ok(request) => request,
            Err(error) => return Released::NotSent { reason: super::super::http::chain(&error) },
        };
        if let Err(reason) = may_send() {
            return Released::NotSent { reason };
        }
        released(Acted::from(exchange(request).await))
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_loses_what_is_secret_and_nothing_else() {
        for (found, shown) in [
            ("https://acme.example/voice?a=b@c", "https://acme.example/voice?a=b@c"),
            ("https://u:hunter3@acme.example/voice", "https://acme.example/voice"),
            ("https://u:p@ss@acme.example:8080?x", "https://acme.example:8080?x"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(address(Some(found.to_owned())).as_deref(), Some(shown));
        }
        assert_eq!(address(Some(" ".to_owned())), None);
        assert_eq!(address(None), None);
    }
}
