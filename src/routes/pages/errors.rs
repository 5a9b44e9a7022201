//! Errors as a person reads them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use url::form_urlencoded::Serializer;

use super::login::redirect;
use super::response::page;
use super::views::ErrorPage;
use crate::app::App;
use crate::error::ApiError;
use crate::routes::oauth::authorize::{self, consent};
use crate::routes::oauth::logout;

/// Paths under `/oauth` that people come to with their browsers, not only clients.
pub fn is_shown_to_people(path: &str) -> bool {
    [authorize::PATH, logout::PATH].contains(&path)
}

/// The page of an error: ours, or the frontend's where there is one. Those about an app that asks for access
/// are always ours, as the question itself is.
pub fn answer(
    app: &App,
    error: &ApiError,
    request_id: &str,
    request: &HttpRequest,
) -> HttpResponse {
    let is_ours = is_shown_to_people(request.path()) || request.path() == consent::FORM;
    if let Some(frontend) = app.settings.server.frontend_url.as_ref().filter(|_| !is_ours) {
        let query = Serializer::new(String::new())
            .append_pair("code", error.code.as_str())
            .append_pair("request_id", request_id)
            .finish();
        return redirect(frontend.join(&format!("/error?{query}")));
    }
    let target = request.uri().path_and_query().map(|target| target.as_str());
    let here = target.filter(|_| request.method() == Method::GET);
    page(error.code.status(), &ErrorPage::telling(&app.site, error, request_id, here))
}
