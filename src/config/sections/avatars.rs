//! `[avatars]`

use crate::config::problem::Refusal;
use crate::config::reader::Parsed;
use crate::config::section::Section;
use crate::config::settings::{AvatarStore, Avatars};
use crate::config::source::Value;
use crate::config::values::{boolean, endpoint, integer, plain_endpoint, secret, size, text};

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;

/// `avatars.store` alone; an S3 store takes further keys.
enum Place {
    File(String),
    S3 { bucket: String, prefix: String },
}

pub(super) fn read(section: &mut Section<'_>) -> Avatars {
    let place = section.or("store", "file:avatars", place);
    let s3_keys = ["endpoint", "allow_http", "region", "access_key", "secret_access_key"];
    let given: Vec<_> = s3_keys.into_iter().filter(|key| section.has(key)).collect();
    let allow_http = section.optional("allow_http", boolean).unwrap_or(false);
    let read_endpoint = if allow_http { plain_endpoint } else { endpoint };
    let endpoint_url = section.optional("endpoint", read_endpoint);
    let region = section.optional("region", text);
    let access_key = section.optional_secret("access_key", secret);
    let secret_access_key = section.optional_secret("secret_access_key", secret);
    let store = match place {
        Place::File(path) => {
            for key in given {
                let refusal = Refusal::new("is for S3, and avatars.store is a folder");
                section.refuse(key, refusal.remedy("leave it out"));
            }
            AvatarStore::File(section.reader().resolve(&path))
        }
        Place::S3 { bucket, prefix } => {
            refuse_half_a_key(section, &given);
            let endpoint = endpoint_url;
            AvatarStore::S3 { bucket, prefix, endpoint, region, access_key, secret_access_key }
        }
    };
    Avatars {
        store,
        max_bytes: section.or("max_bytes", 2 * MIB, size(KIB..=64 * MIB)),
        max_pixels: section.or("max_pixels", 16_000_000, integer(1..=1_000_000_000)),
        public_url: section.optional("public_url", endpoint),
    }
}

fn place(value: &Value) -> Parsed<Place> {
    let text = text(value)?;
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(Place::File(path.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !bucket.is_empty() {
            return Ok(Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
    }
    Err(Refusal::new("is no place for pictures")
        .remedy("write \"file:avatars\" or \"s3://bucket/prefix\""))
}

fn refuse_half_a_key(section: &mut Section<'_>, given: &[&str]) {
    match (given.contains(&"access_key"), given.contains(&"secret_access_key")) {
        (true, false) => {
            section.refuse("access_key", Refusal::new("needs secret_access_key beside it"))
        }
        (false, true) => {
            section.refuse("secret_access_key", Refusal::new("needs access_key beside it"))
        }
        _ => {}
    }
}
