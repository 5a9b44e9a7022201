//! `latchkey healthcheck`: whether the local server is ready.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HOST;
use reqwest::{Client, ClientBuilder, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::cli::Failure;
use crate::config::settings::{Settings, Tls};

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the configured address for `/ready`, by TLS where the server speaks it.
///
/// # Errors
/// A sentence on why the server is not ready.
pub async fn run(settings: &Settings) -> Result<(), Failure> {
    let address = reachable(settings.server.listen);
    let (scheme, client) = match &settings.server.tls {
        Some(tls) => ("https", client().tls_backend_preconfigured(trusting_only(tls)?)),
        None => ("http", client()),
    };
    let asked = client
        .build()
        .map_err(Failure::of)?
        .get(format!("{scheme}://{address}/ready"))
        // As anybody calls it; it need not know the address.
        .header(HOST, settings.server.public_url.authority())
        .send()
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => {
            return Err(Failure::new(format!("{address} did not answer in time.")));
        }
        Err(error) => {
            return Err(Failure::new(format!("No server answers at {address}: {}.", why(&error))));
        }
    };
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    let reasons = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|body| body["reasons"].as_array().cloned())
        .map(|reasons| {
            reasons
                .iter()
                .filter_map(|reason| reason.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .unwrap_or_else(|| format!("it answers {status}"));
    Err(Failure::new(format!("The server at {address} is not ready: {reasons}.")))
}

fn client() -> ClientBuilder {
    Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none())
}

/// The innermost reason: those around it only say that there is one.
fn why(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A server that listens everywhere is asked on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// TLS with exactly the configured certificate at the other end: whoever else has the port is not this server.
fn trusting_only(tls: &Tls) -> Result<ClientConfig, Failure> {
    let certificate = CertificateDer::from_pem_file(&tls.cert)
        .map_err(|error| Failure::new(format!("{}: {error}.", tls.cert.display())))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let only = Only { certificate, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::of)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(only))
        .with_no_client_auth();
    Ok(config)
}

/// Verifies a server by its very certificate, whatever name is in it and whoever signed it. Whether it is still
/// valid is for those who come by its name: a restart would not mend it.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
