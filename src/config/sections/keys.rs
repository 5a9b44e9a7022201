//! `[keys]`

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::SECOND;
use crate::config::problem::Refusal;
use crate::config::reader::{Parsed, read_error};
use crate::config::section::Section;
use crate::config::settings::Keys;
use crate::config::source::Value;
use crate::config::values::{choice, duration, integer, text};
use crate::protocol::jwt::Algorithm;
use crate::protocol::key::SigningKey;

const ALGORITHMS: &[(&str, Algorithm)] =
    &[("RS256", Algorithm::RS256), ("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDsa)];

pub(super) fn read(section: &mut Section<'_>) -> Keys {
    let algorithm = section.or("algorithm", "RS256", choice(ALGORITHMS));
    let bits = section.or("bits", 2048, bits);
    let rotation_period = section.or("rotation_period", "90d", duration(Duration::ZERO));
    let publish_ahead = section.or("publish_ahead", "1h", duration(SECOND));
    let paths = section.list("files", text);
    if rotation_period > Duration::ZERO && rotation_period < publish_ahead {
        section.reader().warn(
            "keys.rotation_period is shorter than keys.publish_ahead, so each key signs for longer than rotation_period",
        );
    }
    let files = files(section, &paths, algorithm);
    let rotation_period = (rotation_period > Duration::ZERO).then_some(rotation_period);
    Keys { algorithm, bits, rotation_period, publish_ahead, files }
}

fn bits(value: &Value) -> Parsed<u32> {
    let bits = integer(i64::MIN..=i64::MAX)(value)?;
    match bits {
        2048_i64 => Ok(2048),
        3072 => Ok(3072),
        4096 => Ok(4096),
        _ => Err(Refusal::new("is not one of 2048, 3072, 4096")),
    }
}

/// Opens every key, so that one that cannot sign is found before anything starts.
fn files(section: &mut Section<'_>, paths: &[String], algorithm: Algorithm) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut algorithms = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let key = format!("files[{index}]");
        let file = section.reader().resolve(path);
        match algorithm_of(&file) {
            Ok(found) => algorithms.push(found),
            Err(refusal) => section.refuse(&key, refusal),
        }
        let key = section.path_of(&key);
        section.reader().check_privacy(&key, &file, path);
        files.push(file);
    }
    if !files.is_empty() && algorithms.len() == files.len() && !algorithms.contains(&algorithm) {
        let refusal =
            Refusal::new(format!("has no match: no key in keys.files is for {algorithm}"));
        section.refuse("algorithm", refusal.remedy(format!("set it to \"{}\"", algorithms[0])));
    }
    files
}

fn algorithm_of(file: &std::path::Path) -> Parsed<Algorithm> {
    let pem = fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| Refusal::new(format!("cannot be read: {}", read_error(&error))))?;
    SigningKey::from_pem(&pem)
        .map(|key| key.public().algorithm)
        .map_err(|error| Refusal::new(format!("cannot sign: {error}")))
}
