//! Access tokens: each is good for an hour, and only ten are given out in ten minutes, so that the processes of a machine
//! share one by a file.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Host;
use crate::domain::secret::Secret;
use crate::providers::http::{Answer, NoAnswer, ReadError};

/// So many tokens are given out in [`SPAN`].
const MOST_IN_SPAN: usize = 10;
const SPAN: TimeDelta = TimeDelta::minutes(10);
/// So long before it expires a token is replaced.
const EARLY: TimeDelta = TimeDelta::seconds(60);
/// How long a token is good for, where the service does not say it.
const USUAL_SECONDS: i64 = 3600;
/// How often a lock that another process holds is tried for.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// An access token, and where it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    secret: Secret,
    api_url: String,
    expires_at: DateTime<Utc>,
}

impl Token {
    /// Whether it is good for a while: one that is about to expire is not.
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.expires_at - EARLY > now
    }

    /// Where books are read with it.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    pub(super) fn expose(&self) -> &str {
        self.secret.expose()
    }
}

/// A token as it was given out.
#[derive(Debug)]
pub(super) struct Fresh {
    access_token: Secret,
    api_url: String,
    expires_in: TimeDelta,
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The refresh token is none of the client's, or not of this data centre (`invalid_code`).
    #[error(
        "Zoho knows no such refresh token (invalid_code): it is wrong, was revoked, is another client's, or is of another \
         data centre"
    )]
    UnknownRefreshToken,
    /// There is no such client in this data centre (`invalid_client`).
    #[error("Zoho knows no such client (invalid_client): client_id is wrong, or is of another data centre")]
    UnknownClient,
    /// The client's secret is wrong (`invalid_client_secret`).
    #[error("Zoho refuses the client's secret (invalid_client_secret)")]
    WrongClientSecret,
    /// The service gives out no more tokens for a while (`Access Denied`).
    #[error("Zoho gives out no more access tokens for now (Access Denied): it gives {MOST_IN_SPAN} in 10 minutes")]
    TooMany,
    /// Another one would be one too many, so that it was not asked for.
    #[error(
        "{MOST_IN_SPAN} access tokens were asked for in 10 minutes, which is as many as Zoho gives out: none before {0}"
    )]
    Spent(DateTime<Utc>),
    /// Another refusal.
    #[error("Zoho gives out no access token: {0}")]
    Refused(String),
    /// The host that the answer names is none of the service's, and credentials go nowhere else.
    #[error("the access token is said to be for {0}, which is no host of Zoho's")]
    ForeignHost(String),
    /// Another process holds the lock for too long.
    #[error("another process holds {0} for too long")]
    Locked(PathBuf),
    /// The file cannot be read or written.
    #[error("the access token cannot be kept in {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no usable answer.
    #[error(transparent)]
    Read(ReadError),
}

/// Says what the answer to a refresh means. Success is a token, whatever the status.
pub(super) fn judge(answer: Result<Answer, NoAnswer>, host: &Host) -> Result<Fresh, RefreshError> {
    #[derive(Deserialize)]
    struct Granted {
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        api_domain: Option<String>,
        #[serde(default)]
        expires_in: Option<i64>,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
    }
    let answer = answer.map_err(|error| match error {
        NoAnswer::NotConnected { reason } | NoAnswer::Lost { reason, .. } => {
            RefreshError::Read(ReadError::Unreachable { status: None, reason })
        }
    })?;
    let Ok(granted) = serde_json::from_slice::<Granted>(&answer.body) else {
        let (status, reason) = (answer.status, format!("status {}: no JSON", answer.status));
        return Err(RefreshError::Read(match status {
            429 => ReadError::RateLimited { retry_after: answer.retry_after },
            500.. => ReadError::Unreachable { status: Some(status), reason },
            _ => ReadError::Broken { status, body: reason },
        }));
    };
    if let Some(access_token) = granted.access_token.filter(|token| !token.is_empty()) {
        let api_url = api_url(host, granted.api_domain)?;
        let expires_in = TimeDelta::seconds(granted.expires_in.unwrap_or(USUAL_SECONDS).clamp(0, 24 * 3600));
        return Ok(Fresh { access_token: Secret::new(access_token), api_url, expires_in });
    }
    Err(match granted.error.as_deref() {
        Some("invalid_code") => RefreshError::UnknownRefreshToken,
        Some("invalid_client") => RefreshError::UnknownClient,
        Some("invalid_client_secret") => RefreshError::WrongClientSecret,
        Some("Access Denied" | "access_denied") => RefreshError::TooMany,
        Some(error) => RefreshError::Refused(
            granted.error_description.map_or_else(|| error.to_owned(), |description| format!("{error}: {description}")),
        ),
        None if answer.status >= 500 => {
            let reason = format!("status {}", answer.status);
            RefreshError::Read(ReadError::Unreachable { status: Some(answer.status), reason })
        }
        None => RefreshError::Refused(format!("status {}, and neither a token nor an error", answer.status)),
    })
}

/// Where a token is good for: the host that came with it, if it is one of the service's.
fn api_url(host: &Host, api_domain: Option<String>) -> Result<String, RefreshError> {
    let data_center = match host {
        Host::At(url) => return Ok(url.clone()),
        Host::Of(data_center) => data_center,
    };
    let Some(domain) = api_domain.filter(|domain| !domain.is_empty()) else {
        let missing = || RefreshError::Refused(format!("the answer of data centre {data_center} names no api_domain"));
        return data_center.api_url().map(str::to_owned).ok_or_else(missing);
    };
    let is_theirs = reqwest::Url::parse(&domain).is_ok_and(|url| {
        let is_bare = url.path() == "/" && url.query().is_none() && url.username().is_empty() && url.port().is_none();
        let host = url.host_str().and_then(|host| host.strip_prefix("www.zohoapis.")).unwrap_or_default();
        url.scheme() == "https"
            && is_bare
            && matches!(host, "com" | "eu" | "in" | "com.au" | "jp" | "ca" | "com.cn" | "sa" | "uk")
    });
    if is_theirs { Ok(domain.trim_end_matches('/').to_owned()) } else { Err(RefreshError::ForeignHost(domain)) }
}

/// The file that holds the access token of a grant, and a lock beside it.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    lock: PathBuf,
}

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    api_url: String,
    #[serde(default)]
    expires_at: DateTime<Utc>,
    /// When tokens were asked for, of the last ten minutes.
    #[serde(default)]
    asked_at: Vec<DateTime<Utc>>,
    /// The service wants to be asked for none before.
    #[serde(default)]
    denied_until: Option<DateTime<Utc>>,
}

impl Kept {
    fn token(&self, now: DateTime<Utc>) -> Option<Token> {
        let secret = Secret::new(self.access_token.clone()?);
        let token = Token { secret, api_url: self.api_url.clone(), expires_at: self.expires_at };
        (token.is_good(now) && !token.api_url.is_empty()).then_some(token)
    }
}

impl TokenFile {
    /// The file in `folder` of what has this identity, which is not to be seen in its name.
    pub(super) fn new(folder: &Path, identity: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in identity {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut name = String::from("zoho-");
        for byte in &digest.finalize()[..8] {
            let _ = write!(name, "{byte:02x}");
        }
        Self { path: folder.join(format!("{name}.token")), lock: folder.join(format!("{name}.lock")) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token of the file, or a new one by `refresh`, which is asked once at most.
    pub(super) async fn token(
        &self,
        worn: Option<&Token>,
        clock: impl Fn() -> DateTime<Utc>,
        request_timeout: Duration,
        refresh: impl AsyncFnOnce() -> Result<Fresh, RefreshError>,
    ) -> Result<Token, RefreshError> {
        let is_good = |token: &Token| worn != Some(token);
        // It is put in place whole, so that reading it needs no lock.
        if let Some(token) = self.read()?.token(clock()).filter(is_good) {
            return Ok(token);
        }
        let _lock = self.lock(request_timeout * 2).await?;
        let now = clock();
        let mut kept = self.read()?;
        // Somebody else may have asked meanwhile.
        if let Some(token) = kept.token(now).filter(is_good) {
            return Ok(token);
        }
        kept.asked_at.retain(|at| *at > now - SPAN && *at <= now + SPAN);
        if let Some(until) = kept.denied_until.filter(|until| *until > now && *until <= now + SPAN) {
            return Err(RefreshError::Spent(until));
        }
        if let Some(first) = kept.asked_at.len().checked_sub(MOST_IN_SPAN).and_then(|index| kept.asked_at.get(index)) {
            return Err(RefreshError::Spent(*first + SPAN));
        }
        // Written before it is asked for: whoever is killed in between has asked, too.
        kept.asked_at.push(now);
        kept.access_token = None;
        self.write(&kept)?;
        match refresh().await {
            Ok(Fresh { access_token, api_url, expires_in }) => {
                let token = Token { secret: access_token, api_url, expires_at: now + expires_in };
                kept.access_token = Some(token.expose().to_owned());
                kept.api_url.clone_from(&token.api_url);
                kept.expires_at = token.expires_at;
                self.write(&kept)?;
                Ok(token)
            }
            Err(error) => {
                if matches!(error, RefreshError::TooMany) {
                    kept.denied_until = Some(now + SPAN);
                    self.write(&kept)?;
                }
                Err(error)
            }
        }
    }

    fn read(&self) -> Result<Kept, RefreshError> {
        match fs::read(&self.path) {
            // What cannot be read is as good as nothing: the next token replaces it.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn write(&self, kept: &Kept) -> Result<(), RefreshError> {
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            // Such a file is its owner's alone from the start.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(kept)?)?;
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| self.failed(error))
    }

    async fn lock(&self, patience: Duration) -> Result<File, RefreshError> {
        let file = self.open_lock().map_err(|error| self.failed(error))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(error)) => return Err(self.failed(error)),
                Err(fs::TryLockError::WouldBlock) if waited >= patience => {
                    return Err(RefreshError::Locked(self.lock.clone()));
                }
                Err(fs::TryLockError::WouldBlock) => {}
            }
            tokio::time::sleep(TRY_EVERY).await;
            waited += TRY_EVERY;
        }
    }

    fn open_lock(&self) -> io::Result<File> {
        if let Some(folder) = self.lock.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.lock)
    }

    fn failed(&self, error: io::Error) -> RefreshError {
        RefreshError::File { path: self.path.clone(), error }
    }
}
