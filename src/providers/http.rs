//! The one HTTP client, and what its failures mean.

mod act;
mod dial;
mod last_look;
mod record;

use std::fmt;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder};

pub(super) use self::act::{Acted, act};
pub(super) use self::dial::dial;
pub use self::last_look::LastLook;
pub(super) use self::record::{id_path, text};

/// No answer of a provider is read beyond this; a page of a thousand calls with transcripts stays far below.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Nobody is made to wait longer than this by a `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How often a read is tried before its failure is believed.
const READ_TRIES: u32 = 3;
/// The pause before a read's second try; it doubles for the third.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Builds the HTTP client when it is first needed, because loading the machine's certificates costs more than a whole
/// run that has nothing to do. Clones share the client and its connections.
///
/// It follows no redirects and never repeats a request by itself.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    connect_timeout: Duration,
    request_timeout: Duration,
    remote: OnceLock<Client>,
    local: OnceLock<Client>,
}

impl Http {
    /// `connect_timeout` bounds making a connection, `request_timeout` a request from its start to the last byte of
    /// the answer.
    pub fn new(connect_timeout: Duration, request_timeout: Duration) -> Self {
        Self(Arc::new(Inner { connect_timeout, request_timeout, remote: OnceLock::new(), local: OnceLock::new() }))
    }

    /// The bound on a whole request: later than this after sending, no answer is read any more.
    pub fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    /// The client for services below `base_url`.
    ///
    /// # Errors
    /// When the machine has no usable certificates.
    pub(super) fn client(&self, base_url: &str) -> Result<&Client, reqwest::Error> {
        let local = is_local(base_url);
        let cell = if local { &self.0.local } else { &self.0.remote };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(local)?;
        Ok(cell.get_or_init(|| client))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where clients are built")]
    fn build(&self, local: bool) -> Result<Client, reqwest::Error> {
        install_tls_provider();
        let mut builder = Client::builder()
            .user_agent(concat!("callops/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.0.connect_timeout)
            .timeout(self.0.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if local {
            // Plain HTTP on this machine needs neither certificates nor the proxy that leads to the outside.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        builder.build()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("connect_timeout", &self.0.connect_timeout)
            .field("request_timeout", &self.0.request_timeout)
            .finish_non_exhaustive()
    }
}

fn install_tls_provider() {
    static ONCE: Once = Once::new();
    // Somebody else in the process may have installed one already, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

fn is_local(base_url: &str) -> bool {
    base_url
        .strip_prefix("http://")
        .and_then(|rest| rest.split(['/', '?']).next())
        .and_then(|authority| authority.parse::<std::net::SocketAddr>().ok())
        .is_some_and(|address| address.ip().is_loopback())
}

/// A complete answer, of whatever status.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) date: Option<DateTime<Utc>>,
    pub(super) retry_after: Option<Duration>,
    /// Where a redirect leads.
    pub(super) location: Option<String>,
    /// All headers, for what only one provider says.
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body, for messages to people.
    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        match text.char_indices().nth(300) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        }
    }
}

/// Why there is no complete answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection was made, so not a byte of the request left.
    NotConnected { reason: String },
    /// The request, or a part of it, may have arrived.
    Lost { reason: String, timed_out: bool, date: Option<DateTime<Utc>> },
}

/// Sends once and reads the whole answer.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Answer, NoAnswer> {
    let mut response = request.send().await.map_err(|error| {
        // A failure of the builder is found before anything is sent.
        if error.is_connect() || error.is_builder() {
            NoAnswer::NotConnected { reason: chain(&error) }
        } else {
            NoAnswer::Lost { reason: chain(&error), timed_out: error.is_timeout(), date: None }
        }
    })?;
    let status = response.status().as_u16();
    let date = date_of(response.headers());
    let retry_after = header(response.headers(), &RETRY_AFTER).and_then(|text| parse_retry_after(text, date));
    let location = header(response.headers(), &LOCATION).map(str::to_owned);
    let headers = response.headers().clone();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY_BYTES => {
                let reason = format!("an answer of status {status} beyond {MAX_BODY_BYTES} bytes");
                return Err(NoAnswer::Lost { reason, timed_out: false, date });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Answer { status, date, retry_after, location, headers, body }),
            Err(error) => {
                let reason = format!("the answer of status {status} broke off: {}", chain(&error));
                return Err(NoAnswer::Lost { reason, timed_out: error.is_timeout(), date });
            }
        }
    }
}

/// Why a read (or a request that is safe to repeat by hand, such as a deletion) brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The key is refused (401, 402, 403).
    #[error("the provider refuses the account's key (status {status}): {body}")]
    Unauthorized {
        /// HTTP status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// Too many requests.
    #[error("the provider asks for fewer requests{}", .retry_after.map(|d| format!(", again in {} s", d.as_secs())).unwrap_or_default())]
    RateLimited {
        /// How long to wait, at most an hour.
        retry_after: Option<Duration>,
    },
    /// There is no such thing (404).
    #[error("the provider does not know it: {body}")]
    NotFound {
        /// The beginning of the answer.
        body: String,
    },
    /// No connection, no answer in time, or a failing service (5xx), repeatedly.
    #[error("the provider cannot be reached: {reason}")]
    Unreachable {
        /// HTTP status, if one came.
        status: Option<u16>,
        /// What was seen.
        reason: String,
    },
    /// An answer that cannot be understood.
    #[error("the provider's answer (status {status}) cannot be used")]
    Broken {
        /// HTTP status.
        status: u16,
        /// What is wrong with it, or its beginning.
        body: String,
    },
    /// The provider has nothing that could be asked.
    #[error("the provider offers no way to {what}")]
    NotOffered {
        /// What it should do.
        what: &'static str,
    },
    /// A listing that could not be read to the end, so that what it lacks proves nothing.
    #[error("the listing is incomplete: {reason}")]
    Incomplete {
        /// Why it stopped.
        reason: String,
    },
}

impl ReadError {
    /// Whether the same read may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unreachable { .. })
    }
}

/// Sends a request once and accepts a 2xx answer only.
pub(super) async fn once(request: RequestBuilder) -> Result<Answer, ReadError> {
    accept(exchange(request).await)
}

fn accept(answer: Result<Answer, NoAnswer>) -> Result<Answer, ReadError> {
    let answer = answer.map_err(|error| match error {
        NoAnswer::NotConnected { reason } | NoAnswer::Lost { reason, .. } => {
            ReadError::Unreachable { status: None, reason }
        }
    })?;
    let status = answer.status;
    match status {
        200..=299 => Ok(answer),
        401..=403 => Err(ReadError::Unauthorized { status, body: answer.excerpt() }),
        404 => Err(ReadError::NotFound { body: answer.excerpt() }),
        429 => Err(ReadError::RateLimited { retry_after: answer.retry_after }),
        408 | 500..=599 => {
            let reason = format!("status {status}: {}", answer.excerpt());
            Err(ReadError::Unreachable { status: Some(status), reason })
        }
        _ => Err(ReadError::Broken { status, body: answer.excerpt() }),
    }
}

/// Reads, trying again a little later while the service cannot be reached. For GET only. A read that timed out has used
/// up what the caller allowed, and is not tried again.
pub(super) async fn read(request: RequestBuilder) -> Result<Answer, ReadError> {
    let mut pause = READ_PAUSE;
    for _ in 1..READ_TRIES {
        // Only a streamed body cannot be sent again, and reads have none.
        let Some(copy) = request.try_clone() else { break };
        let answer = exchange(copy).await;
        let timed_out = matches!(answer, Err(NoAnswer::Lost { timed_out: true, .. }));
        match accept(answer) {
            Err(ReadError::Unreachable { .. }) if !timed_out => {}
            result => return result,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    once(request).await
}

/// An answer, or none where the provider does not know what it was asked about.
pub(super) fn found(answer: Result<Answer, ReadError>) -> Result<Option<Answer>, ReadError> {
    match answer {
        Err(ReadError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// What it means for a read that its request cannot be made.
pub(super) fn unbuilt(error: &reqwest::Error) -> ReadError {
    ReadError::Unreachable { status: None, reason: chain(error) }
}

/// An error and its causes on one line; the address is left out because it can carry a phone number.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let link = error.to_string();
        if !text.contains(&link) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&link);
        }
        cause = error.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn date_of(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    header(headers, &DATE).and_then(parse_http_date)
}

fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    // The name of the weekday adds nothing, and a wrong one takes nothing away.
    let (_, rest) = text.split_once(", ")?;
    NaiveDateTime::parse_from_str(rest, "%d %b %Y %H:%M:%S GMT").ok().map(|naive| naive.and_utc())
}

/// Seconds or an HTTP date, which is counted from the answer's own `Date`. What cannot be read is as if absent; what
/// is absurdly long is an hour.
fn parse_retry_after(text: &str, answered_at: Option<DateTime<Utc>>) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let wait = parse_http_date(text)? - answered_at?;
    // A date that has passed means: now.
    Some(wait.to_std().unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_every_form_and_capped() {
        let answered = parse_http_date("Fri, 20 Nov 2026 12:42:25 GMT");
        assert!(answered.is_some());
        let seconds = |text| parse_retry_after(text, answered).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("Fri, 20 Nov 2026 12:43:25 GMT"), Some(60));
        assert_eq!(seconds("Fri, 20 Nov 2026 12:00:00 GMT"), Some(0));
        assert_eq!(seconds("86400"), Some(3600));
        assert_eq!(seconds("99999999999999999999999999"), Some(3600));
        assert_eq!(seconds("Sat, 20 Nov 2126 12:43:25 GMT"), Some(3600));
        for garbage in ["", "-1", "soon", "1.5", "2026-11-20T12:00:00Z"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
        assert_eq!(parse_retry_after("Fri, 20 Nov 2026 12:43:25 GMT", None), None);
    }

    #[test]
    fn only_plain_http_to_a_loopback_address_is_local() {
        assert!(is_local("http://127.0.0.1:8080"));
        assert!(is_local("http://127.0.0.1:8080/vapi"));
        assert!(is_local("http://[::1]:8080"));
        for remote in ["https://127.0.0.1:8080", "http://127.0.0.1.example:80", "http://10.0.0.1:80", "api.vapi.ai"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
