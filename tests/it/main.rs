//! The one integration-test binary: a module a topic, each test with its own store and port.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nobody uses this binary as a library")]

mod account_pages;
mod admin_api;
mod attacks;
mod audit_trail;
mod backups;
mod browser;
mod buckets;
mod changes;
mod clients_command;
mod conformance;
mod contributed;
mod demo_app;
mod deployment;
mod development_provider;
mod documents;
mod forged;
mod forward_auth;
mod forwarded;
mod grants;
mod harness;
mod hostile_input;
mod identity;
mod independent_provider;
#[allow(dead_code, reason = "tests/e2e is told more by its environment")]
#[path = "../e2e/journey/mod.rs"]
mod journey;
mod keys;
mod linking;
mod nodes;
mod oauth_authorize;
mod oauth_logout;
mod oauth_provider;
mod oauth_resources;
mod oauth_token;
mod oauth_whole;
mod openapi;
mod openid_provider;
mod operator;
mod packaging;
mod people_provider;
mod pictures;
mod postgres;
mod processes;
mod provider_sign_in;
mod rate_limits;
mod raw_http;
mod real_clients;
mod registration;
mod reload;
mod reverse_proxy;
mod rolling;
mod rotation;
mod sign_in;
mod sqlite;
mod store_contract;
mod stub_server;
#[cfg(feature = "fault-injection")]
mod supervision;
mod telemetry;
mod tokens;
mod uploads;
mod users_command;

/// Makes each case a test on SQLite and one on PostgreSQL.
#[macro_export]
macro_rules! on_both_stores {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[actix_web::test]
            async fn $case() {
                super::$case($crate::harness::Backend::Sqlite).await;
            })*
        }
        mod on_postgres {
            $(#[actix_web::test]
            async fn $case() {
                super::$case($crate::harness::Backend::Postgres).await;
            })*
        }
    };
}
