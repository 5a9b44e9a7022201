//! `latchkey validate`: configuration, store, keys and providers, every problem and not the first.

use std::fs::OpenOptions;
use std::path::Path;

use serde_json::json;

use crate::avatars::storage::AvatarStorage;
use crate::certificate::Certificate;
use crate::cli::backup::{folder_of, remove};
use crate::cli::{Failure, Format, output};
use crate::clock::Clock;
use crate::config::settings::{AvatarStore, Settings, StoreUrl, Tls};
use crate::protocol::client_registration;
use crate::protocol::sealed::{Purpose, Sealer};
use crate::providers::configured::{Providers, SignInProvider};
use crate::providers::discovery::discover;
use crate::providers::http::{HttpClient, Limits};
use crate::registration;
use crate::startup::read_key_files;
use crate::store;

/// One thing that was looked at.
struct Check {
    what: String,
    result: Result<String, String>,
}

/// Looks at everything; `offline` leaves out what needs the network.
///
/// # Errors
/// If there is a problem: how many.
pub async fn run(settings: &Settings, format: Format, offline: bool) -> Result<(), Failure> {
    let mut checks =
        vec![Check { what: "configuration".to_owned(), result: Ok("is valid".to_owned()) }];
    checks.push(Check {
        what: "key files".to_owned(),
        result: read_key_files(settings)
            .map(|files| match files.len() {
                0 => "none: keys live in the store".to_owned(),
                count => output::count(count as u64, "key"),
            })
            .map_err(|error| error.to_string()),
    });
    checks.push(Check {
        what: "pictures".to_owned(),
        result: AvatarStorage::open(&settings.avatars.store)
            .map_err(|error| error.to_string())
            .and_then(|_| match &settings.avatars.store {
                AvatarStore::File(folder) => can_write_in(folder)
                    .map(|()| "are kept in a folder".to_owned())
                    .map_err(|problem| format!("none can be stored: {problem}")),
                AvatarStore::S3 { .. } => Ok("are kept in a bucket".to_owned()),
            }),
    });
    if let Some(tls) = &settings.server.tls {
        checks.push(check_certificate(tls));
    }
    let is_remote = matches!(settings.store.url, StoreUrl::Postgres(_));
    if !(offline && is_remote) {
        checks.extend(check_store(settings).await);
    }
    if settings.providers.is_empty() {
        checks.push(Check {
            what: "providers".to_owned(),
            result: Ok("none: nobody can sign in until the configuration has one".to_owned()),
        });
    } else if !offline {
        checks.extend(check_providers(settings).await);
    }
    let problems = checks.iter().filter(|check| check.result.is_err()).count() as u64;
    match format {
        Format::Json => {
            let items: Vec<_> = checks
                .iter()
                .map(|check| {
                    json!({
                        "check": check.what, "ok": check.result.is_ok(),
                        "detail": check.result.as_ref().unwrap_or_else(|problem| problem),
                    })
                })
                .collect();
            output::json(&json!({ "items": items, "problems": problems }));
        }
        Format::Text => {
            for check in &checks {
                let (mark, detail) = match &check.result {
                    Ok(detail) => ("ok     ", detail),
                    Err(problem) => ("problem", problem),
                };
                output::line(format_args!("  {mark}  {}: {detail}", check.what));
            }
        }
    }
    if problems == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{} found.", output::count(problems, "problem"))))
    }
}

fn check_certificate(tls: &Tls) -> Check {
    let read = Certificate::read(tls).map_err(|error| error.to_string());
    let result = read.and_then(|certificate| match certificate.untimely(Clock::system().now()) {
        Some(reason) => Err(format!("server.tls.cert {reason}")),
        None => Ok(match certificate.valid_until() {
            Some(until) => {
                format!("goes with its key, and is valid until {}", until.to_rfc3339())
            }
            None => "goes with its key".to_owned(),
        }),
    });
    Check { what: "certificate".to_owned(), result }
}

/// Whether this user can make files in a folder; of one that is not there yet, in the nearest that is. Nothing but
/// the attempt tells: permissions, a read-only file system and the rules of a service manager all have a say.
fn can_write_in(folder: &Path) -> Result<(), String> {
    let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
    let nearest = folder.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or(&folder);
    let attempt = nearest.join(format!(".latchkey-validate-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&attempt) {
        Ok(_file) => {
            remove(&attempt);
            Ok(())
        }
        Err(error) => Err(format!("this user cannot write in {}: {error}", nearest.display())),
    }
}

async fn check_store(settings: &Settings) -> Vec<Check> {
    if let StoreUrl::Sqlite(path) = &settings.store.url {
        // SQLite writes files beside the database, and the lock is there, too.
        let writable = can_write_in(folder_of(path));
        if writable.is_err() || !path.exists() {
            return vec![Check {
                what: "store".to_owned(),
                result: writable.map(|()| "will be made at the first start".to_owned()),
            }];
        }
    }
    let status = store::migration_status(&settings.store).await;
    let pending =
        status.as_ref().map(|all| all.iter().filter(|one| one.applied_on.is_none()).count() as u64);
    let result = match pending {
        Err(error) => Err(error.to_string()),
        Ok(0) => store::check_schema(&settings.store)
            .await
            .map(|()| "answers, its schema is up to date".to_owned())
            .map_err(|error| error.to_string()),
        Ok(pending) if settings.store.migrate_on_start => Ok(format!(
            "answers; {} applied at the next start",
            output::count(pending, "migration")
        )),
        Ok(pending) => {
            Err(format!("{} pending; run `latchkey migrate`", output::count(pending, "migration")))
        }
    };
    let is_usable = result.is_ok() && matches!(pending, Ok(0));
    let mut checks = vec![Check { what: "store".to_owned(), result }];
    if is_usable {
        checks.push(check_keys(settings).await);
        checks.extend(check_clients(settings).await);
    }
    checks
}

async fn check_keys(settings: &Settings) -> Check {
    let sealer = Sealer::new(&settings.server.secret_key);
    let result = async {
        let store = store::open(&settings.store, &Clock::system())
            .await
            .map_err(|error| error.to_string())?;
        let keys = store.read.keys().await.map_err(|error| error.to_string())?;
        for key in &keys {
            if let Some(sealed) = &key.sealed_private {
                sealer.open_bytes(Purpose::SigningKey, sealed).map_err(|error| {
                    format!("key {} does not open with server.secret_key: {error}", key.kid)
                })?;
            }
        }
        // Keys of files are not in the store before the first start; without files the server makes them.
        let files = read_key_files(settings).unwrap_or_default();
        let algorithm = settings.keys.algorithm;
        let can_sign = files.iter().any(|file| file.public().algorithm == algorithm)
            || keys.iter().any(|key| {
                key.algorithm == algorithm
                    && key.sealed_private.is_some()
                    && key.retired_at.is_none()
            });
        if !can_sign && !files.is_empty() {
            return Err(format!(
                "no key of keys.files signs with {algorithm}, as keys.algorithm says: add one (`latchkey generate-keys --algorithm {algorithm} --output DIR` makes it)"
            ));
        }
        Ok(match keys.len() {
            0 => "none yet: the first start makes one".to_owned(),
            count => format!("{} open with the server secret", output::count(count as u64, "key")),
        })
    };
    Check { what: "keys".to_owned(), result: result.await }
}

/// Clients were checked when they were registered; the configuration may have changed since.
async fn check_clients(settings: &Settings) -> Vec<Check> {
    // Key files that cannot be read are a check of their own.
    let Ok(rules) = registration::rules(settings) else { return Vec::new() };
    let read = async {
        let store = store::open(&settings.store, &Clock::system())
            .await
            .map_err(|error| error.to_string())?;
        registration::all(store.read.as_ref()).await.map_err(|error| error.to_string())
    };
    let clients = match read.await {
        Ok(clients) => clients,
        Err(error) => return vec![Check { what: "clients".to_owned(), result: Err(error) }],
    };
    let mut checks = Vec::new();
    for client in &clients {
        if let Err(problems) = client_registration::check(&client.metadata, &rules) {
            checks.extend(problems.iter().map(|problem| Check {
                what: format!("client {}", client.client_id),
                result: Err(problem.to_string()),
            }));
        }
    }
    if checks.is_empty() {
        let said = match clients.len() {
            0 => "none yet".to_owned(),
            count => {
                format!("{}, as the configuration allows", output::count(count as u64, "client"))
            }
        };
        checks.push(Check { what: "clients".to_owned(), result: Ok(said) });
    }
    checks
}

async fn check_providers(settings: &Settings) -> Vec<Check> {
    let client = match HttpClient::new(Limits::default()) {
        Ok(client) => client,
        Err(error) => {
            return vec![Check { what: "providers".to_owned(), result: Err(error.to_string()) }];
        }
    };
    let providers = Providers::new(
        &settings.providers.iter().cloned().map(std::sync::Arc::new).collect::<Vec<_>>(),
    );
    let mut checks = Vec::new();
    for provider in providers.iter() {
        let found = match provider {
            SignInProvider::OpenId(provider) => discover(&client, provider.settings())
                .await
                .map(|_| "answers".to_owned())
                .map_err(|error| error.to_string()),
            SignInProvider::OAuth(_) => {
                Ok("is plain OAuth 2, which has nothing to ask before a sign-in".to_owned())
            }
        };
        checks
            .push(Check { what: format!("provider {}", provider.settings().name), result: found });
    }
    checks
}
