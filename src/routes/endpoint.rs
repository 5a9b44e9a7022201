//! One path with its methods, its rate limit and its 405.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, FromRequest, Handler, Resource, Responder};

use super::openapi::operation::Operation;
use super::rate_limit;
use crate::actors::rate_limiter::Tier;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::telemetry::metrics::Metrics;

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

/// A path under construction. It takes no handler without saying what it does.
pub struct Endpoint {
    /// Its path, with what varies in braces.
    pub path: &'static str,
    /// Who limits its rate.
    pub limit: Limit,
    /// Its methods, each with how it is described; HEAD goes without saying.
    pub operations: Vec<(&'static str, Operation)>,
    resource: Resource,
}

impl Endpoint {
    /// A path without methods yet.
    pub fn new(path: &'static str, limit: Limit) -> Self {
        Self { path, limit, operations: Vec::new(), resource: web::resource(path) }
    }

    /// Answers GET, and HEAD with the same head.
    #[must_use]
    pub fn get<F, Arguments>(mut self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.operations.push(("GET", operation));
        self.resource =
            self.resource.route(web::get().to(handler.clone())).route(web::head().to(handler));
        self
    }

    /// Answers PATCH.
    #[must_use]
    pub fn patch<F, Arguments>(mut self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.operations.push(("PATCH", operation));
        self.resource = self.resource.route(web::patch().to(handler));
        self
    }

    /// Answers DELETE.
    #[must_use]
    pub fn delete<F, Arguments>(mut self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.operations.push(("DELETE", operation));
        self.resource = self.resource.route(web::delete().to(handler));
        self
    }

    /// Answers POST.
    #[must_use]
    pub fn post<F, Arguments>(mut self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.operations.push(("POST", operation));
        self.resource = self.resource.route(web::post().to(handler));
        self
    }

    /// Its counters go with it, so that nobody has to look for them.
    #[must_use]
    pub fn counted(mut self, metrics: &Metrics) -> Self {
        self.resource = self.resource.app_data(metrics.route(self.path));
        self
    }

    /// Adds the path to the application; other methods get 405 with `Allow` (RFC 9110 §15.5.6).
    pub fn register(self, config: &mut ServiceConfig) {
        let methods = self.operations.iter().map(|(method, _)| match *method {
            "GET" => "GET, HEAD",
            method => method,
        });
        let allow = methods.collect::<Vec<_>>().join(", ");
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
