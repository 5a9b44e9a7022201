//! HTTP: every route on one page. Handlers parse, ask, answer; rules live in `protocol`, state with
//! the actors, SQL in the store.

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
use endpoint::{Endpoint, Limit};

/// Adds every route. `is_development` adds those of `latchkey dev`.
///
/// Fixed words under `/auth` come before `{provider}`, which no provider may be called.
pub fn configure(config: &mut ServiceConfig, is_development: bool) {
    let public = Limit::Address(Tier::Public);
    let login = Limit::Address(Tier::Login);
    let endpoints = [
        // System: asked all day, or by machines that must not be kept out.
        Endpoint::new("/health", Limit::None).get(system::health),
        Endpoint::new("/ready", Limit::None).get(system::ready),
        Endpoint::new("/metrics", public).get(system::metrics),
        Endpoint::new("/.well-known/jwks.json", Limit::None).get(system::jwks),
        Endpoint::new("/.well-known/openid-configuration", Limit::None)
            .get(oauth::discovery::discovery),
        Endpoint::new("/.well-known/oauth-authorization-server", Limit::None)
            .get(oauth::discovery::discovery),
        // The provider: clients and their tokens.
        Endpoint::new(oauth::discovery::USERINFO, Limit::InHandler)
            .get(oauth::userinfo::userinfo)
            .post(oauth::userinfo::userinfo),
        Endpoint::new(oauth::discovery::INTROSPECT, Limit::InHandler)
            .post(oauth::introspect::introspect),
        Endpoint::new(oauth::discovery::REVOKE, public).post(oauth::revoke::revoke),
        // The account and its sessions.
        Endpoint::new("/auth/me", Limit::InHandler)
            .get(auth::me::me)
            .patch(auth::profile::patch)
            .delete(auth::deletion::delete_me),
        Endpoint::new("/auth/me/username", Limit::InHandler).patch(auth::username::patch),
        Endpoint::new("/auth/me/export", Limit::InHandler).get(auth::export::export),
        Endpoint::new("/auth/sessions", Limit::InHandler)
            .get(auth::sessions::show)
            .delete(auth::sessions::delete_others),
        Endpoint::new("/auth/sessions/{id}", Limit::InHandler).delete(auth::sessions::delete),
        Endpoint::new("/auth/me/avatar", Limit::InHandler)
            .post(auth::avatar::upload)
            .delete(auth::avatar::delete),
        Endpoint::new("/auth/refresh", Limit::InHandler).post(auth::refresh::refresh),
        Endpoint::new("/auth/resume", public).get(auth::resume::resume),
        Endpoint::new("/auth/logout", Limit::InHandler).post(auth::logout::logout),
        Endpoint::new("/auth/logout-all", Limit::InHandler).post(auth::logout::logout_all),
        // Setting up an account.
        Endpoint::new("/auth/setup", login).get(auth::setup::show).post(auth::setup::setup),
        Endpoint::new("/auth/username-available", login)
            .get(auth::username_available::username_available),
        Endpoint::new("/auth/form/setup", login).post(auth::form::setup),
        // Other people's apps.
        Endpoint::new(oauth::authorize::PATH, Limit::InHandler)
            .get(oauth::authorize::get)
            .post(oauth::authorize::post),
        Endpoint::new(oauth::authorize::consent::FORM, login)
            .post(oauth::authorize::consent::answer),
        Endpoint::new("/auth/me/apps", Limit::InHandler).get(auth::apps::show),
        Endpoint::new("/auth/me/apps/{client_id}", Limit::InHandler).delete(auth::apps::delete),
        // Ways to sign in.
        Endpoint::new("/auth/me/links", Limit::InHandler).get(auth::links::links),
        Endpoint::new("/auth/link/{provider}", login)
            .get(auth::link::start)
            .delete(auth::link::unlink),
        Endpoint::new("/auth/recover", login).get(auth::recover::show),
        Endpoint::new("/auth/recover/{provider}", login).get(auth::recover::start),
        Endpoint::new("/auth/form/link", login).post(auth::form::link),
        // What the account page posts.
        Endpoint::new("/auth/form/unlink", Limit::InHandler).post(auth::account_form::unlink),
        Endpoint::new("/auth/form/profile", Limit::InHandler)
            .post(auth::account_form::display_name),
        Endpoint::new("/auth/form/username", Limit::InHandler)
            .post(auth::account_form::another_username),
        Endpoint::new("/auth/form/avatar", Limit::InHandler).post(auth::account_form::picture),
        Endpoint::new("/auth/form/session", Limit::InHandler).post(auth::account_form::end_session),
        Endpoint::new("/auth/form/app", Limit::InHandler).post(auth::account_form::take_back),
        Endpoint::new("/auth/form/delete", Limit::InHandler).post(auth::account_form::delete),
        Endpoint::new("/auth/form/sign-out", Limit::InHandler).post(auth::form::leave),
        Endpoint::new("/auth/form/end-session", Limit::InHandler).post(oauth::logout::confirmed),
        // Apps.
        Endpoint::new(oauth::logout::PATH, public)
            .get(oauth::logout::logout)
            .post(oauth::logout::by_post),
        // Signing in.
        Endpoint::new("/auth/providers", public).get(auth::providers::providers),
        Endpoint::new("/auth/{provider}", login).get(auth::start::start),
        Endpoint::new("/auth/{provider}/callback", login).get(auth::callback::callback),
        // Clients.
        Endpoint::new(oauth::discovery::TOKEN, Limit::InHandler).post(oauth::token::token),
        // Pictures.
        Endpoint::new("/avatars/{name}", public).get(avatars::serve),
        // Pages.
        Endpoint::new("/", public).get(pages::login::home),
        Endpoint::new("/login", public).get(pages::login::login),
        Endpoint::new("/onboarding", public).get(pages::onboarding::onboarding),
        Endpoint::new("/link", public).get(pages::link::link),
        Endpoint::new("/account", Limit::InHandler).get(pages::account::account),
        Endpoint::new(pages::account_apps::PATH, Limit::InHandler).get(pages::account_apps::apps),
        Endpoint::new(pages::account_delete::PATH, Limit::InHandler)
            .get(pages::account_delete::ask),
        Endpoint::new("/signed-out", public).get(pages::login::signed_out),
        Endpoint::new("/static/{name}", Limit::None).get(pages::assets::serve),
    ];
    for endpoint in endpoints {
        endpoint.register(config);
    }
    if is_development {
        dev::configure(config);
    }
    config.default_service(web::to(|| async {
        Err::<String, _>(ApiError::new(ErrorCode::NotFound, "There is nothing at this address."))
    }));
}
