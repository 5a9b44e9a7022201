//! The sections: one function each, which names every key with its default and its kind. The order
//! is that of `config/latchkey.example.toml`.

mod avatars;
mod keys;
mod providers;
mod server;
mod store;

use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::problem::{Refusal, nearest};
use super::reader::Parsed;
use super::section::Section;
use super::settings::{
    Audit, BootstrapAdmin, Branding, Cookies, LogFormat, Origin, RateLimitBackend, RateLimits,
    SameSite, Scope, Server, Settings, Signup, SignupMode, Telemetry, Tier, Tokens, Usernames,
};
use super::source::Value;
use super::values::{
    boolean, choice, collector, domain, duration, integer, network, scope_token, socket, text,
    text_where,
};
use crate::protocol::claims::Claim;
use crate::protocol::display_name::is_hidden;
use crate::protocol::scope;
use crate::protocol::username::DEFAULT_PATTERN;
use crate::routes::dev::idp;

const SECOND: Duration = Duration::from_secs(1);

/// Reads everything; `None` if something without a default is missing or wrong. All of it is read
/// in any case, so that every problem is found.
pub(super) fn read(root: &mut Section<'_>) -> Option<Settings> {
    let server = root.section("server", server::read);
    let store = root.section("store", store::read);
    let keys = root.section("keys", keys::read);
    let tokens = root.section("tokens", tokens);
    let signup = root.section("signup", signup);
    let branding = root.section("branding", branding);
    let scopes = scopes(root);
    let audit = root.section("audit", audit);
    let cookies = root.section("cookies", |section| cookies(section, server.as_ref()));
    let providers = providers::read(root);
    let usernames = root.section("usernames", usernames);
    let avatars = root.section("avatars", avatars::read);
    let rate_limits = root.section("rate_limits", rate_limits);
    let telemetry = root.section("telemetry", |section| telemetry(section, server.as_ref()));
    let names: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
    let bootstrap_admin =
        root.reader().variable(BOOTSTRAP_VARIABLE, |text| bootstrap_admin(text, &names));
    Some(Settings {
        server: server?,
        store,
        keys,
        tokens,
        signup,
        branding,
        scopes,
        audit,
        cookies,
        providers,
        usernames,
        avatars,
        rate_limits,
        telemetry,
        bootstrap_admin,
    })
}

/// Names the first admin. It is for one start and no key: a file that keeps it would make an admin of whoever
/// has that identity after the last admin has gone.
const BOOTSTRAP_VARIABLE: &str = "LATCHKEY_BOOTSTRAP_ADMIN";

fn bootstrap_admin(text: &str, providers: &[&str]) -> Parsed<BootstrapAdmin> {
    let example = "write it as google:108204268033311374519, with the id that the provider has for the person";
    let parts = text.split_once(':').filter(|(name, id)| !name.is_empty() && !id.is_empty());
    let (provider, subject) =
        parts.ok_or_else(|| Refusal::new("is not PROVIDER:SUBJECT").remedy(example))?;
    // The development provider is there in `latchkey dev` alone, whatever the configuration says.
    if !providers.contains(&provider) && provider != idp::PROVIDER_NAME {
        let nearest = nearest(provider, providers.iter().copied());
        return Err(Refusal::new(format!(
            "names {provider}, which is no provider of the configuration"
        ))
        .did_you_mean(nearest.map(|name| format!("{name}:{subject}"))));
    }
    Ok(BootstrapAdmin { provider: provider.to_owned(), subject: subject.to_owned() })
}

fn tokens(section: &mut Section<'_>) -> Tokens {
    Tokens {
        access_ttl: section.or("access_ttl", "15m", duration(SECOND)),
        refresh_ttl: section.or("refresh_ttl", "30d", duration(SECOND)),
        session_max_age: section.or("session_max_age", "180d", duration(SECOND)),
        code_ttl: section.or("code_ttl", "60s", duration(SECOND)),
        session_grace: section.or("session_grace", "60s", duration(Duration::ZERO)),
        retry_window: section.or("retry_window", "24h", duration(Duration::ZERO)),
        id_ttl: section.or("id_ttl", "15m", duration(SECOND)),
    }
}

/// Also the rules of one provider.
fn signup(section: &mut Section<'_>) -> Signup {
    const MODES: &[(&str, SignupMode)] = &[
        ("open", SignupMode::Open),
        ("domains", SignupMode::Domains),
        ("closed", SignupMode::Closed),
    ];
    let mode = section.or("mode", "open", choice(MODES));
    let names_domains = section.has("allowed_domains");
    let allowed_domains = section.list("allowed_domains", domain);
    if mode == SignupMode::Domains && allowed_domains.is_empty() {
        section.refuse("mode", Refusal::new("lets nobody in").remedy("list allowed_domains"));
    }
    // Somebody who lists domains believes that others are kept out.
    if mode == SignupMode::Open && names_domains && !allowed_domains.is_empty() {
        section.refuse(
            "allowed_domains[0]",
            Refusal::new("restricts nothing while mode is \"open\"")
                .remedy("set mode = \"domains\""),
        );
    }
    Signup { mode, allowed_domains }
}

fn branding(section: &mut Section<'_>) -> Branding {
    let is_logo = |text: &str| {
        text.starts_with("https://") || (text.starts_with('/') && !text.starts_with("//"))
    };
    let is_colour = |text: &str| {
        text.len() == 7
            && text.starts_with('#')
            && text[1..].chars().all(|digit| digit.is_ascii_hexdigit())
    };
    Branding {
        name: section.or("name", "Latchkey", text),
        logo: section.optional(
            "logo",
            text_where(is_logo, "is neither an https address nor a path that begins with /"),
        ),
        accent: section.optional("accent", text_where(is_colour, "is not a colour as \"#2f6fed\"")),
    }
}

fn scopes(root: &mut Section<'_>) -> Vec<Scope> {
    let scopes = root.sections("scopes", |section| {
        let name = section.required("name", "name the scope", scope_name);
        if name.as_deref().is_some_and(|name| scope::OF_PEOPLE.contains(&name)) {
            section.refuse("name", Refusal::new("is a scope that is there already"));
        }
        let description =
            section.required("description", "say what the consent page is to show", description);
        let claims =
            section.list("claims", choice(Claim::ALL.map(|claim| (claim.as_str(), claim))));
        Some(Scope { name: name?, description: description?, claims })
    });
    refuse_twins(
        root,
        "scopes",
        scopes.iter().map(|scope| scope.as_ref().map(|scope| &*scope.name)),
    );
    scopes.into_iter().flatten().collect()
}

/// A name that requests can hold.
fn scope_name(value: &Value) -> Parsed<String> {
    let name = scope_token(value)?;
    match scope::Scope::parse(&name) {
        Some(_) => Ok(name),
        None => Err(Refusal::new("is longer than any request can name it")
            .remedy("a scope has at most 128 characters")),
    }
}

/// A line that the consent page shows.
fn description(value: &Value) -> Parsed<String> {
    const LONGEST: usize = 200;
    let is_line = |text: &str| {
        !text.trim().is_empty() && text.chars().count() <= LONGEST && !text.chars().any(is_hidden)
    };
    text_where(is_line, "is not one line of at most 200 characters that can be seen")(value)
}

/// Refuses the elements of a list whose name an earlier one has.
fn refuse_twins<'a>(
    root: &mut Section<'_>,
    list: &str,
    names: impl Iterator<Item = Option<&'a str>>,
) {
    let mut seen = std::collections::BTreeMap::new();
    for (index, name) in names.enumerate() {
        let Some(name) = name else { continue };
        if let Some(first) = seen.get(name) {
            let refusal = Refusal::new(format!("is the name of {list}[{first}], too"));
            root.refuse(&format!("{list}[{index}].name"), refusal.remedy("choose another"));
        } else {
            seen.insert(name, index);
        }
    }
}

fn audit(section: &mut Section<'_>) -> Audit {
    Audit {
        retention: section.or("retention", "400d", duration(SECOND)),
        checkpoint_every: section.or("checkpoint_every", "1h", duration(SECOND)),
        log: section.or("log", false, boolean),
    }
}

fn cookies(section: &mut Section<'_>, server: Option<&Server>) -> Cookies {
    const SAME_SITE: &[(&str, SameSite)] = &[("lax", SameSite::Lax), ("none", SameSite::None)];
    let is_prefix = |text: &str| {
        text.len() <= 32
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
    };
    let cookies = Cookies {
        domain: section.optional("domain", domain),
        prefix: section.or(
            "prefix",
            "auth",
            text_where(
                is_prefix,
                "is not up to 32 letters, digits, _ and -, a letter or digit first",
            ),
        ),
        same_site: section.or("same_site", "lax", choice(SAME_SITE)),
    };
    if let Some(server) = server {
        check_cookies(section, &cookies, &server.public_url);
    }
    cookies
}

fn check_cookies(section: &mut Section<'_>, cookies: &Cookies, public_url: &Origin) {
    if cookies.same_site == SameSite::None && !public_url.is_https() {
        section.refuse(
            "same_site",
            Refusal::new(format!(
                "is refused by browsers without https, and server.public_url is {public_url}"
            ))
            .remedy("use \"lax\""),
        );
    }
    let Some(domain) = &cookies.domain else { return };
    let url = url::Url::parse(public_url.as_str()).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let is_covered =
        host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if !is_covered {
        section.refuse(
            "domain",
            Refusal::new(format!("does not cover {host}, the host of server.public_url")),
        );
    } else if !domain.contains('.') && host != domain {
        section.refuse(
            "domain",
            Refusal::new("is a top-level domain: browsers refuse such cookies")
                .did_you_mean(Some(format!("\"{host}\""))),
        );
    } else {
        section.reader().warn(format!(
            "cookies.domain = \"{domain}\" shows the session cookies to every host below {domain}"
        ));
    }
}

fn usernames(section: &mut Section<'_>) -> Usernames {
    /// No longer: names stand in tokens, cookies and pages.
    const LONGEST: i64 = 64;
    let usernames = Usernames {
        min_length: section.or("min_length", 3, integer(1..=LONGEST)),
        max_length: section.or("max_length", 24, integer(1..=LONGEST)),
        pattern: section.or("pattern", DEFAULT_PATTERN, pattern),
        allow_changes: section.or("allow_changes", true, boolean),
        change_cooldown: section.or("change_cooldown", "30d", duration(Duration::ZERO)),
        hold: section.or("hold", "90d", duration(Duration::ZERO)),
        reserved: section.list("reserved", text),
    };
    if usernames.min_length > usernames.max_length {
        section.refuse(
            "min_length",
            Refusal::new(format!("is above max_length, {}", usernames.max_length)),
        );
    }
    usernames
}

/// A pattern whose matching takes linear time, and little memory.
fn pattern(value: &Value) -> Parsed<Regex> {
    const MOST_BYTES: usize = 1 << 20;
    let text = text(value)?;
    RegexBuilder::new(&text).size_limit(MOST_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            Refusal::new("is too large a pattern: compiled, it takes more than 1 MiB")
                .remedy("repeat less, or over fewer characters")
        }
        // The last line says what is wrong; those above it draw the place.
        error => {
            let message = error.to_string();
            let cause = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Refusal::new(format!("is not a regular expression: {cause}"))
        }
    })
}

fn rate_limits(section: &mut Section<'_>) -> RateLimits {
    RateLimits {
        backend: section.or("backend", "memory", backend),
        login: section.section("login", |section| tier(section, 60)),
        token: section.section("token", |section| tier(section, 600)),
        api: section.section("api", |section| tier(section, 600)),
        public: section.section("public", |section| tier(section, 6_000)),
        exempt: section.list("exempt", network),
    }
}

fn backend(value: &Value) -> Parsed<RateLimitBackend> {
    match text(value)?.as_str() {
        "memory" => Ok(RateLimitBackend::Memory),
        redis if redis.starts_with("redis://") || redis.starts_with("rediss://") => {
            Err(Refusal::new("comes later: this version keeps limits in each process")
                .remedy("use \"memory\""))
        }
        _ => Err(Refusal::new("is not a place for rate limits").remedy("use \"memory\"")),
    }
}

fn tier(section: &mut Section<'_>, burst: i64) -> Tier {
    Tier {
        per: section.or("per", "1m", duration(SECOND)),
        burst: section.or("burst", burst, integer(1..=1_000_000_000)),
    }
}

fn telemetry(section: &mut Section<'_>, server: Option<&Server>) -> Telemetry {
    const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let telemetry = Telemetry {
        log_format: section.or("log_format", "text", choice(FORMATS)),
        log_level: section.or("log_level", "info", log_level),
        metrics_listen: section.optional("metrics_listen", socket),
        otlp_endpoint: section.optional("otlp_endpoint", collector),
        otlp_sample_percent: section.or("otlp_sample_percent", 100, integer(0..=100)),
    };
    let listen = server.map(|server| server.listen);
    // Port 0 is another port each time.
    if telemetry
        .metrics_listen
        .is_some_and(|address| Some(address) == listen && address.port() != 0)
    {
        section.refuse(
            "metrics_listen",
            Refusal::new("is server.listen, too").remedy("choose another port, or leave it out"),
        );
    }
    telemetry
}

/// A level, or a filter of them. A word that is no level would be taken for the name of a target
/// and turn on everything of it, so a target must say its level.
fn log_level(value: &Value) -> Parsed<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text(value)?;
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            return Err(Refusal::new(format!(
                "names a level {level:?}, which is none of {}",
                LEVELS.join(", ")
            ))
            .did_you_mean(nearest(&level.to_lowercase(), LEVELS)));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Refusal::new(format!("is not a log filter: {error}"))
            .remedy("write it as \"info\" or \"info,latchkey=debug\"")),
    }
}
