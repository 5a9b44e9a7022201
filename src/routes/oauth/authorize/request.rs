//! An authorization request, read in two steps: whom an answer may be sent to, then what is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use url::form_urlencoded::Serializer;

use super::judge::Wishes;
use crate::actors::clients::FindClient;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::protocol::authorization_code::fingerprint;
use crate::protocol::client::GrantType;
use crate::protocol::redirect_uri;
use crate::protocol::scope::{OF_PEOPLE, OFFLINE_ACCESS, Scope};
use crate::routes::oauth::error::{OAuthCode, Refusal};
use crate::routes::oauth::id_token::read_hint;
use crate::routes::pages::places::with_query;
use crate::routes::parameters::decode;
use crate::store::model::Client;

/// The endpoint's path.
pub const PATH: &str = "/oauth/authorize";

/// Our own parameter: the sealed way to the sign-in page that the person comes back from.
pub const REAUTHENTICATED: &str = "reauthenticated";

/// Our own parameter: a resume was asked for.
pub const RESUMED: &str = "resumed";

/// Longest request, in bytes of its query as we write it: sealed into a cookie along a sign-in, it stays
/// below what browsers keep.
pub const LONGEST: usize = 2_500;

/// Longest `state`, in bytes.
const LONGEST_STATE: usize = 1_500;

/// Most parameters that are looked at.
const MOST_PARAMETERS: usize = 100;

/// The parameters of a request as they came, repeated or not.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    /// The request in one form, however it was written: without our own parameters.
    text: String,
    /// A name or value is not percent-encoded UTF-8.
    is_garbled: bool,
    /// Not all of it was read.
    is_too_long: bool,
    /// The value of [`REAUTHENTICATED`].
    pub reauthenticated: Option<String>,
    /// Whether [`RESUMED`] is there.
    pub was_resumed: bool,
}

/// Why a parameter has no value.
enum Absent {
    Missing,
    Repeated,
}

impl Query {
    /// Reads a query, or a form, or both with `&` between them.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut written = text.split('&').filter(|pair| !pair.is_empty());
        for pair in written.by_ref().take(MOST_PARAMETERS) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Ok(name), Ok(value)) = (decode(name), decode(value)) else {
                query.is_garbled = true;
                continue;
            };
            match name.as_str() {
                REAUTHENTICATED => query.reauthenticated = Some(value),
                RESUMED => query.was_resumed = true,
                _ => query.pairs.push((name, value)),
            }
        }
        let mut serializer = Serializer::new(String::new());
        query.text = serializer.extend_pairs(&query.pairs).finish();
        query.is_too_long = written.next().is_some() || query.text.len() > LONGEST;
        query
    }

    /// The address of the same request, without our own parameters.
    pub fn address(&self) -> String {
        format!("{PATH}?{}", self.text)
    }

    /// The address of the same request with one of our own parameters.
    pub fn address_with(&self, name: &str, value: &str) -> String {
        with_query(&format!("{}&", self.address()), &[(name, value)]).replacen("&?", "&", 1)
    }

    /// The request as text, to be parsed again.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A short stand-in for the request.
    pub fn fingerprint(&self) -> String {
        // Half of it is as hard to meet by chance as any key of ours.
        fingerprint(&self.text)[..22].to_owned()
    }

    /// Whether it can be sent on as an address without losing anything.
    pub fn can_be_sent_on(&self) -> bool {
        !self.is_garbled && !self.is_too_long
    }

    /// The value of a parameter that is there once; an empty one counts as absent (RFC 6749 §3.1).
    fn once(&self, name: &str) -> Result<&str, Absent> {
        let mut values = self.pairs.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Absent::Repeated),
            (Some((_, value)), None) if !value.is_empty() => Ok(value),
            _ => Err(Absent::Missing),
        }
    }

    /// The value of a parameter, if it is there once.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.once(name).ok()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.pairs.iter().filter(move |(known, _)| known == name);
        values.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a parameter other than `resource` is there twice (RFC 8707 §2 lets that one).
    fn repeats(&self) -> bool {
        let mut names = BTreeSet::new();
        let mut named = self.pairs.iter().map(|(name, _)| name).filter(|name| *name != "resource");
        !named.all(|name| names.insert(name))
    }
}

/// Whom the answer goes to, once that is certain.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// The client.
    pub client: Arc<Client>,
    /// Where it wants the answer: registered.
    pub redirect_uri: String,
    /// What it wants to find there again.
    pub state: Option<String>,
    /// Whether the answer is posted (OAuth 2.0 Form Post Response Mode).
    pub by_form: bool,
}

/// Finds out whom an answer may be sent to.
///
/// # Errors
/// `invalid_request`: nobody is told but the person who looks. 503 if the store cannot be asked.
pub async fn addressee(query: &Query, app: &App) -> Result<Addressee, ApiError> {
    let id = named(query, "client_id")?;
    let redirect_uri = named(query, "redirect_uri")?;
    let client = app.clients.ask(FindClient(id.to_owned())).await??.ok_or_else(|| {
        stranded("This server does not know the app that sent you here, so it sends you nowhere.")
    })?;
    if !redirect_uri::is_registered(redirect_uri, &client.metadata.redirect_uris) {
        return Err(stranded(
            "The address that you would be sent back to is not one of the app's, so you are not sent there.",
        ));
    }
    Ok(Addressee {
        client,
        redirect_uri: redirect_uri.to_owned(),
        state: query.get("state").map(str::to_owned),
        by_form: query.get("response_mode") == Some("form_post"),
    })
}

fn named<'a>(query: &'a Query, name: &'static str) -> Result<&'a str, ApiError> {
    query.once(name).map_err(|absent| {
        let error = match absent {
            Absent::Repeated => stranded(format!("The app that sent you here names {name} twice.")),
            Absent::Missing => {
                stranded(format!("The app that sent you here does not name its {name}."))
            }
        };
        error.field(name)
    })
}

fn stranded(what: impl Into<String>) -> ApiError {
    let advice = "Go back to the app and start again, or tell the people who make it.";
    ApiError::new(ErrorCode::InvalidRequest, format!("{} {advice}", what.into()))
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    /// What it may see and do.
    pub scope: Scope,
    /// At which resources (RFC 8707).
    pub resource: Vec<String>,
    /// For the ID token.
    pub nonce: Option<String>,
    /// The PKCE S256 challenge (RFC 7636 §4.2).
    pub code_challenge: Option<String>,
    /// What the sign-in is to be like.
    pub wishes: Wishes,
    /// Who probably signs in.
    pub login_hint: Option<String>,
}

type Checked<T> = Result<T, Refusal>;

fn refused<T>(
    code: OAuthCode,
    description: impl Into<std::borrow::Cow<'static, str>>,
) -> Checked<T> {
    Err(Refusal::new(code, description))
}

/// Parameters of OpenID Connect that would change the request and are not supported, each with its code.
const UNSUPPORTED: [(&str, OAuthCode); 3] = [
    ("request", OAuthCode::RequestNotSupported),
    ("request_uri", OAuthCode::RequestUriNotSupported),
    ("registration", OAuthCode::RegistrationNotSupported),
];

impl AuthorizationRequest {
    /// Reads and checks everything that the addressee may be told about.
    ///
    /// # Errors
    /// A [`Refusal`] for the client (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
    pub fn parse(query: &Query, client: &Client, app: &App) -> Checked<Self> {
        check_form(query)?;
        if !client.metadata.may_use(GrantType::AuthorizationCode) {
            let description = "The client is not registered for authorization_code.";
            return refused(OAuthCode::UnauthorizedClient, description);
        }
        let issuer = app.settings.server.public_url.as_str();
        let mut wishes = wishes(query)?;
        wishes.person = person_hinted(query, client, app)?;
        Ok(Self {
            scope: scope(query, client, app)?,
            resource: resource(query, client, issuer)?,
            nonce: query.get("nonce").map(str::to_owned),
            code_challenge: code_challenge(query, client)?,
            wishes,
            login_hint: query.get("login_hint").map(str::to_owned),
        })
    }

    /// The resources, separated by spaces.
    pub fn resource_text(&self) -> String {
        self.resource.join(" ")
    }
}

/// What can be said without knowing the client.
fn check_form(query: &Query) -> Checked<()> {
    if query.is_too_long {
        let description = format!("The request is longer than {LONGEST} bytes.");
        return refused(OAuthCode::InvalidRequest, description);
    }
    if query.is_garbled {
        let description = "Parameters are percent-encoded UTF-8 without NUL.";
        return refused(OAuthCode::InvalidRequest, description);
    }
    if query.repeats() {
        return refused(OAuthCode::InvalidRequest, "A parameter is there more than once.");
    }
    if query.get("state").is_some_and(|state| state.len() > LONGEST_STATE) {
        let description = format!("state is longer than {LONGEST_STATE} bytes.");
        return refused(OAuthCode::InvalidRequest, description);
    }
    if let Some((name, code)) = UNSUPPORTED.into_iter().find(|(name, _)| query.get(name).is_some())
    {
        return refused(code, format!("{name} is not supported."));
    }
    match query.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return refused(OAuthCode::UnsupportedResponseType, "response_type must be code.");
        }
        None => return refused(OAuthCode::InvalidRequest, "response_type is missing."),
    }
    match query.get("response_mode") {
        None | Some("query" | "form_post") => Ok(()),
        Some(_) => refused(OAuthCode::InvalidRequest, "response_mode must be query or form_post."),
    }
}

/// RFC 6749 §3.3.
fn scope(query: &Query, client: &Client, app: &App) -> Checked<Scope> {
    let registered = Scope::parse(&client.metadata.scope).unwrap_or_default();
    let is_known = |word: &str| {
        OF_PEOPLE.contains(&word) || app.settings.scopes.iter().any(|scope| scope.name == word)
    };
    let Some(asked) = query.get("scope") else {
        let usual = registered.filtered(|word| is_known(word) && word != OFFLINE_ACCESS);
        return match usual.is_empty() {
            true => refused(OAuthCode::InvalidScope, "scope is missing."),
            false => Ok(usual),
        };
    };
    let Some(asked) = Scope::parse(asked).filter(|asked| !asked.is_empty()) else {
        let description = "scope holds illegal characters, or too many words.";
        return refused(OAuthCode::InvalidScope, description);
    };
    if !asked.is_within(&registered) || !asked.words().all(is_known) {
        let description = "scope holds words that the client is not registered for.";
        return refused(OAuthCode::InvalidScope, description);
    }
    Ok(asked)
}

/// RFC 8707 §2.
fn resource(query: &Query, client: &Client, issuer: &str) -> Checked<Vec<String>> {
    let mut resources: Vec<String> = Vec::new();
    for resource in query.all("resource") {
        let is_absolute = url::Url::parse(resource).is_ok() && !resource.contains('#');
        if !is_absolute {
            let description = "resource must be an absolute URI without a fragment.";
            return refused(OAuthCode::InvalidTarget, description);
        }
        if resource.trim_end_matches('/') == issuer {
            let description = "resource must not be this server itself.";
            return refused(OAuthCode::InvalidTarget, description);
        }
        if !client.metadata.resources.iter().any(|known| known == resource) {
            let description = "The client is not registered for this resource.";
            return refused(OAuthCode::InvalidTarget, description);
        }
        if !resources.iter().any(|known| known == resource) {
            resources.push(resource.to_owned());
        }
    }
    Ok(resources)
}

/// RFC 7636 §4.3, with S256 alone.
fn code_challenge(query: &Query, client: &Client) -> Checked<Option<String>> {
    let metadata = &client.metadata;
    let method = query.get("code_challenge_method");
    let Some(challenge) = query.get("code_challenge") else {
        if method.is_some() || metadata.require_pkce || metadata.is_public() {
            return refused(
                OAuthCode::InvalidRequest,
                "code_challenge is missing: this client has to use PKCE with S256.",
            );
        }
        return Ok(None);
    };
    if method != Some("S256") {
        return refused(OAuthCode::InvalidRequest, "code_challenge_method must be S256.");
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(is_legal) {
        let description = "code_challenge must be 43 characters of base64url.";
        return refused(OAuthCode::InvalidRequest, description);
    }
    Ok(Some(challenge.to_owned()))
}

/// `prompt` and `max_age` (OpenID Connect Core §3.1.2.1).
fn wishes(query: &Query) -> Checked<Wishes> {
    let mut wishes = Wishes::default();
    let words: Vec<&str> = query
        .get("prompt")
        .map(|prompt| prompt.split(' ').filter(|word| !word.is_empty()).collect())
        .unwrap_or_default();
    for word in &words {
        match *word {
            "none" => wishes.silent = true,
            "login" => wishes.login = true,
            "select_account" => wishes.select_account = true,
            "consent" => wishes.consent = true,
            _ => {
                let description = "prompt must be none, login, consent or select_account.";
                return refused(OAuthCode::InvalidRequest, description);
            }
        }
    }
    if wishes.silent && words.iter().any(|word| *word != "none") {
        return refused(OAuthCode::InvalidRequest, "prompt none stands alone.");
    }
    if let Some(max_age) = query.get("max_age") {
        let seconds = max_age.bytes().all(|byte| byte.is_ascii_digit()).then(|| max_age.parse());
        let Some(Ok(seconds)) = seconds else {
            return refused(OAuthCode::InvalidRequest, "max_age must be a number of seconds.");
        };
        wishes.max_age = Some(seconds);
    }
    Ok(wishes)
}

/// Whom `id_token_hint` names.
fn person_hinted(query: &Query, client: &Client, app: &App) -> Checked<Option<String>> {
    let Some(hint) = query.get("id_token_hint") else { return Ok(None) };
    match read_hint(app, hint) {
        Ok(claims) if claims.aud == client.client_id => Ok(Some(claims.sub)),
        _ => {
            let description = "id_token_hint is no ID token that this server issued to the client.";
            refused(OAuthCode::InvalidRequest, description)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_form_however_it_is_written() {
        let plain = Query::parse("client_id=a&scope=openid%20email&state=%7e%26&&empty");
        assert_eq!(
            plain.address(),
            "/oauth/authorize?client_id=a&scope=openid+email&state=%7E%26&empty="
        );
        let same = Query::parse("client_id=%61&scope=openid+email&state=~%26&empty=&resumed=1");
        assert_eq!((same.address(), same.was_resumed), (plain.address(), true));
        assert_eq!(same.fingerprint(), plain.fingerprint());
        let other = Query::parse("client_id=a&scope=openid+email&state=~&empty=");
        assert_ne!(other.fingerprint(), plain.fingerprint());
    }

    #[test]
    fn our_own_parameters_are_taken_off_and_put_on() {
        let query = Query::parse("client_id=a&reauthenticated=old");
        assert_eq!(query.reauthenticated.as_deref(), Some("old"));
        assert_eq!(query.address_with("resumed", "1"), "/oauth/authorize?client_id=a&resumed=1");
    }

    #[test]
    fn only_resources_may_be_repeated() {
        assert!(!Query::parse("a=1&resource=x&resource=y").repeats());
        for repeated in ["a=1&a=1", "a=1&%61=2", "a=&a=1"] {
            assert!(Query::parse(repeated).repeats(), "{repeated}");
        }
        assert!(matches!(Query::parse("a=&a=1").once("a"), Err(Absent::Repeated)));
    }

    #[test]
    fn what_cannot_be_read_or_kept_is_not_sent_on() {
        assert!(Query::parse("a=1").can_be_sent_on());
        for bad in ["a=%ff", "a=%00", &format!("a={}", "b".repeat(LONGEST)), &"a=1&".repeat(101)] {
            assert!(!Query::parse(bad).can_be_sent_on(), "{bad:?}");
        }
        assert!(Query::parse(&format!("a={}", "b".repeat(LONGEST - 2))).can_be_sent_on());
    }

    #[test]
    fn prompts_and_ages_are_read_strictly() {
        let read = |text: &str| wishes(&Query::parse(text));
        let both = read("prompt=login+consent&max_age=0").unwrap();
        assert!(both.login && both.consent && !both.silent && both.max_age == Some(0));
        assert!(read("prompt=none").unwrap().silent);
        for bad in [
            "prompt=none+login",
            "prompt=create",
            "prompt=LOGIN",
            "max_age=-1",
            "max_age=%2B1",
            "max_age=1.5",
            "max_age=99999999999999999999",
        ] {
            assert_eq!(read(bad).unwrap_err().code, OAuthCode::InvalidRequest, "{bad}");
        }
    }
}
