//! `latchkey generate-keys` and `latchkey keys …`: the life cycle of signing keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use crate::actors::key_ring::{Reseal, Retire, RotateKey, RotateReport};
use crate::administration::By;
use crate::cli::desk::{self, Absent};
use crate::cli::{Failure, Format, output};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::Settings;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::{SigningKey, generate};
use crate::protocol::key_life::{KeyState, life};
use crate::routes::admin::keys::{KeyBody, RotationBody};
use crate::routes::openapi::operation::Page;
use crate::startup::{self, KeyActors};
use crate::store::Store;
use crate::store::model::{Actor, StoredKey};
use crate::store::operation::RetireKeyOutcome;

/// The store and the two actors that change keys, for one command.
async fn open(
    settings: &Settings,
    clock: &Clock,
    absent: Absent,
) -> Result<(Store, KeyActors), Failure> {
    let store = desk::open_store(settings, clock, absent).await?;
    let actors = startup::start_key_actors(settings, clock, &store).map_err(Failure::of)?;
    Ok((store, actors))
}

/// `generate-keys`: stages a key in the store.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn generate_staged(
    settings: &Settings,
    format: Format,
    algorithm: Option<Algorithm>,
    bits: Option<u32>,
) -> Result<(), Failure> {
    rotate_key(settings, format, algorithm, bits, false).await
}

/// `keys rotate [--now]`.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn rotate(settings: &Settings, format: Format, now: bool) -> Result<(), Failure> {
    rotate_key(settings, format, None, None, now).await
}

async fn rotate_key(
    settings: &Settings,
    format: Format,
    algorithm: Option<Algorithm>,
    bits: Option<u32>,
    now: bool,
) -> Result<(), Failure> {
    let clock = Clock::system();
    let (_store, actors) = open(settings, &clock, Absent::Made).await?;
    let by = By::local(Actor::CommandLine, clock.now());
    let request = RotateKey { algorithm, bits, now, by };
    let report = actors.key_ring.ask(request).await.map_err(Failure::of)?.map_err(Failure::of)?;
    match format {
        Format::Json => output::json(&json!(RotationBody::from(report))),
        Format::Text => tell(settings, &report, clock.now()),
    }
    Ok(())
}

fn tell(settings: &Settings, report: &RotateReport, now: Timestamp) {
    let RotateReport { kid, algorithm, signs_from, .. } = report;
    if report.is_new {
        output::line(format_args!(
            "Made {algorithm} key {}, staged in the store.",
            output::short(kid)
        ));
    } else {
        output::line(format_args!(
            "{algorithm} key {} was staged already; none was made.",
            output::short(kid)
        ));
    }
    let signs = if *signs_from <= now {
        "signs now".to_owned()
    } else {
        let ahead = output::duration(settings.keys.publish_ahead);
        format!("signs from {} (publish_ahead {ahead})", output::minute(*signs_from))
    };
    match &report.replaces {
        None => output::line(format_args!("It is in the JWKS now and {signs}.")),
        Some((replaced, None)) => output::line(format_args!(
            "It is in the JWKS now, {signs}, and replaces {}.",
            output::short(replaced)
        )),
        Some((replaced, Some(until))) => output::line(format_args!(
            "It is in the JWKS now, {signs}, and replaces {},\nwhich stays published until {}, when the last token that it signed has expired.",
            output::short(replaced),
            output::minute(*until)
        )),
    }
}

/// `generate-keys --output DIR`: a PKCS#8 PEM (0600) and its public half (0644); never overwrites.
///
/// # Errors
/// A sentence on what stood in the way.
pub fn generate_files(
    format: Format,
    algorithm: Algorithm,
    bits: u32,
    directory: &Path,
) -> Result<(), Failure> {
    let der = generate(algorithm, bits).map_err(Failure::of)?;
    let key = SigningKey::from_pkcs8(&der).map_err(Failure::of)?;
    fs::create_dir_all(directory)
        .map_err(|error| Failure::about(directory, "cannot be made", &error))?;
    let name = format!(
        "{}-{}",
        algorithm.as_str().to_lowercase(),
        output::short(&key.public().kid).replace('…', "")
    );
    let private = directory.join(format!("{name}.pem"));
    let public = directory.join(format!("{name}.pub.pem"));
    if public.exists() {
        return Err(Failure::new(format!(
            "{} exists already; nothing was written.",
            public.display()
        )));
    }
    let private_pem = Zeroizing::new(pem("PRIVATE KEY", &der));
    write_new(&private, &private_pem, 0o600)?;
    write_new(&public, &pem("PUBLIC KEY", &key.public_der().map_err(Failure::of)?), 0o644)?;
    match format {
        Format::Json => output::json(&json!({
            "kid": key.public().kid, "algorithm": algorithm,
            "private": private.display().to_string(), "public": public.display().to_string(),
        })),
        Format::Text => output::line(format_args!(
            "Made {algorithm} key {}.\n\n  Private  {} (only you can read it)\n  Public   {}\n\nAdd the private file to keys.files in the configuration to sign with it.",
            output::short(&key.public().kid),
            private.display(),
            public.display()
        )),
    }
    Ok(())
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn write_new(path: &Path, content: &str, mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(format!("{} exists already; it was not overwritten.", path.display()))
        }
        _ => Failure::about(path, "cannot be written", &error),
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// `keys list`.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn list(settings: &Settings, format: Format) -> Result<(), Failure> {
    let clock = Clock::system();
    let store = desk::open_store(settings, &clock, Absent::Refused).await?;
    let keys = store.read.keys().await.map_err(Failure::of)?;
    let now = clock.now();
    let tokens_live_for = startup::key_tokens_live_for(settings);
    let lives: Vec<_> = keys.iter().map(|key| (key, life(key, &keys, tokens_live_for))).collect();
    if format == Format::Json {
        let items: Vec<_> = lives.iter().map(|(key, life)| KeyBody::new(key, life, now)).collect();
        output::json(&json!(Page::whole(items)));
        return Ok(());
    }
    if keys.is_empty() {
        output::line(
            "There is no key yet: `latchkey generate-keys` makes one, and so does the server's first start.",
        );
        return Ok(());
    }
    let moment = |moment: Option<Timestamp>| {
        moment.map_or_else(|| "–".to_owned(), |moment| output::moment(moment, now))
    };
    let rows: Vec<Vec<String>> = lives
        .iter()
        .map(|(key, life)| {
            vec![
                key.kid.clone(),
                key.algorithm.to_string(),
                state(key, life.state(now)),
                output::moment(life.signs_from, now),
                moment(life.signs_until),
                moment(life.published_until),
            ]
        })
        .collect();
    output::table(
        &["KEY", "ALGORITHM", "STATE", "SIGNS FROM", "SIGNS UNTIL", "PUBLISHED UNTIL"],
        &rows,
    );
    Ok(())
}

fn state(key: &StoredKey, state: KeyState) -> String {
    let compromised = if key.compromised { " (compromised)" } else { "" };
    format!("{}{compromised}", state.as_str())
}

/// `keys retire KID [--compromised]`.
///
/// # Errors
/// A sentence on what stood in the way; that there is no such key is one.
pub async fn retire(
    settings: &Settings,
    format: Format,
    kid: &str,
    compromised: bool,
) -> Result<(), Failure> {
    let clock = Clock::system();
    let (store, actors) = open(settings, &clock, Absent::Refused).await?;
    let keys = store.read.keys().await.map_err(Failure::of)?;
    let kid = find(&keys, kid)?;
    let request = Retire { kid: kid.clone(), compromised, by: Actor::CommandLine };
    let outcome = actors.key_ring.ask(request).await.map_err(Failure::of)?.map_err(Failure::of)?;
    let (word, sentence) = match (outcome, compromised) {
        (RetireKeyOutcome::Unknown, _) => return Err(Failure::new(format!("There is no key {kid}."))),
        (RetireKeyOutcome::AlreadyRetired, _) => ("already_retired", "It was retired already; nothing changed.".to_owned()),
        (RetireKeyOutcome::Retired, true) => (
            "retired",
            "It is out of the JWKS, and our endpoints refuse its tokens within a second. Others refuse them once their copy of the JWKS is renewed.".to_owned(),
        ),
        (RetireKeyOutcome::Retired, false) => (
            "retired",
            format!("It signs no more, and stays published for {}, until the last token that it signed has expired.",
                output::duration(startup::key_tokens_live_for(settings))),
        ),
    };
    match format {
        Format::Json => {
            output::json(&json!({ "kid": kid, "outcome": word, "compromised": compromised }))
        }
        Format::Text => output::line(format_args!("Key {}: {sentence}", output::short(&kid))),
    }
    Ok(())
}

/// A key by its id or the start of it.
fn find(keys: &[StoredKey], kid: &str) -> Result<String, Failure> {
    let kid = kid.trim_end_matches('…');
    let mut found = keys.iter().filter(|key| key.kid.starts_with(kid));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.kid.clone()),
        (Some(_), Some(_)) => {
            Err(Failure::new(format!("Several keys begin with {kid}; give more of it.")))
        }
        (None, _) => Err(Failure::new(format!(
            "There is no key {kid}. `latchkey keys list` shows them all."
        ))),
    }
}

/// `keys reseal`: after a change of the server secret.
///
/// # Errors
/// A sentence on what stood in the way.
pub async fn reseal(settings: &Settings, format: Format) -> Result<(), Failure> {
    let (_store, actors) = open(settings, &Clock::system(), Absent::Refused).await?;
    let resealed = actors
        .key_ring
        .ask(Reseal { by: Actor::CommandLine })
        .await
        .map_err(Failure::of)?
        .map_err(Failure::of)?;
    match format {
        Format::Json => output::json(&json!({ "resealed": resealed })),
        Format::Text if resealed == 0 => {
            output::line("Every key is sealed with the first server secret already.")
        }
        Format::Text => output::line(format_args!(
            "{} sealed with the first server secret. Keep the former one second in server.secret_key for {}, until the last refresh token that it signed is replaced.",
            output::count(resealed, "key"),
            output::duration(settings.tokens.refresh_ttl.max(Duration::from_secs(1)))
        )),
    }
    Ok(())
}
