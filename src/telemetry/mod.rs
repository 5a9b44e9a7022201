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

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
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

/// Lines that wait to be written, at most: some seconds of a busy server's.
const WAITING_LINES: usize = 8192;

/// The log. When it is dropped, what waits is written, for a second at most.
#[derive(Debug)]
#[must_use = "lines that wait when it is dropped may be lost"]
pub struct Log {
    _writer: WorkerGuard,
}

/// What counts the lines that were lost.
static LOST_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that were not written because too many waited: whoever reads the log did not keep up, or is stuck.
pub fn lost_lines() -> u64 {
    LOST_LINES.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Sends log lines to standard error, in the configured format, by a thread of its own: nobody who is served waits for
/// whoever reads them. The copy of the audit trail is wanted whole
/// (`audit.log`), whatever else `log_level` leaves out; a filter for `latchkey::audit` has the last word.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(settings: &Telemetry, copies_trail: bool, clock: Clock) -> Result<Log, TelemetryError> {
    let filter = filter(settings, copies_trail)?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (lines, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let lost = lines.error_counter();
    // What cannot be written (the disk is full, who reads is gone) is lost: to complain of it on the same standard
    // error would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
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
    .map_err(|_| TelemetryError::Twice)?;
    // Set once, as the log.
    let _is_first = LOST_LINES.set(lost);
    Ok(Log { _writer: writer })
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
