//! What a customer answered to a reminder, and what that means for the invoices that the call named.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::domain::call::AttemptState;
use crate::domain::call_status::{CustomerResponse, Report};
use crate::domain::reminder::{PauseReason, Reminders};
use crate::store::attempts::Attempt;
use crate::store::billing::reminders::{self, Named, Pause};
use crate::store::{Result, Tx, setup};

/// How a campaign reminds that an attempt belongs to; none where it does not.
pub(super) async fn reminders_of(tx: &mut Tx, attempt: &Attempt) -> Result<Option<Box<Reminders>>> {
    let campaign = setup::campaign_by_id(tx, &attempt.campaign_id).await?;
    Ok(campaign.map(|campaign| campaign.rules()).transpose()?.and_then(|rules| rules.reminders))
}

/// The answer that the agent itself reported.
pub(super) fn reported(attempt: &Attempt) -> Option<(CustomerResponse, Option<String>)> {
    let report: Report = serde_json::from_str(attempt.report.as_deref()?).ok()?;
    Some((report.customer_response.parse().ok()?, report.notes))
}

/// Reads an answer as a model may have written it.
pub(super) fn read(text: &str) -> Option<CustomerResponse> {
    text.trim().to_lowercase().replace([' ', '-'], "_").parse().ok()
}

/// Takes an answer in that came in the conversation of an attempt that is over, for the invoices that it named: who will pay or has paid is left alone for
/// some days, and a dispute stops all reminders of the invoices and opens a ticket. Where the attempt's campaign reminds of
/// nothing, nothing is done.
pub(super) async fn take_in(
    tx: &mut Tx,
    attempt: &Attempt,
    answer: CustomerResponse,
    note: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    if attempt.state != AttemptState::Ended {
        return Ok(());
    }
    let Some(rules) = reminders_of(tx, attempt).await? else { return Ok(()) };
    if !reminders::put_answer(tx, &attempt.id, &attempt.tenant, answer, now).await? {
        return Ok(());
    }
    let Some(reason) = PauseReason::of(answer) else { return Ok(()) };
    let named = reminders::named_by(tx, &attempt.id).await?;
    let until = (reason != PauseReason::Dispute).then(|| now + TimeDelta::days(rules.pause_days));
    for invoice in &named {
        let pause = Pause {
            tenant: attempt.tenant.clone(),
            invoice_id: invoice.invoice_id.clone(),
            reason,
            until,
            attempt_id: Some(attempt.id.clone()),
            note: note.map(str::to_owned),
            created_at: now,
        };
        reminders::pause(tx, &pause).await?;
    }
    if reason == PauseReason::Dispute {
        let fields = ticket(&named, note);
        reminders::open_ticket(tx, &attempt.id, &attempt.tenant, &attempt.contact_id, &fields, now).await?;
    }
    Ok(())
}

fn ticket(named: &[Named], note: Option<&str>) -> Map<String, Value> {
    let invoices: Vec<&str> =
        named.iter().map(|invoice| invoice.number.as_deref().unwrap_or(&invoice.invoice_id)).collect();
    let mut fields = Map::new();
    fields.insert("subject".to_owned(), json!("dispute"));
    fields.insert("invoices".to_owned(), json!(invoices.join(", ")));
    if let Some(note) = note.map(str::trim).filter(|note| !note.is_empty()) {
        fields.insert("notes".to_owned(), json!(note));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_however_a_model_spells_it() {
        for text in ["will_pay_today", " Will pay today ", "WILL-PAY-TODAY"] {
            assert_eq!(read(text), Some(CustomerResponse::WillPayToday), "{text}");
        }
        assert_eq!(read("they will pay"), None);
        assert_eq!(read(""), None);
    }
}
