//! Reading the configuration again.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;

use super::guard::Admin;
use super::idempotency::{self, Reply};
use crate::actors::configuration::{Reload, ReloadError, Reloaded};
use crate::app::App;
use crate::config::problem::Problems;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Access, Answer, Operation, Tag};

/// What a reload changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reload")]
struct ReloadBody {
    /// Keys whose new values are in force, such as `tokens.access_ttl`.
    applied: Vec<String>,
    /// Keys whose new values wait for a restart; the former ones are in force.
    needs_restart: Vec<String>,
}

impl From<Reloaded> for ReloadBody {
    fn from(Reloaded { applied, needs_restart }: Reloaded) -> Self {
        Self { applied, needs_restart }
    }
}

/// How `POST /admin/reload` is described.
pub const RELOAD: Operation = Operation {
    id: "reload_configuration",
    tag: Tag::Administration,
    summary: "Read the configuration again",
    description: "All or nothing, as SIGHUP does it, and for this node alone: a file with a problem changes \
                  nothing, and the answer names every problem. What cannot change while the server runs keeps its \
                  value and is named.",
    access: Access::Admin,
    parameters: &[idempotency::KEY],
    answers: &[Answer::json::<ReloadBody>(200, "What has changed.")],
    errors: &[ErrorCode::ConfigurationInvalid],
    ..Operation::PLAIN
};

/// `POST /admin/reload`.
///
/// # Errors
/// Those of [`Admin`] and [`idempotency::once`]; `configuration_invalid`; 503 if the store could not be asked.
pub async fn reload(
    admin: Admin,
    request: HttpRequest,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let (by, shared) = (admin.by(&app), app.clone());
    let work = Box::pin(async move {
        let reloaded = shared.configuration.ask(Reload { by }).await??;
        Ok(Reply::json(StatusCode::OK, &ReloadBody::from(reloaded)))
    });
    idempotency::once(&request, &app, &admin, &Map::new(), work).await
}

impl From<ReloadError> for ApiError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Refused(Problems { file, problems }) => {
                let place = file.as_deref().unwrap_or("the configuration");
                let detail = match problems.len() {
                    1 => format!("There is a problem in {place}, so nothing has changed."),
                    more => {
                        format!("There are {more} problems in {place}, so nothing has changed.")
                    }
                };
                Self::new(ErrorCode::ConfigurationInvalid, detail).telling(problems)
            }
            ReloadError::Write(error) => error.into(),
            ReloadError::Interrupted(_) => {
                Self::new(ErrorCode::Internal, "Nothing has changed; the log says why.")
                    .cause(error)
            }
        }
    }
}
