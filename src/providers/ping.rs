//! A sign of life to a service that raises the alarm when it hears nothing.

use super::http::{Http, NoAnswer, exchange};
use crate::domain::secret::Secret;

/// Asks an address once; the answer does not matter, but that there is one.
///
/// # Errors
/// Why there was none, without the address, which may be a secret.
pub async fn ping(http: &Http, url: &Secret) -> Result<(), String> {
    let client = http.client(url.expose()).map_err(|_| "no client can be built for it".to_owned())?;
    match exchange(client.get(url.expose())).await {
        Ok(answer) if answer.status < 400 => Ok(()),
        Ok(answer) => Err(format!("it answered with status {}", answer.status)),
        Err(NoAnswer::NotConnected { .. }) => Err("it cannot be reached".to_owned()),
        Err(NoAnswer::Lost { .. }) => Err("it did not answer".to_owned()),
    }
}
