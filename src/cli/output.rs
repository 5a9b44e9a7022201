//! How commands print: colours only on a terminal (and not with `NO_COLOR`), times relative for
//! people and RFC 3339 for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::clock::Timestamp;
use crate::protocol::display_name::is_hidden;

/// Addresses and names to copy.
pub const ACCENT: Style = AnsiColor::Cyan.on_default();

/// What matters less.
pub const DIM: Style = Style::new().dimmed();

/// Prints a line on standard output; see [`print()`].
pub fn line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Prints on standard output. Where who reads it has seen enough (`| head`), the command ends here, and well: whatever
/// it was to do is done before it speaks. Where it cannot be written, the command ends here with a sentence.
pub fn print(text: impl Display) {
    let mut output = anstream::stdout();
    let Err(error) = write!(output, "{text}").and_then(|()| output.flush()) else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    complain(format_args!("Standard output cannot be written: {error}."));
    std::process::exit(1);
}

/// Prints a line on standard error; if it cannot be written, nobody is there to read it.
pub fn complain(text: impl Display) {
    aside(format_args!("{text}\n"));
}

/// As [`complain`], and stays on the line.
pub fn aside(text: impl Display) {
    let _unread = write!(anstream::stderr(), "{text}");
}

/// Prints one JSON value.
pub fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// "1 key", "2 keys".
pub fn count(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// "1 entry", "2 entries".
pub fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// A duration in its largest unit that divides it well: "90d", "2h", "15m", "40s".
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    units
        .into_iter()
        .find(|(size, _)| seconds >= *size)
        .map_or_else(|| format!("{seconds}s"), |(size, unit)| format!("{}{unit}", seconds / size))
}

/// A number of bytes in the largest unit of which it is at least one: "12.3 MiB".
pub fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        None => count(bytes, "byte"),
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

const MINUTE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");

/// A moment to the minute, in UTC.
pub fn minute(moment: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(moment.seconds())
        .ok()
        .and_then(|moment| moment.format(MINUTE).ok())
        .unwrap_or_else(|| moment.to_rfc3339())
}

/// A moment for a person at a terminal ("in 2h", "3d ago"), else RFC 3339.
pub fn moment(moment: Timestamp, now: Timestamp) -> String {
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return moment.to_rfc3339();
    }
    if moment > now {
        format!("in {}", duration(moment.since(now)))
    } else {
        format!("{} ago", duration(now.since(moment)))
    }
}

/// The ends of a long id: enough to recognise it.
pub fn short(id: &str) -> String {
    let characters: Vec<char> = id.chars().collect();
    if characters.len() <= 10 {
        return id.to_owned();
    }
    let head: String = characters[..4].iter().collect();
    let tail: String = characters[characters.len() - 2..].iter().collect();
    format!("{head}…{tail}")
}

/// What people or providers wrote, without characters that could change how the terminal shows the rest.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|character| if is_hidden(character) { '\u{fffd}' } else { character })
        .collect()
}

/// The name of a member and its values, one on each line.
pub fn member(name: &str, values: &[String], width: usize) {
    for (index, value) in values.iter().enumerate() {
        let label = if index == 0 { name } else { "" };
        line(format_args!("  {DIM}{label:<width$}{DIM:#} {value}"));
    }
}

/// The present command line again, at this place of its list.
pub fn next_page(cursor: &str) -> String {
    let arguments = std::env::args_os().skip(1);
    let given = arguments.map(|argument| argument.to_string_lossy().into_owned());
    continued(given, cursor)
}

/// A command line with another cursor.
fn continued(given: impl Iterator<Item = String>, cursor: &str) -> String {
    const OPTION: &str = "--cursor";
    let mut words = vec!["latchkey".to_owned()];
    let mut is_value = false;
    for argument in given {
        let is_former = std::mem::replace(&mut is_value, argument == OPTION);
        let is_cursor = is_value || argument.starts_with("--cursor=");
        if !is_former && !is_cursor {
            words.push(quoted(&argument));
        }
    }
    words.extend([OPTION.to_owned(), cursor.to_owned()]);
    words.join(" ")
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=@%+,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Columns, aligned; headings dim.
pub fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let aligned = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(format_args!("{DIM}{}{DIM:#}", aligned(headings.to_vec())));
    for row in rows {
        line(aligned(row.iter().map(String::as_str).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (7_200, "2h"),
            (90 * 86_400, "90d"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in
            [(1, "1 byte"), (1_023, "1023 bytes"), (12_900_000, "12.3 MiB"), (1 << 30, "1.0 GiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn ids_are_cut_between_characters() {
        assert_eq!(short("7Qk3abcdefgfT"), "7Qk3…fT");
        assert_eq!(short("éééééééééééé"), "éééé…éé");
        assert_eq!(short("abc"), "abc");
    }

    #[test]
    fn the_next_page_is_asked_for_as_this_one_was() {
        for (given, expected) in [
            (&["users", "list"] as &[&str], "latchkey users list --cursor new"),
            (
                &["users", "list", "--cursor", "old", "--limit", "2"],
                "latchkey users list --limit 2 --cursor new",
            ),
            (
                &["users", "list", "--cursor=old", "--query", "it's me"],
                "latchkey users list --query 'it'\\''s me' --cursor new",
            ),
        ] {
            let given = given.iter().map(|word| (*word).to_owned());
            assert_eq!(continued(given, "new"), expected);
        }
    }

    #[test]
    fn nothing_that_people_write_controls_the_terminal() {
        assert_eq!(visible("Ri\u{1b}[31mvka\u{202e}"), "Ri\u{fffd}[31mvka\u{fffd}");
    }

    #[test]
    fn minutes_are_in_utc() {
        assert_eq!(minute(Timestamp::from_seconds(1_700_000_000)), "2023-11-14 22:13 UTC");
    }
}
