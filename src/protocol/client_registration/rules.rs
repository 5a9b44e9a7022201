//! What each member may be, and what goes with what.

use serde_json::Value;

use super::{Problem, Problems, Refusal, addresses, keys};
use crate::protocol::client::{AuthMethod, ClientMetadata, GrantType};
use crate::protocol::display_name::is_hidden;
use crate::protocol::jwt::Algorithm;
use crate::protocol::scope::{OF_PEOPLE, Scope};
use crate::protocol::spelling::nearest;
use crate::store::model::FIRST_PARTY;

/// Most characters of a client's name.
const LONGEST_NAME: usize = 100;
/// Most characters of an audience or a resource.
const LONGEST_AUDIENCE: usize = 500;
/// Most characters of a text that only describes.
const LONGEST_TEXT: usize = 200;
/// Most addresses of one member.
const MOST_ADDRESSES: usize = 50;
/// Most addresses of people.
const MOST_CONTACTS: usize = 10;

/// What the server allows beside what is allowed everywhere.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The issuer: `server.public_url`.
    pub issuer: String,
    /// The names of `[[scopes]]`.
    pub scopes: Vec<String>,
    /// What ID tokens can be signed with.
    pub algorithms: Vec<Algorithm>,
    /// `server.allow_private_receivers`.
    pub allow_private_receivers: bool,
}

/// Checks everything that is to be registered.
///
/// # Errors
/// All problems.
///
/// Spec: RFC 7591 §2, OpenID Connect Registration §2, RFC 8252 §7, RFC 8707 §2, RFC 9700 §2 and §4.
pub fn check(metadata: &ClientMetadata, rules: &Rules) -> Result<(), Problems> {
    let mut check = Check { metadata, rules, problems: Vec::new() };
    check.name();
    check.redirect_uris();
    check.grants();
    check.scope();
    check.authentication();
    check.pages();
    check.description();
    check.sign_out();
    check.audiences();
    check.algorithm();
    Problems::none(check.problems)
}

struct Check<'c> {
    metadata: &'c ClientMetadata,
    rules: &'c Rules,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, member: &str, refusal: Refusal) {
        self.problems.push(Problem::new(member, refusal));
    }

    fn refuse_value(&mut self, member: &str, value: &impl serde::Serialize, refusal: Refusal) {
        self.problems.push(Problem::new(member, refusal).valued(value));
    }

    fn one(&mut self, member: &str, text: &str, checked: Result<(), Refusal>) {
        if let Err(refusal) = checked {
            self.refuse_value(member, &text, refusal);
        }
    }

    fn each(
        &mut self,
        member: &str,
        texts: &[String],
        most: usize,
        judge: impl Fn(&str) -> Result<(), Refusal>,
    ) {
        if texts.len() > most {
            let refusal = Refusal::new(format!("has {} elements", texts.len()));
            self.refuse(member, refusal.remedy(format!("at most {most} are taken")));
            return;
        }
        for (index, text) in texts.iter().enumerate() {
            self.one(&format!("{member}[{index}]"), text, judge(text));
        }
    }

    fn name(&mut self) {
        let name = &self.metadata.client_name;
        self.one("client_name", name, visible(name, LONGEST_NAME));
    }

    fn redirect_uris(&mut self) {
        let metadata = self.metadata;
        let judge = |text: &str| addresses::redirect(text, metadata.application_type);
        self.each("redirect_uris", &metadata.redirect_uris, MOST_ADDRESSES, judge);
        self.each(
            "post_logout_redirect_uris",
            &metadata.post_logout_redirect_uris,
            MOST_ADDRESSES,
            judge,
        );
        let needs_one = metadata.may_use(GrantType::AuthorizationCode);
        if needs_one && metadata.redirect_uris.is_empty() {
            self.refuse(
                "redirect_uris",
                Refusal::new("is empty")
                    .remedy("the grant authorization_code needs an address to send people back to"),
            );
        }
    }

    fn grants(&mut self) {
        let metadata = self.metadata;
        if metadata.grant_types.is_empty() {
            let remedy = "name authorization_code, refresh_token or client_credentials";
            self.refuse("grant_types", Refusal::new("is empty").remedy(remedy));
        }
        let has_code = metadata.may_use(GrantType::AuthorizationCode);
        if metadata.may_use(GrantType::RefreshToken) && !has_code {
            self.refuse(
                "grant_types",
                Refusal::new("holds refresh_token without authorization_code")
                    .remedy("only a sign-in gives a refresh token"),
            );
        }
        if metadata.may_use(GrantType::ClientCredentials) && metadata.is_public() {
            self.refuse(
                "grant_types",
                Refusal::new("holds client_credentials for a public client")
                    .remedy("only a client that proves who it is may use it"),
            );
        }
    }

    fn scope(&mut self) {
        let text = &self.metadata.scope;
        let Some(scope) = Scope::parse(text) else {
            let refusal = Refusal::new("is not a list of scopes")
                .remedy("write words of at most 128 characters, separated by spaces");
            self.refuse_value("scope", text, refusal);
            return;
        };
        let known: Vec<&str> =
            OF_PEOPLE.into_iter().chain(self.rules.scopes.iter().map(String::as_str)).collect();
        for word in scope.words().filter(|word| !known.contains(word)) {
            let refusal = Refusal::new(format!("names {word}, which is no scope of this server"));
            let refusal = match nearest(word, known.iter().copied()) {
                Some(close) => refusal.did_you_mean(Some(close)),
                None => refusal.remedy(format!("there are {}", known.join(", "))),
            };
            self.refuse("scope", refusal);
        }
    }

    fn authentication(&mut self) {
        let metadata = self.metadata;
        if metadata.is_public() && !metadata.require_pkce {
            self.refuse(
                "require_pkce",
                Refusal::new("is false for a public client")
                    .remedy("nothing else protects its codes, so PKCE is never off for one"),
            );
        }
        if metadata.is_public() && metadata.resource_server {
            self.refuse(
                "resource_server",
                Refusal::new("is true for a public client")
                    .remedy("only a client that proves who it is may look at tokens of others"),
            );
        }
        match (&metadata.jwks, &metadata.jwks_uri) {
            (Some(_), Some(_)) => self.refuse(
                "jwks_uri",
                Refusal::new("stands beside jwks").remedy("register one of the two"),
            ),
            (None, None) if metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt => {
                self.refuse(
                    "token_endpoint_auth_method",
                    Refusal::new("is private_key_jwt, and there is no key")
                        .remedy("register jwks or jwks_uri"),
                );
            }
            _ => {}
        }
        if let Some(jwks) = &metadata.jwks {
            self.problems.extend(keys::check(jwks));
        }
        self.receiver("jwks_uri", metadata.jwks_uri.as_deref());
    }

    fn receiver(&mut self, member: &str, address: Option<&str>) {
        if let Some(address) = address {
            let checked = addresses::receiver(address, self.rules.allow_private_receivers);
            self.one(member, address, checked);
        }
    }

    fn pages(&mut self) {
        let metadata = self.metadata;
        for (member, address) in [
            ("client_uri", &metadata.client_uri),
            ("logo_uri", &metadata.logo_uri),
            ("tos_uri", &metadata.tos_uri),
            ("policy_uri", &metadata.policy_uri),
        ] {
            if let Some(address) = address {
                self.one(member, address, addresses::page(address));
            }
        }
    }

    fn description(&mut self) {
        let metadata = self.metadata;
        let judge = |text: &str| visible(text, LONGEST_TEXT);
        self.each("contacts", &metadata.contacts, MOST_CONTACTS, judge);
        for (member, text) in [
            ("software_id", &metadata.software_id),
            ("software_version", &metadata.software_version),
        ] {
            if let Some(text) = text {
                self.one(member, text, judge(text));
            }
        }
    }

    fn sign_out(&mut self) {
        let metadata = self.metadata;
        self.receiver("backchannel_logout_uri", metadata.backchannel_logout_uri.as_deref());
        if metadata.backchannel_logout_session_required && metadata.backchannel_logout_uri.is_none()
        {
            self.refuse(
                "backchannel_logout_session_required",
                Refusal::new("is true without backchannel_logout_uri")
                    .remedy("register the address that is told"),
            );
        }
    }

    fn audiences(&mut self) {
        let (metadata, issuer) = (self.metadata, self.rules.issuer.as_str());
        if let Some(audience) = &metadata.audience {
            let checked = visible(audience, LONGEST_AUDIENCE).and_then(|()| {
                if addresses::is_issuer(audience, issuer) || audience == FIRST_PARTY {
                    return Err(Refusal::new("is the server's own"));
                }
                Ok(())
            });
            self.one("audience", audience, checked);
        }
        self.each("resources", &metadata.resources, MOST_ADDRESSES, |text| {
            visible(text, LONGEST_AUDIENCE)?;
            addresses::resource(text, issuer)
        });
    }

    fn algorithm(&mut self) {
        let algorithm = self.metadata.id_token_signed_response_alg;
        if !self.rules.algorithms.contains(&algorithm) {
            let there = self.rules.algorithms.iter().map(|one| one.as_str()).collect::<Vec<_>>();
            let refusal = Refusal::new("is not what any key of keys.files signs with")
                .remedy(format!("there is {}", there.join(", ")));
            let value = Value::from(algorithm.as_str());
            self.refuse_value("id_token_signed_response_alg", &value, refusal);
        }
    }
}

/// Text that people read: not empty, not endless, nothing hidden in it.
fn visible(text: &str, longest: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::new("is empty"));
    }
    if text.chars().count() > longest {
        return Err(Refusal::new(format!("is longer than {longest} characters")));
    }
    if text.chars().any(is_hidden) {
        return Err(Refusal::new("holds characters that cannot be seen"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client::ApplicationType;
    use serde_json::json;

    fn rules() -> Rules {
        Rules {
            issuer: "https://auth.example".to_owned(),
            scopes: vec!["orders.read".to_owned()],
            algorithms: Algorithm::ALL.to_vec(),
            allow_private_receivers: false,
        }
    }

    fn app() -> ClientMetadata {
        ClientMetadata {
            client_name: "Example app".to_owned(),
            redirect_uris: vec!["https://app.example/cb".to_owned()],
            ..ClientMetadata::default()
        }
    }

    fn service() -> ClientMetadata {
        ClientMetadata {
            client_name: "Example service".to_owned(),
            grant_types: vec![GrantType::ClientCredentials],
            scope: "orders.read".to_owned(),
            ..ClientMetadata::default()
        }
    }

    /// What is wrong with a client after a change.
    fn wrong(base: ClientMetadata, change: impl FnOnce(&mut ClientMetadata)) -> Vec<String> {
        let mut metadata = base;
        change(&mut metadata);
        match check(&metadata, &rules()) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn ordinary_clients_are_taken() {
        assert_eq!(wrong(app(), |_| {}), [""; 0]);
        assert_eq!(wrong(service(), |_| {}), [""; 0]);
        let public = |client: &mut ClientMetadata| {
            client.token_endpoint_auth_method = AuthMethod::None;
            client.application_type = ApplicationType::Native;
            client.redirect_uris = vec!["com.example.app:/cb".to_owned()];
            client.post_logout_redirect_uris = vec!["com.example.app:/out".to_owned()];
        };
        assert_eq!(wrong(app(), public), [""; 0]);
        let everything = |client: &mut ClientMetadata| {
            client.scope = "openid offline_access roles orders.read".to_owned();
            client.client_uri = Some("http://app.example".to_owned());
            client.logo_uri = Some("https://app.example/logo.png".to_owned());
            client.contacts = vec!["ops@app.example".to_owned()];
            client.audience = Some("orders".to_owned());
            client.resources = vec!["https://api.example/orders".to_owned()];
            client.backchannel_logout_uri = Some("https://app.example/out".to_owned());
            client.backchannel_logout_session_required = true;
            client.require_pkce = false;
            client.resource_server = true;
            client.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt;
            client.jwks_uri = Some("https://app.example/keys".to_owned());
        };
        assert_eq!(wrong(app(), everything), [""; 0]);
    }

    #[test]
    fn every_rule_is_told_by_its_member() {
        let told = |change: fn(&mut ClientMetadata), expected: &str| {
            assert_eq!(wrong(app(), change), [expected]);
        };
        told(|client| client.client_name = " ".to_owned(), "client_name = \" \" is empty");
        told(
            |client| client.client_name = "a\u{202e}b".to_owned(),
            "client_name = \"a\u{202e}b\" holds characters that cannot be seen",
        );
        told(
            |client| client.redirect_uris.clear(),
            "redirect_uris is empty; the grant authorization_code needs an address to send people back to",
        );
        told(
            |client| client.redirect_uris = vec!["https://app.example/".to_owned(); 51],
            "redirect_uris has 51 elements; at most 50 are taken",
        );
        told(
            |client| client.grant_types.clear(),
            "grant_types is empty; name authorization_code, refresh_token or client_credentials",
        );
        told(
            |client| client.grant_types = vec![GrantType::RefreshToken],
            "grant_types holds refresh_token without authorization_code; only a sign-in gives a refresh token",
        );
        told(
            |client| client.scope = "openid order.read".to_owned(),
            "scope names order.read, which is no scope of this server; did you mean orders.read?",
        );
        told(
            |client| client.scope = "openid x".to_owned(),
            "scope names x, which is no scope of this server; there are openid, profile, email, roles, offline_access, orders.read",
        );
        told(
            |client| client.scope = "open\tid".to_owned(),
            "scope = \"open\\tid\" is not a list of scopes; write words of at most 128 characters, separated by spaces",
        );
        told(
            |client| client.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt,
            "token_endpoint_auth_method is private_key_jwt, and there is no key; register jwks or jwks_uri",
        );
        told(
            |client| client.jwks_uri = Some("https://10.0.0.1/keys".to_owned()),
            "jwks_uri = \"https://10.0.0.1/keys\" lies on a private or loopback address; such receivers need server.allow_private_receivers = true",
        );
        told(
            |client| client.backchannel_logout_uri = Some("http://app.example/out".to_owned()),
            "backchannel_logout_uri = \"http://app.example/out\" is not https; did you mean https://app.example/out?",
        );
        told(
            |client| client.backchannel_logout_session_required = true,
            "backchannel_logout_session_required is true without backchannel_logout_uri; register the address that is told",
        );
        told(
            |client| client.audience = Some("https://AUTH.example/".to_owned()),
            "audience = \"https://AUTH.example/\" is the server's own",
        );
        told(
            |client| client.audience = Some("latchkey".to_owned()),
            "audience = \"latchkey\" is the server's own",
        );
        told(
            |client| client.resources = vec!["https://auth.example".to_owned()],
            "resources[0] = \"https://auth.example\" is the issuer itself, whose own API takes no client's tokens",
        );
        told(
            |client| client.client_uri = Some("javascript:alert(1)".to_owned()),
            "client_uri = \"javascript:alert(1)\" has the scheme javascript:, which is not allowed; begin it with https://",
        );
        told(
            |client| client.contacts = vec!["a\nb".to_owned()],
            "contacts[0] = \"a\\nb\" holds characters that cannot be seen",
        );
    }

    #[test]
    fn a_public_client_has_none_of_the_rights_of_one_that_proves_itself() {
        let members: Vec<String> = {
            let mut metadata = service();
            metadata.token_endpoint_auth_method = AuthMethod::None;
            metadata.require_pkce = false;
            metadata.resource_server = true;
            let problems = check(&metadata, &rules()).unwrap_err();
            problems.iter().map(|problem| problem.member.clone()).collect()
        };
        assert_eq!(members, ["grant_types", "require_pkce", "resource_server"]);
    }

    #[test]
    fn both_ways_to_tell_keys_are_one_too_many() {
        let keys = json!({ "keys": [{ "kty": "oct", "k": "AA" }] });
        let told = wrong(app(), |client| {
            client.jwks = Some(keys);
            client.jwks_uri = Some("https://app.example/keys".to_owned());
        });
        assert_eq!(told[0], "jwks_uri stands beside jwks; register one of the two");
        assert!(told[1].starts_with("jwks.keys[0] is a private key"), "{told:?}");
    }

    #[test]
    fn an_algorithm_without_a_key_file_is_refused() {
        let rules = Rules { algorithms: vec![Algorithm::ES256], ..rules() };
        assert_eq!(
            check(&app(), &rules).unwrap_err().to_string(),
            "id_token_signed_response_alg = \"RS256\" is not what any key of keys.files signs with; there is ES256"
        );
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let told = wrong(app(), |client| {
            client.client_name.clear();
            client.redirect_uris.push("http://app.example/".to_owned());
            client.scope = "nonsense".to_owned();
            client.audience = Some("latchkey".to_owned());
        });
        assert_eq!(told.len(), 4, "{told:?}");
    }
}
