//! Strict reading of queries, forms and JSON bodies.
//!
//! Repeated parameters, NUL bytes and broken UTF-8 are refused rather than guessed at: what one part
//! of a system reads differently from another is how requests get past checks.

use std::time::Duration;

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::error::{ApiError, ErrorCode};
use crate::providers::strict_json;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Most parameters of one query or form.
const MOST_PARAMETERS: usize = 64;

/// The parameters of a query or form: each name at most once, but for those that may be repeated.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// `duplicate_parameter`, `invalid_request`.
    pub fn of_query(request: &HttpRequest) -> Result<Self, ApiError> {
        Self::parse(request.query_string())
    }

    /// Reads `application/x-www-form-urlencoded` text.
    ///
    /// # Errors
    /// `duplicate_parameter`, `invalid_request`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse_repeatable(text, &[])
    }

    /// As [`Parameters::parse`]; the names in `repeatable` may be there more than once.
    ///
    /// # Errors
    /// `duplicate_parameter`, `invalid_request`.
    pub fn parse_repeatable(text: &str, repeatable: &[&str]) -> Result<Self, ApiError> {
        let mut parameters = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if repeatable.contains(&name.as_str()) {
                parameters.push(name, value)?;
            } else {
                parameters.add(name, value)?;
            }
        }
        Ok(parameters)
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// `duplicate_parameter`, `invalid_request`.
    pub fn add(&mut self, name: String, value: String) -> Result<(), ApiError> {
        if self.0.iter().any(|(known, _)| *known == name) {
            return Err(ApiError::new(ErrorCode::DuplicateParameter, "Send each parameter once."));
        }
        self.push(name, value)
    }

    fn push(&mut self, name: String, value: String) -> Result<(), ApiError> {
        if self.0.len() == MOST_PARAMETERS {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("Send at most {MOST_PARAMETERS} parameters."),
            ));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// All of them as they were sent, the empty ones, too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value of a parameter; an empty one counts as absent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be repeated; empty ones count as absent.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, value)| known == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }
}

/// Decodes one name or value of a form.
///
/// # Errors
/// `invalid_request`.
pub(super) fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| {
        ApiError::new(ErrorCode::InvalidRequest, "Parameters are percent-encoded UTF-8.")
    })?;
    if decoded.contains('\0') {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Parameters hold no NUL characters."));
    }
    Ok(decoded.into_owned())
}

/// Reads a whole body of at most `limit` bytes, in at most ten seconds.
///
/// # Errors
/// `payload_too_large` before more than the limit is kept, `request_timeout`, `invalid_request`.
pub async fn read_body(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<Bytes, ApiError> {
    announced(request, limit)?;
    let reading = async {
        let mut payload = payload;
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| {
                ApiError::new(ErrorCode::InvalidRequest, "The body could not be read.").cause(error)
            })?;
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    in_time(reading).await
}

/// How many bytes a body will have at most: as many as it announces, else as many as may be.
///
/// # Errors
/// `payload_too_large` for more than the limit.
pub(super) fn announced(request: &HttpRequest, limit: usize) -> Result<usize, ApiError> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length.map_or(Some(limit), |length| usize::try_from(length).ok());
    length.filter(|length| *length <= limit).ok_or_else(|| too_large(limit))
}

/// The answer to a body of more than `limit` bytes.
pub(super) fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::PayloadTooLarge, format!("The body has at most {limit} bytes."))
}

/// Lets reading a body last ten seconds.
///
/// # Errors
/// `request_timeout`, and those of reading.
pub(super) async fn in_time<T>(
    reading: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(BODY_DEADLINE, reading).await.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorCode::RequestTimeout, "Send the whole body within 10 seconds."))
    })
}

/// Whether the request's content type is `expected`, whatever its parameters.
pub(super) fn has_content_type(request: &HttpRequest, expected: &str) -> bool {
    request.headers().contains_key(CONTENT_TYPE)
        && request.content_type().eq_ignore_ascii_case(expected)
}

fn check_json(request: &HttpRequest) -> Result<(), ApiError> {
    if has_content_type(request, "application/json") {
        return Ok(());
    }
    let detail = "This endpoint takes application/json.";
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
}

/// Reads a JSON body.
///
/// # Errors
/// `unsupported_media_type`, `invalid_request` for what is no JSON, `invalid_field` for JSON of
/// another shape, and those of [`read_body`].
pub async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<T, ApiError> {
    check_json(request)?;
    let body = read_body(request, payload, limit).await?;
    serde_json::from_slice(&body).map_err(malformed)
}

fn malformed(error: serde_json::Error) -> ApiError {
    let (code, detail) = match error.classify() {
        Category::Data => {
            (ErrorCode::InvalidField, "A member is missing, unknown or of the wrong type.")
        }
        _ => (ErrorCode::InvalidRequest, "The body is not well-formed JSON."),
    };
    ApiError::new(code, format!("{detail} (line {}, column {})", error.line(), error.column()))
        .cause(error)
}

/// Reads a body that is a JSON object, each of its members once. If it `may_be_absent`, nothing at all is an
/// object without members.
///
/// # Errors
/// As [`read_json`].
pub async fn read_members(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
    may_be_absent: bool,
) -> Result<Map<String, Value>, ApiError> {
    let body = read_body(request, payload, limit).await?;
    if may_be_absent && body.is_empty() {
        return Ok(Map::new());
    }
    check_json(request)?;
    strict_json::from_slice(&body).map_err(malformed)
}

/// Refuses an object that has members beside these.
///
/// # Errors
/// `invalid_field` with the member.
pub fn refuse_others(members: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    match members.keys().find(|member| !known.contains(&member.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(ApiError::new(
            ErrorCode::InvalidField,
            format!("There is no such member here; there is {}.", known.join(", ")),
        )
        .field(unknown.as_str())),
    }
}

/// Reads a body of `application/x-www-form-urlencoded`.
///
/// # Errors
/// `unsupported_media_type`, and those of [`read_body`] and [`Parameters::parse`].
pub async fn read_form(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<Parameters, ApiError> {
    check_form(request)?;
    read_form_repeatable(request, payload, limit, &[]).await
}

/// The content type of forms.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Reads a body as a form, whatever its content type; the names in `repeatable` may be there more than once.
///
/// # Errors
/// Those of [`read_body`] and [`Parameters::parse`].
pub async fn read_form_repeatable(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
    repeatable: &[&str],
) -> Result<Parameters, ApiError> {
    Parameters::parse_repeatable(&read_text(request, payload, limit).await?, repeatable)
}

/// Reads a body of `application/x-www-form-urlencoded` as it was sent.
///
/// # Errors
/// `unsupported_media_type`, `invalid_request`, and those of [`read_body`].
pub async fn read_form_text(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<String, ApiError> {
    check_form(request)?;
    read_text(request, payload, limit).await
}

fn check_form(request: &HttpRequest) -> Result<(), ApiError> {
    if has_content_type(request, FORM) {
        return Ok(());
    }
    let detail = "This form is sent as application/x-www-form-urlencoded.";
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
}

async fn read_text(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<String, ApiError> {
    let body = read_body(request, payload, limit).await?;
    String::from_utf8(body.into())
        .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "The form is not UTF-8."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let parameters = Parameters::parse("a=1+2&b=%C3%A9&c=&d").unwrap();
        assert_eq!(parameters.get("a"), Some("1 2"));
        assert_eq!(parameters.get("b"), Some("é"));
        assert_eq!(
            (parameters.get("c"), parameters.get("d"), parameters.get("e")),
            (None, None, None)
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, code) in [
            ("a=1&a=2", ErrorCode::DuplicateParameter),
            ("a=1&%61=2", ErrorCode::DuplicateParameter),
            ("a=%00", ErrorCode::InvalidRequest),
            ("a=%ff", ErrorCode::InvalidRequest),
        ] {
            assert_eq!(Parameters::parse(text).unwrap_err().code, code, "{text}");
        }
        let repeated = Parameters::parse_repeatable("a=1&b=2&a=&a=3", &["a"]).unwrap();
        assert_eq!(repeated.all("a").collect::<Vec<_>>(), ["1", "3"]);
        assert!(Parameters::parse_repeatable("a=1&b=2&b=3", &["a"]).is_err());
        let many = Parameters::parse_repeatable(&"a=1&".repeat(100), &["a"]);
        assert_eq!(many.unwrap_err().code, ErrorCode::InvalidRequest, "not without end");
        let many: Vec<String> = (0..100).map(|number| format!("p{number}=1")).collect();
        assert!(Parameters::parse(&many.join("&")).is_err());
    }
}
