//! `latchkey audit verify`: holds an export against what is signed about it, without a server.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::desk::{self, Absent};
use crate::cli::{Failure, Format, output};
use crate::clock::Clock;
use crate::config::settings::Settings;
use crate::protocol::audit_trail::survey::{Surveyor, TrustedKeys};
use crate::protocol::audit_trail::verifier::{Finding, Intact, Tampering, Verifier};
use crate::protocol::key::{PublicKey, VerificationKey};

/// The longest line that is read: no entry and no statement comes near.
const LONGEST_LINE: u64 = 64 << 20;

/// Says whether an export is as it was written, or which entry is the first that is not.
///
/// # Errors
/// A sentence on what is wrong with it, or on why that cannot be told.
pub fn run(format: Format, path: &Path, trusted: TrustedKeys) -> Result<(), Failure> {
    let mut surveyor = Surveyor::default();
    each_line(path, |line| surveyor.feed(line))?;
    let survey = surveyor.finish(&trusted).map_err(Failure::of)?;
    let mut verifier = Verifier::new(survey);
    each_line(path, |line| verifier.feed(&line))?;
    match verifier.finish() {
        Ok(intact) => {
            tell(format, path, &intact);
            Ok(())
        }
        Err(finding) => {
            if format == Format::Json {
                output::json(&json!(finding));
            }
            Err(Failure::new(sentence(path, &finding)))
        }
    }
}

fn each_line(path: &Path, mut take: impl FnMut(Vec<u8>)) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| Failure::about(path, "cannot be read", &error);
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
    loop {
        let mut line = Vec::new();
        let length =
            file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
        if length == 0 {
            return Ok(());
        }
        take(line);
    }
}

fn tell(format: Format, path: &Path, intact: &Intact) {
    if format == Format::Json {
        let mut document = json!(intact);
        if let Some(members) = document.as_object_mut() {
            members.insert("outcome".to_owned(), json!("intact"));
        }
        output::json(&document);
        return;
    }
    let Intact { issuer, exported_at, entries, chains, checkpoints, keys, .. } = intact;
    output::line(format_args!(
        "{} is intact: nothing was changed, removed or inserted since {issuer} signed it at {exported_at}.\n",
        path.display()
    ));
    let range = match (intact.since, intact.until) {
        (Some(since), Some(until)) => format!(", from {since} to {until}"),
        _ => String::new(),
    };
    output::line(format_args!(
        "  {}{range}\n  {}, {}, signed by {}",
        output::entries(*entries),
        output::count(*chains, "chain"),
        output::count(*checkpoints, "checkpoint"),
        output::count(*keys, "key")
    ));
    if let Some(before) = intact.removed_before {
        output::line(format_args!(
            "  older ones were removed until {before}, as audit.retention says"
        ));
    }
}

/// What is wrong, for a person.
fn sentence(path: &Path, finding: &Finding) -> String {
    let Finding { outcome, line, chain, position, until_position, id, action, at, reason } =
        finding;
    let what = match outcome {
        Tampering::Changed => "was changed",
        Tampering::Removed => "was removed",
        Tampering::Inserted => "was inserted",
    };
    let place = match (chain, position, until_position) {
        (Some(chain), Some(from), Some(to)) => {
            format!("at position {from} of chain {chain}, or one up to position {to},")
        }
        (Some(chain), Some(position), None) => format!("at position {position} of chain {chain}"),
        _ => "without a place".to_owned(),
    };
    let told = match (action, at, id) {
        (Some(action), Some(at), Some(id)) => format!(" ({action}, {at}, {id})"),
        _ => String::new(),
    };
    let subject = match (outcome, chain, action) {
        (_, None, None) => format!("the export {what}"),
        _ => format!("the entry {place} {what}"),
    };
    format!("{} is not intact. Line {line}: {subject}{told}: {reason}.", path.display())
}

/// The keys of a file as /.well-known/jwks.json serves it.
///
/// # Errors
/// A sentence on what is wrong with the file.
pub fn read_keys(path: &Path) -> Result<TrustedKeys, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::about(path, "cannot be read", &error))?;
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(keys) = document["keys"].as_array() else {
        return Err(Failure::new(format!(
            "{} holds no keys: it is to be what the server's /.well-known/jwks.json serves.",
            path.display()
        )));
    };
    Ok(keys.iter().filter_map(trusted).collect())
}

/// All public keys of the configured store, those of the past included.
///
/// # Errors
/// A sentence on why the store cannot be asked.
pub async fn stored_keys(settings: &Settings) -> Result<TrustedKeys, Failure> {
    let store = desk::open_store(settings, &Clock::system(), Absent::Refused).await?;
    let keys = store.read.keys().await.map_err(Failure::of)?;
    let documents = keys.iter().filter_map(|key| serde_json::from_str(&key.public_jwk).ok());
    Ok(documents.filter_map(|jwk| trusted(&jwk)).collect())
}

fn trusted(jwk: &Value) -> Option<(String, VerificationKey)> {
    let public = PublicKey::of_jwk(jwk).ok()?;
    let key = VerificationKey::new(public.algorithm, &public.jwk).ok()?;
    Some((public.kid, key))
}
