//! `[server]`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::SECOND;
use crate::config::problem::Refusal;
use crate::config::reader::read_error;
use crate::config::section::Section;
use crate::config::settings::{Server, Tls};
use crate::config::values::{
    MAKE_SECRET, boolean, duration, integer, network, origin, secret_key, secure_origin, size,
    socket, text,
};

/// Most HTTP worker threads.
const MOST_WORKERS: i64 = 1024;
const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;

pub(super) fn read(section: &mut Section<'_>) -> Option<Server> {
    let listen = section.or("listen", "127.0.0.1:8080", socket);
    let public_url = section.required(
        "public_url",
        "set the origin at which people reach this server, such as \"https://auth.example.com\"",
        secure_origin,
    );
    let workers = section.or("workers", cores(), integer(1..=MOST_WORKERS));
    let trusted_proxies = section.list("trusted_proxies", network);
    if trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        section.reader().warn(
            "server.trusted_proxies holds every address: whoever reaches this server directly says who is calling",
        );
    }
    let cors_origins = section.list("cors_origins", origin);
    let frontend_url = section.optional("frontend_url", secure_origin);
    let return_to = section.list("return_to", origin);
    if !section.has("secret_key") {
        section.refuse_missing("secret_key", MAKE_SECRET);
    }
    let secret_key = section.secrets("secret_key", secret_key);
    let max_body = section.or("max_body", MIB, size(KIB..=64 * MIB));
    let allow_private_receivers = section.or("allow_private_receivers", false, boolean);
    let drain_is_set = section.has("drain");
    let drain = section.or("drain", "5s", duration(Duration::ZERO));
    let shutdown_grace = section.or("shutdown_grace", "20s", duration(SECOND));
    if drain_is_set && drain >= shutdown_grace {
        section.refuse(
            "drain",
            Refusal::new("is not shorter than server.shutdown_grace, which it is a part of")
                .remedy("shorten it, or lengthen server.shutdown_grace"),
        );
    }
    // Whoever chose a short end without knowing of this key keeps it.
    let drain = if drain_is_set { drain } else { drain.min(shutdown_grace / 2) };
    let tls = section.optional_section("tls", tls).flatten();
    if tls.is_some() && public_url.as_ref().is_some_and(|url| !url.is_https()) {
        section.refuse(
            "public_url",
            Refusal::new("is http, though server.tls is set").remedy("make it https"),
        );
    }
    Some(Server {
        listen,
        public_url: public_url?,
        workers,
        trusted_proxies,
        cors_origins,
        frontend_url,
        return_to,
        secret_key,
        max_body,
        allow_private_receivers,
        drain,
        shutdown_grace,
        tls,
    })
}

fn cores() -> i64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    i64::try_from(cores).unwrap_or(MOST_WORKERS).min(MOST_WORKERS)
}

fn tls(section: &mut Section<'_>) -> Option<Tls> {
    let cert = section.required("cert", "name the PEM file with the certificate chain", text);
    let key = section.required("key", "name the PEM file with the private key", text);
    let cert = cert.and_then(|path| existing(section, "cert", &path));
    let key_file = key.as_deref().and_then(|path| existing(section, "key", path));
    if let (Some(file), Some(shown)) = (&key_file, &key) {
        let path = section.path_of("key");
        section.reader().check_privacy(&path, file, shown);
    }
    Some(Tls { cert: cert?, key: key_file? })
}

/// The path of a file that can be opened; a problem if it cannot.
fn existing(section: &mut Section<'_>, key: &str, path: &str) -> Option<PathBuf> {
    let file = section.reader().resolve(path);
    match std::fs::File::open(&file) {
        Ok(_) => Some(file),
        Err(error) => {
            let reason = format!("cannot be read: {}", read_error(&error));
            section.refuse(key, Refusal::new(reason));
            None
        }
    }
}
