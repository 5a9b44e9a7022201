//! What a server proves by TLS who it is.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
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
        const VERSION: u8 = 0xa0;
        let certificate = Element::first(certificate)?.content;
        let mut fields = Element::first(certificate)?.content;
        if fields.first() == Some(&VERSION) {
            fields = Element::first(fields)?.rest;
        }
        // Serial number, signature algorithm and issuer come before.
        for _ in 0..3 {
            fields = Element::first(fields)?.rest;
        }
        let from = Element::first(Element::first(fields)?.content)?;
        let until = Element::first(from.rest)?;
        Some(Self { from: from.moment()?, until: until.moment()? })
    }
}

/// An element of DER (X.690 §8.1), and what follows it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        const LONG: u8 = 0x80;
        let (&tag, bytes) = bytes.split_first()?;
        let (&length, bytes) = bytes.split_first()?;
        let (length, bytes) = if length < LONG {
            (usize::from(length), bytes)
        } else {
            let (digits, bytes) = bytes.split_at_checked(usize::from(length - LONG))?;
            let length = digits.iter().try_fold(0_usize, |length, digit| {
                length.checked_mul(256)?.checked_add(usize::from(*digit))
            })?;
            (length, bytes)
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    /// The moment of a UTCTime or GeneralizedTime, as certificates write them.
    fn moment(&self) -> Option<Timestamp> {
        const UTC_TIME: u8 = 0x17;
        const GENERALIZED_TIME: u8 = 0x18;
        let digits = std::str::from_utf8(self.content).ok()?;
        let digits = match self.tag {
            UTC_TIME if digits.get(..2)? < "50" => format!("20{digits}"),
            UTC_TIME => format!("19{digits}"),
            GENERALIZED_TIME => digits.to_owned(),
            _ => return None,
        };
        let part = |from: usize, to: usize| digits.get(from..to);
        let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
        let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
        Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(tag: u8, digits: &str) -> Option<String> {
        Element { tag, content: digits.as_bytes(), rest: &[] }.moment().map(Timestamp::to_rfc3339)
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let is = |text: &str| Timestamp::parse_rfc3339(text).map(Timestamp::to_rfc3339);
        assert_eq!(moment(0x17, "260301091407Z"), is("2026-03-01T09:14:07Z"));
        assert_eq!(moment(0x17, "500101000000Z"), is("1950-01-01T00:00:00Z"));
        assert_eq!(moment(0x18, "20500101000000Z"), is("2050-01-01T00:00:00Z"));
        for (tag, digits) in [(0x17, "2603"), (0x17, "269901000000Z"), (0x04, "260301091407Z")] {
            assert_eq!(moment(tag, digits), None, "{digits}");
        }
    }

    #[test]
    fn what_is_cut_off_or_longer_than_it_can_be_is_no_element() {
        let element = Element::first(&[0x30, 0x81, 2, 7, 8, 9]).unwrap();
        assert_eq!((element.tag, element.content, element.rest), (0x30, &[7, 8][..], &[9][..]));
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 1],
            &[0x30, 0x82, 1],
            &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        ] {
            assert!(Element::first(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(Validity::of(&[0x30, 0]), None);
    }

    #[test]
    fn an_encrypted_key_is_known_by_either_form() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is_encrypted(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\n"));
    }
}
