//! Lists in parts: what is asked for, and where the next part begins.

use std::time::Duration;

use actix_web::HttpRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::audit_chain::Digest;
use crate::protocol::sealed::Purpose;
use crate::routes::openapi::operation::{Page, Parameter};
use crate::routes::parameters::Parameters;

/// How many a part has, unless the request says otherwise.
const USUAL: u32 = 50;

/// How many a part has at most.
const MOST: u32 = 200;

/// Longest value of a filter, in bytes: no name, address or id is longer.
const LONGEST_FILTER: usize = 512;

/// How long a list can be gone on with.
const CURSOR_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How the parameter `limit` is described.
pub const LIMIT: Parameter =
    Parameter::query("limit", "How many, at most: 1 to 200; without it, 50.").of::<u32>();

/// How the parameter `cursor` is described.
pub const CURSOR: Parameter = Parameter::query(
    "cursor",
    "Where to go on: `next_cursor` of the part before, with the same filters, within a day.",
);

/// The part of a list that a request asks for.
#[derive(Debug)]
pub struct Listing {
    filters: Vec<(&'static str, String)>,
    limit: u32,
    cursor: Option<String>,
    /// Of which list, by which filters: a cursor is good for no other.
    binding: String,
}

impl Listing {
    /// Reads the query of a request for a list with these filters.
    ///
    /// # Errors
    /// `duplicate_parameter`; `invalid_request` with the field for unknown parameters and those whose value
    /// is not allowed. A filter without a value is refused rather than taken for none.
    pub fn of(request: &HttpRequest, known: &[&'static str]) -> Result<Self, ApiError> {
        let parameters = Parameters::of_query(request)?;
        let mut filters = Vec::new();
        for (name, value) in parameters.iter() {
            if ["limit", "cursor"].contains(&name) {
                continue;
            }
            let Some(known) = known.iter().find(|known| **known == name) else {
                let known = [known, &["limit", "cursor"]].concat().join(", ");
                return Err(refused(
                    name,
                    &format!("There is no such parameter; there are {known}."),
                ));
            };
            if value.is_empty() {
                return Err(refused(name, "It is empty. Leave it out, or give it a value."));
            }
            if value.len() > LONGEST_FILTER {
                let detail = format!("It has at most {LONGEST_FILTER} bytes.");
                return Err(refused(name, &detail));
            }
            filters.push((*known, value.to_owned()));
        }
        filters.sort_unstable();
        let limit = match parameters.get("limit") {
            None => USUAL,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| {
                    (1..=MOST).contains(limit) && text.bytes().all(|b| b.is_ascii_digit())
                })
                .ok_or_else(|| refused("limit", &format!("It is a number from 1 to {MOST}.")))?,
        };
        let binding = format!("{} {filters:?}", request.path());
        Ok(Self {
            filters,
            limit,
            cursor: parameters.get("cursor").map(str::to_owned),
            binding: Digest::of(binding.as_bytes()).to_string(),
        })
    }

    /// The value of a filter.
    pub fn filter(&self, name: &str) -> Option<&str> {
        self.filters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a filter, as `parse` reads it.
    ///
    /// # Errors
    /// `invalid_request` with the field, where `parse` reads nothing; `allowed` says what may be there.
    pub fn parsed<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let value = self.filter(name);
        value.map(|value| parse(value).ok_or_else(|| refused(name, allowed))).transpose()
    }

    /// How many rows to read: one more than are shown, which says whether others follow.
    pub fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// Behind which row this part begins.
    ///
    /// # Errors
    /// `invalid_request` for a cursor that is forged, too old, or of another list.
    pub fn after<T: DeserializeOwned>(&self, app: &App) -> Result<Option<T>, ApiError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let opened = app.sealer.open::<(String, T)>(Purpose::Cursor, cursor, app.clock.now());
        match opened {
            Ok((binding, position)) if binding == self.binding => Ok(Some(position)),
            Ok(_) => Err(refused("cursor", "It belongs to another list or other filters.")),
            Err(error) => Err(refused(
                "cursor",
                "It is not one of ours, or older than a day. Begin again without it.",
            )
            .cause(error)),
        }
    }

    /// The part, made of the rows that were read.
    pub fn page<R, T, P: Serialize>(
        &self,
        app: &App,
        mut rows: Vec<R>,
        position: impl FnOnce(&R) -> P,
        shown: impl FnMut(R) -> T,
    ) -> Page<T> {
        let limit = self.limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(position);
        self.part(app, rows.into_iter().map(shown).collect(), next)
    }

    /// The part, where the store says by itself where the next goes on.
    pub fn part<T, P: Serialize>(&self, app: &App, items: Vec<T>, next: Option<P>) -> Page<T> {
        let next_cursor = next.map(|next| {
            let sealed = (&self.binding, next);
            app.sealer.seal(Purpose::Cursor, &sealed, app.clock.now().plus(CURSOR_LIFE))
        });
        Page { items, next_cursor }
    }

    /// How many rows the part has at most.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

/// A parameter that is not allowed.
fn refused(name: &str, detail: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, detail).field(name)
}
