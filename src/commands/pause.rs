//! `pause`: stops all dialling at once.

use serde_json::json;

use super::calling::counts::Counts;
use super::calling::sweep;
use super::telling::{record_of, tell};
use super::{draining, lookup};
use crate::app::App;
use crate::domain::reminder::PauseReason;
use crate::error::Exit;
use crate::store::billing::reminders;
use crate::store::control;

/// Arguments of `pause`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops pause
  callops pause --tenant acme --reason 'wrong price in the script'
  callops pause --tenant acme --invoice INV-000042 --reason 'being looked into'

With --invoice nobody is reminded of that one any more, but for a call that is being placed at this moment, and everything else
goes on. Otherwise, once the command returns, nothing more is placed until `callops resume`. Calls that ring or talk go on.")]
pub struct Args {
    /// Only this tenant's calls
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only reminders of this invoice of the tenant: its number or id
    #[arg(long, value_name = "INVOICE", requires = "tenant")]
    pub invoice: Option<String>,
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
    if let (Some(tenant), Some(invoice)) = (&args.tenant, &args.invoice) {
        return pause_invoice(app, tenant, invoice, args.reason.as_deref()).await;
    }
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

/// Stops reminders of one invoice.
async fn pause_invoice(app: &App, tenant: &str, name: &str, reason: Option<&str>) -> anyhow::Result<Exit> {
    let now = app.clock.now();
    let (invoice, changed) = app
        .db()
        .await?
        .write_unless(async |tx| {
            let invoice = match lookup::invoice(tx, tenant, name).await? {
                Ok(invoice) => invoice,
                Err(failure) => return Ok(Err(failure)),
            };
            let pause = reminders::Pause {
                tenant: tenant.to_owned(),
                invoice_id: invoice.id.clone(),
                reason: PauseReason::Operator,
                until: None,
                attempt_id: None,
                note: reason.map(str::to_owned),
                created_at: now,
            };
            let changed = reminders::pause(tx, &pause).await?;
            if changed {
                let subject = format!("invoice:{tenant}/{}", invoice.id);
                app.audit(tx, "pause", &subject, json!({"reason": reason})).await?;
            }
            Ok(Ok((invoice, changed)))
        })
        .await??;
    let said = if changed {
        format!("are paused; `callops resume --tenant {tenant} --invoice {name}` goes on")
    } else {
        "were paused already, because of a dispute".to_owned()
    };
    let scope = format!("invoice:{tenant}/{}", invoice.id);
    let record = json!({"scope": scope, "paused": true, "changed": changed, "reason": reason});
    tell(app, &record_of(record), &format!("reminders of invoice {name} {said}"))?;
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
