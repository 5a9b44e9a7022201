//! How log lines look: time, level, what happened, and the id of the request on whose behalf it did. Which module
//! says it is what a filter names; people are spared it where they need none.

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::origin::Origin;
use crate::clock::Clock;

/// Lines for people: `2026-01-01T00:00:00.000Z  INFO what happened field=value req=id`.
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
        let (now, metadata) = (self.0.now().to_rfc3339_millis(), event.metadata());
        let level = *metadata.level();
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
        if !is_plain(metadata) {
            write!(writer, "{}: ", metadata.target())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        if let Some(id) = Origin::request_id() {
            write!(writer, " req={id}")?;
        }
        writeln!(writer)
    }
}

/// Whether a line for people goes without the module that says it: ours, unless details are wanted.
fn is_plain(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.target().starts_with("latchkey")
}

/// Lines for machines: one JSON object each, with the fields beside `timestamp`, `level`, `target`,
/// `message` and `req`.
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
        let (now, metadata) = (self.0.now().to_rfc3339_millis(), event.metadata());
        let (level, target) = (metadata.level(), metadata.target());
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        write!(writer, "{{\"timestamp\":\"{now}\",\"level\":\"{level}\",\"target\":\"{target}\"")?;
        if let Some(id) = Origin::request_id() {
            write!(writer, ",\"req\":\"{id}\"")?;
        }
        // The fields are an object of their own, whose members come behind ours.
        match fields.strip_prefix('{') {
            Some("}") | None => writeln!(writer, "}}"),
            Some(members) => writeln!(writer, ",{members}"),
        }
    }
}
