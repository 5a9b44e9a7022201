//! How long work tells how far it is: a bar on a terminal, a line every few seconds elsewhere. Ctrl-C stops
//! it between two steps.

use std::time::Duration;

use futures_util::FutureExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Failure;
use crate::clock::Stopwatch;

/// How often a line is printed.
const QUIET: Duration = Duration::from_secs(3);

/// The account of one long work.
pub(super) struct Progress {
    bar: ProgressBar,
    watch: Stopwatch,
    interrupt: Signal,
}

impl Progress {
    /// Begins; nothing is shown yet. From now on Ctrl-C ends the work and not the process.
    ///
    /// # Errors
    /// If the system lets nobody listen for Ctrl-C.
    pub(super) fn start() -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left")
        {
            bar.set_style(style);
        }
        Ok(Self { bar, watch: Stopwatch::start(), interrupt })
    }

    /// So much of all is done, and this is what it came to. Whether the work should go on.
    pub(super) fn step(&mut self, done: u64, all: u64, what: impl FnOnce() -> String) -> bool {
        if !self.bar.is_hidden() {
            self.bar.set_length(all);
            self.bar.set_position(done.min(all));
            self.bar.set_message(what());
        } else if self.watch.elapsed() >= QUIET {
            self.watch = Stopwatch::start();
            let percent = done.min(all).saturating_mul(100).checked_div(all).unwrap_or(100);
            anstream::eprintln!("{percent} %  {}", what());
        }
        self.interrupt.recv().now_or_never().is_none()
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
