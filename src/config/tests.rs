//! The configuration as a whole: what is refused and how it is told, where values come from, and
//! that no secret ever shows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::settings::{AvatarStore, SignupMode, StoreUrl};
use super::*;
use crate::protocol::claims::Claim;
use crate::protocol::jwt::Algorithm;
use crate::protocol::key;

const SECRET: &str = "mJ0Vx2dYhQ8rT5bN7cK1wZ3eA6uG9iLpOqSfXyHnRkE=";
/// In the other alphabet.
const OTHER_SECRET: &str = "grcO7n8aUDm-8H7CNH8GbtCPXcdRJEfjQEMAAmtuVFWU-_8=";

/// A folder with a configuration in it, and an environment to read it in.
struct Place {
    folder: TempDir,
    environment: BTreeMap<String, String>,
}

impl Place {
    fn new(toml: &str) -> Self {
        let place = Self::empty();
        place.write("latchkey.toml", toml);
        place
    }

    fn empty() -> Self {
        Self { folder: TempDir::new().unwrap(), environment: BTreeMap::new() }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.mode(name, 0o600);
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        let path = self.folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn request(&self) -> Request {
        Request {
            explicit: None,
            environment: self.environment.clone(),
            working_directory: self.folder.path().to_owned(),
        }
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.request())
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(&self) -> Vec<Problem> {
        self.load().expect_err("the configuration is refused").problems
    }

    fn entry(&self, key: &str) -> (String, String) {
        let entries = self.loaded().entries;
        let entry = entries.into_iter().find(|entry| entry.key == key);
        let entry = entry.unwrap_or_else(|| panic!("there is no {key}"));
        (entry.value.to_string(), entry.origin)
    }
}

/// The least that is valid, with `more` in `[server]` and after it.
fn minimal(more: &str) -> String {
    format!("[server]\npublic_url = 'https://auth.example.com'\nsecret_key = '{SECRET}'\n{more}")
}

/// A valid provider, `more` included.
fn provider(more: &str) -> String {
    minimal(&format!("[[providers]]\nname = 'work'\nclient_id = 'id'\n{more}"))
}

fn settings(toml: &str) -> Settings {
    Place::new(toml).loaded().settings
}

/// Line, key, reason and remedy of the only problem.
fn only_problem(toml: &str) -> (Option<usize>, String, String, String) {
    let problems = Place::new(toml).problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let Problem { line, key, reason, remedy, .. } = problems[0].clone();
    (line, key, reason, remedy.unwrap_or_default())
}

fn assert_refused(toml: &str, line: usize, key: &str, reason: &str, remedy: &str) {
    let found = only_problem(toml);
    let found = (found.0, found.1.as_str(), found.2.as_str(), found.3.as_str());
    assert_eq!(found, (Some(line), key, reason, remedy), "{toml}");
}

#[test]
fn wrong_values_are_told_with_line_reason_and_remedy() {
    // In each case the value stands on line 4 or below the heading of a section on line 4.
    let in_server = [
        (
            "listen = '8080'",
            "listen",
            "is not an IP address with a port",
            "did you mean \"127.0.0.1:8080\"?",
        ),
        ("workers = 0", "workers", "is not between 1 and 1024", ""),
        ("workers = '4'", "workers", "is text; a whole number belongs here", ""),
        ("workers = 1.5", "workers", "is a fraction; a whole number belongs here", ""),
        (
            "max_body = '1MB'",
            "max_body",
            "is not a size",
            "write a number of bytes, or a number with KiB, MiB or GiB",
        ),
        ("max_body = 10", "max_body", "is not between 1024 and 67108864", ""),
        ("shutdown_grace = '0s'", "shutdown_grace", "is too short", "it is at least 1s"),
        (
            "drain = '20s'",
            "drain",
            "is not shorter than server.shutdown_grace, which it is a part of",
            "shorten it, or lengthen server.shutdown_grace",
        ),
        ("shutdown_grace = 20", "shutdown_grace", "has no unit", "did you mean \"20s\"?"),
        (
            "allow_private_receivers = 'yes'",
            "allow_private_receivers",
            "is text; true or false belongs here",
            "",
        ),
        (
            "cors_origins = 'https://a.example'",
            "cors_origins",
            "is text; a list belongs here",
            "put [ ] around it",
        ),
        (
            "cors_origins = ['*']",
            "cors_origins[0]",
            "cannot be allowed with credentials",
            "list each origin",
        ),
        (
            "trusted_proxies = ['10.0.0.0/99']",
            "trusted_proxies[0]",
            "is not a network",
            "write it as \"10.0.0.0/8\" or \"2001:db8::/32\"",
        ),
        (
            "frontend_url = 'http://app.example.com'",
            "frontend_url",
            "is http on a host that is not this machine",
            "did you mean \"https://app.example.com\"?",
        ),
        ("tls = 'yes'", "tls", "is text; a table belongs here", ""),
    ];
    for (line, key, reason, remedy) in in_server {
        assert_refused(&minimal(line), 4, &format!("server.{key}"), reason, remedy);
    }
    let in_sections = [
        (
            "store",
            "url = 'mysql://db'",
            "url",
            "is not a database that we know",
            "write \"sqlite:latchkey.db\" or \"postgres://user@host/database\"",
        ),
        ("store", "url = 'sqlite::memory:'", "url", "keeps nothing", "name a file"),
        (
            "store",
            "schema = 'auth'",
            "schema",
            "is for PostgreSQL, and store.url is SQLite",
            "leave it out",
        ),
        (
            "keys",
            "algorithm = 'RS265'",
            "algorithm",
            "is not one of \"RS256\", \"ES256\", \"EdDSA\"",
            "did you mean \"RS256\"?",
        ),
        ("keys", "bits = 1024", "bits", "is not one of 2048, 3072, 4096", ""),
        ("keys", "publish_ahead = 0", "publish_ahead", "is too short", "it is at least 1s"),
        ("keys", "files = ['none.pem']", "files[0]", "cannot be read: there is no such file", ""),
        (
            "tokens",
            "access_ttl = '15 min'",
            "access_ttl",
            "is not a duration",
            "write one as \"90s\", \"15m\", \"24h\" or \"30d\"",
        ),
        ("signup", "mode = 'domains'", "mode", "lets nobody in", "list allowed_domains"),
        (
            "signup",
            "allowed_domains = ['example.com']",
            "allowed_domains[0]",
            "restricts nothing while mode is \"open\"",
            "set mode = \"domains\"",
        ),
        ("branding", "accent = 'blue'", "accent", "is not a colour as \"#2f6fed\"", ""),
        (
            "branding",
            "logo = 'http://x.example/a.png'",
            "logo",
            "is neither an https address nor a path that begins with /",
            "",
        ),
        (
            "cookies",
            "domain = 'example.org'",
            "domain",
            "does not cover auth.example.com, the host of server.public_url",
            "",
        ),
        (
            "cookies",
            "domain = 'com'",
            "domain",
            "is a top-level domain: browsers refuse such cookies",
            "did you mean \"auth.example.com\"?",
        ),
        (
            "cookies",
            "prefix = '__Host'",
            "prefix",
            "is not up to 32 letters, digits, _ and -, a letter or digit first",
            "",
        ),
        ("cookies", "same_site = 'strict'", "same_site", "is not one of \"lax\", \"none\"", ""),
        ("usernames", "min_length = 30", "min_length", "is above max_length, 24", ""),
        (
            "usernames",
            "pattern = '(a'",
            "pattern",
            "is not a regular expression: unclosed group",
            "",
        ),
        (
            "usernames",
            "pattern = '(\\w{500}){500}'",
            "pattern",
            "is too large a pattern: compiled, it takes more than 1 MiB",
            "repeat less, or over fewer characters",
        ),
        (
            "avatars",
            "store = 'pictures'",
            "store",
            "is no place for pictures",
            "write \"file:avatars\" or \"s3://bucket/prefix\"",
        ),
        (
            "avatars",
            "region = 'eu'",
            "region",
            "is for S3, and avatars.store is a folder",
            "leave it out",
        ),
        (
            "rate_limits",
            "backend = 'redis://cache:6379'",
            "backend",
            "comes later: this version keeps limits in each process",
            "use \"memory\"",
        ),
        (
            "rate_limits",
            "login = { burst = 0 }",
            "login.burst",
            "is not between 1 and 1000000000",
            "",
        ),
        ("rate_limits", "login = { per = '0s' }", "login.per", "is too short", "it is at least 1s"),
        (
            "telemetry",
            "log_level = 'inof'",
            "log_level",
            "names a level \"inof\", which is none of off, error, warn, info, debug, trace",
            "did you mean info?",
        ),
        (
            "telemetry",
            "metrics_listen = '127.0.0.1:8080'",
            "metrics_listen",
            "is server.listen, too",
            "choose another port, or leave it out",
        ),
    ];
    for (section, line, key, reason, remedy) in in_sections {
        let toml = minimal(&format!("[{section}]\n{line}"));
        assert_refused(&toml, 5, &format!("{section}.{key}"), reason, remedy);
    }
}

#[test]
fn wrong_providers_are_told_with_line_reason_and_remedy() {
    let cases = [
        (
            "issuer = 'http://id.example'",
            "issuer",
            "is http on a host that is not this machine",
            "did you mean \"https://id.example\"?",
        ),
        (
            "issuer = 'id.example'",
            "issuer",
            "is not an absolute address",
            "did you mean \"https://id.example\"?",
        ),
        (
            "issuer = 'https://id.example'\ntoken_url = 'http://id.example/token'",
            "token_url",
            "is http on a host that is not this machine",
            "did you mean \"https://id.example/token\"?",
        ),
        (
            "issuer = 'https://id.example'\nscopes = ['email']",
            "scopes",
            "lacks \"openid\", without which an OpenID Connect provider names nobody",
            "add it",
        ),
        (
            "issuer = 'https://id.example'\nsignup = { mode = 'domains' }",
            "signup.mode",
            "lets nobody in",
            "list allowed_domains",
        ),
        ("issuer = 'https://id.example'\nclient_secret = ''", "client_secret", "is empty", ""),
    ];
    for (lines, key, reason, remedy) in cases {
        let problems = Place::new(&provider(lines)).problems();
        assert_eq!(problems.len(), 1, "{lines}: {problems:#?}");
        let line = 6 + lines.lines().count();
        let key = format!("providers[0].{key}");
        let found = (&problems[0].key, problems[0].reason.as_str(), problems[0].remedy.as_deref());
        assert_eq!(found, (&key, reason, Some(remedy).filter(|remedy| !remedy.is_empty())));
        assert_eq!(problems[0].line, Some(line), "{lines}");
    }
}

#[test]
fn our_own_words_and_twins_are_no_names_of_providers() {
    for word in ["setup", "refresh", "logout-all", "me", "username-available"] {
        let toml = minimal(&format!(
            "[[providers]]\nname = '{word}'\nclient_id = 'a'\nissuer = 'https://id.example'"
        ));
        let reason = format!("is taken: /auth/{word} is an address of ours");
        assert_refused(&toml, 5, "providers[0].name", &reason, "choose another");
    }
    let toml =
        minimal("[[providers]]\nname = 'Work'\nclient_id = 'a'\nissuer = 'https://id.example'");
    let reason = "is not up to 32 small letters, digits and -, beginning with a letter";
    assert_refused(&toml, 5, "providers[0].name", reason, "");
    let twins = provider(
        "issuer = 'https://id.example'\n[[providers]]\nname = 'work'\nclient_id = 'b'\nissuer = 'https://id.example'",
    );
    assert_refused(
        &twins,
        9,
        "providers[1].name",
        "is the name of providers[0], too",
        "choose another",
    );
}

#[test]
fn scopes_have_names_that_requests_can_hold_and_a_line_to_show() {
    let scope = |name: &str, description: &str| {
        minimal(&format!("[[scopes]]\nname = '{name}'\ndescription = \"{description}\""))
    };
    let refused = |name: &str, description: &str, line, key: &str, reason: &str, remedy: &str| {
        assert_refused(
            &scope(name, description),
            line,
            &format!("scopes[0].{key}"),
            reason,
            remedy,
        );
    };
    refused("openid", "a", 5, "name", "is a scope that is there already", "");
    refused("a b", "a", 5, "name", "is not a single word without quotes", "");
    let reason = "is longer than any request can name it";
    refused(&"a".repeat(129), "a", 5, "name", reason, "a scope has at most 128 characters");
    let reason = "is not one line of at most 200 characters that can be seen";
    for description in ["  ", "two\\nlines", "\u{202e}a", &"a".repeat(201)] {
        refused("orders.read", description, 6, "description", reason, "");
    }
}

#[test]
fn a_provider_must_be_reachable_somehow() {
    let missing = |toml: &str| {
        let problems = Place::new(toml).problems();
        problems.into_iter().map(|problem| (problem.key, problem.line)).collect::<Vec<_>>()
    };
    assert_eq!(missing(&provider("")), [("providers[0].issuer".to_owned(), None)]);
    assert_eq!(
        missing(&provider("auth_url = 'https://id.example/a'")),
        ["mapping.subject", "token_url", "userinfo_url"]
            .map(|key| (format!("providers[0].{key}"), None))
    );
}

#[test]
fn what_is_required_is_missed() {
    let problems = Place::new("").problems();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["server.public_url", "server.secret_key"]);
    assert_eq!(
        problems[1].remedy.as_deref(),
        Some(
            "make one with `openssl rand -base64 32`, in the file or as LATCHKEY_SERVER__SECRET_KEY"
        )
    );
}

#[test]
fn a_public_url_is_an_origin_and_secure() {
    let cases = [
        (
            "auth.example.com",
            "is not an absolute address",
            "did you mean \"https://auth.example.com\"?",
        ),
        (
            "https://example.com/auth",
            "is more than an origin",
            "did you mean \"https://example.com\"?",
        ),
        (
            "https://example.com/?a=b",
            "is more than an origin",
            "did you mean \"https://example.com\"?",
        ),
        (
            "http://example.com",
            "is http on a host that is not this machine",
            "did you mean \"https://example.com\"?",
        ),
        ("", "is empty", ""),
    ];
    for (url, reason, remedy) in cases {
        let toml = format!("[server]\nsecret_key = '{SECRET}'\npublic_url = '{url}'");
        assert_refused(&toml, 3, "server.public_url", reason, remedy);
    }
}

#[test]
fn cookies_for_other_sites_need_https() {
    let toml = format!(
        "[server]\npublic_url = 'http://127.0.0.1:8080'\nsecret_key = '{SECRET}'\n[cookies]\nsame_site = 'none'"
    );
    assert_refused(
        &toml,
        5,
        "cookies.same_site",
        "is refused by browsers without https, and server.public_url is http://127.0.0.1:8080",
        "use \"lax\"",
    );
}

#[test]
fn unknown_keys_find_the_nearest_one_of_their_section() {
    let cases = [
        (
            "[tokens]\nacess_ttl = '1m'",
            5,
            "tokens.acess_ttl",
            "is not a key of [tokens]",
            "did you mean access_ttl?",
        ),
        ("[tokns]\naccess_ttl = '1m'", 4, "tokns", "is not a section", "did you mean tokens?"),
        (
            "[cookies]\nlisten = ':80'",
            5,
            "cookies.listen",
            "is not a key of [cookies]",
            "listen belongs to [server]",
        ),
        (
            "[audit]\ncolour = 'red'",
            5,
            "audit.colour",
            "is not a key of [audit]",
            "there are checkpoint_every, log, retention",
        ),
        (
            "[rate_limits]\ntoken = { brst = 5 }",
            5,
            "rate_limits.token.brst",
            "is not a key of [rate_limits.token]",
            "did you mean burst?",
        ),
    ];
    for (lines, line, key, reason, remedy) in cases {
        assert_refused(&minimal(lines), line, key, reason, remedy);
    }
    let toml = provider("issuer = 'https://id.example'\nclient_secrt = 'hunter2'");
    let found = Place::new(&toml).load().unwrap_err();
    assert!(
        found.to_string().contains("is not a key of [[providers]]; did you mean client_secret?")
    );
    assert!(!found.to_string().contains("hunter2"));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let place = Place::new(
        "[server]\npublic_url = 'auth.example.com'\nlistn = ':80'\n[tokens]\nid_ttl = 5\n[[providers]]\nname = 'google'\nclient_secret = 'env:GOOGLE_SECRET'\n",
    )
    .with("LATCHKEY_COOKIES__PREFX", "x");
    assert_eq!(
        place.load().unwrap_err().to_string(),
        "7 problems in ./latchkey.toml\n\
         \n\
         \x20 line 2       server.public_url = \"auth.example.com\"\n\
         \x20              is not an absolute address; did you mean \"https://auth.example.com\"?\n\
         \x20 line 3       server.listn\n\
         \x20              is not a key of [server]; did you mean listen?\n\
         \x20 line 5       tokens.id_ttl = 5\n\
         \x20              has no unit; did you mean \"5s\"?\n\
         \x20 line 8       providers[0].client_secret = \"env:GOOGLE_SECRET\"\n\
         \x20              the environment has no GOOGLE_SECRET\n\
         \x20 missing      server.secret_key\n\
         \x20              is required; make one with `openssl rand -base64 32`, in the file or as LATCHKEY_SERVER__SECRET_KEY\n\
         \x20 missing      providers[0].client_id\n\
         \x20              is required; the provider gives one to each application, in the file or as LATCHKEY_PROVIDERS__0__CLIENT_ID\n\
         \x20 environment  LATCHKEY_COOKIES__PREFX\n\
         \x20              is not a key of [cookies]; did you mean LATCHKEY_COOKIES__PREFIX?\n"
    );
}

#[test]
fn broken_toml_is_told_line_by_line_and_nothing_counts_as_missing() {
    let place = Place::new("[server]\npublic_url = auth\nsecret_key = hunter2\nlistn = 1\n");
    let problems = place.load().unwrap_err();
    let lines: Vec<_> = problems.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4)], "{problems}");
    assert!(problems.problems[0].reason.starts_with("is not TOML: "));
    assert!(!problems.to_string().contains("hunter2"));
}

#[test]
fn files_are_found_in_order() {
    let place = Place::empty().with("HOME", "home");
    let found = |place: &Place| place.load().map(|loaded| loaded.file.unwrap());
    let mut expected = Vec::new();
    for name in [
        "home/.config/latchkey/latchkey.toml",
        "config/latchkey.toml",
        "latchkey.toml",
        "named.toml",
    ] {
        expected.push(place.write(name, &minimal("")));
    }
    for (name, path) in ["home", "config", "latchkey"].iter().zip(&expected).rev() {
        assert_eq!(&found(&place).unwrap(), path, "{name}");
        fs::remove_file(path).unwrap();
    }
    let place = place.with("LATCHKEY_CONFIG", "named.toml");
    assert_eq!(found(&place).unwrap(), expected[3]);
    let explicit = place.write("explicit.toml", &minimal(""));
    let request = Request { explicit: Some("explicit.toml".into()), ..place.request() };
    assert_eq!(load(&request).unwrap().file, Some(explicit));
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let place = Place::empty().with("LATCHKEY_CONFIG", "none.toml");
    assert_eq!(
        place.load().unwrap_err().to_string(),
        "1 problem in ./none.toml\n\n  file  cannot be read: there is no such file\n"
    );
}

#[test]
fn the_environment_alone_is_enough() {
    let place = Place::empty()
        .with("LATCHKEY_SERVER__PUBLIC_URL", "http://localhost:9000")
        .with("LATCHKEY_SERVER__SECRET_KEY__0", SECRET)
        .with("LATCHKEY_SERVER__SECRET_KEY__1", OTHER_SECRET)
        .with("LATCHKEY_SERVER__WORKERS", "3")
        .with("LATCHKEY_SERVER__ALLOW_PRIVATE_RECEIVERS", "true")
        .with("LATCHKEY_RATE_LIMITS__LOGIN__BURST", "7")
        .with("LATCHKEY_PROVIDERS__0__NAME", "google")
        .with("LATCHKEY_PROVIDERS__0__CLIENT_ID", "12345")
        .with("LATCHKEY_PORT_8080_TCP_ADDR", "10.0.0.1");
    let Loaded { settings, file, .. } = place.loaded();
    assert_eq!(file, None);
    assert_eq!(settings.server.public_url.as_str(), "http://localhost:9000");
    assert_eq!((settings.server.workers, settings.server.secret_key.len()), (3, 2));
    assert!(settings.server.allow_private_receivers);
    assert_eq!(settings.rate_limits.login.burst, 7);
    assert_eq!(settings.providers[0].client_id, "12345");
}

#[test]
fn problems_of_the_environment_name_the_variable() {
    let place = Place::new(&minimal(""))
        .with("LATCHKEY_TOKENS__ACCESS_TTL", "soon")
        .with("LATCHKEY_SERVER__CORS_ORIGINS", "https://a.example");
    let text = place.load().unwrap_err().to_string();
    assert!(text.contains("environment  LATCHKEY_TOKENS__ACCESS_TTL = \"soon\"\n"), "{text}");
    assert!(text.contains("number the elements: LATCHKEY_SERVER__CORS_ORIGINS__0\n"), "{text}");
}

#[test]
fn the_first_admin_is_named_by_the_environment_alone() {
    let named = |value: &str| {
        Place::new(&provider("issuer = 'https://id.example'\n"))
            .with("LATCHKEY_BOOTSTRAP_ADMIN", value)
            .load()
            .map(|loaded| loaded.settings.bootstrap_admin)
    };
    assert_eq!(named("").unwrap(), None);
    let admin = named("work:a:b").unwrap().unwrap();
    assert_eq!((admin.provider.as_str(), admin.subject.as_str()), ("work", "a:b"));
    assert_eq!(named("dev:rivka").unwrap().unwrap().provider, "dev");
    for (value, reason) in [
        ("rivka", "is not PROVIDER:SUBJECT"),
        ("work:", "is not PROVIDER:SUBJECT"),
        ("worf:1", "did you mean work:1?"),
    ] {
        let said = named(value).unwrap_err().to_string();
        assert!(said.contains(reason), "{value}: {said}");
    }
    let problems = Place::new("").with("LATCHKEY_BOOTSTRAP_ADMIN", "rivka").problems();
    assert!(problems.len() > 1, "told with all others: {problems:?}");
    let place = Place::new(&minimal("bootstrap_admin = 'work:1'\n"));
    assert_eq!(place.problems()[0].reason, "is not a key of [server]");
}

#[test]
fn every_value_knows_where_it_came_from() {
    let place = Place::new(&provider(
        "issuer = 'env:ISSUER'\n[[providers]]\nname = 'google'\nclient_id = 'x'\n",
    ))
    .with("ISSUER", "https://id.example")
    .with("LATCHKEY_TOKENS__ID_TTL", "5m");
    let cases = [
        ("server.public_url", "\"https://auth.example.com\"", "./latchkey.toml line 2"),
        ("server.secret_key", "\"[redacted]\"", "./latchkey.toml line 3"),
        ("server.cors_origins", "[]", "default"),
        ("server.frontend_url", "null", "default"),
        ("tokens.access_ttl", "\"15m\"", "default"),
        ("tokens.id_ttl", "\"5m\"", "environment LATCHKEY_TOKENS__ID_TTL"),
        ("providers[0].issuer", "\"https://id.example\"", "./latchkey.toml line 7, env:ISSUER"),
        ("providers[0].display_name", "\"Work\"", "default"),
        ("providers[1].issuer", "\"https://accounts.google.com\"", "preset google"),
        ("rate_limits.public.burst", "6000", "default"),
    ];
    for (key, value, origin) in cases {
        assert_eq!(place.entry(key), (value.to_owned(), origin.to_owned()), "{key}");
    }
}

#[test]
fn references_are_followed_and_files_lose_one_line_end() {
    let place = Place::new(
        "[server]\npublic_url = 'env:URL'\nsecret_key = ['file:secrets/one', 'env:TWO']\n[avatars]\nstore = 'file:pictures'\n[store]\nurl = 'sqlite:data/db'\n[[providers]]\nname = 'github'\nclient_id = 'a'\nclient_secret = 'file:secrets/github'\n",
    )
    .with("URL", "https://auth.example.com")
    .with("TWO", OTHER_SECRET);
    place.write("secrets/one", &format!("{SECRET}\n"));
    place.write("secrets/github", " keeps spaces \r\n");
    place.mode("latchkey.toml", 0o644);
    let settings = place.loaded().settings;
    assert_eq!(settings.server.secret_key.len(), 2);
    assert_eq!(settings.providers[0].client_secret.as_ref().unwrap().expose(), " keeps spaces ");
    let AvatarStore::File(pictures) = settings.avatars.store else { panic!("a folder") };
    assert_eq!(pictures, place.folder.path().join("pictures"));
    let StoreUrl::Sqlite(database) = settings.store.url else { panic!("SQLite") };
    assert_eq!(database, place.folder.path().join("data/db"));
}

#[test]
fn an_address_of_postgresql_takes_all_that_the_store_takes() {
    for options in [
        "",
        "?sslmode=disable",
        "?sslmode=require",
        "?sslmode=verify-full",
        "?sslmode=verify-full&sslrootcert=/etc/ssl/database.pem&connect_timeout=4",
    ] {
        let url = format!("postgres://app:hunter2@db:5432,db2/auth{options}");
        let read = settings(&minimal(&format!("[store]\nurl = '{url}'"))).store.url;
        assert!(matches!(&read, StoreUrl::Postgres(read) if read.expose() == url), "{url}");
    }
    for wrong in ["?sslmode=verify-ca", "?sslmode=perhaps", "?nonsense=1"] {
        let url = format!("postgres://app:hunter2@db/auth{wrong}");
        let place = Place::new(&minimal(&format!("[store]\nurl = '{url}'")));
        let problem = &place.problems()[0];
        assert_eq!(problem.key, "store.url", "{wrong}");
        assert!(problem.remedy.as_ref().unwrap().contains("verify-full"), "{wrong}");
    }
}

#[test]
fn files_with_secrets_are_for_their_owner_alone() {
    let place = Place::new(&minimal(""));
    for mode in [0o640, 0o604, 0o620, 0o602] {
        place.mode("latchkey.toml", mode);
        assert_eq!(
            place.load().unwrap_err().to_string(),
            format!(
                "1 problem in ./latchkey.toml\n\n  file  ./latchkey.toml holds a secret and is open to others (mode {mode:o}); chmod 600 ./latchkey.toml\n"
            )
        );
    }
    place.mode("latchkey.toml", 0o400);
    assert!(place.load().is_ok());

    let place =
        Place::new("[server]\npublic_url = 'https://auth.example.com'\nsecret_key = 'file:secret'");
    place.write("secret", SECRET);
    place.mode("latchkey.toml", 0o644);
    place.mode("secret", 0o644);
    let problem = &place.problems()[0];
    assert_eq!((problem.line, problem.key.as_str()), (Some(3), "server.secret_key"));
    assert_eq!(problem.remedy.as_deref(), Some("chmod 600 secret"));
    // From another folder the remedy leads to the same file.
    let mut elsewhere = place.request();
    elsewhere.explicit = Some(place.folder.path().join("latchkey.toml"));
    elsewhere.working_directory = PathBuf::from("/nowhere");
    let problems = load(&elsewhere).expect_err("the secret is open").problems;
    let remedy = format!("chmod 600 {}", place.folder.path().join("secret").display());
    assert_eq!(problems[0].remedy.as_ref(), Some(&remedy));
    let place = place.with("LATCHKEY_ALLOW_OPEN_SECRETS", "1");
    let warning = "server.secret_key secret holds a secret and is open to others (mode 644)";
    assert_eq!(place.loaded().warnings, [warning]);
}

#[test]
fn a_link_to_an_open_secret_or_an_open_folder_is_refused() {
    let toml = "[server]\npublic_url = 'https://auth.example.com'\nsecret_key = 'file:keys/link'";
    let place = Place::new(toml);
    let target = place.write("target", SECRET);
    fs::create_dir(place.folder.path().join("keys")).unwrap();
    std::os::unix::fs::symlink(target, place.folder.path().join("keys/link")).unwrap();
    assert!(place.load().is_ok());
    place.mode("target", 0o644);
    assert_eq!(place.problems().len(), 1);
    place.mode("target", 0o600);
    place.mode("keys", 0o777);
    assert_eq!(place.problems()[0].remedy.as_deref(), Some("chmod o-w on the folder"));
    place.mode("keys", 0o1777);
    assert!(place.load().is_ok());
}

#[test]
fn what_systemd_hands_over_may_show_the_bits_of_an_access_list() {
    let toml =
        "[server]\npublic_url = 'https://auth.example.com'\nsecret_key = 'file:credentials/secret'";
    let place = Place::new(toml);
    fs::create_dir(place.folder.path().join("credentials")).unwrap();
    place.write("credentials/secret", SECRET);
    place.mode("credentials/secret", 0o440);
    assert_eq!(place.problems().len(), 1);
    let folder = place.folder.path().join("credentials").display().to_string();
    let place = place.with("CREDENTIALS_DIRECTORY", &folder);
    assert!(place.load().is_ok());
    for open in [0o444, 0o460] {
        place.mode("credentials/secret", open);
        assert_eq!(place.problems().len(), 1, "{open:o}");
    }
}

#[test]
fn key_files_must_be_private_and_able_to_sign() {
    let pem = |algorithm| {
        let der = key::generate(algorithm, 2048).unwrap();
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &*der);
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    };
    let place = Place::new(&minimal("[keys]\nalgorithm = 'EdDSA'\nfiles = ['a.pem']\n"));
    place.write("a.pem", &pem(Algorithm::EdDsa));
    assert_eq!(place.loaded().settings.keys.files, [place.folder.path().join("a.pem")]);
    place.mode("a.pem", 0o640);
    assert_eq!(place.problems()[0].key, "keys.files[0]");
    place.write("a.pem", &pem(Algorithm::ES256));
    let problem = &place.problems()[0];
    assert_eq!(problem.key, "keys.algorithm");
    assert_eq!(problem.remedy.as_deref(), Some("set it to \"ES256\""));
    place.write("latchkey.toml", &minimal("[keys]\nfiles = ['a.pem']\n"));
    let text = place.load().unwrap_err().to_string();
    assert!(text.contains("  default  keys.algorithm = \"RS256\"\n"), "{text}");
    place.write("a.pem", "no key");
    assert!(place.problems()[0].reason.starts_with("cannot sign: "));
}

#[test]
fn weak_server_secrets_are_refused_and_never_echoed() {
    for weak in ["change-me", "c2hvcnQ=", &"A".repeat(64)] {
        let toml = format!("[server]\npublic_url = 'https://a.example'\nsecret_key = '{weak}'");
        let problems = Place::new(&toml).load().unwrap_err();
        assert_eq!(problems.problems.len(), 1);
        assert_eq!(
            problems.problems[0].remedy.as_deref(),
            Some("make one with `openssl rand -base64 32`")
        );
        assert!(!problems.to_string().contains(weak) && !format!("{problems:?}").contains(weak));
    }
}

#[test]
fn no_secret_shows_in_settings_entries_or_problems() {
    let toml = minimal(
        "listen = 'wrong'\n[store]\nurl = 'postgres://app:hunter2@db:5432,db2/auth'\n[rate_limits]\nbackend = 'redis://:hunter2@cache'\n[avatars]\nstore = 's3://b/p'\naccess_key = 'hunter2'\nsecret_access_key = 'hunter2'\n[[providers]]\nname = 'google'\nclient_id = 'id'\nclient_secret = 'hunter2'\n",
    );
    let shown = |text: &str| text.contains("hunter2") || text.contains(SECRET);
    let refused = Place::new(&toml).load().unwrap_err();
    assert_eq!(refused.problems.len(), 2);
    let json = serde_json::to_string(&refused).unwrap();
    assert!(!shown(&refused.to_string()) && !shown(&format!("{refused:?}")) && !shown(&json));

    let toml = toml.replace("listen = 'wrong'\n", "").replace("redis://:hunter2@cache", "memory");
    let place = Place::new(&toml);
    let loaded = place.loaded();
    assert!(
        matches!(&loaded.settings.store.url, StoreUrl::Postgres(url) if url.expose().contains("hunter2"))
    );
    assert!(!shown(&format!("{loaded:?}")));
    assert_eq!(place.entry("store.url").0, "\"postgres://app:[redacted]@db:5432,db2/auth\"");
}

#[test]
fn a_database_address_that_cannot_be_read_does_not_show_its_password() {
    for url in [
        "postgres://app:hun/ter?2@",
        "postgres://app:hunter2",
        "postgres://app:hunter2/db",
        "mysql://app:hunter2@db/x",
    ] {
        let problems =
            Place::new(&minimal(&format!("[store]\nurl = '{url}'\n"))).load().unwrap_err();
        assert!(!problems.to_string().contains("hun"), "{problems}");
    }
}

#[test]
fn presets_are_chosen_by_name_whatever_is_overridden() {
    let settings = settings(&minimal(
        "[[providers]]\nname = 'github'\nclient_id = 'a'\ntoken_url = 'http://127.0.0.1:1/token'\n[[providers]]\nname = 'google'\nclient_id = 'b'\nissuer = 'http://localhost:2'\ntrust_email = false\n",
    ));
    let [github, google] = &settings.providers[..] else { panic!("two providers") };
    assert_eq!(github.display_name, "GitHub");
    assert_eq!(github.token_url.as_ref().unwrap().as_str(), "http://127.0.0.1:1/token");
    assert_eq!(
        github.auth_url.as_ref().unwrap().as_str(),
        "https://github.com/login/oauth/authorize"
    );
    assert_eq!(github.scopes, ["read:user", "user:email"]);
    assert_eq!(github.mapping.username.as_deref(), Some("login"));
    assert!(github.trust_email && !google.trust_email);
    assert_eq!(google.issuer.as_deref(), Some("http://localhost:2"));
    assert_eq!(google.scopes, ["openid", "profile", "email"]);
}

#[test]
fn scopes_open_claims_that_there_are() {
    let scope = |claims: &str| {
        minimal(&format!("[[scopes]]\nname = 'badge'\ndescription = 'a'\nclaims = [{claims}]\n"))
    };
    let opened = &settings(&scope("'name', 'email_verified'")).scopes[0].claims;
    assert_eq!(opened, &[Claim::Name, Claim::EmailVerified]);
    let text = Place::new(&scope("'name', 'emails'")).load().unwrap_err().to_string();
    assert!(text.contains("scopes[0].claims[1]") && text.contains("\"email\""), "{text}");
    for claim in Claim::ALL {
        assert!(text.contains(&format!("\"{}\"", claim.as_str())), "{text}");
        let line = EXAMPLE.lines().any(|line| line.contains(claim.as_str()));
        assert!(line, "the example names {}", claim.as_str());
    }
}

#[test]
fn every_duration_down_to_a_second_is_legal_and_zero_only_where_it_means_something() {
    let one = "[keys]\nrotation_period = '1s'\npublish_ahead = '1s'\n[tokens]\naccess_ttl = '1s'\nrefresh_ttl = '1s'\nsession_max_age = '1s'\ncode_ttl = '1s'\nsession_grace = '1s'\nretry_window = '1s'\nid_ttl = '1s'\n[audit]\nretention = '1s'\ncheckpoint_every = '1s'\n";
    assert_eq!(settings(&minimal(one)).tokens.code_ttl, Duration::from_secs(1));
    let zero = "[keys]\nrotation_period = 0\n[tokens]\nsession_grace = 0\nretry_window = '0'\n[usernames]\nchange_cooldown = '0s'\nhold = 0\n";
    let settings = settings(&minimal(zero));
    assert_eq!(settings.keys.rotation_period, None);
    assert_eq!(settings.tokens.retry_window, Duration::ZERO);
}

#[test]
fn a_cookie_domain_is_legal_but_warned_about() {
    let place = Place::new(&minimal("[cookies]\ndomain = '.example.com'\nsame_site = 'none'\n"));
    let loaded = place.loaded();
    assert_eq!(loaded.settings.cookies.domain.as_deref(), Some("example.com"));
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn a_network_is_the_same_however_it_is_written() {
    for (written, expected) in [
        ("10.1.2.3", "10.1.2.3/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::ffff:0.0.0.0/95"),
    ] {
        let settings = settings(&minimal(&format!("trusted_proxies = ['{written}']\n")));
        assert_eq!(settings.server.trusted_proxies, [expected.parse().unwrap()], "{written}");
    }
}

#[test]
fn to_believe_everybody_is_legal_but_warned_about() {
    for (written, warnings) in
        [("10.0.0.0/8", 0), ("0.0.0.0/0", 1), ("::ffff:0:0/96", 1), ("::/0", 1)]
    {
        let place = Place::new(&minimal(&format!("trusted_proxies = ['{written}']\n")));
        assert_eq!(place.loaded().warnings.len(), warnings, "{written}");
    }
}

#[test]
fn sign_up_can_be_limited_for_one_provider() {
    let settings = settings(&provider(
        "issuer = 'https://id.example'\nsignup = { mode = 'domains', allowed_domains = ['Example.COM'] }\n",
    ));
    let signup = settings.providers[0].signup.as_ref().unwrap();
    assert_eq!(signup.mode, SignupMode::Domains);
    assert_eq!(signup.allowed_domains, ["example.com"]);
    assert_eq!(settings.signup.mode, SignupMode::Open);
}

const EXAMPLE: &str = include_str!("../../config/latchkey.example.toml");

#[test]
fn the_example_parses_to_the_defaults() {
    let example = Place::new(EXAMPLE).with("LATCHKEY_SECRET", SECRET);
    example.mode("latchkey.toml", 0o644);
    let minimal = Place { folder: example.folder, environment: example.environment };
    let from_example = minimal.loaded().settings;
    minimal.write("latchkey.toml", self::minimal("").as_str());
    assert_eq!(format!("{from_example:#?}"), format!("{:#?}", minimal.loaded().settings));
}

#[test]
fn the_example_names_every_key() {
    let everything = provider(
        "issuer = 'https://id.example'\nsignup = {}\n[server.tls]\ncert = 'a'\nkey = 'a'\n[[scopes]]\nname = 'a'\ndescription = 'b'\n",
    );
    let place = Place::new(&everything);
    place.write("a", "");
    let lines: Vec<_> = EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).collect();
    for entry in place.loaded().entries {
        let path: Vec<_> =
            entry.key.split(['.', '[']).filter(|part| !part.ends_with(']')).collect();
        let key = *path.last().unwrap();
        let inline = |line: &&str| line.contains(&format!("{key} = "));
        let heading = |line: &&str| **line == format!("[{}]", path.join("."));
        assert!(
            lines.iter().any(|line| inline(line) || heading(line)),
            "{} is not in the example",
            entry.key
        );
    }
}

#[test]
fn the_examples_that_are_commented_out_are_valid_too() {
    let is_code = |line: &&str| {
        let code = line.trim_start_matches("# ");
        code.starts_with('[') && code.ends_with(']')
            || code.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let toml: String = EXAMPLE
        .lines()
        .filter(is_code)
        // S3, TLS and PostgreSQL only go with other values than the defaults.
        .filter(|line| {
            !["region", "endpoint", "allow_http", "access_key", "secret_access_key", "schema"]
                .iter()
                .any(|key| line.starts_with(&format!("# {key} = ")))
        })
        .map(|line| format!("{}\n", line.trim_start_matches("# ")))
        .collect();
    let place = Place::new(&toml)
        .with("LATCHKEY_SECRET", SECRET)
        .with("GOOGLE_CLIENT_ID", "a")
        .with("GOOGLE_CLIENT_SECRET", "b")
        .with("WORK_CLIENT_SECRET", "c");
    for file in ["tls/chain.pem", "tls/key.pem", "forge.secret"] {
        place.write(file, "x");
    }
    let settings = place.loaded().settings;
    assert_eq!(settings.providers.len(), 3);
    assert!(settings.server.tls.is_some());
}

#[test]
fn a_store_of_pictures_is_asked_without_tls_on_this_machine_alone_unless_that_is_allowed() {
    let avatars = |further: &str| {
        Place::new(&minimal(&format!("[avatars]\nstore = 's3://people'\n{further}\n")))
    };
    let endpoint = "endpoint = 'http://objects:8333'";
    let problems = avatars(endpoint).problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("is http"), "{}", problems[0].reason);
    avatars(&format!("{endpoint}\nallow_http = true")).loaded();
    let folder = Place::new(&minimal("[avatars]\nallow_http = true\n")).problems();
    assert_eq!(folder[0].reason, "is for S3, and avatars.store is a folder");
}
