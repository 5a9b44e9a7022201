//! The guarded HTTP client: the only way in which we ask anybody else's server.
//!
//! It follows no redirect, unpacks nothing, reads no proxy from the environment, ends in time, caps
//! what it reads, and goes only where [`Reach`] allows. Names are checked where they are resolved,
//! so the address that was judged is the address that is connected to.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oauth2::http::StatusCode;
use oauth2::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use oauth2::{HttpRequest, HttpResponse};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls_platform_verifier::BuilderVerifierExt;
use serde::de::DeserializeOwned;
use url::Url;
use url::form_urlencoded::Serializer;

use super::ProviderError;
use super::address::{self, AddressError, Reach};
use super::strict_json;
use crate::clock::Stopwatch;
use crate::protocol::secret::Secret;
use crate::telemetry::metrics::ProviderCounters;
use crate::telemetry::traces::Part;

/// What bounds every exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest time from the start to the last byte.
    pub total: Duration,
    /// Most bytes of an answer's body.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(8), body: 1024 * 1024 }
    }
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    guarded: reqwest::Client,
    unguarded: reqwest::Client,
    limits: Limits,
    /// Who counts what is asked of providers.
    counters: Option<Arc<ProviderCounters>>,
    /// Which provider is asked, and where.
    asking: Option<(Arc<str>, &'static str)>,
}

impl HttpClient {
    /// A client that resolves names as the system does.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] if the system's root certificates cannot be used.
    pub fn new(limits: Limits) -> Result<Self, ProviderError> {
        Self::with_resolver(limits, SystemResolver)
    }

    /// A client that resolves names by `resolver`; what it finds is judged all the same.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn with_resolver<R>(limits: Limits, resolver: R) -> Result<Self, ProviderError>
    where
        R: Resolve + Clone + 'static,
    {
        let failed = |error: reqwest::Error| {
            ProviderError::Misconfigured(format!(
                "no HTTPS client can be made: {}",
                innermost(&error)
            ))
        };
        // Reading the system's certificates takes a while and some memory: both clients share them.
        let tls = tls_config()?;
        let guarded = builder(limits, tls.clone()).dns_resolver(Guard(resolver.clone())).build();
        let unguarded = builder(limits, tls).dns_resolver(resolver).build();
        Ok(Self {
            guarded: guarded.map_err(failed)?,
            unguarded: unguarded.map_err(failed)?,
            limits,
            counters: None,
            asking: None,
        })
    }

    /// Counts from now on what is asked of providers.
    #[must_use]
    pub fn counting(self, counters: Arc<ProviderCounters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    /// The same client for requests to a provider; `endpoint` is of
    /// [`ENDPOINTS`](crate::telemetry::catalogue::ENDPOINTS).
    #[must_use]
    pub fn asking(&self, provider: &str, endpoint: &'static str) -> Self {
        Self { asking: Some((provider.into(), endpoint)), ..self.clone() }
    }

    /// The bounds of every exchange.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] for an address out of reach; `Unreachable`; `Timeout`;
    /// [`ProviderError::Answer`] for a redirect, a server error or too large a body.
    pub async fn send(
        &self,
        request: HttpRequest,
        reach: Reach,
    ) -> Result<HttpResponse, ProviderError> {
        self.exchange(request, reach, self.limits.body).await
    }

    /// Posts a form and tells the status of the answer, whose body nobody reads.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] for an address out of reach; `Unreachable`; `Timeout`.
    pub async fn post_form(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        reach: Reach,
    ) -> Result<StatusCode, ProviderError> {
        check(url, reach)?;
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .client(reach)
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let mut part = begin_part("POST", url.host_str(), url.port_or_known_default());
        let answer = request.send().await.map_err(failure).map(|answer| answer.status());
        match &answer {
            Ok(status) => {
                tell_status(&mut part, *status);
                if !status.is_success() {
                    part.failed("refused");
                }
            }
            Err(error) => part.failed(failed_so(error)),
        }
        answer
    }

    fn client(&self, reach: Reach) -> &reqwest::Client {
        if reach == Reach::Private { &self.unguarded } else { &self.guarded }
    }

    /// An exchange that is counted and has its place in the trace. Nobody's server is told of our traces.
    async fn exchange(
        &self,
        request: HttpRequest,
        reach: Reach,
        most: usize,
    ) -> Result<HttpResponse, ProviderError> {
        let (method, uri) = (request.method(), request.uri());
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut part = begin_part(method.as_str(), uri.host(), Some(port));
        let watch = Stopwatch::start();
        let answer = self.exchange_plainly(request, reach, most, &mut part).await;
        let outcome = outcome(&answer);
        if let (Some(counters), Some((provider, endpoint))) = (&self.counters, &self.asking) {
            counters.count_request(provider, endpoint, outcome, watch.elapsed());
        }
        if outcome != "ok" {
            part.failed(outcome);
        }
        answer
    }

    async fn exchange_plainly(
        &self,
        request: HttpRequest,
        reach: Reach,
        most: usize,
        part: &mut Part,
    ) -> Result<HttpResponse, ProviderError> {
        let request: reqwest::Request = request.try_into().map_err(failure)?;
        check(request.url(), reach)?;
        let answer = self.client(reach).execute(request).await.map_err(failure)?;
        let status = answer.status();
        tell_status(part, status);
        if status.is_redirection() || status.is_server_error() {
            return Err(ProviderError::Answer(format!("status {}", status.as_u16())));
        }
        let headers = answer.headers().clone();
        let body = read(answer, most).await?;
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// As [`HttpClient::send`], and [`ProviderError::Answer`] for anything but 200 with such JSON.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        url: &Url,
        bearer: Option<&Secret>,
        reach: Reach,
    ) -> Result<T, ProviderError> {
        let unusable = |what: String| ProviderError::Answer(format!("{}: {what}", url.path()));
        let mut request = HttpRequest::new(Vec::new());
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| unusable("no such address".to_owned()))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| unusable("the access token cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let answer = self.send(request, reach).await?;
        if answer.status() != 200 {
            return Err(unusable(format!("status {}", answer.status().as_u16())));
        }
        strict_json::from_slice(answer.body())
            .map_err(|error| unusable(format!("not the JSON it must be (line {})", error.line())))
    }

    /// Asks for a document of at most `most` bytes whose content is judged elsewhere, `accept` being
    /// the types that are useful.
    ///
    /// # Errors
    /// As [`HttpClient::send`], and [`ProviderError::Answer`] for anything but 200.
    pub async fn get_bytes(
        &self,
        url: &Url,
        accept: &'static str,
        reach: Reach,
        most: usize,
    ) -> Result<Vec<u8>, ProviderError> {
        let mut request = HttpRequest::new(Vec::new());
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| ProviderError::Misconfigured("no such address".to_owned()))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let answer = self.exchange(request, reach, most).await?;
        if answer.status() != 200 {
            return Err(ProviderError::Answer(format!("status {}", answer.status().as_u16())));
        }
        Ok(answer.into_body())
    }
}

/// The span of an exchange: whom it asks, and neither where there nor with what.
fn begin_part(method: &str, host: Option<&str>, port: Option<u16>) -> Part {
    let mut part = Part::begin(SpanKind::Client, || method.to_owned().into());
    part.tell(|| KeyValue::new("http.request.method", method.to_owned()));
    part.tell(|| KeyValue::new("server.address", host.unwrap_or_default().to_owned()));
    if let Some(port) = port {
        part.tell(|| KeyValue::new("server.port", i64::from(port)));
    }
    part
}

fn tell_status(part: &mut Part, status: StatusCode) {
    part.tell(|| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
}

/// How an exchange ended, in one word.
fn outcome(answer: &Result<HttpResponse, ProviderError>) -> &'static str {
    match answer {
        Ok(answer) if answer.status().is_client_error() => "refused",
        Ok(_) => "ok",
        Err(error) => failed_so(error),
    }
}

/// How an exchange without a usable answer ended.
fn failed_so(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Timeout => "timeout",
        ProviderError::Unreachable(_) => "unreachable",
        _ => "invalid",
    }
}

/// Reads a body of at most `most` bytes, whatever was announced.
async fn read(mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, ProviderError> {
    let too_large = || ProviderError::Answer(format!("more than {most} bytes"));
    if answer.content_length().is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > most {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Checks an address that is about to be asked or kept for asking.
///
/// # Errors
/// [`ProviderError::Misconfigured`].
pub fn check(url: &Url, reach: Reach) -> Result<(), ProviderError> {
    address::check(url, reach).map_err(|reason| {
        let shown = url.host_str().unwrap_or("an endpoint without a host");
        ProviderError::Misconfigured(format!("{shown} is not asked: {reason}"))
    })
}

/// TLS with the system's certificates.
fn tls_config() -> Result<rustls::ClientConfig, ProviderError> {
    let failed = |error: rustls::Error| {
        ProviderError::Misconfigured(format!("no HTTPS client can be made: {error}"))
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(failed)?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn builder(limits: Limits, tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("Latchkey/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(limits.connect)
        .timeout(limits.total)
}

/// Sorts a failed exchange, without the address that was asked.
fn failure(error: reqwest::Error) -> ProviderError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<AddressError>() {
            return ProviderError::Misconfigured(format!("an endpoint is not asked: {refused}"));
        }
        source = cause.source();
    }
    if error.is_timeout() {
        ProviderError::Timeout
    } else {
        ProviderError::Unreachable(innermost(&error))
    }
}

/// What the innermost cause says; the outer ones quote addresses.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if cause.is::<reqwest::Error>() { "the exchange failed".to_owned() } else { cause.to_string() }
}

/// Resolves as the system does.
#[derive(Clone, Copy, Debug)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

/// Keeps of what another resolver finds only what may be asked.
#[derive(Clone, Debug)]
struct Guard<R>(R);

impl<R: Resolve> Resolve for Guard<R> {
    fn resolve(&self, name: Name) -> Resolving {
        // Whether loopback may be asked at all was decided with the address as a whole.
        let is_localhost = address::is_localhost(name.as_str());
        let finding = self.0.resolve(name);
        Box::pin(async move {
            let may_be_asked = |found: &SocketAddr| {
                let ip = found.ip();
                if is_localhost { ip.is_loopback() } else { address::is_public(ip) }
            };
            let allowed: Vec<SocketAddr> = finding.await?.filter(may_be_asked).collect();
            if allowed.is_empty() {
                return Err(AddressError::NotPublic.into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Finds(&'static [&'static str]);

    impl Resolve for Finds {
        fn resolve(&self, _: Name) -> Resolving {
            let found = self.0.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
            let found: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    async fn resolved(name: &str, finds: &'static [&'static str]) -> Option<Vec<String>> {
        let found = Guard(Finds(finds)).resolve(name.parse().unwrap()).await.ok()?;
        Some(found.map(|address| address.ip().to_string()).collect())
    }

    #[actix::test]
    async fn a_public_name_never_leads_inside() {
        assert_eq!(resolved("op.example", &["127.0.0.1"]).await, None);
        assert_eq!(resolved("op.example", &["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"]).await, None);
        assert_eq!(resolved("localhost.", &["127.0.0.1"]).await, None);
        assert_eq!(resolved("a.localhost", &["::1"]).await, None);
        assert_eq!(resolved("op.example", &[]).await, None);
        let public = Some(vec!["1.1.1.1".to_owned()]);
        assert_eq!(resolved("op.example", &["10.0.0.1", "1.1.1.1"]).await, public);
    }

    #[actix::test]
    async fn localhost_leads_nowhere_but_to_this_machine() {
        assert_eq!(resolved("localhost", &["1.1.1.1"]).await, None);
        let loopback = Some(vec!["::1".to_owned()]);
        assert_eq!(resolved("localhost", &["1.1.1.1", "::1"]).await, loopback);
    }

    #[actix::test]
    async fn a_rebound_name_is_refused_before_anything_is_sent() {
        let http = HttpClient::with_resolver(Limits::default(), Finds(&["127.0.0.1"])).unwrap();
        let url = Url::parse("https://op.example/a").unwrap();
        let refused = http.get_json::<serde_json::Value>(&url, None, Reach::Public).await;
        let expected = "an endpoint is not asked: it lies on a private or special network address";
        assert_eq!(refused, Err(ProviderError::Misconfigured(expected.to_owned())));
    }
}
