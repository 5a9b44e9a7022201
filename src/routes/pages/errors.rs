//! Errors as a person reads them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use url::form_urlencoded::Serializer;

use super::login::redirect;
use super::response::page;
use super::views::ErrorPage;
use crate::app::App;
use crate::error::ApiError;

/// The page of an error: ours, or the frontend's where there is one.
pub fn answer(
    app: &App,
    error: &ApiError,
    request_id: &str,
    request: &HttpRequest,
) -> HttpResponse {
    if let Some(frontend) = &app.settings.server.frontend_url {
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
