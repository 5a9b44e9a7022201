//! Logs, metrics and traces.

pub mod catalogue;
pub mod histogram;
mod lines;
pub mod metrics;
pub mod origin;
pub mod process;
pub mod requests;
pub mod traces;

use std::sync::OnceLock;

use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::{EnvFilter, reload};

use crate::clock::Clock;
use crate::config::settings::{LogFormat, Telemetry};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_level` is no filter.
    #[error(
        "telemetry.log_level {0:?} is not a level or filter such as \"info\" or \"info,latchkey=debug\": {1}"
    )]
    Filter(String, String),
    /// It was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Sends log lines to standard error, in the configured format. The copy of the audit trail is wanted whole
/// (`audit.log`), whatever else `log_level` leaves out; a filter for `latchkey::audit` has the last word.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(settings: &Telemetry, copies_trail: bool, clock: Clock) -> Result<(), TelemetryError> {
    let filter = filter(settings, copies_trail)?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // What cannot be written (the disk is full, who reads is gone) is lost: to complain of it on the same standard
    // error would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => {
            let builder =
                builder.with_ansi(ansi).event_format(lines::Text(clock)).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| follow_by(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder
                .fmt_fields(JsonFields::new())
                .with_ansi(false)
                .event_format(lines::Json(clock))
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| follow_by(move |filter| handle.reload(filter)))
        }
    }
    .map_err(|_| TelemetryError::Twice)
}

/// What is logged by these settings.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn filter(settings: &Telemetry, copies_trail: bool) -> Result<EnvFilter, TelemetryError> {
    // The HTTP library tells of each of its workers, and at error of whatever strangers send that is no HTTP, without
    // saying who did. A plain level does not ask for the one, and only who wants everything for the other.
    let wants_all = settings.log_level.contains("trace");
    let strangers = if wants_all { "" } else { "actix_http::h1::dispatcher=off," };
    let trail = if copies_trail { "latchkey::audit=info," } else { "" };
    EnvFilter::try_new(format!("actix_server=warn,{strangers}{trail}{}", settings.log_level))
        .map_err(|error| TelemetryError::Filter(settings.log_level.clone(), error.to_string()))
}

type ChangeFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Changes what is logged. There is one log a process, as there is one standard error.
static CHANGE_FILTER: OnceLock<ChangeFilter> = OnceLock::new();

fn follow_by(change: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    // Set once: a second log was refused before.
    let _is_first = CHANGE_FILTER.set(Box::new(change));
}

/// Logs by these settings from now on, where logging is set up; [`filter`] has taken them.
pub fn follow(settings: &Telemetry, copies_trail: bool) {
    let (Some(change), Ok(filter)) = (CHANGE_FILTER.get(), filter(settings, copies_trail)) else {
        return;
    };
    if let Err(error) = change(filter) {
        tracing::error!(%error, "what is logged could not be changed");
    }
}
