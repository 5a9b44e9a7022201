//! How log lines look: time, level, what happened, and the id of the request on whose behalf it did.

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::origin::Origin;
use crate::clock::Clock;

/// Lines for people: `2026-01-01T00:00:00Z  INFO what happened field=value req=id`.
pub(super) struct Text(pub(super) Clock);

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let (now, level) = (self.0.now().to_rfc3339(), *event.metadata().level());
        if writer.has_ansi_escapes() {
            let color = match level {
                Level::ERROR => 31,
                Level::WARN => 33,
                Level::INFO => 32,
                Level::DEBUG => 34,
                Level::TRACE => 35,
            };
            write!(writer, "\u{1b}[2m{now}\u{1b}[0m \u{1b}[{color}m{level:>5}\u{1b}[0m ")?;
        } else {
            write!(writer, "{now} {level:>5} ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        if let Some(written) = Origin::with(|origin| write!(writer, " req={}", origin.request_id)) {
            written?;
        }
        writeln!(writer)
    }
}

/// Lines for machines: one JSON object each, with the fields beside `timestamp`, `level`, `message` and `req`.
pub(super) struct Json(pub(super) Clock);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let (now, level) = (self.0.now().to_rfc3339(), event.metadata().level());
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        write!(writer, "{{\"timestamp\":\"{now}\",\"level\":\"{level}\"")?;
        if let Some(written) =
            Origin::with(|origin| write!(writer, ",\"req\":\"{}\"", origin.request_id))
        {
            written?;
        }
        // The fields are an object of their own, whose members come behind ours.
        match fields.strip_prefix('{') {
            Some("}") | None => writeln!(writer, "}}"),
            Some(members) => writeln!(writer, ",{members}"),
        }
    }
}
