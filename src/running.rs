//! A running server: what it is told by signals, and its end in order, the other way round than
//! [`crate::startup`] began it, so that whatever was acknowledged is in the store.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::actors::configuration;
use crate::administration::By;
use crate::app::App;
use crate::config::settings::{Settings, StoreUrl};
use crate::connections::{self, Traffic};
use crate::store::model;

/// How long connections are taken up that came before new ones are turned away.
const LAST_ADMITTED: Duration = Duration::from_millis(200);

/// How long nothing has come by the connections that are left when they are closed.
const LAST_ASKED: Duration = Duration::from_millis(500);

/// How long the last spans are waited for: a collector that hangs does not hold up the end, nor what comes after it.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// A running server.
pub struct Running {
    /// What the handlers share.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    /// The main one first, then that of the metrics.
    pub(crate) servers: Vec<ServerHandle>,
    /// The main one's listener, once more.
    pub(crate) listener: TcpListener,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) given_up: Arc<tokio::sync::Notify>,
    pub(crate) tickers: Vec<tokio::task::JoinHandle<()>>,
    pub(crate) arbiters: Vec<Arbiter>,
    /// Held while the server runs; the operating system releases it with the process.
    pub(crate) _database_lock: Option<std::fs::File>,
}

/// The signals that end the process in order, and the one that has the configuration read again. Made before
/// anything is started: one that comes while the server starts would otherwise end it on the spot.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Asks for the configuration to be read again.
    hang_up: Signal,
}

/// Why the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// SIGTERM, by what runs the server.
    Terminated,
    /// SIGINT, by who sits before it.
    Interrupted,
    /// An actor failed for good.
    GivenUp,
}

impl EndReason {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::GivenUp => "an actor failed for good",
        }
    }
}

impl Signals {
    /// Receives them from now on.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends the process; says which.
    pub async fn end(&mut self) -> EndReason {
        tokio::select! {
            _ = self.terminate.recv() => EndReason::Terminated,
            _ = self.interrupt.recv() => EndReason::Interrupted,
        }
    }
}

/// What is left of the grace when the drain is over.
pub(crate) fn after_drain(settings: &Settings) -> Duration {
    settings.server.shutdown_grace.saturating_sub(settings.server.drain)
}

impl Running {
    /// Waits until there is a key to sign with: on the first start it is still being made.
    pub async fn signing_key_is_there(&mut self) {
        let (clock, algorithm) = (self.app.clock.clone(), self.app.settings.keys.algorithm);
        let mut keys = self.app.keys.clone();
        // An error means that the key ring is gone, which readiness tells.
        let _gone = keys.wait_for(|keys| keys.signer(algorithm, clock.now()).is_some()).await;
    }

    /// Waits for SIGTERM, SIGINT, or an actor that failed for good; says which. Each SIGHUP until then has the
    /// configuration read again.
    pub async fn wait(&self, signals: &mut Signals) -> EndReason {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return EndReason::Terminated,
                _ = signals.interrupt.recv() => return EndReason::Interrupted,
                () = self.given_up.notified() => return EndReason::GivenUp,
                _ = signals.hang_up.recv() => self.reload(),
            }
        }
    }

    /// Has the configuration read again, beside whatever else there is to do. The owner logs what became of it.
    fn reload(&self) {
        let app = self.app.clone();
        actix_web::rt::spawn(async move {
            let by = By::local(model::Actor::System, app.clock.now());
            if let Err(error) = app.configuration.ask(configuration::Reload { by }).await {
                tracing::warn!(%error, "it is not known whether the configuration was reloaded");
            }
        });
    }

    /// Ends all periodic work. What the actors were told stays true; they hear of nothing new.
    pub fn stop_tickers(&self) {
        self.tickers.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Stops in order, behind proxies: for `server.drain` everything is served while /ready says no, each
    /// answer ending its connection; then the port is closed; then, when nothing has come for a moment, what
    /// connections are left. Whether all was finished in time.
    pub async fn drain_and_stop(self) -> bool {
        self.app.set_draining();
        let drain = self.app.settings.server.drain;
        // One server uses a SQLite file at a time: nobody takes over, and the wait would only delay the next.
        let is_alone = matches!(self.app.settings.store.url, StoreUrl::Sqlite(_));
        if drain.is_zero() || is_alone {
            return self.stop().await;
        }
        tokio::time::sleep(drain).await;
        match connections::turn_away(&self.listener) {
            Ok(()) => tokio::time::sleep(LAST_ADMITTED).await,
            Err(error) => {
                tracing::info!(%error, "new connections cannot be turned away before the port closes");
            }
        }
        self.end(LAST_ASKED).await
    }

    /// Stops in order: readiness, HTTP, tickers, then the actors from the outside in, the writer
    /// last. Whether all of them drained in time.
    pub async fn stop(self) -> bool {
        self.end(Duration::ZERO).await
    }

    /// Stops; connections that are idle are closed when nothing has come for so long.
    async fn end(self, pause: Duration) -> bool {
        self.app.set_draining();
        let most = after_drain(&self.app.settings) / 2;
        let stops: Vec<_> = self.servers.iter().map(|server| server.stop(true)).collect();
        // The port is closed with the last that holds it.
        drop(self.listener);
        let closing = async {
            if !pause.is_zero() {
                self.traffic.until_quiet(pause, most).await;
            }
            self.traffic.end_idle();
        };
        tokio::join!(closing, futures_util::future::join_all(stops));
        self.tickers.iter().for_each(tokio::task::JoinHandle::abort);
        let app = self.app;
        let grace = app.settings.server.shutdown_grace;
        let mut drained = app.configuration.drain(grace).await;
        for shard in app.families.all() {
            drained &= shard.drain(grace).await;
        }
        drained &= app.change_listener.drain(grace).await;
        drained &= app.janitor.drain(grace).await;
        drained &= app.auditor.drain(grace).await;
        drained &= app.key_ring.drain(grace).await;
        drained &= app.provider_metadata.drain(grace).await;
        drained &= app.pictures.drain(grace).await;
        drained &= app.outbox.drain(grace).await;
        drained &= app.client_keys.drain(grace).await;
        drained &= app.grant_reader.drain(grace).await;
        drained &= app.clients.drain(grace).await;
        drained &= app.picture_decoder.drain(grace).await;
        drained &= app.writer.drain(grace).await;
        drained &= app.revocations.drain(grace).await;
        for shard in app.rate_limiters.all() {
            drained &= shard.drain(grace).await;
        }
        if let Some(traces) = &app.traces {
            traces.stop(grace.min(LAST_SPANS)).await;
        }
        for arbiter in self.arbiters {
            arbiter.stop();
            // Its thread ends with its loop; a thread that panicked has nothing left to do either.
            let _ended = arbiter.join();
        }
        drained
    }
}
