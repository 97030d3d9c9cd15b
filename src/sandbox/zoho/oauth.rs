//! Refresh tokens, and the access tokens that are issued for them.

use std::collections::{HashMap, VecDeque};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::meter::within;
use crate::sandbox::query::Query;
use crate::sandbox::reply::Reply;

/// How many access tokens a refresh token is good for within [`WINDOW`].
const MOST_IN_WINDOW: usize = 10;
const WINDOW: TimeDelta = TimeDelta::minutes(10);

/// A refresh token, whose client it is, and what it reaches.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) refresh_token: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    /// The ids of organisations.
    pub(super) organizations: Vec<String>,
    lately: VecDeque<DateTime<Utc>>,
    most_in_window: usize,
    issued: u64,
    refused: u64,
}

impl Grant {
    pub(super) fn new(refresh_token: String, client_id: String, client_secret: String) -> Self {
        Self {
            refresh_token,
            client_id,
            client_secret,
            organizations: Vec::new(),
            lately: VecDeque::new(),
            most_in_window: 0,
            issued: 0,
            refused: 0,
        }
    }
}

#[derive(Debug)]
struct Token {
    grant: usize,
    expires_at: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) struct Grants {
    pub(super) all: Vec<Grant>,
    tokens: HashMap<String, Token>,
    pub(super) expires_in: u32,
    random: fastrand::Rng,
}

impl Grants {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            all: Vec::new(),
            tokens: HashMap::new(),
            expires_in: 3600,
            random: fastrand::Rng::with_seed(seed ^ 0x0a07),
        }
    }

    /// The grant whose token a request shows, unless it has expired.
    pub(super) fn caller(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Option<&Grant> {
        let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Zoho-oauthtoken ")?;
        let token = self.tokens.get(token).filter(|token| token.expires_at > now)?;
        self.all.get(token.grant)
    }

    /// Answers who asks for an access token. Most errors come with a status of 200; what has no parameters that make
    /// sense is refused in the same way.
    pub(super) fn issue(&mut self, form: &Query, api_domain: &str, now: DateTime<Utc>) -> Reply {
        let error = |error: &str| Reply::json(200, json!({"error": error}));
        let given = |name| form.get(name).filter(|value| !value.is_empty());
        let (Some(refresh_token), Some(client_id), Some(client_secret), Some("refresh_token")) =
            (given("refresh_token"), given("client_id"), given("client_secret"), given("grant_type"))
        else {
            return error("invalid_request");
        };
        let mut of_client = self.all.iter().filter(|grant| grant.client_id == client_id).peekable();
        if of_client.peek().is_none() {
            return error("invalid_client");
        }
        if !of_client.any(|grant| grant.client_secret == client_secret) {
            return error("invalid_client_secret");
        }
        let is_asked = |grant: &Grant| grant.refresh_token == refresh_token && grant.client_id == client_id;
        let Some(index) = self.all.iter().position(is_asked) else { return error("invalid_code") };
        let grant = &mut self.all[index];
        within(&mut grant.lately, now, WINDOW);
        if grant.lately.len() >= MOST_IN_WINDOW {
            grant.refused += 1;
            return too_many();
        }
        grant.lately.push_back(now);
        grant.most_in_window = grant.most_in_window.max(grant.lately.len());
        grant.issued += 1;
        let access_token = format!("1000.{:032x}.{:032x}", self.random.u128(..), self.random.u128(..));
        let expires_at = now + TimeDelta::seconds(self.expires_in.into());
        self.tokens.insert(access_token.clone(), Token { grant: index, expires_at });
        Reply::json(
            200,
            json!({
                "access_token": access_token, "scope": "ZohoBooks.contacts.READ,ZohoBooks.invoices.READ,ZohoBooks.settings.READ",
                "api_domain": api_domain, "token_type": "Bearer", "expires_in": self.expires_in,
            }),
        )
    }

    pub(super) fn to_json(&self) -> Value {
        let one = |grant: &Grant| {
            json!({
                "organizations": grant.organizations, "issued": grant.issued, "refused": grant.refused,
                "most_in_ten_minutes": grant.most_in_window,
            })
        };
        self.all.iter().map(one).collect()
    }
}

pub(super) fn too_many() -> Reply {
    Reply::json(
        400,
        json!({
            "error_description": "You have made too many requests continuously. Please try again after some time.",
            "error": "Access Denied", "status": "failure",
        }),
    )
}
