//! `pause`: stops all dialling at once.

use serde_json::json;

use super::calling::counts::Counts;
use super::calling::sweep;
use super::telling::{record_of, tell};
use super::{draining, lookup};
use crate::app::App;
use crate::error::Exit;
use crate::store::control;

/// Arguments of `pause`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops pause
  callops pause --tenant acme --reason 'wrong price in the script'

Once the command returns, nothing more is placed until `callops resume`. Calls that ring or talk go on.")]
pub struct Args {
    /// Only this tenant's calls
    #[arg(long)]
    pub tenant: Option<String>,
    /// Why, for those who find everything paused
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Pauses everybody or one tenant, and waits until nothing is being placed.
///
/// # Errors
/// Exit 2 for a tenant that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    let scope = scope(args.tenant.as_deref());
    let was_paused = db
        .write_unless(async |tx| {
            if let Some(tenant) = &args.tenant
                && let Err(failure) = lookup::tenant(tx, tenant).await?
            {
                return Ok(Err(failure));
            }
            let was_paused = control::pauses(tx).await?.iter().any(|pause| pause.scope == scope);
            control::pause(tx, &scope, args.reason.as_deref(), app.clock.now()).await?;
            app.audit(tx, "pause", &scope, json!({"reason": args.reason, "was_paused": was_paused})).await?;
            Ok(Ok(was_paused))
        })
        .await??;
    draining::wait(app, args.tenant.as_deref(), None).await?;
    let mut counts = Counts::default();
    sweep::take_back_held(app, args.tenant.as_deref(), None, &mut counts).await?;
    for problem in counts.problems() {
        app.printer.warn(problem);
    }
    let whom = whom(args.tenant.as_deref());
    let said = if was_paused { "was paused already" } else { "is paused; `callops resume` goes on" };
    let record = json!({"scope": scope, "paused": true, "changed": !was_paused, "reason": args.reason});
    tell(app, &record_of(record), &format!("{whom} {said}"))?;
    Ok(Exit::Success)
}

/// What a pause of this tenant, or of everybody, is called.
pub(super) fn scope(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| control::EVERYBODY.to_owned(), control::tenant_scope)
}

/// The same for people.
pub(super) fn whom(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "all dialling".to_owned(), |tenant| format!("dialling for {tenant}"))
}
