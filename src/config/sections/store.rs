//! `[store]`

use std::path::{Path, PathBuf};

use crate::config::problem::Refusal;
use crate::config::reader::Parsed;
use crate::config::section::Section;
use crate::config::settings::{Store, StoreUrl};
use crate::config::source::Value;
use crate::config::values::{boolean, integer, text, text_where};
use crate::protocol::secret::Secret;
use crate::store;

pub(super) fn read(section: &mut Section<'_>) -> Store {
    let base = section.reader().resolve("");
    let is_schema = |text: &str| {
        text.len() <= 63
            && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && text.chars().all(|character| {
                character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
            })
    };
    let store = Store {
        url: section.or("url", "sqlite:latchkey.db", |value| url(value, &base)),
        max_connections: section.or("max_connections", 8, integer(1..=1000)),
        migrate_on_start: section.or("migrate_on_start", true, boolean),
        schema: section.optional(
            "schema",
            text_where(is_schema, "is not up to 63 small letters, digits and _, no digit first"),
        ),
    };
    if store.schema.is_some() && matches!(store.url, StoreUrl::Sqlite(_)) {
        section.refuse(
            "schema",
            Refusal::new("is for PostgreSQL, and store.url is SQLite").remedy("leave it out"),
        );
    }
    store
}

fn url(value: &Value, base: &Path) -> Parsed<StoreUrl> {
    let text = text(value)?;
    if let Some(path) = text.strip_prefix("sqlite:") {
        return sqlite(path, base);
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return postgres(&text);
    }
    Err(Refusal::new("is not a database that we know")
        .remedy("write \"sqlite:latchkey.db\" or \"postgres://user@host/database\""))
}

fn sqlite(path: &str, base: &Path) -> Parsed<StoreUrl> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match path {
        "" => Err(Refusal::new("names no file").did_you_mean(Some("\"sqlite:latchkey.db\""))),
        // Each connection would have a database of its own.
        ":memory:" => Err(Refusal::new("keeps nothing").remedy("name a file")),
        path => Ok(StoreUrl::Sqlite(PathBuf::from(base).join(path))),
    }
}

/// As the store will read it, which takes options that the driver alone does not know. Any account of what is wrong may
/// quote a password, so it is left out.
fn postgres(text: &str) -> Parsed<StoreUrl> {
    let url = Secret::new(text);
    if store::postgres::address_without_password(&url).is_err() {
        return Err(Refusal::new("is not an address of PostgreSQL").remedy(
            "write postgres://user:password@host/database, special characters in the password as %XX; sslmode is disable, prefer, require or verify-full",
        ));
    }
    Ok(StoreUrl::Postgres(url))
}
