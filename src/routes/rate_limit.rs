//! Asking the rate limiters, and saying no.

use actix_web::HttpRequest;

use super::client_address::ClientAddress;
use crate::actors::rate_limiter::{Pass, Tier, Wait};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};

/// Lets a client address pass, or says when it may.
///
/// # Errors
/// `rate_limited`; `overloaded` if the limiter cannot be asked.
pub async fn by_address(request: &HttpRequest, app: &App, tier: Tier) -> Result<(), ApiError> {
    let address = client_address(request, app);
    if address.is_in(&app.settings.rate_limits.exempt) {
        return Ok(());
    }
    pass(app, tier, address.bucket()).await
}

/// Lets a session, a family or another name pass, or says when it may.
///
/// # Errors
/// As [`by_address`].
pub async fn by_name(
    request: &HttpRequest,
    app: &App,
    tier: Tier,
    name: String,
) -> Result<(), ApiError> {
    if client_address(request, app).is_in(&app.settings.rate_limits.exempt) {
        return Ok(());
    }
    pass(app, tier, name).await
}

async fn pass(app: &App, tier: Tier, key: String) -> Result<(), ApiError> {
    let limiter = app.rate_limiters.of(&key);
    let answer = limiter.ask(Pass { tier, key }).await?;
    app.metrics.count_rate(tier, answer.is_ok());
    answer.map_err(|Wait(wait)| {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        ApiError::new(ErrorCode::RateLimited, format!("Wait {seconds} s, then try again."))
            .retry_after(wait)
    })
}

/// The client's address, by the trusted proxies; warns once of a proxy that is not trusted.
pub fn client_address(request: &HttpRequest, app: &App) -> ClientAddress {
    let address = ClientAddress::of(request, &app.settings.server.trusted_proxies);
    if address.claims_another {
        static WARNED: std::sync::Once = std::sync::Once::new();
        WARNED.call_once(|| {
            tracing::warn!(
                peer = %address.ip,
                "X-Forwarded-For from a peer that is not in server.trusted_proxies is ignored; if that is your reverse proxy, list it there"
            );
        });
    }
    address
}
