//! A stretch of wire that tests can cut at a chosen moment.

use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// When to cut the connection on which it happens; once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Never.
    Never,
    /// When a request holds these bytes: it does not reach the server.
    Request(&'static str),
    /// When an answer holds these bytes: it does not reach the client.
    Answer(&'static str),
}

/// Forwards connections to a server on this machine.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    cut: watch::Sender<Cut>,
}

impl Proxy {
    /// Starts forwarding to `server`.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = watch::Sender::new(Cut::Never);
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, cuts.clone()));
            }
        });
        Self { port, cut }
    }

    /// Says when the next connection is cut.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }

    /// Whether it was cut since.
    pub(crate) fn was_cut(&self) -> bool {
        *self.cut.borrow() == Cut::Never
    }
}

async fn forward(client: TcpStream, server: u16, cuts: watch::Sender<Cut>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends first takes the other one with it: both sides see a broken connection.
    tokio::select! {
        () = copy(from_client, to_server, &cuts, Cut::Request) => {}
        () = copy(from_server, to_client, &cuts, Cut::Answer) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cuts: &watch::Sender<Cut>,
    direction: fn(&'static str) -> Cut,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let chunk = &buffer[..length];
        let is_cut = cuts.send_if_modified(|cut| {
            let (Cut::Request(text) | Cut::Answer(text)) = *cut else { return false };
            let holds =
                text.is_empty() || chunk.windows(text.len()).any(|part| part == text.as_bytes());
            let is_now = holds && *cut == direction(text);
            if is_now {
                *cut = Cut::Never;
            }
            is_now
        });
        if is_cut || to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

/// The same store, reached through a proxy.
pub(crate) async fn by_proxy(settings: &StoreSettings) -> (StoreSettings, Proxy) {
    let StoreUrl::Postgres(url) = &settings.url else { panic!("no PostgreSQL") };
    let (start, end) = url.expose().rsplit_once("@127.0.0.1:").expect("it is on this machine");
    let (port, path) = end.split_once('/').unwrap();
    let proxy = Proxy::start(port.parse().unwrap()).await;
    let url = Secret::new(format!("{start}@127.0.0.1:{}/{path}", proxy.port));
    (StoreSettings { url: StoreUrl::Postgres(url), ..settings.clone() }, proxy)
}
