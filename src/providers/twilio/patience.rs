//! Waiting where the service asks for fewer requests. A request that was answered 429 was not carried out, so that it may
//! be sent again, whatever it was for.

use std::time::Duration;

use super::super::http::ReadError;

/// How often a request is sent before its 429 is believed.
const TRIES: u32 = 6;
/// The bound of the first wait, doubled for each further one; the wait itself is anything below, so that many who were
/// refused at once do not come back at once.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait, which is also the longest that a `Retry-After` is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Asks until the answer is no 429, or has been one too often.
pub(super) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ReadError>) -> Result<T, ReadError> {
    let mut bound = FIRST_WAIT;
    for _ in 1..TRIES {
        let wait = match ask().await {
            Err(ReadError::RateLimited { retry_after: Some(wait) }) if wait > LONGEST_WAIT => {
                return Err(ReadError::RateLimited { retry_after: Some(wait) });
            }
            Err(ReadError::RateLimited { retry_after }) => {
                retry_after.unwrap_or_default() + bound.mul_f64(fastrand::f64())
            }
            answer => return answer,
        };
        tokio::time::sleep(wait).await;
        bound = (bound * 2).min(LONGEST_WAIT);
    }
    ask().await
}
