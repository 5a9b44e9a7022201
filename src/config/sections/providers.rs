//! `[[providers]]`

use url::Url;

use super::{refuse_twins, signup};
use crate::config::problem::Refusal;
use crate::config::reader::Parsed;
use crate::config::section::Section;
use crate::config::settings::{Mapping, Provider, TokenEndpointAuthMethod};
use crate::config::source::{Provenance, Value};
use crate::config::values::{boolean, choice, endpoint, issuer, scope_token, secret, text};

/// What we know of a provider by its name; empty is "does not have one".
struct Preset {
    name: &'static str,
    display_name: &'static str,
    issuer: &'static str,
    auth_url: &'static str,
    token_url: &'static str,
    userinfo_url: &'static str,
    emails_url: &'static str,
    token_endpoint_auth_method: &'static str,
    scopes: &'static [&'static str],
    subject: &'static str,
    username: &'static str,
    full_name: &'static str,
    picture: &'static str,
}

const PRESETS: &[Preset] = &[
    Preset {
        name: "google",
        display_name: "Google",
        issuer: "https://accounts.google.com",
        auth_url: "",
        token_url: "",
        userinfo_url: "",
        emails_url: "",
        token_endpoint_auth_method: "",
        scopes: OPENID_SCOPES,
        subject: "",
        username: "",
        full_name: "",
        picture: "",
    },
    Preset {
        name: "github",
        display_name: "GitHub",
        issuer: "",
        auth_url: "https://github.com/login/oauth/authorize",
        token_url: "https://github.com/login/oauth/access_token",
        userinfo_url: "https://api.github.com/user",
        // As many as it tells at once: the primary one need not be among the first thirty.
        emails_url: "https://api.github.com/user/emails?per_page=100",
        // The one that GitHub documents.
        token_endpoint_auth_method: "client_secret_post",
        scopes: &["read:user", "user:email"],
        subject: "id",
        username: "login",
        full_name: "name",
        picture: "avatar_url",
    },
];

/// What an OpenID Connect provider is asked for unless it is said otherwise.
const OPENID_SCOPES: &[&str] = &["openid", "profile", "email"];

const AUTH_METHODS: &[(&str, TokenEndpointAuthMethod)] = &[
    ("client_secret_basic", TokenEndpointAuthMethod::ClientSecretBasic),
    ("client_secret_post", TokenEndpointAuthMethod::ClientSecretPost),
];

/// What stands below /auth in our own addresses, where the names of providers stand, too.
const OWN_WORDS: &[&str] = &[
    "device",
    "export",
    "form",
    "link",
    "logout",
    "logout-all",
    "me",
    "providers",
    "recover",
    "refresh",
    "resume",
    "sessions",
    "setup",
    "username-available",
    "verify",
];

pub(super) fn read(root: &mut Section<'_>) -> Vec<Provider> {
    let providers = root.sections("providers", provider);
    refuse_twins(root, "providers", providers.iter().map(|one| one.as_ref().map(|one| &*one.name)));
    providers.into_iter().flatten().collect()
}

fn provider(section: &mut Section<'_>) -> Option<Provider> {
    let name = section.required("name", "it stands in our addresses and chooses a preset", name);
    let preset = Known(PRESETS.iter().find(|preset| Some(preset.name) == name.as_deref()));
    let display_name = section.or_from(
        "display_name",
        preset.text(|preset| preset.display_name).unwrap_or_else(|| capitalized(name.as_deref())),
        preset.provenance(),
        text,
    );
    let client_id =
        section.required("client_id", "the provider gives one to each application", text);
    let client_secret = section.optional_secret("client_secret", secret);
    let means = Means::of(section, &preset);
    let issuer = preset.optional(section, "issuer", |preset| preset.issuer, issuer);
    let auth_url = preset.endpoint(section, "auth_url", |preset| preset.auth_url);
    let token_url = preset.endpoint(section, "token_url", |preset| preset.token_url);
    let userinfo_url = preset.endpoint(section, "userinfo_url", |preset| preset.userinfo_url);
    let emails_url = preset.endpoint(section, "emails_url", |preset| preset.emails_url);
    let token_endpoint_auth_method = preset.optional(
        section,
        "token_endpoint_auth_method",
        |preset| preset.token_endpoint_auth_method,
        choice(AUTH_METHODS),
    );
    let mapping = section.section("mapping", |section| mapping(section, &preset, means));
    means.refuse_gaps(section);
    let scopes = scopes(section, &preset, means);
    let trust_email =
        section.or_from("trust_email", preset.0.is_some().into(), preset.provenance(), boolean);
    let allow_private = section.or("allow_private", false, boolean);
    let signup = section.optional_section("signup", signup);
    Some(Provider {
        name: name?,
        display_name: display_name?,
        client_id: client_id?,
        client_secret,
        issuer,
        auth_url,
        token_url,
        userinfo_url,
        emails_url,
        mapping,
        token_endpoint_auth_method,
        scopes,
        trust_email: trust_email?,
        allow_private,
        signup,
    })
}

fn name(value: &Value) -> Parsed<String> {
    let name = text(value)?;
    let is_name = name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|character| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        });
    if !is_name {
        return Err(Refusal::new(
            "is not up to 32 small letters, digits and -, beginning with a letter",
        ));
    }
    if OWN_WORDS.contains(&name.as_str()) {
        return Err(Refusal::new(format!("is taken: /auth/{name} is an address of ours"))
            .remedy("choose another"));
    }
    Ok(name)
}

fn capitalized(name: Option<&str>) -> Value {
    let mut letters = name.unwrap_or("provider").chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    Value::Text(first.into_iter().chain(letters).collect())
}

/// The preset of a provider, if it has one.
struct Known(Option<&'static Preset>);

impl Known {
    fn provenance(&self) -> Provenance {
        self.0.map_or(Provenance::Default, |preset| Provenance::Preset(preset.name))
    }

    fn text(&self, field: impl Fn(&Preset) -> &'static str) -> Option<Value> {
        self.0.map(field).filter(|text| !text.is_empty()).map(Value::from)
    }

    fn optional<T>(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        field: impl Fn(&Preset) -> &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        match self.text(field) {
            Some(default) => section.or_from(key, default, self.provenance(), parse),
            None => section.optional(key, parse),
        }
    }

    fn endpoint(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        field: impl Fn(&Preset) -> &'static str,
    ) -> Option<Url> {
        self.optional(section, key, field, endpoint)
    }
}

/// What a provider is reached by, judged by which keys are given, right or wrong.
#[derive(Clone, Copy)]
enum Means {
    /// OpenID Connect: everything follows from the issuer.
    Issuer,
    /// OAuth 2: whether each of `auth_url`, `token_url`, `userinfo_url` is there.
    Endpoints([bool; 3]),
}

impl Means {
    const ENDPOINTS: [&str; 3] = ["auth_url", "token_url", "userinfo_url"];

    fn of(section: &Section<'_>, preset: &Known) -> Self {
        if section.has("issuer") || preset.text(|preset| preset.issuer).is_some() {
            return Self::Issuer;
        }
        let is_known = preset.text(|preset| preset.auth_url).is_some();
        Self::Endpoints(Self::ENDPOINTS.map(|key| is_known || section.has(key)))
    }

    fn refuse_gaps(self, section: &mut Section<'_>) {
        let Self::Endpoints(there) = self else { return };
        if there == [false; 3] {
            section.refuse_missing(
                "issuer",
                "or auth_url, token_url and userinfo_url for OAuth 2, or the name of a preset (google, github)",
            );
            return;
        }
        for (key, is_there) in Self::ENDPOINTS.into_iter().zip(there) {
            if !is_there {
                section.refuse_missing(key, "without an issuer all three endpoints are needed");
            }
        }
    }
}

fn mapping(section: &mut Section<'_>, preset: &Known, means: Means) -> Mapping {
    let is_plain_oauth = matches!(means, Means::Endpoints(there) if there != [false; 3]);
    if is_plain_oauth && preset.0.is_none() && !section.has("subject") {
        section
            .refuse_missing("subject", "name the field of the userinfo answer with the stable id");
    }
    if matches!(means, Means::Issuer) && section.has("subject") {
        section.refuse(
            "subject",
            Refusal::new("cannot be chosen: an OpenID Connect provider names people by sub")
                .remedy("leave it out"),
        );
    }
    Mapping {
        subject: preset.optional(section, "subject", |preset| preset.subject, text),
        username: preset.optional(section, "username", |preset| preset.username, text),
        name: preset.optional(section, "name", |preset| preset.full_name, text),
        email: section.optional("email", text),
        email_verified: section.optional("email_verified", text),
        picture: preset.optional(section, "picture", |preset| preset.picture, text),
    }
}

fn scopes(section: &mut Section<'_>, preset: &Known, means: Means) -> Vec<String> {
    let default = match (preset.0, means) {
        (Some(preset), _) => preset.scopes,
        (None, Means::Issuer) => OPENID_SCOPES,
        (None, Means::Endpoints(_)) => &[],
    };
    let is_set = section.has("scopes");
    let scopes = section.list_or("scopes", default, preset.provenance(), scope_token);
    let is_openid = scopes.iter().any(|scope| scope == "openid");
    if is_set && matches!(means, Means::Issuer) && !is_openid {
        section.refuse(
            "scopes",
            Refusal::new("lacks \"openid\", without which an OpenID Connect provider names nobody")
                .remedy("add it"),
        );
    }
    scopes
}
