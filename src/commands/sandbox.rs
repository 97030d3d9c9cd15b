//! `callops sandbox`: a local stand-in for the voice providers, to try and test without phones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgAction;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::error::{Exit, Failure};
use crate::output::Printer;
use crate::sandbox::{Organisation, Settings, Webhook, serve};

/// Runs a local stand-in for Vapi, ElevenLabs, LiveKit, Twilio, Zoho Books and Stripe until it is interrupted
///
/// It refuses what they refuse, lets calls take their course by its own clock, and keeps a ledger of every phone it
/// would have rung, of every number of Twilio's that was bought or released, of what was asked of Zoho, and of every event that Stripe
/// sent. Once it answers it prints one line: {"url":"http://127.0.0.1:PORT"}.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops sandbox --listen 127.0.0.1:8899 --latency 50ms
  curl http://127.0.0.1:8899/_sandbox/calls
  curl -d '{\"story\":\"five-numbers\"}' http://127.0.0.1:8899/_sandbox/twilio
  curl -d '{\"settings\":{\"limits\":true}}' http://127.0.0.1:8899/_sandbox/zoho
  curl http://127.0.0.1:8899/_sandbox/stripe
  curl -d '{\"advance_seconds\":3600}' http://127.0.0.1:8899/_sandbox/clock
  curl -d '{\"kind\":\"accept_and_drop\",\"match\":{\"nth\":3}}' http://127.0.0.1:8899/_sandbox/faults")]
pub struct Args {
    /// Where to answer; a loopback address. Port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub listen: SocketAddr,

    /// Decides ids, outcomes and random faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How long each answer takes, such as 50ms or 2s
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = duration)]
    pub latency: Duration,

    /// Calls take this many times as long as usual; 0 ends them at once
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub pace: f64,

    /// Live calls per organisation
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub concurrency: usize,

    /// A key and the organisation it belongs to; may be repeated [default: sandbox-key=org-sandbox]. For LiveKit it is an API
    /// key and its secret in one, for Twilio the auth token of `AC0000000000000000000000000000005a`
    #[arg(long = "key", value_name = "KEY=ORG", action = ArgAction::Append, value_parser = key)]
    pub keys: Vec<(String, String)>,

    /// Tell this http:// address on this machine what becomes of calls, as the services' webhooks do
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    pub webhook: Option<String>,

    /// What Vapi's webhooks show in X-Vapi-Secret, and ElevenLabs' are signed with; LiveKit's with the organisation's key
    #[arg(long, value_name = "SECRET", requires = "webhook")]
    pub webhook_secret: Option<String>,

    /// Also append each ring to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// Answers until SIGINT or SIGTERM.
///
/// # Errors
/// When the address or the ledger's file cannot be had, or stdout cannot be written.
pub async fn run(printer: &Printer, args: Args) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Failure::configuration(format!("cannot listen on {}: {error}", args.listen))
            .hint("choose another port with --listen, or 127.0.0.1:0 for any free one")
    })?;
    let mut organisations: Vec<Organisation> =
        args.keys.into_iter().map(|(key, org)| Organisation { key, org, concurrency: args.concurrency }).collect();
    if organisations.is_empty() {
        organisations.push(Organisation { concurrency: args.concurrency, ..Organisation::default() });
    }
    let ledger = args.ledger.clone();
    let webhook = args.webhook.zip(args.webhook_secret).map(|(url, secret)| Webhook::new(url, secret));
    let settings = Settings {
        webhook: None,
        seed: args.seed,
        latency: args.latency,
        ledger_file: args.ledger,
        organisations,
        pace: args.pace,
        ..Settings::new(Clock::machine())
    };
    let running = serve(settings, listener).with_context(|| match &ledger {
        Some(path) => format!("cannot open the ledger {}", path.display()),
        None => "cannot start the sandbox".to_owned(),
    })?;
    running.set_webhook(webhook).map_err(|problem| Failure::usage(format!("--webhook: {problem}")))?;
    printer.line(json!({"url": running.url()}).to_string())?;
    let exit = tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    };
    running.stop().await;
    Ok(exit)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is no address like 127.0.0.1:8899"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("`{}` is no loopback address", address.ip())) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is no time like 50ms or 2s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(error()),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (0.0..=1e6).contains(factor));
    factor.ok_or_else(|| format!("`{text}` is no factor from 0 to a million"))
}

fn key(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, org)) if !key.is_empty() && !org.is_empty() => Ok((key.to_owned(), org.to_owned())),
        _ => Err("expected KEY=ORG".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "50", "ms", "5h", "-1s", "1.5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("0.0.0.0:80").is_err());
        assert!(loopback("localhost:80").is_err());
        assert!(factor("NaN").is_err() && factor("-1").is_err() && factor("0").is_ok());
        assert_eq!(key("a=b"), Ok(("a".to_owned(), "b".to_owned())));
        assert!(key("a=").is_err());
    }
}
