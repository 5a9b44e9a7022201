//! `/`, `/login` and `/signed-out`.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::places::{self, Place};
use super::response::page;
use super::views::{Login, ProviderButton, SignedOut};
use crate::app::App;
use crate::error::ApiError;
use crate::routes::cookies::Kind;
use crate::routes::parameters::Parameters;
use crate::routes::return_to;

/// `GET /`: leads to the account, which leads on to the sign-in if need be.
pub async fn home(app: Data<App>) -> HttpResponse {
    redirect(places::address(&app, Place::Account, &[]))
}

/// 303 to `location`.
pub fn redirect(location: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// `GET /login?return_to=…`: one button a provider.
///
/// # Errors
/// `invalid_return_to`.
pub async fn login(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let return_to = query
        .get("return_to")
        .map(|target| return_to::check(target, &app.settings.server))
        .transpose()?;
    if app.settings.server.frontend_url.is_some() {
        let target: Vec<_> =
            return_to.iter().map(|target| ("return_to", target.as_str())).collect();
        return Ok(redirect(places::address(&app, Place::Login, &target)));
    }
    let last = app.cookies.read(&request, Kind::LastProvider)?;
    let providers = app
        .providers
        .iter()
        .map(|provider| ProviderButton {
            name: &provider.settings().name,
            display_name: &provider.settings().display_name,
            last_used: last == Some(provider.settings().name.as_str()),
            not_answering: query.get("not_answering") == Some(provider.settings().name.as_str()),
        })
        .collect();
    // Without a wish, the person comes to see the account.
    let return_to = return_to.as_deref().or(Some("/account"));
    let view = Login { site: &app.site, notice: None, providers, return_to };
    Ok(page(StatusCode::OK, &view))
}

/// `GET /signed-out`.
///
/// # Errors
/// Those of a malformed query.
pub async fn signed_out(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(places::address(&app, Place::SignedOut, &[])));
    }
    let everywhere = query.get("everywhere") == Some("true");
    Ok(page(StatusCode::OK, &SignedOut { site: &app.site, everywhere }))
}
