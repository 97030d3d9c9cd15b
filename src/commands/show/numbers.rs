//! What is shown of a phone number.

use serde_json::json;

use super::parts::{Shown, audit};
use crate::commands::telling::{instant, json_text, record_of};
use crate::domain::numbers::Claim;
use crate::output::Rows;
use crate::store::numbers::{StoredNumber, tenant_number};
use crate::store::{Result, Tx, purchases, releases};

pub(super) async fn number(tx: &mut Tx, number: &StoredNumber) -> Result<Shown> {
    let owner = number.owner();
    let is_tenants_number = match owner {
        Some(owner) => tenant_number(tx, owner).await?.is_some_and(|record| record.sid == number.sid),
        None => false,
    };
    let record = record_of(json!({
        "phone": number.phone,
        "sid": number.sid,
        "status": number.status.as_str(),
        "tenant": owner,
        "is_tenants_number": is_tenants_number,
        "adopted_for": number.tenant,
        "claimed_by": number.claimed_by,
        "claim": number.claim.map(Claim::as_str),
        "friendly_name": number.friendly_name,
        "voice_url": number.voice_url,
        "sms_url": number.sms_url,
        "status_callback": number.status_callback,
        "trunk": number.trunk_sid,
        "voice_application": number.voice_application_sid,
        "bought_at": instant(number.bought_at),
        "first_seen_at": instant(Some(number.first_seen_at)),
        "last_seen_at": instant(Some(number.last_seen_at)),
        "gone_at": instant(number.gone_at),
        "account": number.account,
        "subaccount": number.account_sid,
    }));
    let mut releases_rows = Rows::new(&["release", "state", "reason", "keeper", "evidence", "created_at", "ended_at"]);
    for release in releases::of_number(tx, &number.sid).await? {
        releases_rows.push(vec![
            json!(release.id),
            json!(release.state.as_str()),
            json!(release.reason),
            json!(release.keeper_sid),
            json_text(Some(&release.evidence)),
            instant(Some(release.created_at)),
            instant(release.ended_at),
        ]);
    }
    let mut purchase_rows = Rows::new(&["purchase", "tenant", "state", "wanted", "created_at", "ended_at"]);
    if let Some(purchase) = purchases::of_number(tx, &number.sid).await? {
        purchase_rows.push(vec![
            json!(purchase.id),
            json!(purchase.tenant),
            json!(purchase.state.as_str()),
            json_text(Some(&purchase.wanted)),
            instant(Some(purchase.created_at)),
            instant(purchase.ended_at),
        ]);
    }
    let audit = audit(tx, &format!("number:{}", number.sid)).await?;
    Ok(Shown { record, parts: vec![("purchase", purchase_rows), ("releases", releases_rows), ("audit", audit)] })
}
