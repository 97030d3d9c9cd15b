//! Runs that a hosted cron service starts over HTTP.
//!
//! Each has a thread, an app and connections of its own, as a process that cron starts would have: nothing that a client
//! or the server does cancels a dial, and no run holds the connection that webhooks are stored by.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use clap::Parser;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{Server, reply};
use crate::app::App;
use crate::clock::Clock;
use crate::commands::calling::counts::Counts;
use crate::commands::calling::stop::Stop;
use crate::commands::{collect_outcomes, process_calls, sweep_timeouts};
use crate::config::Config;
use crate::domain::signature::{same, vapi::bearer};
use crate::error::{Exit, message};
use crate::output::{Format, Printer};

/// How long a client waits for the counts of a run.
const COUNTS_WITHIN: Duration = Duration::from_secs(5);
/// The most runs at once. More than one of a kind are safe, and of no use.
const MOST_RUNS: usize = 6;
/// How long the server waits for runs when it ends: as long as they may last.
const RUNS_END_WITHIN: Duration = Duration::from_secs(75);

/// What can be run over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    ProcessCalls,
    SweepTimeouts,
    CollectOutcomes,
}

/// The runs that were started over HTTP.
#[derive(Debug)]
pub(super) struct Runs {
    config: Config,
    /// A rehearsal's clock; the machine's is read anew by each run.
    shifted: Option<Clock>,
    stop: Stop,
    threads: Mutex<Vec<JoinHandle<()>>>,
    under_way: Arc<AtomicUsize>,
}

/// What a run came to: its counts, or why there are none.
type Ended = Result<(Map<String, Value>, Exit), String>;

#[derive(Parser)]
struct UsualArguments {
    #[command(flatten)]
    args: process_calls::Args,
}

impl Runs {
    pub(super) fn new(app: &App, stop: Stop) -> Self {
        Self {
            config: app.config.clone(),
            shifted: app.clock.is_shifted().then(|| app.clock.clone()),
            stop,
            threads: Mutex::default(),
            under_way: Arc::default(),
        }
    }

    /// How many are not over.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Starts a run; none when there are too many.
    fn start(&self, job: Job) -> Option<(String, oneshot::Receiver<Ended>)> {
        let place = Place::take(&self.under_way)?;
        let clock = self.shifted.clone().unwrap_or_else(Clock::system);
        let app = App::new(clock, Printer::new(Format::Json, true), self.config.clone(), false);
        let (run_id, stop) = (app.new_id(), self.stop.clone());
        let (sender, receiver) = oneshot::channel();
        let id = run_id.clone();
        let thread = std::thread::Builder::new().name("run".to_owned()).spawn(move || {
            let ended = run(&app, job, &id, &stop);
            drop(place);
            if let Err(error) = &ended {
                tracing::error!(run = %id, error, "a run that was started over HTTP failed");
            }
            // The client may be gone.
            let _ = sender.send(ended);
        });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread.ok()?);
        Some((run_id, receiver))
    }

    /// Waits for every run to end. They stop dialling when the server is asked to end, and finish what they sent.
    pub(super) async fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic in one is on stderr already.
                let _ = thread.join();
            }
        });
        let _ = tokio::time::timeout(RUNS_END_WITHIN, joined).await;
    }
}

/// A place among the runs under way, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(under_way: &Arc<AtomicUsize>) -> Option<Self> {
        let room = |count: usize| (count < MOST_RUNS).then_some(count + 1);
        under_way.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).ok()?;
        Some(Self(Arc::clone(under_way)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One run, to its end.
fn run(app: &App, job: Job, run_id: &str, stop: &Stop) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let result: anyhow::Result<(Counts, Exit)> = async {
            match job {
                Job::ProcessCalls => {
                    let args = UsualArguments::try_parse_from([process_calls::COMMAND])?.args;
                    let (counts, exit) = process_calls::once_as(app, &args, stop, run_id).await?;
                    process_calls::give_sign_of_life(app, exit).await;
                    Ok((counts, exit))
                }
                Job::SweepTimeouts => sweep_timeouts::once_as(app, run_id).await,
                Job::CollectOutcomes => collect_outcomes::once_as(app, run_id).await,
            }
        }
        .await;
        app.close().await;
        let (counts, exit) = result.map_err(|error| message(&app.explain_lost_database(error)))?;
        for problem in counts.problems() {
            tracing::warn!(run = %run_id, "{problem}");
        }
        Ok((counts.record(), exit))
    })
}

/// `/api/cron/process-calls`.
pub(super) async fn process_calls(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(&server, &request, Job::ProcessCalls).await
}

/// `/api/cron/sweep-timeouts`.
pub(super) async fn sweep_timeouts(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(&server, &request, Job::SweepTimeouts).await
}

/// `/api/cron/collect-outcomes`.
pub(super) async fn collect_outcomes(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(&server, &request, Job::CollectOutcomes).await
}

/// Starts a run for whoever shows the secret, and tells its counts if it ends soon.
fn answer(server: &Server, request: &Request, job: Job) -> impl Future<Output = Response> + Send + 'static {
    let shown = request.headers().get(AUTHORIZATION).and_then(|header| bearer(header.to_str().ok()?));
    let secret = server.cron_secret.as_ref();
    let is_known = shown.zip(secret).is_some_and(|(shown, secret)| same(shown.as_bytes(), secret.expose().as_bytes()));
    // Started before anything is waited for: a client that goes away meanwhile has started it all the same.
    let started = is_known.then(|| server.runs.start(job));
    async move {
        let Some(started) = started else { return reply::stranger() };
        let Some((run_id, ended)) = started else {
            return reply::refusal(StatusCode::TOO_MANY_REQUESTS, "enough runs are under way");
        };
        match tokio::time::timeout(COUNTS_WITHIN, ended).await {
            Err(_) => reply::object(StatusCode::ACCEPTED, &json!({"run_id": run_id})),
            Ok(Ok(Ok((counts, exit)))) => {
                let answer = json!({"run_id": run_id, "exit_code": exit.code(), "counts": counts});
                reply::object(StatusCode::OK, &answer)
            }
            // What failed may name what strangers need not know, and is in the log.
            Ok(_) => reply::object(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"error": "the run failed; see the server's log", "run_id": run_id}),
            ),
        }
    }
}
