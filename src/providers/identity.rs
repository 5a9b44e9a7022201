//! Who came back from a provider, in our terms.

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::config::settings::{Mapping, Provider};
use crate::protocol::display_name;
use crate::store::model::Email;

/// Most characters of a subject (OpenID Connect Core §2).
const LONGEST_SUBJECT: usize = 255;

/// Longest address that is kept, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
const LONGEST_EMAIL: usize = 254;

/// Most characters of a suggested username, before our own rules.
const LONGEST_USERNAME: usize = 64;

/// Longest address of a picture, in bytes.
const LONGEST_PICTURE: usize = 2048;

/// A person as a provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// The provider's stable id of the person.
    pub subject: String,
    /// Addresses, with the provider's name; verified only if the provider is trusted in that.
    pub emails: Vec<Email>,
    /// What the person calls themselves there: to suggest a username.
    pub username_hint: Option<String>,
    /// The person's name.
    pub display_name: Option<String>,
    /// Where the person's picture is.
    pub picture: Option<Url>,
    /// When the person signed in at the provider, if it says so.
    pub auth_time: Option<Timestamp>,
}

/// Where each fact about a person stands; of several places the first that has it counts.
pub(super) struct Fields<'a> {
    username: Vec<&'a str>,
    name: Option<&'a str>,
    email: Option<&'a str>,
    email_verified: Option<&'a str>,
    picture: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// The standard claims (OpenID Connect Core §5.1), unless the settings name others.
    pub(super) fn of_openid(mapping: &'a Mapping) -> Self {
        let mapped = Self::of_oauth(mapping);
        let username = match mapped.username[..] {
            [] => vec!["preferred_username", "nickname"],
            _ => mapped.username,
        };
        Self {
            username,
            name: mapped.name.or(Some("name")),
            email: mapped.email.or(Some("email")),
            email_verified: mapped.email_verified.or(Some("email_verified")),
            picture: mapped.picture.or(Some("picture")),
        }
    }

    /// What the settings name, and nothing else.
    pub(super) fn of_oauth(mapping: &'a Mapping) -> Self {
        Self {
            username: mapping.username.as_deref().into_iter().collect(),
            name: mapping.name.as_deref(),
            email: mapping.email.as_deref(),
            email_verified: mapping.email_verified.as_deref(),
            picture: mapping.picture.as_deref(),
        }
    }

    /// Whether claims hold an address.
    pub(super) fn tell_email(&self, claims: &Map<String, Value>) -> bool {
        self.email.is_some_and(|path| text(claims, path).is_some())
    }
}

/// Reads what is known of a person; the earlier source of a claim counts. Claims of a wrong type are
/// overlooked: none of them proves anything.
pub(super) fn read(
    provider: &Provider,
    fields: &Fields<'_>,
    subject: String,
    auth_time: Option<Timestamp>,
    sources: &[&Map<String, Value>],
) -> ProviderIdentity {
    let first = |path: &str, most: usize| {
        sources.iter().find_map(|claims| clean(text(claims, path)?, most))
    };
    let email = sources.iter().find_map(|claims| {
        let address = email_address(text(claims, fields.email?)?)?;
        // From the same source as the address.
        let flag = fields.email_verified.and_then(|path| at(claims, path));
        Some(email(provider, address, flag))
    });
    ProviderIdentity {
        subject,
        emails: email.into_iter().collect(),
        username_hint: fields.username.iter().find_map(|path| first(path, LONGEST_USERNAME)),
        display_name: fields.name.and_then(|path| {
            sources.iter().find_map(|claims| display_name::tidy(text(claims, path)?))
        }),
        picture: sources.iter().find_map(|claims| picture(text(claims, fields.picture?)?)),
        auth_time,
    }
}

/// JSON `true` of a trusted provider alone verifies an address, not "true" or 1.
fn email(provider: &Provider, address: String, flag: Option<&Value>) -> Email {
    let verified = provider.trust_email && flag == Some(&Value::Bool(true));
    Email { address, verified, provider: provider.name.clone() }
}

/// One of a list of addresses in GitHub's form.
#[derive(Debug, Deserialize)]
pub(super) struct ListedEmail {
    email: String,
    #[serde(default)]
    primary: Value,
    #[serde(default)]
    verified: Value,
}

/// The address that the person made the first one; without such, one that is verified. The others are
/// none of our business.
pub(super) fn primary_email(provider: &Provider, listed: Vec<ListedEmail>) -> Option<Email> {
    let is_true = |flag: &Value| *flag == Value::Bool(true);
    let primary = listed.iter().find(|listed| is_true(&listed.primary));
    let chosen = primary.or_else(|| listed.iter().find(|listed| is_true(&listed.verified)))?;
    Some(email(provider, email_address(&chosen.email)?, Some(&chosen.verified)))
}

/// The provider's stable id of a person: a text or a whole number, which is kept as its digits.
pub(super) fn subject(answer: &Map<String, Value>, path: &str) -> Option<String> {
    let subject = match at(answer, path)? {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    is_subject(&subject).then_some(subject)
}

/// Whether a text can be a subject: not empty, at most 255 characters (OpenID Connect Core §2), all of
/// them visible.
pub(super) fn is_subject(subject: &str) -> bool {
    !subject.trim().is_empty()
        && subject.chars().count() <= LONGEST_SUBJECT
        && !subject.chars().any(char::is_control)
}

/// The value at a path: a member of that very name, since claims may be named by addresses, else
/// member by member between the dots, where numbers count the elements of lists.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn text<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a str> {
    at(claims, path).and_then(Value::as_str)
}

/// A text without control characters and surrounding space, cut to `most` characters; `None` if
/// nothing is left.
pub fn clean(text: &str, most: usize) -> Option<String> {
    let printable: String = text.chars().filter(|character| !character.is_control()).collect();
    let cut: String = printable.trim().chars().take(most).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// An address as it stands or not at all: a cut or cleaned one would be another person's.
pub fn email_address(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let fits = !local.is_empty()
        && !domain.is_empty()
        && text.len() <= LONGEST_EMAIL
        && !text.chars().any(|character| character.is_control() || character.is_whitespace());
    fits.then(|| text.to_owned())
}

fn picture(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST_PICTURE)?;
    matches!(url.scheme(), "https" | "http").then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider(trust_email: bool) -> Provider {
        Provider {
            name: "op".to_owned(),
            display_name: "OP".to_owned(),
            client_id: "us".to_owned(),
            client_secret: None,
            issuer: None,
            auth_url: None,
            token_url: None,
            userinfo_url: None,
            emails_url: None,
            mapping: Mapping::default(),
            token_endpoint_auth_method: None,
            scopes: Vec::new(),
            trust_email,
            allow_private: false,
            signup: None,
        }
    }

    fn identity(trust_email: bool, sources: &[Value]) -> ProviderIdentity {
        mapped(trust_email, &Fields::of_openid(&Mapping::default()), sources)
    }

    fn mapped(trust_email: bool, fields: &Fields<'_>, sources: &[Value]) -> ProviderIdentity {
        let sources: Vec<_> = sources.iter().map(|source| source.as_object().unwrap()).collect();
        read(&provider(trust_email), fields, "7".to_owned(), None, &sources)
    }

    fn verified(trust_email: bool, flag: Value) -> bool {
        let claims = json!({"email": "a@b.example", "email_verified": flag});
        identity(trust_email, &[claims]).emails[0].verified
    }

    #[test]
    fn only_json_true_of_a_trusted_provider_verifies_an_address() {
        assert!(verified(true, json!(true)));
        assert!(!verified(false, json!(true)));
        for flag in [json!("true"), json!(1), json!(false), json!(null), json!([true])] {
            assert!(!verified(true, flag.clone()), "{flag}");
        }
        assert!(!identity(true, &[json!({"email": "a@b.example"})]).emails[0].verified);
    }

    #[test]
    fn a_flag_counts_only_for_the_address_beside_it() {
        let sources = [json!({"email": "a@b.example"}), json!({"email_verified": true})];
        assert!(!identity(true, &sources).emails[0].verified);
    }

    #[test]
    fn the_earlier_source_of_a_claim_counts() {
        let found = identity(
            true,
            &[
                json!({"name": "A", "nickname": "n"}),
                json!({"name": "B", "preferred_username": "p"}),
            ],
        );
        assert_eq!(found.display_name.as_deref(), Some("A"));
        assert_eq!(found.username_hint.as_deref(), Some("p"));
        assert!(found.emails.is_empty());
    }

    #[test]
    fn texts_are_cleaned_and_cut_between_characters() {
        let found = identity(
            true,
            &[json!({"name": format!(" \u{0}Zoë\r\n{}", "é".repeat(200)), "nickname": "\u{7}\n "})],
        );
        assert_eq!(found.display_name.as_ref().unwrap().chars().count(), 80);
        assert!(found.display_name.unwrap().starts_with("Zoëé"));
        assert_eq!(found.username_hint, None);
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        let long = format!("{}@b.example", "a".repeat(250));
        for bad in ["a", "@b.example", "a@", "a b@c.example", "a@b\n.example", "a\u{0}@b", &long] {
            assert!(identity(true, &[json!({"email": bad})]).emails.is_empty(), "{bad:?}");
        }
        assert!(identity(true, &[json!({"email": ["a@b.example"]})]).emails.is_empty());
        assert!(identity(true, &[json!({"picture": "javascript:alert(1)"})]).picture.is_none());
    }

    #[test]
    fn the_settings_say_where_each_fact_stands() {
        let path = |path: &str| Some(path.to_owned());
        let mapping = Mapping {
            subject: None,
            username: path("data.login"),
            name: path("data.names.1"),
            email: path("https://id.example/email"),
            email_verified: path("data.checked"),
            picture: path("missing.picture"),
        };
        let answer = json!({
            "data": {"login": "rivka", "names": ["R.", "Rivka"], "checked": true},
            "https://id.example/email": "rivka@id.example", "email": "other@id.example",
            "picture": "https://id.example/p.png", "preferred_username": "other",
        });
        let plain = mapped(true, &Fields::of_oauth(&mapping), std::slice::from_ref(&answer));
        assert_eq!(plain.username_hint.as_deref(), Some("rivka"));
        assert_eq!(plain.display_name.as_deref(), Some("Rivka"));
        assert_eq!(
            (plain.emails[0].address.as_str(), plain.emails[0].verified),
            ("rivka@id.example", true)
        );
        assert_eq!(plain.picture, None);
        let nothing = Mapping::default();
        let unmapped = mapped(true, &Fields::of_oauth(&nothing), std::slice::from_ref(&answer));
        assert_eq!((unmapped.emails, unmapped.username_hint), (Vec::new(), None));
        let openid = mapped(true, &Fields::of_openid(&mapping), &[answer]);
        assert_eq!(openid.username_hint.as_deref(), Some("rivka"));
    }

    #[test]
    fn a_subject_is_a_text_or_a_whole_number() {
        let answer = json!({
            "id": 583_231, "snowflake": "80351110224678912", "deep": {"er": [{"id": -7}]},
            "float": 1.5, "huge": 1e300, "flag": true, "none": null, "empty": " ", "list": [1],
        });
        let of = |path: &str| subject(answer.as_object().unwrap(), path);
        assert_eq!(of("id").as_deref(), Some("583231"));
        assert_eq!(of("snowflake").as_deref(), Some("80351110224678912"));
        assert_eq!(of("deep.er.0.id").as_deref(), Some("-7"));
        for refused in
            ["float", "huge", "flag", "none", "empty", "list", "deep", "nowhere", "id.x", ""]
        {
            assert_eq!(of(refused), None, "{refused}");
        }
    }

    #[test]
    fn of_a_list_the_first_address_counts_and_the_others_stay_there() {
        let chosen = |trust_email, listed: Value| {
            let listed = serde_json::from_value(listed).unwrap();
            primary_email(&provider(trust_email), listed)
                .map(|email| (email.address, email.verified))
        };
        let address = |text: &str, verified| Some((text.to_owned(), verified));
        let list = json!([
            {"email": "old@b.example", "primary": false, "verified": true, "visibility": null},
            {"email": "a@b.example", "primary": true, "verified": true, "visibility": "public"},
        ]);
        assert_eq!(chosen(true, list.clone()), address("a@b.example", true));
        assert_eq!(chosen(false, list), address("a@b.example", false));
        let unverified = json!([
            {"email": "a@b.example", "primary": true, "verified": "true"},
            {"email": "b@b.example", "primary": false, "verified": true},
        ]);
        assert_eq!(chosen(true, unverified), address("a@b.example", false));
        let without_first =
            json!([{"email": "a@b.example"}, {"email": "b@b.example", "verified": true}]);
        assert_eq!(chosen(true, without_first), address("b@b.example", true));
        assert_eq!(chosen(true, json!([])), None);
        assert_eq!(chosen(true, json!([{"email": "junk", "primary": true}])), None);
    }
}
