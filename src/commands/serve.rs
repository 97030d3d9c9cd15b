//! `serve`: takes webhooks, and runs what a hosted cron service asks for.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Result;

use crate::app::App;
use crate::error::Exit;
use crate::server::{self, Addresses};

const EXAMPLES: &str = "\
Examples:
  WEBHOOK_SECRET=.. CRON_SECRET=.. callops serve
  callops serve --listen 0.0.0.0:8787 --admin-bind 127.0.0.1:8788

POST /api/webhooks/call-status: an agent's report, signed with WEBHOOK_SECRET or the tenant's.
POST /api/vapi/webhook[/ACCOUNT]: Vapi's server messages, by the account's webhook_secret.
POST /api/voice/post_call[/ACCOUNT]: ElevenLabs' post-call webhooks; also at /voice/post_call.
POST /api/webhooks/livekit[/ACCOUNT]: LiveKit's events, signed with the account's own key.
POST /api/webhooks/stripe[/ACCOUNT]: Stripe's events, signed with the account's webhook_secret.
GET /api/cron/process-calls: a run, by bearer CRON_SECRET; also sweep-timeouts, collect-outcomes.
GET /healthz, /metrics, /openapi.json: on the admin address, which asks nobody for a secret.

A webhook is stored before it is answered: `callops list events` shows them, `callops replay-events`
applies them once more. Put a proxy with TLS before it. Once it answers it prints one line of JSON.";

/// Take webhooks, and run what a hosted cron service asks for
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to answer senders
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Where to answer senders [default: listen of callops.toml, else 127.0.0.1:8787]"
    )]
    pub listen: Option<SocketAddr>,
    /// Where to answer about itself
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Where to answer about itself [default: admin_bind of callops.toml, else 127.0.0.1:8788]"
    )]
    pub admin_bind: Option<SocketAddr>,
}

/// Answers until SIGINT or SIGTERM.
///
/// # Errors
/// Exit 6 when an address cannot be had, or the database is not there or not right; exit 7 when it cannot be reached.
pub async fn run(app: Rc<App>, args: Args) -> Result<Exit> {
    let addresses = Addresses {
        listen: args.listen.unwrap_or(app.config.listen),
        admin: args.admin_bind.unwrap_or(app.config.admin_bind),
    };
    server::serve(app, addresses).await
}
