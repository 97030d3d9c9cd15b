//! `resume`: ends a pause.

use serde_json::json;

use super::lookup;
use super::pause::{scope, whom};
use super::telling::{record_of, tell};
use crate::app::App;
use crate::error::Exit;
use crate::store::billing::reminders;
use crate::store::control;

/// Arguments of `resume`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops resume
  callops resume --tenant acme
  callops resume --tenant acme --invoice INV-000042

With --invoice, reminders of that one go on, whoever stopped them: an operator, or a customer who disputed it or said that
it is paid. A pause of everybody and a pause of one tenant stand side by side: each is ended by itself.")]
pub struct Args {
    /// End the pause of this tenant, not that of everybody
    #[arg(long)]
    pub tenant: Option<String>,
    /// Go on with reminders of this invoice of the tenant: its number or id
    #[arg(long, value_name = "INVOICE", requires = "tenant")]
    pub invoice: Option<String>,
}

/// Ends the pause of everybody or of one tenant.
///
/// # Errors
/// Exit 2 for a tenant that is not there.
pub async fn run(app: &App, args: Args) -> anyhow::Result<Exit> {
    let db = app.db().await?;
    if let (Some(tenant), Some(invoice)) = (&args.tenant, &args.invoice) {
        return resume_invoice(app, tenant, invoice).await;
    }
    let scope = scope(args.tenant.as_deref());
    let (changed, others) = db
        .write_unless(async |tx| {
            if let Some(tenant) = &args.tenant
                && let Err(failure) = lookup::tenant(tx, tenant).await?
            {
                return Ok(Err(failure));
            }
            let changed = control::resume(tx, &scope).await?;
            if changed {
                app.audit(tx, "resume", &scope, json!({})).await?;
            }
            Ok(Ok((changed, control::pauses(tx).await?)))
        })
        .await??;
    let said = if changed { "goes on" } else { "was not paused" };
    let standing: Vec<&str> = others.iter().map(|pause| pause.scope.as_str()).collect();
    let record = json!({"scope": scope, "paused": false, "changed": changed, "still_paused": standing});
    tell(app, &record_of(record), &format!("{} {said}", whom(args.tenant.as_deref())))?;
    for pause in &others {
        let hint = match pause.scope.split_once(':') {
            Some((_, tenant)) => format!("`callops resume --tenant {tenant}`"),
            None => "`callops resume`".to_owned(),
        };
        app.printer.warn(format!("{} is still paused; {hint} ends that", pause.scope));
    }
    Ok(Exit::Success)
}

/// Goes on with reminders of one invoice.
async fn resume_invoice(app: &App, tenant: &str, name: &str) -> anyhow::Result<Exit> {
    let now = app.clock.now();
    let (invoice, ended) = app
        .db()
        .await?
        .write_unless(async |tx| {
            let invoice = match lookup::invoice(tx, tenant, name).await? {
                Ok(invoice) => invoice,
                Err(failure) => return Ok(Err(failure)),
            };
            let ended = reminders::resume(tx, tenant, &invoice.id, now).await?;
            if let Some(ended) = &ended {
                let subject = format!("invoice:{tenant}/{}", invoice.id);
                app.audit(tx, "resume", &subject, json!({"was": ended.reason.as_str()})).await?;
            }
            Ok(Ok((invoice, ended)))
        })
        .await??;
    let was = ended.as_ref().map(|ended| ended.reason.as_str());
    let said = was.map_or_else(|| "were not paused".to_owned(), |was| format!("go on; the pause was {was}"));
    let scope = format!("invoice:{tenant}/{}", invoice.id);
    let record = json!({"scope": scope, "paused": false, "changed": ended.is_some(), "was": was});
    tell(app, &record_of(record), &format!("reminders of invoice {name} {said}"))?;
    Ok(Exit::Success)
}
