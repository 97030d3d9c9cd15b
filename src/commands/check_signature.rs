//! `check-signature`: says whether a webhook was signed with a secret, and if not, what is wrong with it.

use std::io::Read as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::json;

use super::telling::record_of;
use crate::config::Environment;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::domain::signature::{self, Mismatch, callops, elevenlabs, livekit, stripe, twilio, vapi};
use crate::error::{Exit, Failure};
use crate::output::Printer;

const SECRET_HELP: &str =
    "The secret: env:NAME, file:/path, or the value itself, which others can then see in the list of processes";

/// Arguments of `check-signature`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops check-signature --scheme stripe --secret env:STRIPE_SECRET --header 'Stripe-Signature: t=..,v1=..' --body-file body
  callops check-signature --scheme twilio --secret env:TOKEN --header 'X-Twilio-Signature: ..' --url https://.. --form --body-file -
  callops check-signature --scheme livekit --key APIkey --secret env:LIVEKIT_SECRET --header 'Authorization: ey..' --body-file body

The body must be byte for byte what came: a program that reads JSON and writes it again changes it. The exit code is 0
for a right signature and 3 for a wrong one.")]
pub struct Args {
    /// Whose way of signing
    #[arg(long, value_enum)]
    pub scheme: Scheme,
    /// What was signed with.
    #[arg(long, value_name = "SECRET", help = SECRET_HELP)]
    pub secret: String,
    /// LiveKit's API key, which the secret belongs to
    #[arg(long, value_name = "KEY", required_if_eq("scheme", "livekit"))]
    pub key: Option<String>,
    /// A header of the request, as 'Name: value'; may be given more than once
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The public address that was asked for, with its query
    #[arg(long, value_name = "URL", required_if_eq("scheme", "twilio"))]
    pub url: Option<String>,
    /// The request's method, where it is signed
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub method: String,
    /// The body is a form (application/x-www-form-urlencoded), whose fields are signed
    #[arg(long)]
    pub form: bool,
    /// The body as it came; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub body_file: PathBuf,
    /// When it came, such as 2026-11-20T14:00:00Z or seconds since 1970; now, unless given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub at: Option<DateTime<Utc>>,
    /// How old a signature of Stripe may be, in seconds; 0 asks for no age
    #[arg(long, value_name = "SECONDS", default_value_t = stripe::TOLERANCE_SECONDS)]
    pub tolerance: i64,
    /// How Vapi's HMAC was set up, as the JSON of an account's `webhook_hmac`
    #[arg(long, value_name = "JSON")]
    pub plan: Option<String>,
}

/// Whose way of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// Vapi: a shared secret, a bearer token, or an HMAC
    Vapi,
    /// callops' own call-status webhook
    Callops,
    /// `ElevenLabs`
    #[value(name = "elevenlabs")]
    ElevenLabs,
    /// Stripe
    Stripe,
    /// Twilio
    Twilio,
    /// `LiveKit`
    #[value(name = "livekit")]
    LiveKit,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'Name: value'")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let seconds = || DateTime::from_timestamp(text.parse().ok()?, 0);
    text.parse().ok().or_else(seconds).ok_or_else(|| format!("{text:?} is no time such as 2026-11-20T14:00:00Z"))
}

/// Checks one delivery.
///
/// # Errors
/// Exit 2 for a secret, plan or body that cannot be read. A wrong signature is no error: the exit is then 3.
pub fn run(printer: &Printer, environment: &Environment, now: DateTime<Utc>, args: &Args) -> anyhow::Result<Exit> {
    let secret = if args.secret.starts_with("env:") || args.secret.starts_with("file:") {
        args.secret
            .parse::<SecretRef>()
            .map_err(|error| Failure::usage(format!("--secret: {error}")))?
            .resolve(environment)?
    } else {
        Secret::new(args.secret.as_str())
    };
    let result = check(args, &secret, &body(args)?, args.at.unwrap_or(now))?;
    let reason = result.as_ref().err().map(ToString::to_string);
    if printer.is_table() {
        printer.line(reason.as_deref().map_or_else(|| "valid".to_owned(), |reason| format!("not valid: {reason}")))?;
    } else {
        printer.record(&record_of(json!({"valid": result.is_ok(), "reason": reason})))?;
    }
    Ok(if result.is_ok() { Exit::Success } else { Exit::Findings })
}

fn check(args: &Args, secret: &Secret, body: &[u8], now: DateTime<Utc>) -> anyhow::Result<Result<(), Mismatch>> {
    let header = |name: &str| args.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let url = args.url.as_deref().unwrap_or_default();
    Ok(match args.scheme {
        Scheme::Callops => {
            let (signature, timestamp) = (header(callops::SIGNATURE_HEADER), header(callops::TIMESTAMP_HEADER));
            callops::verify(secret, &callops::Delivery { signature, timestamp, body }, now)
        }
        Scheme::Vapi => {
            let plan = args.plan.as_deref().map(serde_json::from_str::<vapi::HmacPlan>).transpose();
            let plan = plan.map_err(|error| Failure::usage(format!("--plan: {error}")))?;
            let delivery = vapi::Delivery { header: &header, method: &args.method, url, body };
            vapi::verify(secret, plan.as_ref(), &delivery, now)
        }
        Scheme::ElevenLabs => elevenlabs::verify(secret, header(elevenlabs::SIGNATURE_HEADER), body, now),
        Scheme::Stripe => stripe::verify(secret, header(stripe::SIGNATURE_HEADER), body, now, args.tolerance),
        Scheme::Twilio => {
            let pairs: Vec<(String, String)> = if args.form {
                form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
            } else {
                Vec::new()
            };
            let body = if args.form { twilio::Body::Form(&pairs) } else { twilio::Body::Raw(body) };
            twilio::verify(secret, header(twilio::SIGNATURE_HEADER), url, body)
        }
        Scheme::LiveKit => {
            let key = args.key.as_deref().unwrap_or_default();
            livekit::verify(key, secret, header(signature::livekit::TOKEN_HEADER), body, now)
        }
    })
}

fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let read = if args.body_file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut body).map(drop)
    } else {
        std::fs::read(&args.body_file).map(|bytes| body = bytes)
    };
    read.map_err(|error| Failure::usage(format!("--body-file {}: {error}", args.body_file.display())))?;
    Ok(body)
}
