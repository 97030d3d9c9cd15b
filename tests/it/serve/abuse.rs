//! Strangers, and what they may send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{ACCOUNT_SECRET, Serving, begin, events};
use crate::common::on_both_databases;

/// The most memory that the process held, in KiB.
#[cfg(target_os = "linux")]
fn most_memory_kib(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.running.id())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[cfg(not(target_os = "linux"))]
fn most_memory_kib(_: &Serving) -> u64 {
    0
}

/// Sends bytes as they are, and reads whatever comes until the server closes or is silent for this long.
fn raw(url: &str, request: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").expect("an address")).expect("a connection");
    // The server may close before it has read everything.
    let _ = stream.write_all(request);
    stream.set_read_timeout(Some(patience)).expect("a limit");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

on_both_databases! {
    async fn what_is_too_long_or_too_slow_is_cut_off_and_memory_is_bounded(db) {
        let story = begin(db, &[]).await;
        let serving = Serving::start(&story);
        let before = most_memory_kib(&serving);
        let long = vec![b'x'; 17 * 1024 * 1024];
        assert_eq!(serving.post("/api/webhooks/call-status", &[], long.clone()).await.0, 413);
        assert_eq!(serving.post("/api/vapi/webhook", &[("X-Vapi-Secret", ACCOUNT_SECRET)], long.clone()).await.0, 413);
        // Nobody says how long it will be.
        let mut chunked = b"POST /api/webhooks/call-status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
        for part in long.chunks(64 * 1024) {
            chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            chunked.extend_from_slice(part);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let answer = raw(&serving.url, &chunked, Duration::from_secs(20));
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        // Just short enough, by many at once, and signed by nobody.
        let most = long[..16 * 1024 * 1024].to_vec();
        let answers = (0..24).map(|_| serving.post("/api/webhooks/call-status", &[("X-Webhook-Signature", "00")], most.clone()));
        let answers = futures_util::future::join_all(answers).await;
        assert!(answers.iter().all(|(status, _)| *status == 401), "{:?}", answers.iter().map(|a| a.0).collect::<Vec<_>>());
        let grown = most_memory_kib(&serving).saturating_sub(before);
        assert!(grown < 400 * 1024, "{grown} KiB for 24 bodies of 16 MiB");

        let head = "POST /api/webhooks/call-status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
        let slow: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = [head, "POST /api/webhooks/call-st"].into_iter()
                .map(|bytes| { let url = &serving.url; scope.spawn(move || raw(url, bytes.as_bytes(), Duration::from_secs(40))) }).collect();
            threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        assert!(slow[0].starts_with("HTTP/1.1 408 "), "{slow:?}");
        assert!(slow[1].is_empty() || slow[1].starts_with("HTTP/1.1 408 "), "a head that never ends is cut off: {slow:?}");
        let broken = raw(&serving.url, b"\x16\x03\x01 hello\r\n\r\n", Duration::from_secs(5));
        assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
        assert_eq!(serving.admin("/healthz").await.0, 200);
        assert_eq!(events(&story).len(), 0);
    }
}
