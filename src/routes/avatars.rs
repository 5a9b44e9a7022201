//! `GET /avatars/{name}`: people's pictures, for anybody who knows the name.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::system::matches_etag;
use crate::app::App;
use crate::avatars::name::ObjectName;
use crate::avatars::storage::CACHING;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Answer, Header, Operation, Parameter, Tag};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// How `GET /avatars/{name}` is described.
pub const SERVE: Operation = Operation {
    id: "get_avatar",
    tag: Tag::Account,
    summary: "A person's picture",
    description: "For anybody who knows its name, which is in `avatar_url`. Another picture has another name.",
    parameters: &[Parameter::path("name", "Its name.")],
    answers: &[
        Answer::other(&["image/png", "image/jpeg"], "The picture.")
            .with(&[Header::ETAG, Header::CACHING]),
        Answer::NOT_MODIFIED,
    ],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// Serves one object, or says that the caller has it. Whatever a browser makes of the bytes, it runs
/// nothing from them.
///
/// # Errors
/// `not_found` for what is not there and for names that are not of our form; `store_unavailable`.
pub async fn serve(
    request: HttpRequest,
    name: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let absent = || ApiError::new(ErrorCode::NotFound, "There is no such picture.");
    let name = ObjectName::parse(&name).ok_or_else(absent)?;
    let found = app.avatars.get(name).await.map_err(|error| {
        ApiError::new(ErrorCode::StoreUnavailable, "Try again in a moment; nothing is lost.")
            .retry_after(std::time::Duration::from_secs(1))
            .cause(error)
    })?;
    let content = found.ok_or_else(absent)?;
    // The name is made of the content.
    let etag = format!("\"{name}\"");
    let is_known = matches_etag(&request, &etag);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((CACHE_CONTROL, CACHING))
        .insert_header((ETAG, etag))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
    if is_known {
        return Ok(answer.finish());
    }
    Ok(answer.insert_header((CONTENT_TYPE, name.format().content_type())).body(content))
}
