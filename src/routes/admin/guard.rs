//! Who may use `/admin`.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use serde_json::json;

use crate::actors::db_writer::apply;
use crate::administration::By;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::{csrf, edge, rate_limit, session};
use crate::store::model::{Actor, Role, SessionId, UserId, UserStatus};
use crate::store::operation::AppendAudit;

/// An admin who asks: by the store's word at this moment, whatever their token says.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Who.
    pub id: UserId,
    /// By which session.
    pub session: SessionId,
    request_id: String,
    address: String,
}

impl Admin {
    /// For the audit trail.
    pub fn by(&self, app: &App) -> By {
        By {
            at: app.clock.now(),
            actor: Actor::User(self.id),
            request_id: Some(self.request_id.clone()),
            address: Some(self.address.clone()),
        }
    }
}

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let app = request.app_data::<Data<App>>().expect("the app is registered").clone();
            admit(&request, &app).await
        })
    }
}

/// Lets an admin pass.
///
/// # Errors
/// `unauthenticated`, `rate_limited`; `csrf_rejected` for what changes something by cookie and may come from
/// another site; `forbidden`, which is audited, for everybody else who is signed in; 503 if it cannot be known.
async fn admit(request: &HttpRequest, app: &App) -> Result<Admin, ApiError> {
    let claims = session::authenticate(request, app).await?.claims;
    if !request.method().is_safe() {
        csrf::check(request, &app.settings.server)?;
    }
    let asking = Admin {
        id: claims.sub,
        session: claims.sid,
        request_id: edge::request_id(),
        address: rate_limit::client_address(request, app).ip.to_string(),
    };
    let person = app.store.read.user(asking.id).await?;
    match person.map(|person| (person.status, person.role)) {
        Some((UserStatus::Active, Role::Admin)) => Ok(asking),
        // Whoever is gone leaves no further line in the trail.
        None | Some((UserStatus::Deleted, _)) => Err(session::unauthenticated()),
        Some(_) => {
            let route = request.match_pattern().unwrap_or_default();
            let details = json!({ "method": request.method().as_str() });
            let entry = asking.by(app).entry("admin.refused", format!("route:{route}"), details);
            apply(&app.writer, AppendAudit(entry)).await?;
            Err(ApiError::new(
                ErrorCode::Forbidden,
                "This is for admins. Ask one of them to do it, or to make you one.",
            ))
        }
    }
}
