//! A proxy between the binary and PostgreSQL that counts what the client asks, and cuts the connection at one of them.

use std::io;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// Where in a question and answer the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the question.
    BeforeQuestion,
    /// The server carries the question out, and the client never sees the answer.
    BeforeAnswer,
}

/// A proxy that listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the server of this URL that cuts the connection at the `at`-th question of all that come
    /// through it, and lets everything through before and after.
    pub(crate) async fn start(url: &str, at: u64, cut: Cut) -> Self {
        let server = PgConnectOptions::from_str(url).expect("a URL of PostgreSQL");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, counter) = (server.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    // How it ends is what is being tested.
                    let _ = converse(client, &server, &counter, at, cut).await;
                });
            }
        });
        Self { port, asked, task }
    }

    /// The same database, through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let server = PgConnectOptions::from_str(url).expect("a URL of PostgreSQL");
        let database = server.get_database().expect("a database");
        format!("postgres://{}@127.0.0.1:{}/{database}?sslmode=disable", server.get_username(), self.port)
    }

    /// How many questions came so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    client: TcpStream,
    server: &PgConnectOptions,
    asked: &AtomicU64,
    at: u64,
    cut: Cut,
) -> io::Result<()> {
    let port = server.get_port();
    let socket = match server.get_socket() {
        Some(folder) => Some(folder.clone()),
        None if server.get_host().starts_with('/') => Some(PathBuf::from(server.get_host())),
        None => None,
    };
    match socket {
        Some(folder) => {
            let server = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            relay(client, server, asked, at, cut).await
        }
        None => relay(client, TcpStream::connect((server.get_host(), port)).await?, asked, at, cut).await,
    }
}

/// Passes on what both sides say, message by message on the client's side.
async fn relay<S>(client: TcpStream, server: S, asked: &AtomicU64, at: u64, cut: Cut) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let is_cut = AtomicBool::new(false);
    let answers = async {
        let mut answer = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut answer).await?;
            // The answer shows that the question was carried out; nobody gets it.
            if length == 0 || is_cut.load(Ordering::SeqCst) {
                return Ok(());
            }
            to_client.write_all(&answer[..length]).await?;
        }
    };
    let questions = async {
        // The first message has no kind.
        let mut kind = None;
        loop {
            let Ok(length) = from_client.read_u32().await else { return Ok(()) };
            let mut body = vec![0; usize::try_from(length).unwrap_or(4).saturating_sub(4)];
            from_client.read_exact(&mut body).await?;
            // A simple query, or the end of an extended one: whoever sent it waits for the answer.
            let is_question = matches!(kind, Some(b'Q' | b'S'));
            let is_last = is_question && asked.fetch_add(1, Ordering::SeqCst) + 1 == at;
            if is_last && cut == Cut::BeforeQuestion {
                return Ok(());
            }
            is_cut.store(is_last, Ordering::SeqCst);
            if let Some(kind) = kind {
                to_server.write_u8(kind).await?;
            }
            to_server.write_u32(length).await?;
            to_server.write_all(&body).await?;
            to_server.flush().await?;
            if is_last {
                std::future::pending::<()>().await;
            }
            kind = match from_client.read_u8().await {
                Ok(kind) => Some(kind),
                Err(_) => return Ok(()),
            };
        }
    };
    tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
    }
}
