//! What `serve` answers: webhooks and hosted cron services on one address, and about itself on another.
//!
//! Requests come from strangers. Each is bounded in size, time and number; what cannot show a secret is told no more than
//! that, and is neither stored nor logged.

mod admin;
mod body;
mod books;
mod caller;
mod counters;
mod cron;
mod desk;
mod keyring;
mod listener;
mod onboarding;
mod reply;
mod routes;
mod sessions;
mod webhooks;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::counters::Counters;
use self::cron::Runs;
use self::desk::Desk;
use self::keyring::Keyring;
use crate::app::App;
use crate::clock::Clock;
use crate::commands::calling::stop::Stop;
use crate::domain::secret::Secret;
use crate::error::{Exit, Failure};

pub use self::routes::{Audience, ROUTES, Route};

/// How long requests that are under way may take to end, once somebody asked the server to.
const LAST_REQUESTS_WITHIN: Duration = Duration::from_secs(25);

/// Where to answer.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// To senders of webhooks.
    pub listen: SocketAddr,
    /// To operators and their monitoring.
    pub admin: SocketAddr,
}

/// What every handler gets.
#[derive(Debug)]
struct Server {
    desk: Desk,
    keyring: Keyring,
    counters: Counters,
    long_bodies: body::Turns,
    shown_bodies: body::Turns,
    runs: Runs,
    clock: Clock,
    /// Whose turn it is to hash a long body.
    hashing: tokio::sync::Semaphore,
    cron_secret: Option<Secret>,
    public_url: Option<String>,
}

/// Answers until SIGINT or SIGTERM; then ends what is under way, and says by which of the two it ended.
///
/// # Errors
/// Exit 6 when an address cannot be had or the database is not there; exit 7 when it cannot be reached.
pub async fn serve(app: Rc<App>, addresses: Addresses) -> anyhow::Result<Exit> {
    let stop = Stop::on_signals()?;
    // A server that cannot store anything must not say that it is there.
    app.db().await?;
    app.check_database_clock().await?;
    let (public, admin) = (bind(addresses.listen, "--listen").await?, bind(addresses.admin, "--admin-bind").await?);
    let (url, admin_url) = (format!("http://{}", public.local_addr()?), format!("http://{}", admin.local_addr()?));
    if app.config.webhook_secret.is_none() {
        app.printer.say("WEBHOOK_SECRET is not set: only tenants with a webhook_secret can send call-status");
    }
    if app.config.cron_secret.is_none() {
        app.printer.say("CRON_SECRET is not set: the cron endpoints refuse everybody");
    }
    let (desk, work) = desk::open();
    let server = Arc::new(Server {
        desk,
        keyring: Keyring::default(),
        counters: Counters::default(),
        long_bodies: body::Turns::default(),
        shown_bodies: body::Turns::default(),
        runs: Runs::new(&app, stop.clone()),
        clock: app.clock.clone(),
        hashing: tokio::sync::Semaphore::new(1),
        cron_secret: app.config.cron_secret.clone(),
        public_url: app.config.public_url.clone(),
    });
    let (closing, closed) = watch::channel(false);
    let local = tokio::task::LocalSet::new();
    let exit = local
        .run_until(async {
            tokio::task::spawn_local(desk::work(Rc::clone(&app), work));
            let public = listener::answer(public, routes::router(&server, Audience::Senders), closed.clone());
            let admin = listener::answer(admin, routes::router(&server, Audience::Operators), closed);
            let (public, admin) = (tokio::spawn(public), tokio::spawn(admin));
            let shown = app.config.public_url.clone().unwrap_or_else(|| url.clone());
            app.printer.line(json!({"url": url, "admin_url": admin_url, "public_url": shown}).to_string())?;
            let exit = stop.asked().await;
            tracing::info!("ending: no new requests, those under way are answered");
            let _ = closing.send(true);
            let _ = tokio::time::timeout(LAST_REQUESTS_WITHIN, async { tokio::join!(public, admin) }).await;
            server.runs.join().await;
            anyhow::Ok(exit)
        })
        .await?;
    Ok(exit)
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::configuration(format!("cannot listen on {address}: {error}"))
            .hint(format!("choose another with {option}; port 0 takes any free one"))
            .into()
    })
}
