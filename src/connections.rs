//! Connections of clients, plain or by TLS, none of which waits for its client without end.
//!
//! The HTTP library bounds the first head of a connection, and the pause between two requests, but neither a
//! later head that comes in drops nor an answer that nobody reads: each would be kept for ever.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{HttpService, Request};
use actix_server::{Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::{AppConfig, Response};
use actix_web::{Error, HttpRequest};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

/// A head arrives within this time.
const HEAD: Duration = Duration::from_secs(5);

/// A client may pause between two requests for so long.
const PAUSE: Duration = Duration::from_secs(75);

/// A client takes some of an answer within this time.
const STALL: Duration = Duration::from_secs(8);

/// Most TLS handshakes under way at each worker: as many as it has connections. With fewer, who connects and says
/// nothing keeps everybody else waiting.
const MOST_HANDSHAKES: usize = 25_600;

/// After the end of a connection is announced, the client has so long to take note of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For a request to begin.
    Pause,
    /// For a head to end.
    Head,
    /// For us.
    Handling,
}

/// Whose turn it is on a connection.
#[derive(Clone, Debug)]
struct Turn(Rc<Cell<Phase>>);

/// While this lives a request is being handled, so that the client is not waited for.
#[derive(Debug)]
pub struct Handling(Turn);

impl Handling {
    /// From the head of a request on; `None` where it did not come by one of these connections.
    pub fn begin(request: &HttpRequest) -> Option<Self> {
        let turn = request.conn_data::<Turn>()?.clone();
        turn.0.set(Phase::Handling);
        Some(Self(turn))
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.0.set(Phase::Pause);
    }
}

/// What comes by all connections together, and the word that ends the idle ones.
#[derive(Debug)]
pub struct Traffic {
    open: Arc<AtomicI64>,
    begun: AtomicU64,
    idle_end: watch::Sender<bool>,
}

impl Traffic {
    /// None yet; `open` counts the connections that are open.
    pub fn new(open: Arc<AtomicI64>) -> Arc<Self> {
        Arc::new(Self { open, begun: AtomicU64::new(0), idle_end: watch::Sender::new(false) })
    }

    /// Waits until no request has begun for so long, but no longer than `most`.
    pub async fn until_quiet(&self, pause: Duration, most: Duration) {
        let waiting = async {
            loop {
                let before = self.begun.load(Ordering::Relaxed);
                sleep(pause).await;
                if self.begun.load(Ordering::Relaxed) == before {
                    break;
                }
            }
        };
        // What has not become quiet by then never does: somebody asks on and on.
        let _in_time = tokio::time::timeout(most, waiting).await;
    }

    /// Closes what is idle, and what is not as soon as it is.
    pub fn end_idle(&self) {
        self.idle_end.send_replace(true);
    }

    async fn idle_ends(self: Arc<Self>) {
        let mut end = self.idle_end.subscribe();
        // The sender lives as long as this does.
        let _ended = end.wait_for(|ends| *ends).await;
    }
}

/// Keeps new connections away from a listener, so that closing it cuts off none that it has not taken up yet.
/// Whoever connects meanwhile gets no answer, tries again after a second, and is refused then: by all proxies
/// that is taken for a server that got nothing, and asked elsewhere.
///
/// # Errors
/// Where the system cannot do it, or has no room left for the filters of users other than root.
#[cfg(target_os = "linux")]
pub fn turn_away(listener: &TcpListener) -> io::Result<()> {
    use socket2::SockFilter;
    // A program for the kernel, which runs it on each segment for the listener: of the byte of the TCP header
    // (RFC 9293 §3.1) that holds SYN (2) and ACK (16), SYN alone opens a connection and is dropped; everything
    // else passes, so that connections half open become whole.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, 2 | 16),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, 2),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Only Linux can.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn turn_away(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's connection.
struct Connection {
    transport: Transport,
    turn: Turn,
    traffic: Arc<Traffic>,
    /// When the client is no longer waited for, unless it is our turn.
    deadline: Pin<Box<Sleep>>,
    /// When the client is no longer waited for to take what is written; `None` while it takes it.
    stall: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

/// One of the connections that are open, until it is dropped.
struct Open(Arc<AtomicI64>);

impl Open {
    fn count(open: &Arc<AtomicI64>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn new(transport: Transport, traffic: Arc<Traffic>) -> Self {
        Self {
            transport,
            turn: Turn(Rc::new(Cell::new(Phase::Pause))),
            deadline: Box::pin(sleep(PAUSE)),
            stall: None,
            _open: Open::count(&traffic.open),
            traffic,
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match &self.transport {
            Transport::Plain(stream) => stream.peer_addr().ok(),
            Transport::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
        }
    }

    /// Waits for the client no longer than `time` from now.
    fn wait(&mut self, context: &mut Context<'_>, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
        // Asked once, so that it wakes whoever waits for the connection.
        let _not_yet = self.deadline.as_mut().poll(context);
    }

    /// After bytes came.
    fn received(&mut self, context: &mut Context<'_>) {
        if self.turn.0.get() == Phase::Pause {
            self.turn.0.set(Phase::Head);
            self.traffic.begun.fetch_add(1, Ordering::Relaxed);
            self.wait(context, HEAD);
        }
    }

    /// After an attempt to write.
    fn wrote<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.stall = None;
            match self.turn.0.get() {
                Phase::Pause => self.wait(context, PAUSE + FAREWELL),
                Phase::Head => self.wait(context, HEAD),
                Phase::Handling => {}
            }
            return attempt;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Does the same with either transport.
macro_rules! with_transport {
    ($connection:expr, $stream:ident => $do:expr) => {
        match &mut $connection.transport {
            Transport::Plain($stream) => {
                let $stream = Pin::new($stream);
                $do
            }
            Transport::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $do
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let attempt = with_transport!(self, stream => stream.poll_read(context, buffer));
        if attempt.is_pending() {
            if self.turn.0.get() != Phase::Handling {
                ready!(self.deadline.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else if buffer.filled().len() > before {
            self.received(context);
        }
        attempt
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = with_transport!(self, stream => stream.poll_write(context, bytes));
        self.wrote(context, attempt)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = with_transport!(self, stream => stream.poll_flush(context));
        // Where there is nothing to flush this is no sign of life.
        if attempt.is_pending() { self.wrote(context, attempt) } else { attempt }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = with_transport!(self, stream => stream.poll_shutdown(context));
        if attempt.is_pending() { self.wrote(context, attempt) } else { attempt }
    }
}

/// Serves an application on a listener; `open` tells how many connections there are.
///
/// # Errors
/// Those of listening.
pub fn serve<F, I, S, B>(
    builder: ServerBuilder,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    traffic: &Arc<Traffic>,
    application: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let of_connections = Arc::clone(traffic);
    let http = move || {
        let traffic = Arc::clone(&of_connections);
        let application =
            application().into_factory().map_err(|error| error.into().error_response());
        HttpService::build()
            .keep_alive(PAUSE)
            .client_request_timeout(HEAD)
            .client_disconnect_timeout(FAREWELL)
            // actix-web's own server closes what is idle when it stops: in the moment, perhaps, in which a
            // proxy writes the next request on it.
            .graceful_shutdown_signal(move || Arc::clone(&traffic).idle_ends())
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.turn.clone());
            })
            .h1(map_config(application, |()| AppConfig::default()))
    };
    let traffic = Arc::clone(traffic);
    let accepted = move |transport| {
        let connection = Connection::new(transport, Arc::clone(&traffic));
        let peer = connection.peer();
        (connection, peer)
    };
    let builder = match tls {
        None => builder.listen("http", listener, move || {
            let accepted = accepted.clone();
            fn_service(move |stream| std::future::ready(Ok(accepted(Transport::Plain(stream)))))
                .and_then(http())
        })?,
        Some(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            actix_tls::accept::max_concurrent_tls_connect(MOST_HANDSHAKES);
            builder.listen("https", listener, move || {
                let accepted = accepted.clone();
                Acceptor::new(config.clone())
                    .map_init_err(|_| ())
                    .map_err(TlsError::into_service_error)
                    .map(move |stream| accepted(Transport::Tls(Box::new(stream))))
                    .and_then(http().map_err(TlsError::Service))
            })?
        }
    };
    Ok(builder.run())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener as AsyncListener;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_turned_away_is_refused_later_and_who_was_there_before_is_not() {
        let listener = AsyncListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let before = TcpStream::connect(address).await.unwrap();
        let listener = listener.into_std().unwrap();
        match turn_away(&listener) {
            // Some kernels have room for the filters of root alone; then a node closes its port without this.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                println!("the kernel takes no filter of this user: not tried");
                return;
            }
            attached => attached.unwrap(),
        }
        let after = tokio::spawn(TcpStream::connect(address));
        // Taken up although it had only been in the queue.
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer, before.local_addr().unwrap());
        let nobody = listener.accept().unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
        assert!(!after.is_finished(), "it waits for an answer");
        drop(listener);
        let refused = after.await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(accepted);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_when_nothing_has_come_for_a_moment_and_not_waited_for_without_end() {
        let (pause, most) = (Duration::from_millis(500), Duration::from_secs(10));
        let traffic = Traffic::new(Arc::default());
        let begin = Instant::now();
        let asking = async {
            for _ in 0..5 {
                sleep(Duration::from_millis(400)).await;
                traffic.begun.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::join!(asking, traffic.until_quiet(pause, most));
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_millis(2_500) && waited < most, "{waited:?}");

        let begin = Instant::now();
        let endless = async {
            loop {
                sleep(Duration::from_millis(400)).await;
                traffic.begun.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = endless => {}
            () = traffic.until_quiet(pause, most) => {}
        }
        assert_eq!(begin.elapsed(), most);
    }
}
