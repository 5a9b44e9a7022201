//! `latchkey serve`: the server, from the config.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Failure, load};
use crate::clock::Clock;
use crate::config::Given;
use crate::running::{EndReason, Running, Signals};
use crate::service_manager::{self, State};
use crate::startup::{self, StartError};
use crate::store::error::OpenError;
use crate::{config, telemetry};

/// How long after a first attempt to reach the database a second is made, and how long it is at most until another.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Runs until a signal, then drains. SIGHUP has the configuration read again.
///
/// # Errors
/// A sentence on why it did not start, or that something was not finished in time.
pub async fn run(explicit: Option<PathBuf>) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::of)?;
    let request = config::Request::of_process(explicit);
    let loaded = load(&request).map_err(Failure::nothing_was_started)?;
    let given = Given::new(loaded, Arc::new(move || config::load(&request)));
    let (clock, settings) = (Clock::system(), &given.settings);
    let _log = telemetry::init(&settings.telemetry, settings.audit.log, clock.clone())
        .map_err(Failure::of)?;
    let public_url = settings.server.public_url.clone();
    let has_no_provider = settings.providers.is_empty();
    let Some(running) = start(given, clock, &mut signals).await? else { return Ok(()) };
    tracing::info!(
        address = %running.address, %public_url, store = running.app.store.kind,
        version = env!("CARGO_PKG_VERSION"), "latchkey is serving"
    );
    if has_no_provider {
        tracing::warn!("nobody can sign in: the configuration has no [[providers]]");
    }
    until_stopped(running, signals).await
}

/// Starts as soon as the database answers, which may come up later than this; `None` if the end came first. What no
/// waiting can mend is an error at once.
async fn start(
    given: Given,
    clock: Clock,
    signals: &mut Signals,
) -> Result<Option<Running>, Failure> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match startup::start(given.clone(), false, clock.clone()).await {
            Err(StartError::Store(OpenError::Unanswering(reason))) => {
                tracing::warn!(reason, "the database does not answer; it is tried again");
            }
            started => return started.map(Some).map_err(Failure::of),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            reason = signals.end() => {
                tracing::info!(reason = reason.as_str(), "stopped before the database answered");
                return Ok(None);
            }
        }
    }
}

/// Waits for the end and drains; a second signal ends at once.
///
/// # Errors
/// If an actor failed for good, or something was not finished within `server.shutdown_grace`.
pub async fn until_stopped(running: Running, mut signals: Signals) -> Result<(), Failure> {
    service_manager::tell(State::Ready);
    let reason = running.wait(&mut signals).await;
    service_manager::tell(State::Stopping);
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
        second = signals.end() => {
            return Err(Failure::new(format!(
                "A second signal ({}) ended it at once: what was under way was cut off; nothing acknowledged is lost.",
                second.as_str()
            )));
        }
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
