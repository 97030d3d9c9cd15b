//! What became of customers who paid.

use serde_json::json;

use super::rows::Listed;
use crate::commands::telling::instant;
use crate::store::listing::Filter;
use crate::store::{Result, Tx, welcomes};

pub(super) async fn rows(tx: &mut Tx, filter: &Filter) -> Result<Listed> {
    let rows = welcomes::list(tx, filter).await?.into_iter().map(|listed| {
        let welcome = listed.welcome;
        vec![
            json!(welcome.tenant),
            json!(welcome.customer),
            json!(welcome.state.as_str()),
            json!(welcome.reason),
            json!(welcome.name),
            json!(welcome.email),
            json!(welcome.phone),
            json!(listed.call_status),
            instant(welcome.customer_created_at),
            instant(welcome.paid_at),
            instant(welcome.withdrawn_at),
            json!(welcome.contact_id),
            json!(welcome.account),
            json!(welcome.event_id),
            instant(Some(welcome.updated_at)),
        ]
    });
    Ok((
        &[
            "tenant",
            "customer",
            "status",
            "reason",
            "name",
            "email",
            "phone",
            "call_status",
            "customer_created_at",
            "paid_at",
            "withdrawn_at",
            "contact",
            "account",
            "event",
            "updated_at",
        ],
        rows.collect(),
    ))
}
