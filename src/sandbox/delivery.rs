//! One message to whoever is told.

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// # Errors
/// When it is no address of this machine: nobody else shall hear of what is only played.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| format!("`{url}` is no address"))?;
    let is_local = uri.host().is_some_and(|host| host == "localhost" || host == "127.0.0.1" || host == "[::1]");
    if uri.scheme_str() == Some("http") && is_local {
        Ok(())
    } else {
        Err(format!("`{url}` is no http:// address of this machine"))
    }
}

/// # Errors
/// When one of them is none.
pub(super) fn check_percents(percents: &[f64]) -> Result<(), String> {
    if percents.iter().all(|percent| (0.0..=100.0).contains(percent)) {
        Ok(())
    } else {
        Err("a share is from 0 to 100".to_owned())
    }
}

/// The status of the answer; none where none came.
pub(super) async fn post(url: &str, content_type: &str, headers: &[(&str, String)], body: String) -> Option<u16> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, content_type);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).ok()?).await.ok()?;
    connection.abort();
    Some(response.status().as_u16())
}
