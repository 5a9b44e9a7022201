//! One path with its methods, its rate limit and its 405.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, FromRequest, Handler, Resource, Responder};

use super::rate_limit;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};

/// Who limits the rate of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nobody: documents that are asked all day.
    None,
    /// The endpoint, by client address, before anything else.
    Address(Tier),
    /// The handler: by session or family, which only it knows.
    InHandler,
}

/// A path under construction.
pub struct Endpoint {
    resource: Resource,
    methods: Vec<&'static str>,
    limit: Limit,
}

impl Endpoint {
    /// A path without methods yet.
    pub fn new(path: &str, limit: Limit) -> Self {
        Self { resource: web::resource(path), methods: Vec::new(), limit }
    }

    /// Answers GET, and HEAD with the same head.
    #[must_use]
    pub fn get<F, Arguments>(mut self, handler: F) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.extend(["GET", "HEAD"]);
        self.resource =
            self.resource.route(web::get().to(handler.clone())).route(web::head().to(handler));
        self
    }

    /// Answers PATCH.
    #[must_use]
    pub fn patch<F, Arguments>(mut self, handler: F) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push("PATCH");
        self.resource = self.resource.route(web::patch().to(handler));
        self
    }

    /// Answers DELETE.
    #[must_use]
    pub fn delete<F, Arguments>(mut self, handler: F) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push("DELETE");
        self.resource = self.resource.route(web::delete().to(handler));
        self
    }

    /// Answers POST.
    #[must_use]
    pub fn post<F, Arguments>(mut self, handler: F) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push("POST");
        self.resource = self.resource.route(web::post().to(handler));
        self
    }

    /// Adds the path to the application; other methods get 405 with `Allow` (RFC 9110 §15.5.6).
    pub fn register(self, config: &mut ServiceConfig) {
        let allow = self.methods.join(", ");
        let resource = self.resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move {
                let value = HeaderValue::from_str(&allow).unwrap_or(HeaderValue::from_static(""));
                let detail = format!("Allowed here: {allow}.");
                Err::<String, _>(
                    ApiError::new(ErrorCode::MethodNotAllowed, detail).header(ALLOW, value),
                )
            }
        }));
        match self.limit {
            Limit::Address(tier) => config.service(
                resource.wrap(from_fn(move |request, next| limit_by_address(tier, request, next))),
            ),
            Limit::None | Limit::InHandler => config.service(resource),
        };
    }
}

async fn limit_by_address(
    tier: Tier,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let app = request.app_data::<Data<App>>().expect("the app is registered").clone();
    match rate_limit::by_address(request.request(), &app, tier).await {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(refusal) => Ok(request.error_response(refusal)),
    }
}
