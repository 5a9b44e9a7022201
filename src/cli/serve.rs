//! `latchkey serve`: the server, from the config.

use crate::cli::Failure;
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::startup::{self, EndReason, Running, StopSignals};
use crate::telemetry;

/// Runs until a signal, then drains.
///
/// # Errors
/// A sentence on why it did not start, or that something was not finished in time.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let clock = Clock::system();
    telemetry::init(&settings.telemetry, settings.audit.log, clock.clone()).map_err(Failure::of)?;
    let public_url = settings.server.public_url.clone();
    let signals = StopSignals::listen().map_err(Failure::of)?;
    let running = startup::start(settings, false, clock).await.map_err(Failure::of)?;
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
pub async fn until_stopped(running: Running, mut signals: StopSignals) -> Result<(), Failure> {
    let reason = running.wait(&mut signals).await;
    tracing::info!(reason = reason.as_str(), "shutting down: finishing what is under way");
    let ending = async {
        match reason {
            // Nothing stands before a server of development, or before who presses Ctrl-C.
            EndReason::Terminated if !running.app.is_development => running.drain_and_stop().await,
            _ => running.stop().await,
        }
    };
    let drained = tokio::select! {
        drained = ending => drained,
        () = signals.again() => false,
    };
    if !drained {
        return Err(Failure::new(
            "Not everything was finished in time; nothing acknowledged is lost.",
        ));
    }
    if reason == EndReason::GivenUp {
        return Err(Failure::new("An actor failed too often; the log says why. Start again."));
    }
    tracing::info!("stopped");
    Ok(())
}
