//! How long work tells how far it is: a bar on a terminal, a line every few seconds elsewhere. Ctrl-C and
//! SIGTERM stop it between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Failure, output};
use crate::clock::Stopwatch;

/// How often a line is printed.
const QUIET: Duration = Duration::from_secs(3);

/// The account of one long work.
pub(super) struct Progress {
    bar: ProgressBar,
    watch: Stopwatch,
    interrupt: Signal,
    terminate: Signal,
}

/// How far work is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Far {
    /// So much is done.
    pub(super) done: u64,
    /// Of so much.
    pub(super) all: u64,
    /// What that comes to.
    pub(super) what: String,
}

impl Progress {
    /// Begins; nothing is shown yet. From now on Ctrl-C and SIGTERM end the work and not the process.
    ///
    /// # Errors
    /// If the system lets nobody listen for signals.
    pub(super) fn start() -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
        let terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left")
        {
            bar.set_style(style);
        }
        Ok(Self { bar, watch: Stopwatch::start(), interrupt, terminate })
    }

    /// So much of all is done, and this is what it came to. Whether the work should go on.
    pub(super) fn step(&mut self, done: u64, all: u64, what: impl FnOnce() -> String) -> bool {
        self.show(done, all, what);
        self.interrupted().now_or_never().is_none()
    }

    /// Does work that blocks on a thread of its own, shows how far it is, and lets it know when it should stop.
    ///
    /// # Errors
    /// If the work panicked.
    pub(super) async fn watch<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Arc<AtomicBool>, &mut dyn FnMut(Far)) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (tell, mut told) = watch::channel(Far::default());
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let mut work = tokio::task::spawn_blocking(move || {
            work(&stopped, &mut |far| {
                tell.send_replace(far);
            })
        });
        let mut is_told = false;
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(Failure::of),
                Ok(()) = told.changed() => {
                    let Far { done, all, what } = told.borrow_and_update().clone();
                    self.show(done, all, || what);
                }
                () = self.interrupted(), if !is_told => {
                    is_told = true;
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn show(&mut self, done: u64, all: u64, what: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_length(all);
            self.bar.set_position(done.min(all));
            self.bar.set_message(what());
        } else if self.watch.elapsed() >= QUIET {
            self.watch = Stopwatch::start();
            let percent = done.min(all).saturating_mul(100).checked_div(all).unwrap_or(100);
            output::complain(format_args!("{percent} %  {}", what()));
        }
    }

    async fn interrupted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
