//! What a server proves by TLS who it is.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_cert::der::Decode;
use x509_cert::time::Time;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::Fingerprint;
use crate::config::settings::Tls;
use crate::startup::StartError;

/// A certificate with its key, as they are in their files.
#[derive(Clone, Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    chain: Fingerprint,
    key: Fingerprint,
    validity: Option<Validity>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// [`StartError::Tls`] if one cannot be used, or they do not go together.
    pub fn read(tls: &Tls) -> Result<Self, StartError> {
        let refused = |key: &'static str, path: &Path, reason: String| StartError::Tls {
            key,
            path: path.display().to_string(),
            reason,
        };
        let of_chain = |reason: String| refused("cert", &tls.cert, reason);
        let of_key = |reason: String| refused("key", &tls.key, reason);
        let chain_pem = std::fs::read(&tls.cert).map_err(|error| of_chain(error.to_string()))?;
        let key_pem =
            Zeroizing::new(std::fs::read(&tls.key).map_err(|error| of_key(error.to_string()))?);
        let chain = CertificateDer::pem_slice_iter(&chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| of_chain(about_pem(&error, "certificate")))?;
        let Some(first) = chain.first() else {
            return Err(of_chain("holds no certificate".to_owned()));
        };
        let validity = Validity::of(first);
        if is_encrypted(&key_pem) {
            return Err(of_key(
                "is encrypted, and nobody is there to ask for its passphrase; `openssl pkey -in FILE -out NEW_FILE` writes it without"
                    .to_owned(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| of_key(about_pem(&error, "private key")))?;
        let key =
            aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(|_| {
                of_key(
                    "is no key for TLS: RSA from 2048 bits on, P-256, P-384, P-521 and Ed25519 are"
                        .to_owned(),
                )
            })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that cannot tell its public half is taken at its word.
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => {
                return Err(of_chain(
                    "is not the certificate of the key in server.tls.key; in a chain, that one stands first"
                        .to_owned(),
                ));
            }
            Err(error) => return Err(of_chain(about_certificate(&error))),
        }
        Ok(Self {
            certified: Arc::new(certified),
            chain: Fingerprint::of(&chain_pem),
            key: Fingerprint::of(&key_pem),
            validity,
        })
    }

    /// What a handshake is answered with.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The keys of the configuration whose files have another content than those of `other`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let chain = (self.chain != other.chain).then_some("server.tls.cert");
        let key = (self.key != other.key).then_some("server.tls.key");
        chain.into_iter().chain(key).collect()
    }

    /// Until when it is valid, if it tells.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.validity.as_ref().map(|validity| validity.until)
    }

    /// Why clients refuse it at this moment, where its times are the reason.
    pub fn untimely(&self, now: Timestamp) -> Option<String> {
        let Validity { from, until } = self.validity.as_ref()?;
        if now >= *until {
            let until = until.to_rfc3339();
            return Some(format!("expired at {until}, so that clients refuse it; renew it"));
        }
        let from_then_on = from.to_rfc3339();
        (now < *from).then(|| {
            format!("is valid from {from_then_on} on, and clients refuse it before; look at the clock, too")
        })
    }
}

fn about_pem(error: &PemError, what: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("holds no {what} in PEM"),
        PemError::Io(error) => error.to_string(),
        _ => "is not whole, or no PEM".to_owned(),
    }
}

fn about_certificate(error: &TlsError) -> String {
    let reason = error.to_string();
    // What `openssl x509 -req` makes where it is told of no extension.
    if reason.contains("UnsupportedCertVersion") {
        return "is a certificate of version 1, which clients refuse; make it with the extension subjectAltName".to_owned();
    }
    format!("holds what cannot be read as a certificate ({reason})")
}

/// Whether a PEM file holds a key that opens by a passphrase alone (RFC 7468 §11, RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |what: &[u8]| pem.windows(what.len()).any(|window| window == what);
    holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED")
}

/// When a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Validity {
    from: Timestamp,
    until: Timestamp,
}

impl Validity {
    /// As the certificate tells (RFC 5280 §4.1); `None` if that cannot be read.
    fn of(certificate: &[u8]) -> Option<Self> {
        let validity = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
        let moment = |time: Time| {
            let seconds = time.to_unix_duration().as_secs();
            Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
        };
        Some(Self { from: moment(validity.not_before), until: moment(validity.not_after) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_key_is_known_by_either_form() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is_encrypted(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\n"));
    }
}
