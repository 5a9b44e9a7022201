//! What a client learns about a person, by the scopes that were granted (OpenID Connect Core §5.4).

use serde::Serialize;

use super::scope::{EMAIL, PROFILE, ROLES, Scope};
use crate::config::settings;
use crate::store::model::{Email, Role, User};

/// A claim about a person that a scope opens. `sub` is no such: whoever may know anything knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// What pages call the person.
    Name,
    /// The username. It may change: nobody is recognised by it.
    PreferredUsername,
    /// Where the picture is.
    Picture,
    /// An address of the person.
    Email,
    /// Whether a trusted provider says that the address is the person's.
    EmailVerified,
    /// What the person may do here. Ours.
    Role,
    /// The same as a list, as many libraries expect it. Ours.
    Roles,
}

impl Claim {
    /// All of them, in the order in which they are answered.
    pub const ALL: [Self; 7] = [
        Self::Name,
        Self::PreferredUsername,
        Self::Picture,
        Self::Email,
        Self::EmailVerified,
        Self::Role,
        Self::Roles,
    ];

    /// Its name in answers, in discovery and in `[[scopes]]` (OpenID Connect Core §5.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::PreferredUsername => "preferred_username",
            Self::Picture => "picture",
            Self::Email => "email",
            Self::EmailVerified => "email_verified",
            Self::Role => "role",
            Self::Roles => "roles",
        }
    }

    /// The built-in scope that opens it (OpenID Connect Core §5.4).
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Name | Self::PreferredUsername | Self::Picture => PROFILE,
            Self::Email | Self::EmailVerified => EMAIL,
            Self::Role | Self::Roles => ROLES,
        }
    }

    /// Whether `granted` opens it: by its built-in scope, or by one of the configuration that lists it.
    pub fn is_open(self, granted: &Scope, custom: &[settings::Scope]) -> bool {
        granted.has(self.scope())
            || custom.iter().any(|scope| scope.claims.contains(&self) && granted.has(&scope.name))
    }
}

/// A person as a client may see them, beside `sub`: what is not open, or not there, is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PersonClaims<'a> {
    /// What pages call the person: the display name, else the username. With `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The username, which may change. With `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<&'a str>,
    /// Where the picture is. With `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// An address of the person. With `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<&'a str>,
    /// Whether a trusted provider says that this very address is the person's. With `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// What the person may do here. With `roles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The same as a list. With `roles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<[Role; 1]>,
}

impl<'a> PersonClaims<'a> {
    /// What `granted` opens of a person. `emails` are in the order of their identities, oldest first: the
    /// first verified one is told, else the first. `picture` is asked for only if it is told.
    pub fn of(
        user: &'a User,
        emails: &'a [Email],
        picture: impl FnOnce() -> Option<String>,
        granted: &Scope,
        custom: &[settings::Scope],
    ) -> Self {
        let is_open = |claim: Claim| claim.is_open(granted, custom);
        let email = emails.iter().find(|email| email.verified).or_else(|| emails.first());
        let name = user.display_name.as_deref().unwrap_or(&user.username);
        Self {
            name: is_open(Claim::Name).then_some(name),
            preferred_username: is_open(Claim::PreferredUsername).then_some(&user.username),
            picture: if is_open(Claim::Picture) { picture() } else { None },
            email: email.filter(|_| is_open(Claim::Email)).map(|email| email.address.as_str()),
            email_verified: email
                .filter(|_| is_open(Claim::EmailVerified))
                .map(|email| email.verified),
            role: is_open(Claim::Role).then_some(user.role),
            roles: is_open(Claim::Roles).then_some([user.role]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::model::{UserId, UserStatus};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn user() -> User {
        User {
            id: UserId(Uuid::from_u128(1)),
            username: "alice".to_owned(),
            display_name: Some("Alice A.".to_owned()),
            avatar: Some("picture".to_owned()),
            role: Role::Admin,
            status: UserStatus::Active,
            created_at: Timestamp::from_seconds(0),
        }
    }

    fn email(address: &str, verified: bool) -> Email {
        Email { address: address.to_owned(), verified, provider: "dev".to_owned() }
    }

    fn custom() -> Vec<settings::Scope> {
        let scope = |name: &str, claims: &[Claim]| settings::Scope {
            name: name.to_owned(),
            description: "…".to_owned(),
            claims: claims.to_vec(),
        };
        vec![scope("badge", &[Claim::Name, Claim::Picture]), scope("orders", &[])]
    }

    fn told(user: &User, emails: &[Email], granted: &str) -> Value {
        let picture = || Some("https://id.example/picture.jpg".to_owned());
        let granted = Scope::parse(granted).unwrap();
        serde_json::to_value(PersonClaims::of(user, emails, picture, &granted, &custom())).unwrap()
    }

    #[test]
    fn each_scope_opens_its_claims_and_no_others() {
        let emails = [email("a@example.com", true)];
        let picture = "https://id.example/picture.jpg";
        for (granted, expected) in [
            ("openid", json!({})),
            ("openid offline_access orders unknown", json!({})),
            (
                "openid profile",
                json!({
                    "name": "Alice A.", "preferred_username": "alice", "picture": picture,
                }),
            ),
            ("openid email", json!({ "email": "a@example.com", "email_verified": true })),
            ("openid roles", json!({ "role": "admin", "roles": ["admin"] })),
            ("openid badge", json!({ "name": "Alice A.", "picture": picture })),
        ] {
            assert_eq!(told(&user(), &emails, granted), expected, "{granted}");
        }
        let everything = told(&user(), &emails, "openid profile email roles");
        let members: Vec<&str> =
            everything.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members.len(), Claim::ALL.len(), "every claim can be told: {members:?}");
        assert!(Claim::ALL.iter().all(|claim| members.contains(&claim.as_str())), "{members:?}");
    }

    #[test]
    fn the_first_verified_address_is_told_else_the_first_with_its_own_flag() {
        let (old, new) = (email("old@example.com", false), email("new@example.com", true));
        for (emails, address, verified) in [
            (vec![old.clone(), new.clone()], json!("new@example.com"), json!(true)),
            (vec![new.clone(), old.clone()], json!("new@example.com"), json!(true)),
            (
                vec![old.clone(), email("b@example.com", false)],
                json!("old@example.com"),
                json!(false),
            ),
            (vec![], Value::Null, Value::Null),
        ] {
            let told = told(&user(), &emails, "openid email");
            assert_eq!((&told["email"], &told["email_verified"]), (&address, &verified));
            assert_eq!(told.as_object().unwrap().contains_key("email"), !emails.is_empty());
        }
    }

    #[test]
    fn who_has_no_display_name_is_called_by_their_username() {
        let nameless = User { display_name: None, ..user() };
        assert_eq!(told(&nameless, &[], "openid profile")["name"], "alice");
    }
}
