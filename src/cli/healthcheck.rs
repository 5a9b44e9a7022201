//! `latchkey healthcheck`: whether the local server is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::Failure;
use crate::config::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the configured address for `/ready`.
///
/// # Errors
/// A sentence on why the server is not ready.
pub async fn run(settings: &Settings) -> Result<(), Failure> {
    let address = reachable(settings.server.listen);
    if settings.server.tls.is_some() {
        // The certificate is for the public name; that the port answers is what can be said here.
        return connect(address).await.map(drop);
    }
    let host = settings.server.public_url.authority();
    let asking = async {
        let mut stream = connect(address).await?;
        let request = format!("GET /ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(Failure::of)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(Failure::of)?;
        Ok::<_, Failure>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err(Failure::new(format!("{address} did not answer in time."))))?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let reasons = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| body["reasons"].as_array().cloned())
        .map(|reasons| {
            reasons
                .iter()
                .filter_map(|reason| reason.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .unwrap_or_default();
    Err(Failure::new(format!("The server at {address} is not ready: {reasons}.")))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address)
        .await
        .map_err(|error| Failure::new(format!("No server answers at {address}: {error}.")))
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
