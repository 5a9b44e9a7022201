//! HTTP: every route on one page. Handlers parse, ask, answer; rules live in `protocol`, state with
//! the actors, SQL in the store.

pub mod admin;
pub mod auth;
pub mod avatars;
pub mod client_address;
pub mod cookies;
pub mod cors;
pub mod csrf;
pub mod dev;
pub mod edge;
pub mod endpoint;
pub mod multipart;
pub mod oauth;
pub mod openapi;
pub mod pages;
pub mod parameters;
pub mod rate_limit;
pub mod return_to;
pub mod session;
pub mod system;
mod unread;
pub mod user_agent;

use actix_web::web::{self, ServiceConfig};

use crate::actors::rate_limiter::Tier;
use crate::error::{ApiError, ErrorCode};
use crate::telemetry::metrics::Metrics;
use endpoint::{Endpoint, Limit};
use oauth::error::OAuthCode;

/// Every path with its handlers and how they are described: what is served, and what `/openapi.json` tells.
///
/// Fixed words under `/auth` come before `{provider}`, which no provider may be called.
pub fn endpoints() -> Vec<Endpoint> {
    let public = Limit::Address(Tier::Public);
    let login = Limit::Address(Tier::Login);
    vec![
        // System: asked all day, or by machines that must not be kept out.
        Endpoint::new("/health", Limit::None).get(system::health, system::HEALTH),
        Endpoint::new("/ready", Limit::None).get(system::ready, system::READY),
        Endpoint::new("/metrics", public).get(system::metrics, system::METRICS),
        Endpoint::new("/.well-known/jwks.json", Limit::None).get(system::jwks, system::JWKS),
        Endpoint::new("/.well-known/openid-configuration", Limit::None)
            .get(oauth::discovery::discovery, oauth::discovery::DISCOVERY),
        Endpoint::new("/.well-known/oauth-authorization-server", Limit::None)
            .get(oauth::discovery::discovery, oauth::discovery::METADATA),
        Endpoint::new(openapi::PATH, public).get(openapi::document, openapi::DOCUMENT),
        // The provider: clients and their tokens.
        Endpoint::new(oauth::discovery::USERINFO, Limit::InHandler)
            .get(oauth::userinfo::userinfo, oauth::userinfo::USERINFO)
            .post(oauth::userinfo::userinfo, oauth::userinfo::POST),
        Endpoint::new(oauth::discovery::INTROSPECT, Limit::InHandler)
            .post(oauth::introspect::introspect, oauth::introspect::INTROSPECT),
        Endpoint::new(oauth::discovery::REVOKE, public)
            .post(oauth::revoke::revoke, oauth::revoke::REVOKE),
        // The account and its sessions.
        Endpoint::new("/auth/me", Limit::InHandler)
            .get(auth::me::me, auth::me::ME)
            .patch(auth::profile::patch, auth::profile::PATCH)
            .delete(auth::deletion::delete_me, auth::deletion::DELETE_ME),
        Endpoint::new("/auth/me/username", Limit::InHandler)
            .patch(auth::username::patch, auth::username::PATCH),
        Endpoint::new("/auth/me/export", Limit::InHandler)
            .get(auth::export::export, auth::export::EXPORT),
        Endpoint::new("/auth/sessions", Limit::InHandler)
            .get(auth::sessions::show, auth::sessions::SHOW)
            .delete(auth::sessions::delete_others, auth::sessions::DELETE_OTHERS),
        Endpoint::new("/auth/sessions/{id}", Limit::InHandler)
            .delete(auth::sessions::delete, auth::sessions::DELETE),
        Endpoint::new("/auth/me/avatar", Limit::InHandler)
            .post(auth::avatar::upload, auth::avatar::UPLOAD)
            .delete(auth::avatar::delete, auth::avatar::DELETE),
        Endpoint::new("/auth/refresh", Limit::InHandler)
            .post(auth::refresh::refresh, auth::refresh::REFRESH),
        Endpoint::new(auth::verify::PATH, Limit::InHandler)
            .get(auth::verify::verify, auth::verify::VERIFY),
        Endpoint::new("/auth/resume", public).get(auth::resume::resume, auth::resume::RESUME),
        Endpoint::new("/auth/logout", Limit::InHandler)
            .post(auth::logout::logout, auth::logout::LOGOUT),
        Endpoint::new("/auth/logout-all", Limit::InHandler)
            .post(auth::logout::logout_all, auth::logout::LOGOUT_ALL),
        // Setting up an account.
        Endpoint::new("/auth/setup", login)
            .get(auth::setup::show, auth::setup::SHOW)
            .post(auth::setup::setup, auth::setup::SETUP),
        Endpoint::new("/auth/username-available", login).get(
            auth::username_available::username_available,
            auth::username_available::USERNAME_AVAILABLE,
        ),
        Endpoint::new("/auth/form/setup", login).post(auth::form::setup, auth::form::SETUP),
        // Other people's apps.
        Endpoint::new(oauth::authorize::PATH, Limit::InHandler)
            .get(oauth::authorize::get, oauth::authorize::GET)
            .post(oauth::authorize::post, oauth::authorize::POST),
        Endpoint::new(oauth::authorize::consent::FORM, login)
            .post(oauth::authorize::consent::answer, oauth::authorize::consent::ANSWER),
        Endpoint::new("/auth/me/apps", Limit::InHandler).get(auth::apps::show, auth::apps::SHOW),
        Endpoint::new("/auth/me/apps/{client_id}", Limit::InHandler)
            .delete(auth::apps::delete, auth::apps::DELETE),
        // Ways to sign in.
        Endpoint::new("/auth/me/links", Limit::InHandler)
            .get(auth::links::links, auth::links::LINKS),
        Endpoint::new("/auth/link/{provider}", login)
            .get(auth::link::start, auth::link::START)
            .delete(auth::link::unlink, auth::link::UNLINK),
        Endpoint::new("/auth/recover", login).get(auth::recover::show, auth::recover::SHOW),
        Endpoint::new("/auth/recover/{provider}", login)
            .get(auth::recover::start, auth::recover::START),
        Endpoint::new("/auth/form/link", login).post(auth::form::link, auth::form::LINK),
        // What the account page posts.
        Endpoint::new("/auth/form/unlink", Limit::InHandler)
            .post(auth::account_form::unlink, auth::account_form::UNLINK),
        Endpoint::new("/auth/form/profile", Limit::InHandler)
            .post(auth::account_form::display_name, auth::account_form::DISPLAY_NAME),
        Endpoint::new("/auth/form/username", Limit::InHandler)
            .post(auth::account_form::another_username, auth::account_form::ANOTHER_USERNAME),
        Endpoint::new("/auth/form/avatar", Limit::InHandler)
            .post(auth::account_form::picture, auth::account_form::PICTURE),
        Endpoint::new("/auth/form/session", Limit::InHandler)
            .post(auth::account_form::end_session, auth::account_form::END_SESSION),
        Endpoint::new("/auth/form/app", Limit::InHandler)
            .post(auth::account_form::take_back, auth::account_form::TAKE_BACK),
        Endpoint::new("/auth/form/delete", Limit::InHandler)
            .post(auth::account_form::delete, auth::account_form::DELETE),
        Endpoint::new("/auth/form/sign-out", Limit::InHandler)
            .post(auth::form::leave, auth::form::LEAVE),
        Endpoint::new("/auth/form/end-session", Limit::InHandler)
            .post(oauth::logout::confirmed, oauth::logout::CONFIRMED),
        // Apps.
        Endpoint::new(oauth::logout::PATH, public)
            .get(oauth::logout::logout, oauth::logout::LOGOUT)
            .post(oauth::logout::by_post, oauth::logout::BY_POST),
        // Signing in.
        Endpoint::new("/auth/providers", public)
            .get(auth::providers::providers, auth::providers::PROVIDERS),
        Endpoint::new("/auth/{provider}", login).get(auth::start::start, auth::start::START),
        Endpoint::new("/auth/{provider}/callback", login)
            .get(auth::callback::callback, auth::callback::CALLBACK),
        // Clients.
        Endpoint::new(oauth::discovery::TOKEN, Limit::InHandler)
            .post(oauth::token::token, oauth::token::TOKEN),
        // Administration.
        Endpoint::new(admin::users::PATH, Limit::InHandler)
            .get(admin::users::list, admin::users::LIST),
        Endpoint::new("/admin/users/{id}", Limit::InHandler)
            .get(admin::users::show, admin::users::SHOW)
            .delete(admin::users::delete, admin::users::DELETE),
        Endpoint::new("/admin/users/{id}/role", Limit::InHandler)
            .patch(admin::users::set_role, admin::users::SET_ROLE),
        Endpoint::new("/admin/users/{id}/lock", Limit::InHandler)
            .post(admin::users::lock, admin::users::LOCK),
        Endpoint::new("/admin/users/{id}/unlock", Limit::InHandler)
            .post(admin::users::unlock, admin::users::UNLOCK),
        Endpoint::new("/admin/users/{id}/revoke-sessions", Limit::InHandler)
            .post(admin::users::revoke_sessions, admin::users::REVOKE_SESSIONS),
        Endpoint::new(admin::clients::PATH, Limit::InHandler)
            .get(admin::clients::list, admin::clients::LIST)
            .post(admin::clients::register, admin::clients::REGISTER),
        Endpoint::new("/admin/clients/{id}", Limit::InHandler)
            .get(admin::clients::show, admin::clients::SHOW)
            .patch(admin::clients::update, admin::clients::UPDATE)
            .delete(admin::clients::remove, admin::clients::REMOVE),
        Endpoint::new("/admin/clients/{id}/rotate-secret", Limit::InHandler)
            .post(admin::clients::rotate_secret, admin::clients::ROTATE_SECRET),
        Endpoint::new("/admin/keys", Limit::InHandler).get(admin::keys::show, admin::keys::SHOW),
        Endpoint::new("/admin/keys/rotate", Limit::InHandler)
            .post(admin::keys::rotate, admin::keys::ROTATE),
        Endpoint::new("/admin/audit", Limit::InHandler).get(admin::audit::show, admin::audit::SHOW),
        Endpoint::new("/admin/reload", Limit::InHandler)
            .post(admin::reload::reload, admin::reload::RELOAD),
        Endpoint::new("/admin/actors", Limit::InHandler)
            .get(admin::actors::show, admin::actors::SHOW),
        // Pictures.
        Endpoint::new("/avatars/{name}", public).get(avatars::serve, avatars::SERVE),
        // Pages.
        Endpoint::new("/", public).get(pages::login::home, pages::login::HOME),
        Endpoint::new("/login", public).get(pages::login::login, pages::login::LOGIN),
        Endpoint::new("/onboarding", public)
            .get(pages::onboarding::onboarding, pages::onboarding::ONBOARDING),
        Endpoint::new("/link", public).get(pages::link::link, pages::link::LINK),
        Endpoint::new("/account", Limit::InHandler)
            .get(pages::account::account, pages::account::ACCOUNT),
        Endpoint::new(pages::account_apps::PATH, Limit::InHandler)
            .get(pages::account_apps::apps, pages::account_apps::APPS),
        Endpoint::new(pages::account_delete::PATH, Limit::InHandler)
            .get(pages::account_delete::ask, pages::account_delete::ASK),
        Endpoint::new("/signed-out", public)
            .get(pages::login::signed_out, pages::login::SIGNED_OUT),
        Endpoint::new("/static/{name}", Limit::None)
            .get(pages::assets::serve, pages::assets::SERVE),
    ]
}

/// The paths of all endpoints, with what varies in braces.
pub fn templates(is_development: bool) -> Vec<&'static str> {
    let development = if is_development { dev::endpoints() } else { Vec::new() };
    endpoints().iter().chain(&development).map(|endpoint| endpoint.path).collect()
}

/// The codes of all errors that an answer may have.
pub fn error_codes() -> Vec<&'static str> {
    let of_oauth = OAuthCode::ALL.map(OAuthCode::as_str);
    ErrorCode::ALL.into_iter().map(ErrorCode::as_str).chain(of_oauth).collect()
}

/// Adds every route. `is_development` adds those of `latchkey dev`.
pub fn configure(config: &mut ServiceConfig, metrics: &Metrics, is_development: bool) {
    let development = if is_development { dev::endpoints() } else { Vec::new() };
    for endpoint in endpoints().into_iter().chain(development) {
        endpoint.counted(metrics).register(config);
    }
    config.default_service(web::to(|| async {
        Err::<String, _>(ApiError::new(ErrorCode::NotFound, "There is nothing at this address."))
    }));
}
