//! STUB
pub mod http;
use crate::clock::{Clock,Timestamp};
use crate::config::settings;
use crate::store::model::Email;
use std::sync::Arc;
/// x
#[derive(Clone)] pub struct Providers(Arc<[Provider]>);
/// x
pub struct Provider{settings: settings::Provider}
/// x
#[derive(Debug, Clone, thiserror::Error)] pub enum ProviderError { /** x */ #[error("x")] X }
impl From<ProviderError> for crate::error::ApiError { fn from(_: ProviderError) -> Self { unimplemented!() } }
impl Providers { /** x */ pub fn new(s: &[settings::Provider], _c: Clock) -> Self { Self(s.iter().map(|p| Provider{settings:p.clone()}).collect()) }
/** x */ pub fn get(&self, n: &str) -> Option<&Provider> { self.0.iter().find(|p| p.settings.name==n) }
/** x */ pub fn iter(&self) -> std::slice::Iter<'_, Provider> { self.0.iter() } }
/// x
pub struct ProviderIdentity { /** x */ pub subject: String, /** x */ pub emails: Vec<Email>, /** x */ pub username_hint: Option<String>, /** x */ pub display_name: Option<String>, /** x */ pub picture: Option<String>, /** x */ pub auth_time: Option<Timestamp> }
/// x
pub struct AuthorizationRequest<'a> { /** x */ pub redirect_uri: String, /** x */ pub state: &'a str, /** x */ pub nonce: &'a str, /** x */ pub code_challenge: &'a str, /** x */ pub login_hint: Option<&'a str>, /** x */ pub prompt: Option<&'a str>, /** x */ pub max_age: Option<u64> }
/// x
pub struct CallbackParameters<'a> { /** x */ pub code: &'a str, /** x */ pub iss: Option<&'a str> }
/// x
pub struct Attempt<'a> { /** x */ pub redirect_uri: String, /** x */ pub nonce: &'a str, /** x */ pub code_verifier: &'a str, /** x */ pub max_age: Option<u64>, /** x */ pub started_at: Timestamp }
/// x
pub struct Discovered;
impl Provider { /** x */ pub fn name(&self) -> &str { &self.settings.name } /** x */ pub fn display_name(&self) -> &str { &self.settings.display_name }
/** x */ pub fn signup(&self) -> Option<&settings::Signup> { self.settings.signup.as_ref() }
/** x */ pub fn authorization_url(&self, _m: &Discovered, _r: &AuthorizationRequest<'_>) -> url::Url { unimplemented!() }
/** x */ pub async fn finish(&self, _h: &http::HttpClient, _m: &crate::actors::mailbox::Mailbox<crate::actors::provider_metadata::ProviderMetadata>, _c: &CallbackParameters<'_>, _a: &Attempt<'_>) -> Result<ProviderIdentity, ProviderError> { unimplemented!() } }
