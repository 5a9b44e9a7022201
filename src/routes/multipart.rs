//! Reading `multipart/form-data` (RFC 7578): a few short fields and at most one file, while they arrive.
//!
//! The file's own name and type are whatever the sender says. They are looked at to refuse what no
//! browser sends, and used for nothing.

use std::error::Error as _;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::{StreamExt, TryStreamExt};

use super::parameters::{Parameters, announced, has_content_type, in_time, too_large};
use crate::error::{ApiError, ErrorCode};

/// The part with the file.
pub const FILE: &str = "file";

/// Most fields beside the file.
const MOST_FIELDS: usize = 8;

/// Largest value of a field, in bytes.
const LARGEST_FIELD: usize = 4 << 10;

/// For the lines between the parts and their heads.
const AROUND: usize = 16 << 10;

/// Largest refused form that is let arrive: a photograph as cameras make them.
const MOST_DISCARDED: usize = 32 << 20;

/// How many bytes a whole form may have, with a file of `limit` bytes.
pub fn whole(limit: usize) -> usize {
    limit.saturating_add(MOST_FIELDS * LARGEST_FIELD + AROUND)
}

/// A form that was sent with a file, or could have been.
#[derive(Debug, Default)]
pub struct MultipartForm {
    /// What is no file, each name once.
    pub fields: Parameters,
    /// What the file holds; `None` also where a browser sent an empty choice.
    pub file: Option<Bytes>,
}

/// How many bytes a form will have at most, before any of it is read.
///
/// # Errors
/// `unsupported_media_type`; `payload_too_large` if it announces more than there may be.
pub fn expected(request: &HttpRequest, limit: usize) -> Result<usize, ApiError> {
    if !has_content_type(request, "multipart/form-data") {
        return Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "Send this as multipart/form-data.",
        ));
    }
    announced(request, whole(limit)).map_err(|_| file_too_large(limit))
}

/// Lets a form that is refused arrive, without keeping any of it: a browser reads no answer while it still
/// sends. One that is far too large, or takes too long, is cut off.
pub async fn discard(request: &HttpRequest, payload: Payload) {
    if announced(request, MOST_DISCARDED).is_err() {
        return;
    }
    let _cut_off = in_time(async {
        let (mut payload, mut received) = (payload, 0);
        while let Some(Ok(chunk)) = payload.next().await {
            received += chunk.len();
            if received > MOST_DISCARDED {
                break;
            }
        }
        Ok(())
    })
    .await;
}

/// Reads a form whose file has at most `limit` bytes, in at most ten seconds.
///
/// # Errors
/// Those of [`expected`]; `payload_too_large` before more than the limit is kept; `request_timeout`;
/// `duplicate_parameter`; `invalid_request` for more than eight fields, more than one file, and what is
/// no form or not whole; `invalid_field` for a file under another name than [`FILE`].
pub async fn read(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<MultipartForm, ApiError> {
    let expected = expected(request, limit)?;
    let (whole, mut received) = (whole(limit), 0);
    let counted = payload.map(move |chunk| {
        let chunk = chunk?;
        received += chunk.len();
        if received > whole { Err(PayloadError::Overflow) } else { Ok(chunk) }
    });
    let mut parts = Multipart::new(request.headers(), counted);
    in_time(async {
        let mut form = MultipartForm::default();
        let mut has_file = false;
        while let Some(mut part) = parts.try_next().await.map_err(|error| refused(error, limit))? {
            let (name, is_file) = head(&part)?;
            if is_file {
                if std::mem::replace(&mut has_file, true) {
                    return Err(invalid("Send one file at a time."));
                }
                let file = read_file(&mut part, limit, expected).await?;
                form.file = Some(file).filter(|file| !file.is_empty());
            } else {
                if form.fields.count() == MOST_FIELDS {
                    return Err(invalid("A form has at most eight fields beside the file."));
                }
                form.fields.add(name, read_text(&mut part, limit).await?)?;
            }
        }
        Ok(form)
    })
    .await
}

/// The name of a part, and whether it is the file.
fn head(part: &Field) -> Result<(String, bool), ApiError> {
    let name = part.name().unwrap_or_default().to_owned();
    let file_name = part.content_disposition().and_then(|head| {
        head.get_filename().map(str::to_owned).or_else(|| {
            head.get_filename_ext().map(|name| String::from_utf8_lossy(&name.value).into_owned())
        })
    });
    let is_odd = |character: char| character.is_control() || matches!(character, '/' | '\\');
    if name.is_empty() || name.len() > 64 || name.contains(is_odd) {
        return Err(invalid("Each part of a form has a plain name."));
    }
    if file_name.as_ref().is_some_and(|file_name| file_name.contains(is_odd)) {
        return Err(invalid("A file's name has neither folders nor control characters."));
    }
    if file_name.is_some() && name != FILE {
        return Err(ApiError::new(
            ErrorCode::InvalidField,
            format!("The part with the file is called “{FILE}”."),
        )
        .field(FILE));
    }
    let is_file = name == FILE;
    Ok((name, is_file))
}

async fn read_file(part: &mut Field, limit: usize, expected: usize) -> Result<Bytes, ApiError> {
    // One allocation, of what the sender announced.
    let mut file = BytesMut::with_capacity(expected.min(limit));
    while let Some(chunk) = part.try_next().await.map_err(|error| refused(error, limit))? {
        if file.len() + chunk.len() > limit {
            return Err(file_too_large(limit));
        }
        file.extend_from_slice(&chunk);
    }
    Ok(file.freeze())
}

async fn read_text(part: &mut Field, limit: usize) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(chunk) = part.try_next().await.map_err(|error| refused(error, limit))? {
        if text.len() + chunk.len() > LARGEST_FIELD {
            return Err(too_large(LARGEST_FIELD));
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| invalid("Fields are UTF-8, without NUL characters."))
}

fn refused(error: MultipartError, limit: usize) -> ApiError {
    match error {
        MultipartError::Payload(PayloadError::Overflow) => file_too_large(limit),
        error => invalid("This is no whole form of multipart/form-data.").cause(describe(&error)),
    }
}

fn describe(error: &MultipartError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn file_too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::PayloadTooLarge, format!("The file has at most {limit} bytes."))
        .field(FILE)
}

fn invalid(detail: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, detail)
}
