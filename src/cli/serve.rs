//! `latchkey serve`: the server, from the config.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::{Failure, load};
use crate::clock::Clock;
use crate::config::Given;
use crate::startup::{self, Running, Signals};
use crate::{config, telemetry};

/// Runs until a signal, then drains. SIGHUP has the configuration read again.
///
/// # Errors
/// A sentence on why it did not start, or that something was not finished in time.
pub async fn run(explicit: Option<PathBuf>) -> Result<(), Failure> {
    let signals = Signals::listen().map_err(Failure::of)?;
    let request = config::Request::of_process(explicit);
    let loaded = load(&request).map_err(Failure::nothing_was_started)?;
    let given = Given::new(loaded, Arc::new(move || config::load(&request)));
    let (clock, settings) = (Clock::system(), &given.settings);
    telemetry::init(&settings.telemetry, settings.audit.log, clock.clone()).map_err(Failure::of)?;
    let public_url = settings.server.public_url.clone();
    let running = startup::start(given, false, clock).await.map_err(Failure::of)?;
    tracing::info!(
        address = %running.address, %public_url, store = running.app.store.kind,
        version = env!("CARGO_PKG_VERSION"), "latchkey is serving"
    );
    until_stopped(running, signals).await
}

/// Waits for the end and drains; a second signal ends at once.
///
/// # Errors
/// If an actor failed for good, or something was not finished within `server.shutdown_grace`.
pub async fn until_stopped(running: Running, mut signals: Signals) -> Result<(), Failure> {
    let reason = running.wait(&mut signals).await;
    tracing::info!(reason, "shutting down: finishing what is under way");
    let drained = tokio::select! {
        drained = running.stop() => drained,
        _ = signals.interrupt.recv() => false,
    };
    if !drained {
        return Err(Failure::new(
            "Not everything was finished in time; nothing acknowledged is lost.",
        ));
    }
    if reason == "an actor failed for good" {
        return Err(Failure::new("An actor failed too often; the log says why. Start again."));
    }
    tracing::info!("stopped");
    Ok(())
}
