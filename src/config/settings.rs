//! The typed settings: what a valid configuration comes down to. One struct a section, one field a
//! key, the same names as in the file. `config/latchkey.example.toml` documents each of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::protocol::claims::Claim;
use crate::protocol::jwt::Algorithm;
use crate::protocol::secret::Secret;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[keys]`
    pub keys: Keys,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[signup]`
    pub signup: Signup,
    /// `[branding]`
    pub branding: Branding,
    /// `[[scopes]]`
    pub scopes: Vec<Scope>,
    /// `[audit]`
    pub audit: Audit,
    /// `[cookies]`
    pub cookies: Cookies,
    /// `[[providers]]`
    pub providers: Vec<Provider>,
    /// `[usernames]`
    pub usernames: Usernames,
    /// `[avatars]`
    pub avatars: Avatars,
    /// `[rate_limits]`
    pub rate_limits: RateLimits,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// Who becomes the first admin: LATCHKEY_BOOTSTRAP_ADMIN.
    pub bootstrap_admin: Option<BootstrapAdmin>,
}

/// An identity whose person becomes an admin at sign-in while there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapAdmin {
    /// Name of the provider.
    pub provider: String,
    /// The provider's stable id of the person.
    pub subject: String,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The issuer: an origin without a path, https unless loopback.
    pub public_url: Origin,
    /// HTTP worker threads.
    pub workers: usize,
    /// Peers whose X-Forwarded-For and -Proto are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that may call with credentials.
    pub cors_origins: Vec<Origin>,
    /// The deployer's own frontend, in place of the hosted pages.
    pub frontend_url: Option<Origin>,
    /// Further origins that a `return_to` may lead to.
    pub return_to: Vec<Origin>,
    /// Server secrets, decoded (at least 32 bytes each); the first one seals.
    pub secret_key: Vec<SecretKey>,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Whether receivers and pictures may be fetched from private addresses.
    pub allow_private_receivers: bool,
    /// How long, after SIGTERM, everything is still served while /ready says no.
    pub drain: Duration,
    /// How long a shutdown waits for requests in flight, from the signal on.
    pub shutdown_grace: Duration,
    /// Certificate and key, where the server itself speaks TLS.
    pub tls: Option<Tls>,
}

/// The bytes of one server secret, decoded from base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(zeroize::Zeroizing<Vec<u8>>);

impl SecretKey {
    /// Takes over the decoded bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A web origin: scheme, host, port; written without a trailing slash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin; `None` if `text` is not an http(s) URL or holds more than an origin.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let only_origin = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        only_origin.then(|| Self(url.origin().ascii_serialization()))
    }

    /// The origin of any http(s) URL.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// As text, without a trailing slash: also the issuer.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// An address below this origin; `path` starts with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Host and port as a Host header names them.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `server.tls`
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Which database.
    pub url: StoreUrl,
    /// Connections for reading.
    pub max_connections: usize,
    /// Whether `serve` applies migrations itself.
    pub migrate_on_start: bool,
    /// PostgreSQL schema; `None` is the connection's default.
    pub schema: Option<String>,
}

/// `store.url`
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// `sqlite:PATH`, resolved against the config file's folder.
    Sqlite(PathBuf),
    /// `postgres://…`, as the driver takes it; holds a password.
    Postgres(Secret),
}

/// `[keys]`
#[derive(Clone, Debug)]
pub struct Keys {
    /// What access tokens are signed with.
    pub algorithm: Algorithm,
    /// Size of new RSA keys.
    pub bits: u32,
    /// How long a key signs; `None` is for ever.
    pub rotation_period: Option<Duration>,
    /// How long a new key is published before it signs.
    pub publish_ahead: Duration,
    /// PEM files with keys made elsewhere; they replace automatic rotation.
    pub files: Vec<PathBuf>,
}

/// `[tokens]`
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Life of an access token.
    pub access_ttl: Duration,
    /// Life of a refresh token since its last use.
    pub refresh_ttl: Duration,
    /// Life of a session, however much it is used.
    pub session_max_age: Duration,
    /// Life of an authorization code.
    pub code_ttl: Duration,
    /// A cookie session advances at most once in this time.
    pub session_grace: Duration,
    /// How long the token before the current one is answered with the current one; zero is never.
    pub retry_window: Duration,
    /// Life of an ID token.
    pub id_ttl: Duration,
}

/// `[signup]`, and the same per provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signup {
    /// Who may make an account.
    pub mode: SignupMode,
    /// Domains of verified addresses, for [`SignupMode::Domains`]; lower case.
    pub allowed_domains: Vec<String>,
}

/// `signup.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignupMode {
    /// Everyone.
    Open,
    /// Whoever has a verified address in one of the allowed domains.
    Domains,
    /// Nobody.
    Closed,
}

/// `[branding]`
#[derive(Clone, Debug)]
pub struct Branding {
    /// The name on every page.
    pub name: String,
    /// A picture above the pages: an https address or a path below the public URL.
    pub logo: Option<String>,
    /// Accent colour as `#rrggbb`.
    pub accent: Option<String>,
}

/// One of `[[scopes]]`.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The scope's name.
    pub name: String,
    /// What the consent page says.
    pub description: String,
    /// Claims that it opens.
    pub claims: Vec<Claim>,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// How long entries are kept.
    pub retention: Duration,
    /// How often a signed checkpoint is written.
    pub checkpoint_every: Duration,
    /// Whether each entry is copied to the log.
    pub log: bool,
}

/// `[cookies]`
#[derive(Clone, Debug)]
pub struct Cookies {
    /// Domain attribute; `None` is the host alone.
    pub domain: Option<String>,
    /// Start of every cookie's name.
    pub prefix: String,
    /// SameSite of the session cookies.
    pub same_site: SameSite,
}

/// `cookies.same_site`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// The default.
    Lax,
    /// Only on https, for frontends on another site.
    None,
}

/// One of `[[providers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Name in our paths; presets are chosen by it.
    pub name: String,
    /// Name on the button.
    pub display_name: String,
    /// Our id at the provider.
    pub client_id: String,
    /// Our secret at the provider; public clients have none.
    pub client_secret: Option<Secret>,
    /// Issuer of an OpenID Connect provider: its endpoints are discovered.
    pub issuer: Option<String>,
    /// Authorization endpoint, given or overridden.
    pub auth_url: Option<Url>,
    /// Token endpoint, given or overridden.
    pub token_url: Option<Url>,
    /// Userinfo endpoint, given or overridden.
    pub userinfo_url: Option<Url>,
    /// Where verified addresses are listed (GitHub's shape).
    pub emails_url: Option<Url>,
    /// Which userinfo field means what, for OAuth 2 providers.
    pub mapping: Mapping,
    /// Where the secret goes; `None` follows discovery.
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// Whether the provider's verified flag counts.
    pub trust_email: bool,
    /// Whether its endpoints may lie on private addresses.
    pub allow_private: bool,
    /// Sign-up rules of this provider, in place of the general ones.
    pub signup: Option<Signup>,
}

/// `providers.token_endpoint_auth_method`, by its name in RFC 7591 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEndpointAuthMethod {
    /// The secret in an `Authorization: Basic` header.
    ClientSecretBasic,
    /// The secret in the body.
    ClientSecretPost,
}

/// `providers.mapping`: claims, or dotted paths into the userinfo answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The stable id.
    pub subject: Option<String>,
    /// A name to suggest.
    pub username: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// Whether that address is verified.
    pub email_verified: Option<String>,
    /// The picture's address.
    pub picture: Option<String>,
}

/// `[usernames]`
#[derive(Clone, Debug)]
pub struct Usernames {
    /// Fewest characters.
    pub min_length: usize,
    /// Most characters.
    pub max_length: usize,
    /// What a name must match.
    pub pattern: regex::Regex,
    /// Whether names can be changed.
    pub allow_changes: bool,
    /// Time between two changes.
    pub change_cooldown: Duration,
    /// How long a given-up name is held against others.
    pub hold: Duration,
    /// Names that nobody may take, beside our own path names.
    pub reserved: Vec<String>,
}

/// `[avatars]`
#[derive(Clone, Debug)]
pub struct Avatars {
    /// Where pictures are kept.
    pub store: AvatarStore,
    /// Largest picture that is taken, from an upload or a provider, in bytes.
    pub max_bytes: usize,
    /// Most pixels of one.
    pub max_pixels: u64,
    /// Address below which pictures are served, if not by us.
    pub public_url: Option<Url>,
}

/// `avatars.store`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvatarStore {
    /// `file:PATH`, resolved against the config file's folder.
    File(PathBuf),
    /// `s3://bucket/prefix`
    S3 {
        /// The bucket.
        bucket: String,
        /// Start of every object's name.
        prefix: String,
        /// The server, if not Amazon's.
        endpoint: Option<Url>,
        /// The region.
        region: Option<String>,
        /// Access key id.
        access_key: Option<Secret>,
        /// Secret access key.
        secret_access_key: Option<Secret>,
    },
}

/// `[rate_limits]`
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// Where buckets are kept.
    pub backend: RateLimitBackend,
    /// Sign-in starts, callbacks, setup, name checks; by client address.
    pub login: Tier,
    /// Refreshes by family, codes by client and user, failed authentication by client and address.
    pub token: Tier,
    /// Everything signed in; by session.
    pub api: Tier,
    /// The rest; by address.
    pub public: Tier,
    /// Networks without limits.
    pub exempt: Vec<IpNet>,
}

/// `rate_limits.backend`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitBackend {
    /// In this process.
    Memory,
}

/// One tier: `burst` requests at once, refilled evenly within `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Time in which the whole burst is refilled.
    pub per: Duration,
    /// Requests at once.
    pub burst: u32,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged: a level or a filter such as `info,latchkey=debug`.
    pub log_level: String,
    /// A listener for `/metrics` alone.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces go.
    pub otlp_endpoint: Option<Url>,
    /// How many of a hundred traces that begin here are sent.
    pub otlp_sample_percent: u8,
}

/// `telemetry.log_format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}
