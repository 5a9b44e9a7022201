//! What may change while a server runs: every key is of one class or the other, and a test holds that none
//! is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use super::problem::Problem;
use super::reader::generic;
use super::settings::{Keys, SameSite, Server, Settings, Telemetry};

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// With the next request.
    Live,
    /// With the next start.
    Restart,
}

/// What is settled when the server starts. A key without a line here or in [`LIVE`] counts as one of these.
const RESTART: &[&str] = &[
    // Sockets and threads.
    "server.listen",
    "server.workers",
    "server.drain",
    "server.shutdown_grace",
    "server.tls",
    "telemetry.metrics_listen",
    // The issuer: it is in every token, and apps know it.
    "server.public_url",
    // The connections.
    "store.url",
    "store.max_connections",
    "store.migrate_on_start",
    "store.schema",
    // A key that signs must not go away under what it signs.
    "keys.files",
    // Made for the process as a whole.
    "rate_limits.backend",
    "telemetry.log_format",
    "telemetry.otlp_endpoint",
    "telemetry.otlp_sample_percent",
    // It stands in the environment of the process.
    "LATCHKEY_BOOTSTRAP_ADMIN",
];

/// What takes effect with the next request. A table or list that comes or goes as a whole has a line, too.
const LIVE: &[&str] = &[
    "server.trusted_proxies",
    "server.cors_origins",
    "server.frontend_url",
    "server.return_to",
    "server.secret_key",
    "server.max_body",
    "server.allow_private_receivers",
    "server.tls.cert",
    "server.tls.key",
    "keys.algorithm",
    "keys.bits",
    "keys.rotation_period",
    "keys.publish_ahead",
    "tokens.access_ttl",
    "tokens.refresh_ttl",
    "tokens.session_max_age",
    "tokens.code_ttl",
    "tokens.session_grace",
    "tokens.retry_window",
    "tokens.id_ttl",
    "signup.mode",
    "signup.allowed_domains",
    "branding.name",
    "branding.logo",
    "branding.accent",
    "scopes[]",
    "scopes[].name",
    "scopes[].description",
    "scopes[].claims",
    "audit.retention",
    "audit.checkpoint_every",
    "audit.log",
    "cookies.domain",
    "cookies.prefix",
    "cookies.same_site",
    "providers[]",
    "providers[].name",
    "providers[].display_name",
    "providers[].client_id",
    "providers[].client_secret",
    "providers[].issuer",
    "providers[].auth_url",
    "providers[].token_url",
    "providers[].userinfo_url",
    "providers[].emails_url",
    "providers[].mapping.subject",
    "providers[].mapping.username",
    "providers[].mapping.name",
    "providers[].mapping.email",
    "providers[].mapping.email_verified",
    "providers[].mapping.picture",
    "providers[].token_endpoint_auth_method",
    "providers[].scopes",
    "providers[].trust_email",
    "providers[].allow_private",
    "providers[].signup",
    "providers[].signup.mode",
    "providers[].signup.allowed_domains",
    "usernames.min_length",
    "usernames.max_length",
    "usernames.pattern",
    "usernames.allow_changes",
    "usernames.change_cooldown",
    "usernames.hold",
    "usernames.reserved",
    "avatars.store",
    "avatars.endpoint",
    "avatars.allow_http",
    "avatars.region",
    "avatars.access_key",
    "avatars.secret_access_key",
    "avatars.max_bytes",
    "avatars.max_pixels",
    "avatars.public_url",
    "rate_limits.login.per",
    "rate_limits.login.burst",
    "rate_limits.token.per",
    "rate_limits.token.burst",
    "rate_limits.api.per",
    "rate_limits.api.burst",
    "rate_limits.public.per",
    "rate_limits.public.burst",
    "rate_limits.exempt",
    "telemetry.log_level",
];

/// The class of a key as a reload names it; `None` if nobody has said.
pub fn class_of(key: &str) -> Option<Class> {
    let key = generic(key);
    if LIVE.contains(&key.as_str()) {
        Some(Class::Live)
    } else {
        RESTART.contains(&key.as_str()).then_some(Class::Restart)
    }
}

fn needs_restart(key: &str) -> bool {
    class_of(key) != Some(Class::Live)
}

/// A configuration beside the one that runs.
#[derive(Clone, Debug)]
pub struct Change {
    /// What can be in force now: the new values, but the former ones of what needs a restart.
    pub settings: Settings,
    /// The keys of these settings.
    pub entries: Vec<Entry>,
    /// Keys whose new values these are.
    pub applied: Vec<String>,
    /// Keys whose new values have to wait for a restart.
    pub needs_restart: Vec<String>,
}

/// What a new configuration changes while the former one runs.
pub fn change(
    (running, former): (&Settings, &[Entry]),
    (new, entries): (Settings, Vec<Entry>),
) -> Change {
    let (needs_restart, applied): (Vec<_>, Vec<_>) =
        differences(former, &entries).into_iter().partition(|key| needs_restart(key));
    let waits = |entry: &Entry| {
        let key = of_list(&entry.key);
        needs_restart.iter().any(|waiting| is_or_within(key, waiting))
    };
    let kept = former.iter().filter(|entry| waits(entry)).cloned();
    let taken = entries.iter().filter(|entry| !waits(entry)).cloned();
    let entries = taken.chain(kept).collect();
    Change { settings: without_what_waits(new, running), entries, applied, needs_restart }
}

/// The new settings with the running values of what needs a restart.
fn without_what_waits(new: Settings, running: &Settings) -> Settings {
    let Settings { server, keys, telemetry, .. } = new;
    let tls = running.server.tls.as_ref().map(|former| server.tls.as_ref().unwrap_or(former));
    Settings {
        server: Server {
            listen: running.server.listen,
            workers: running.server.workers,
            drain: running.server.drain,
            shutdown_grace: running.server.shutdown_grace,
            public_url: running.server.public_url.clone(),
            tls: tls.cloned(),
            ..server
        },
        store: running.store.clone(),
        keys: Keys { files: running.keys.files.clone(), ..keys },
        telemetry: Telemetry {
            log_format: running.telemetry.log_format,
            metrics_listen: running.telemetry.metrics_listen,
            otlp_endpoint: running.telemetry.otlp_endpoint.clone(),
            otlp_sample_percent: running.telemetry.otlp_sample_percent,
            ..telemetry
        },
        bootstrap_admin: running.bootstrap_admin.clone(),
        ..new
    }
}

/// What was checked against a value that has to wait, and does not go with the one that runs.
pub fn contradictions(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let public_url = &settings.server.public_url;
    if settings.cookies.same_site == SameSite::None && !public_url.is_https() {
        problems.push(of_key(
            "cookies.same_site",
            format!("needs https, and server.public_url is still {public_url}"),
        ));
    }
    if let Some(domain) = &settings.cookies.domain {
        let authority = public_url.authority();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        if host != domain && !host.ends_with(&format!(".{domain}")) {
            problems.push(of_key(
                "cookies.domain",
                format!("does not cover server.public_url, which is still {public_url}"),
            ));
        }
    }
    problems
}

fn of_key(key: &str, reason: String) -> Problem {
    let remedy = Some("restart the server to change both".to_owned());
    Problem { key: key.to_owned(), reason, remedy, ..Problem::default() }
}

/// The keys whose values differ, each once and in the order of the new configuration. A table that is there
/// on one side alone is named as a whole, and so is a list of single values.
fn differences(former: &[Entry], new: &[Entry]) -> Vec<String> {
    let (before, after) = (by_key(former), by_key(new));
    let mut named = BTreeSet::new();
    let mut different = Vec::new();
    for entry in new.iter().chain(former) {
        let key = entry.key.as_str();
        let name = match (before.get(key), after.get(key)) {
            (Some(before), Some(after)) if before.content == after.content => continue,
            (Some(_), Some(_)) => key,
            (Some(_), None) => whole(key, &after),
            (None, _) => whole(key, &before),
        };
        let name = of_list(name);
        if named.insert(name.to_owned()) {
            different.push(name.to_owned());
        }
    }
    different
}

fn by_key(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries.iter().map(|entry| (entry.key.as_str(), entry)).collect()
}

/// The largest table around `key` that `others` do not have.
fn whole<'a>(key: &'a str, others: &BTreeMap<&str, &Entry>) -> &'a str {
    let ends = key.char_indices().filter(|(_, character)| *character == '.').map(|(at, _)| at);
    let is_missing = |table: &&str| {
        let is_unset = others.contains_key(table);
        let is_element = table.ends_with(']');
        is_unset || (is_element && !others.keys().any(|other| is_or_within(other, table)))
    };
    ends.map(|at| &key[..at]).find(is_missing).unwrap_or(key)
}

/// A list of single values in place of one of them.
fn of_list(key: &str) -> &str {
    match key.rsplit_once('[') {
        Some((list, index)) if index.ends_with(']') && list.contains('.') => list,
        _ => key,
    }
}

fn is_or_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::{Reading, Surroundings};
    use super::*;

    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const OTHER_SECRET: &str = "mJ0Vx2dYhQ8rT5bN7cK1wZ3eA6uG9iLpOqSfXyHnRkE=";

    /// Settings, entries and all keys that are known.
    fn read(text: &str) -> (Settings, Vec<Entry>, BTreeSet<String>) {
        let environment =
            [("LATCHKEY_BOOTSTRAP_ADMIN".to_owned(), "work:1".to_owned())].into_iter().collect();
        let surroundings = Surroundings {
            file: None,
            base: Path::new("/nowhere").to_owned(),
            environment: if text.contains("'work'") { environment } else { BTreeMap::new() },
            allow_open_secrets: false,
        };
        let (settings, account) =
            Reading::start(text, surroundings).finish(None).unwrap_or_else(|why| panic!("{why}"));
        (settings, account.entries, account.known)
    }

    fn minimal(more: &str) -> String {
        format!(
            "server.public_url = 'https://auth.example.com'\nserver.secret_key = '{SECRET}'\n{more}"
        )
    }

    fn changes(former: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let (running, entries, _) = read(&minimal(former));
        let (settings, new, _) = read(&minimal(new));
        let change = change((&running, &entries), (settings, new));
        (change.applied, change.needs_restart)
    }

    /// What has tables that need not be there.
    const WHOLE: &str = "avatars.store = 's3://bucket'\n\
        [[scopes]]\nname = 'a'\ndescription = 'b'\n\
        [[providers]]\nname = 'work'\nclient_id = 'id'\nissuer = 'https://login.example.com'\n\
        signup = { mode = 'open' }\n";

    #[test]
    fn every_key_is_classified() {
        let (_, entries, known) = read(&minimal(WHOLE));
        let keys: BTreeSet<String> =
            entries.iter().map(|entry| generic(of_list(&entry.key))).collect();
        for key in &known {
            // A table by itself is no key, but those in it are; TLS needs files to be read.
            let within = format!("{key}.");
            let elements = format!("{key}[].");
            let is_table = known
                .iter()
                .any(|other| other.starts_with(&within) || other.starts_with(&elements));
            assert!(is_table || class_of(key).is_some(), "{key} is neither live nor for a restart");
        }
        for key in &keys {
            assert!(class_of(key).is_some(), "{key} is neither live nor for a restart");
        }
        for key in LIVE.iter().chain(RESTART).filter(|key| !key.ends_with(']')) {
            let is_known = known.contains(*key) || keys.contains(*key);
            let is_tls = key.starts_with("server.tls");
            assert!(is_known || is_tls, "{key} is no key");
        }
        assert!(LIVE.iter().all(|key| !RESTART.contains(key)));
    }

    #[test]
    fn what_is_the_same_is_no_change() {
        assert_eq!(changes("", ""), (vec![], vec![]));
        assert_eq!(changes(WHOLE, WHOLE), (vec![], vec![]));
        assert_eq!(changes("", "tokens.access_ttl = '15m'"), (vec![], vec![]));
    }

    #[test]
    fn each_difference_is_named_once_and_secrets_are_compared() {
        let provider = |secret: &str| {
            format!("[[providers]]\nname = 'google'\nclient_id = 'id'\nclient_secret = '{secret}'")
        };
        assert_eq!(changes(&provider("one"), &provider("two")).0, ["providers[0].client_secret"]);
        let keys = format!("server.secret_key = ['{OTHER_SECRET}', '{SECRET}']");
        let (running, entries, _) = read(&minimal(""));
        let (new, after, _) =
            read(&format!("server.public_url = 'https://auth.example.com'\n{keys}"));
        let change = change((&running, &entries), (new, after));
        assert_eq!(change.applied, ["server.secret_key"]);
        assert_eq!(
            changes(
                "server.cors_origins = ['https://a.example']",
                "server.cors_origins = ['https://b.example', 'https://c.example']"
            )
            .0,
            ["server.cors_origins"]
        );
    }

    #[test]
    fn tables_that_come_or_go_are_named_as_a_whole() {
        let google = "[[providers]]\nname = 'google'\nclient_id = 'id'\nclient_secret = 's'\n";
        assert_eq!(changes("", google).0, ["providers[0]"]);
        assert_eq!(changes(google, "").0, ["providers[0]"]);
        let two = format!(
            "{google}[[providers]]\nname = 'github'\nclient_id = 'i'\nclient_secret = 's'\n"
        );
        assert_eq!(changes(google, &two).0, ["providers[1]"]);
        let signup = format!("{google}signup = {{ mode = 'closed' }}\n");
        assert_eq!(changes(google, &signup).0, ["providers[0].signup"]);
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_is_named_until_then() {
        let new = "server.listen = '127.0.0.1:9999'\nserver.workers = 3\nserver.shutdown_grace = '9s'\nserver.drain = '1s'\n\
            store = { url = 'sqlite:other.db', max_connections = 3, migrate_on_start = false }\n\
            telemetry = { log_format = 'json', metrics_listen = '127.0.0.1:9998', otlp_endpoint = 'https://traces.example.com', otlp_sample_percent = 7, log_level = 'debug' }\n\
            branding.name = 'Acme'\n";
        let (running, entries, _) = read(&minimal("server.workers = 2"));
        let loaded = || {
            let (settings, entries, _) = read(&minimal(new));
            (settings, entries)
        };
        let first = change((&running, &entries), loaded());
        assert_eq!(first.applied, ["branding.name", "telemetry.log_level"]);
        let waiting = [
            "server.listen",
            "server.workers",
            "server.drain",
            "server.shutdown_grace",
            "store.url",
            "store.max_connections",
            "store.migrate_on_start",
            "telemetry.log_format",
            "telemetry.metrics_listen",
            "telemetry.otlp_endpoint",
            "telemetry.otlp_sample_percent",
        ];
        assert_eq!(first.needs_restart, waiting);
        let mut expected = running.clone();
        expected.branding.name = "Acme".to_owned();
        expected.telemetry.log_level = "debug".to_owned();
        assert_eq!(format!("{:?}", first.settings), format!("{expected:?}"));
        // They wait on with the next one, and what was applied is no change any more.
        let second = change((&first.settings, &first.entries), loaded());
        assert_eq!((second.applied, second.needs_restart.len()), (vec![], waiting.len()));
        // Taken back, nothing waits.
        let (settings, back, _) = read(&minimal("server.workers = 2"));
        let third = change((&second.settings, &second.entries), (settings, back));
        assert_eq!(third.applied, ["branding.name", "telemetry.log_level"]);
        assert_eq!(third.needs_restart, Vec::<String>::new());
    }

    #[test]
    fn what_goes_with_a_value_that_waits_alone_is_refused() {
        let (mut settings, ..) = read(&minimal("cookies.same_site = 'none'"));
        assert_eq!(contradictions(&settings), []);
        settings.server.public_url =
            super::super::settings::Origin::parse("http://127.0.0.1:8080").unwrap();
        settings.cookies.domain = Some("example.com".to_owned());
        let keys: Vec<String> =
            contradictions(&settings).into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["cookies.same_site", "cookies.domain"]);
    }
}
