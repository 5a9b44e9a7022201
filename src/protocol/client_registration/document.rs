//! A registration as a JSON document: members that are named replace what is there, `null` brings the
//! default back, and everything else stays as it is.

use serde_json::{Map, Value, json};

use super::{Problem, Problems, Refusal};
use crate::protocol::client::{ApplicationType, AuthMethod, ClientMetadata, GrantType};
use crate::protocol::jwt::Algorithm;
use crate::protocol::spelling::nearest;

/// What belongs into a member.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Flag,
    Object,
    Choice(fn() -> Vec<&'static str>),
    Choices(fn() -> Vec<&'static str>),
}

/// Every member of [`ClientMetadata`], in its order, and what belongs into it.
const KINDS: [(&str, Kind); 25] = [
    ("client_name", Kind::Text),
    ("redirect_uris", Kind::Texts),
    ("grant_types", Kind::Choices(|| GrantType::ALL.map(GrantType::as_str).to_vec())),
    ("scope", Kind::Text),
    (
        "token_endpoint_auth_method",
        Kind::Choice(|| AuthMethod::ALL.map(AuthMethod::as_str).to_vec()),
    ),
    (
        "application_type",
        Kind::Choice(|| {
            [ApplicationType::Web, ApplicationType::Native].map(ApplicationType::as_str).to_vec()
        }),
    ),
    ("client_uri", Kind::Text),
    ("logo_uri", Kind::Text),
    ("tos_uri", Kind::Text),
    ("policy_uri", Kind::Text),
    ("contacts", Kind::Texts),
    ("software_id", Kind::Text),
    ("software_version", Kind::Text),
    ("jwks", Kind::Object),
    ("jwks_uri", Kind::Text),
    (
        "id_token_signed_response_alg",
        Kind::Choice(|| Algorithm::ALL.map(Algorithm::as_str).to_vec()),
    ),
    ("post_logout_redirect_uris", Kind::Texts),
    ("backchannel_logout_uri", Kind::Text),
    ("backchannel_logout_session_required", Kind::Flag),
    ("audience", Kind::Text),
    ("resources", Kind::Texts),
    ("require_pkce", Kind::Flag),
    ("auto_approve", Kind::Flag),
    ("resource_server", Kind::Flag),
    // Follows from the grants, and so is not kept (RFC 7591 §2.1).
    (RESPONSE_TYPES, Kind::Texts),
];

const RESPONSE_TYPES: &str = "response_types";

/// The names of all members that can be registered.
pub const MEMBERS: [&str; KINDS.len()] = {
    let mut names = [""; KINDS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = KINDS[index].0;
        index += 1;
    }
    names
};

/// The JSON Schema of a member of [`MEMBERS`].
pub fn member_schema(name: &str) -> Value {
    let text = || json!({ "type": "string" });
    match kind(name) {
        Ok(Kind::Text) | Err(_) => text(),
        Ok(Kind::Texts) => json!({ "type": "array", "items": text() }),
        Ok(Kind::Flag) => json!({ "type": "boolean" }),
        Ok(Kind::Object) => json!({ "type": "object", "additionalProperties": true }),
        Ok(Kind::Choice(words)) => json!({ "enum": words() }),
        Ok(Kind::Choices(words)) => json!({ "type": "array", "items": { "enum": words() } }),
    }
}

/// What a client may ask the authorization endpoint for: it follows from its grants (RFC 7591 §2.1).
pub fn response_types(metadata: &ClientMetadata) -> &'static [&'static str] {
    if metadata.may_use(GrantType::AuthorizationCode) { &["code"] } else { &[] }
}

/// What is to be registered of a new client. One that signs nobody in has no scope unless it is named: those
/// that others have by default are about people.
///
/// # Errors
/// As [`merged`].
pub fn first(named: &Map<String, Value>) -> Result<ClientMetadata, Problems> {
    let mut metadata = merged(&ClientMetadata::default(), named)?;
    let names_scope = named.get("scope").is_some_and(|scope| !scope.is_null());
    if !names_scope && !metadata.may_use(GrantType::AuthorizationCode) {
        metadata.scope.clear();
    }
    Ok(metadata)
}

/// What is to be registered after `changes` to `base`. Members that are not named stay as they are;
/// `null` is as good as left out of a first registration (RFC 7591 §2).
///
/// # Errors
/// All members that are unknown or of a wrong kind. What values may be is for [`super::check`] to say.
pub fn merged(
    base: &ClientMetadata,
    changes: &Map<String, Value>,
) -> Result<ClientMetadata, Problems> {
    let broken = |error: serde_json::Error| {
        Problems(vec![Problem::new(
            "the registration",
            Refusal::new(format!("is unclear: {error}")),
        )])
    };
    let Value::Object(mut document) = serde_json::to_value(base).map_err(broken)? else {
        unreachable!("a struct is written as an object")
    };
    let mut problems = Vec::new();
    for (name, value) in changes {
        match kind(name) {
            Err(refusal) => problems.push(Problem::new(name, refusal)),
            Ok(_) if value.is_null() => {
                document.remove(name);
            }
            Ok(kind) => {
                problems.extend(misfits(name, kind, value));
                document.insert(name.clone(), value.clone());
            }
        }
    }
    Problems::none(problems)?;
    let named = document.remove(RESPONSE_TYPES);
    let metadata = serde_json::from_value(Value::Object(document)).map_err(broken)?;
    let follows = json!(response_types(&metadata));
    match named {
        Some(named) if named != follows => {
            let refusal = Refusal::new("is not what follows from grant_types")
                .remedy(format!("leave it out, or write {follows}"));
            Err(Problems(vec![Problem::new(RESPONSE_TYPES, refusal).valued(&named)]))
        }
        _ => Ok(metadata),
    }
}

fn kind(name: &str) -> Result<Kind, Refusal> {
    if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
        return Ok(*kind);
    }
    if name == "client_secret" {
        return Err(Refusal::new("is made here and cannot be chosen").remedy("leave it out"));
    }
    let refusal = Refusal::new("is not a member of a registration");
    Err(match nearest(name, MEMBERS) {
        Some(close) => refusal.did_you_mean(Some(close)),
        None => refusal.remedy(format!("there are {}", MEMBERS.join(", "))),
    })
}

/// What is wrong with the form of a value.
fn misfits(name: &str, kind: Kind, value: &Value) -> Vec<Problem> {
    let wrong = |wanted: &str| {
        let refusal = Refusal::new(format!("is {}; {wanted} belongs here", form(value)));
        vec![Problem::new(name, refusal)]
    };
    match (kind, value) {
        (Kind::Text, Value::String(_))
        | (Kind::Flag, Value::Bool(_))
        | (Kind::Object, Value::Object(_)) => Vec::new(),
        (Kind::Choice(words), Value::String(word)) => unknown_word(name, word, words()),
        (Kind::Texts | Kind::Choices(_), Value::Array(items)) => {
            let each = items.iter().enumerate();
            each.flat_map(|(index, item)| element(&format!("{name}[{index}]"), kind, item))
                .collect()
        }
        (Kind::Text, _) => wrong("text"),
        (Kind::Flag, _) => wrong("true or false"),
        (Kind::Object, _) => wrong("an object"),
        (Kind::Choice(words), _) => wrong(&format!("one of {}", words().join(", "))),
        (Kind::Texts | Kind::Choices(_), _) => wrong("a list of texts"),
    }
}

fn element(member: &str, kind: Kind, item: &Value) -> Vec<Problem> {
    match (kind, item) {
        (Kind::Choices(words), Value::String(word)) => unknown_word(member, word, words()),
        (_, Value::String(_)) => Vec::new(),
        _ => {
            let refusal = Refusal::new(format!("is {}; text belongs here", form(item)));
            vec![Problem::new(member, refusal)]
        }
    }
}

fn unknown_word(member: &str, word: &str, words: Vec<&'static str>) -> Vec<Problem> {
    if words.contains(&word) {
        return Vec::new();
    }
    let refusal = Refusal::new(format!("is not one of {}", words.join(", ")))
        .did_you_mean(nearest(word, words));
    vec![Problem::new(member, refusal).valued(&word)]
}

fn form(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: Value) -> Result<ClientMetadata, Vec<String>> {
        let base = ClientMetadata {
            client_name: "Example app".to_owned(),
            audience: Some("orders".to_owned()),
            auto_approve: true,
            ..ClientMetadata::default()
        };
        merged(&base, changes.as_object().unwrap())
            .map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn the_members_are_those_of_the_metadata() {
        let refused = serde_json::from_value::<ClientMetadata>(json!({ "?": 1 })).unwrap_err();
        let message = refused.to_string();
        let (_, expected) = message.split_once("expected one of ").unwrap();
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert_eq!(MEMBERS.split_last().unwrap(), (&RESPONSE_TYPES, known.as_slice()));
    }

    #[test]
    fn only_what_is_named_changes_and_null_is_the_default() {
        let metadata =
            changed(json!({ "scope": "openid", "audience": null, "auto_approve": false })).unwrap();
        assert_eq!(
            (metadata.client_name.as_str(), metadata.scope.as_str()),
            ("Example app", "openid")
        );
        assert_eq!((metadata.audience, metadata.auto_approve), (None, false));
        assert_eq!(changed(json!({})).unwrap().audience.as_deref(), Some("orders"));
        assert!(changed(json!({ "require_pkce": null })).unwrap().require_pkce);
    }

    #[test]
    fn a_client_that_signs_nobody_in_has_no_scope_unless_it_is_named() {
        let scope = |named: Value| first(named.as_object().unwrap()).unwrap().scope;
        assert_eq!(scope(json!({})), "openid profile email");
        assert_eq!(scope(json!({ "grant_types": ["client_credentials"] })), "");
        let named = json!({ "grant_types": ["client_credentials"], "scope": "orders.read" });
        assert_eq!(scope(named), "orders.read");
        let both = json!({ "grant_types": ["authorization_code", "client_credentials"] });
        assert_eq!(scope(both), "openid profile email");
    }

    #[test]
    fn unknown_members_and_wrong_kinds_are_told_all_together() {
        let told = changed(json!({
            "redirect_uri": "https://app.example",
            "client_secret": "mine",
            "colour": "red",
            "client_name": 7,
            "redirect_uris": "https://app.example",
            "contacts": ["a", 1],
            "auto_approve": "yes",
            "jwks": "keys",
            "grant_types": ["authorization_code", "implicit", "refresh_tokn"],
            "token_endpoint_auth_method": "client_secret_jwt",
            "id_token_signed_response_alg": "none",
            "application_type": 1,
        }))
        .unwrap_err();
        for expected in [
            "redirect_uri is not a member of a registration; did you mean redirect_uris?",
            "client_secret is made here and cannot be chosen; leave it out",
            "client_name is a number; text belongs here",
            "redirect_uris is text; a list of texts belongs here",
            "contacts[1] is a number; text belongs here",
            "auto_approve is text; true or false belongs here",
            "jwks is text; an object belongs here",
            "grant_types[1] = \"implicit\" is not one of authorization_code, refresh_token, client_credentials",
            "grant_types[2] = \"refresh_tokn\" is not one of authorization_code, refresh_token, client_credentials; did you mean refresh_token?",
            "id_token_signed_response_alg = \"none\" is not one of RS256, ES256, EdDSA",
            "application_type is a number; one of web, native belongs here",
        ] {
            assert!(told.iter().any(|problem| problem == expected), "{expected}\n{told:#?}");
        }
        assert_eq!(told.len(), 13, "{told:#?}");
    }

    #[test]
    fn response_types_follow_from_the_grants() {
        assert!(changed(json!({ "response_types": ["code"] })).is_ok());
        let service = json!({ "grant_types": ["client_credentials"], "response_types": [] });
        assert!(changed(service).is_ok());
        assert_eq!(
            changed(json!({ "response_types": ["token"] })).unwrap_err(),
            [
                "response_types = [\"token\"] is not what follows from grant_types; leave it out, or write [\"code\"]"
            ]
        );
    }
}
