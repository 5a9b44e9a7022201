//! Signing in at a provider: what works, and what each misbehaviour comes to.

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use futures_util::future::join_all;
use latchkey::actors::mailbox::Mailbox;
use latchkey::actors::provider_metadata::ProviderMetadata;
use latchkey::actors::supervisor::{Supervision, Terms};
use latchkey::clock::Clock;
use latchkey::config::settings::{Mapping, Provider};
use latchkey::protocol::pkce;
use latchkey::protocol::secret::Secret;
use latchkey::providers::ProviderError;
use latchkey::providers::authorization::{Attempt, AuthorizationRequest, CallbackParameters};
use latchkey::providers::configured::Providers;
use latchkey::providers::configured::SignInProvider;
use latchkey::providers::http::{HttpClient, Limits};
use latchkey::providers::id_token::TokenProblem;
use latchkey::providers::identity::ProviderIdentity;
use latchkey::providers::openid::MetadataSource;
use serde_json::Value;

use crate::openid_provider::{
    Behaviour, CLIENT_ID, CLIENT_SECRET, Change, NOW, Reply, Signature, TestProvider,
};

const VERIFIER: &str = "a-code-verifier-of-at-least-forty-three-characters";
const REDIRECT_URI: &str = "http://127.0.0.1:8080/auth/op/callback";
const NONCE: &str = "the nonce of this attempt";

/// Long enough for any loaded machine, short enough for the tests that wait for it.
const PATIENCE: Limits =
    Limits { connect: Duration::from_secs(5), total: Duration::from_secs(5), body: 1024 * 1024 };

/// A provider and the relying party in front of it.
struct Scene {
    op: TestProvider,
    party: SignInProvider,
    http: HttpClient,
    source: Mailbox<ProviderMetadata>,
    clock: Clock,
}

fn settings(issuer: &str) -> Provider {
    Provider {
        name: "op".to_owned(),
        display_name: "OP".to_owned(),
        client_id: CLIENT_ID.to_owned(),
        client_secret: Some(Secret::new(CLIENT_SECRET)),
        issuer: Some(issuer.to_owned()),
        auth_url: None,
        token_url: None,
        userinfo_url: None,
        emails_url: None,
        mapping: Mapping::default(),
        token_endpoint_auth_method: None,
        scopes: vec!["email".to_owned(), "profile".to_owned()],
        trust_email: true,
        allow_private: false,
        signup: None,
    }
}

impl Scene {
    fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, PATIENCE, |_| {})
    }

    fn with(behaviour: Behaviour, limits: Limits, change: impl FnOnce(&mut Provider)) -> Self {
        let op = TestProvider::start(behaviour);
        let mut provider = settings(&op.url);
        change(&mut provider);
        let provider = Arc::new(provider);
        let http = HttpClient::new(limits).unwrap();
        let clock = Clock::manual(NOW);
        let terms = Terms {
            name: "provider_metadata",
            shard: 0,
            capacity: 64,
            deadline: Duration::from_secs(30),
        };
        let (kept, client, time) = (Arc::clone(&provider), http.clone(), clock.clone());
        let source = Supervision::default().start(&Arbiter::current(), terms, move |status| {
            ProviderMetadata::new(Providers::new(&[kept]).into(), client, time, status)
        });
        Self { op, party: SignInProvider::new(provider), http, source, clock }
    }

    async fn sign_in(&self) -> Result<ProviderIdentity, ProviderError> {
        self.sign_in_from(None).await
    }

    async fn sign_in_from(&self, iss: Option<&str>) -> Result<ProviderIdentity, ProviderError> {
        let code = format!("{NONCE}.{}", pkce::challenge(VERIFIER));
        let answer = CallbackParameters { code: Secret::new(code), iss: iss.map(str::to_owned) };
        let attempt = Attempt {
            redirect_uri: REDIRECT_URI.to_owned(),
            nonce: NONCE.to_owned(),
            code_verifier: Secret::new(VERIFIER),
            max_age: None,
            started_at: NOW,
        };
        self.party.finish(&self.http, &self.source, &self.clock, &answer, &attempt).await
    }
}

async fn outcome(behaviour: Behaviour) -> Result<ProviderIdentity, ProviderError> {
    Scene::new(behaviour).sign_in().await
}

fn is_misconfigured<T>(outcome: &Result<T, ProviderError>) -> bool {
    matches!(outcome, Err(ProviderError::Misconfigured(_)))
}

#[actix::test]
async fn a_person_comes_back_as_the_provider_knows_them() {
    let identity = outcome(Behaviour::default()).await.unwrap();
    assert_eq!(identity.subject, "7");
    assert_eq!(identity.username_hint.as_deref(), Some("rivka"));
    assert_eq!(identity.display_name.as_deref(), Some("Rivka Cohen"));
    let [email] = &identity.emails[..] else { panic!("{:?}", identity.emails) };
    assert_eq!((email.address.as_str(), email.verified), ("rivka@example.com", true));
    assert_eq!(email.provider, "op");
}

#[actix::test]
async fn the_browser_is_sent_with_everything_that_ties_the_answer_to_it() {
    let scene = Scene::new(Behaviour::default());
    let request = AuthorizationRequest {
        redirect_uri: REDIRECT_URI,
        state: "a state&more",
        nonce: NONCE,
        pkce_challenge: &pkce::challenge(VERIFIER),
        login_hint: Some("rivka"),
        prompt: Some("login"),
        max_age: Some(Duration::from_secs(900)),
    };
    let url = scene.party.authorization_url(&scene.source, &request).await.unwrap();
    assert!(url.as_str().starts_with(&format!("{}/authorize?tenant=a&", scene.op.url)));
    let challenge = pkce::challenge(VERIFIER);
    let expected = [
        ("tenant", "a"),
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT_URI),
        ("scope", "openid email profile"),
        ("state", "a state&more"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("login_hint", "rivka"),
        ("prompt", "login"),
        ("max_age", "900"),
        ("nonce", NONCE),
    ];
    let sent: Vec<_> = url.query_pairs().into_owned().collect();
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[actix::test]
async fn a_token_for_somebody_else_or_another_time_is_refused() {
    use TokenProblem::{Audience, AuthorizedParty, Expired, Issuer, Malformed, Nonce, NotYetValid};
    let cases: [(Change, TokenProblem); 9] = [
        (|claims| claims["iss"] = "https://evil.example".into(), Issuer),
        (|claims| claims["aud"] = "another".into(), Audience),
        (|claims| claims["aud"] = vec![CLIENT_ID, "another"].into(), AuthorizedParty),
        (|claims| claims["azp"] = "another".into(), AuthorizedParty),
        (|claims| claims["nonce"] = "another".into(), Nonce),
        (|claims| claims["exp"] = (NOW.seconds() - 60).into(), Expired),
        (|claims| claims["iat"] = (NOW.seconds() + 61).into(), NotYetValid),
        (|claims| claims["exp"] = "tomorrow".into(), Malformed),
        (|claims| claims["sub"] = Value::Null, Malformed),
    ];
    for (claims, problem) in cases {
        let refused = outcome(Behaviour { claims, ..Behaviour::default() }).await;
        assert_eq!(refused, Err(ProviderError::Token(problem)));
    }
}

#[actix::test]
async fn a_token_without_a_signature_of_the_provider_is_refused() {
    for signature in [Signature::Missing, Signature::HmacOfPublicKey] {
        // Also where the provider itself announces none and HS256.
        let refused = outcome(Behaviour { signature, ..Behaviour::default() }).await;
        assert_eq!(refused, Err(TokenProblem::Algorithm.into()), "{signature:?}");
    }
}

#[actix::test]
async fn a_rotated_key_is_fetched_once_and_not_more_than_every_thirty_seconds() {
    let scene = Scene::new(Behaviour::default());
    let unknown = Err(ProviderError::Token(TokenProblem::UnknownKey));
    scene.sign_in().await.unwrap();
    scene.sign_in().await.unwrap();
    assert_eq!(scene.op.state.discovery_requests(), 1);

    scene.op.state.sign_with(1);
    scene.op.state.publish(1);
    assert_eq!(scene.sign_in().await, unknown, "asked a moment ago");
    assert_eq!(scene.op.state.discovery_requests(), 1);
    scene.clock.advance(Duration::from_secs(30));
    scene.sign_in().await.unwrap();
    assert_eq!(scene.op.state.discovery_requests(), 2);

    scene.op.state.sign_with(0);
    scene.clock.advance(Duration::from_secs(30));
    for _ in 0..5 {
        assert_eq!(scene.sign_in().await, unknown, "signed by a key that is not published");
    }
    assert_eq!(scene.op.state.discovery_requests(), 3);
}

#[actix::test]
async fn metadata_is_kept_for_an_hour() {
    let scene = Scene::new(Behaviour::default());
    scene.source.metadata("op", None).await.unwrap();
    scene.clock.advance(Duration::from_secs(3599));
    scene.source.metadata("op", None).await.unwrap();
    assert_eq!(scene.op.state.discovery_requests(), 1);
    scene.clock.advance(Duration::from_secs(1));
    scene.source.metadata("op", None).await.unwrap();
    assert_eq!(scene.op.state.discovery_requests(), 2);
}

#[actix::test]
async fn all_who_ask_at_once_share_one_fetch() {
    let scene = Scene::new(Behaviour::default());
    let answers = join_all((0..20).map(|_| scene.source.metadata("op", None))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(scene.op.state.discovery_requests(), 1);
}

#[actix::test]
async fn a_failure_is_remembered_for_five_seconds() {
    let down = Behaviour { discovery_reply: Reply::Status(500), ..Behaviour::default() };
    let scene = Scene::new(down);
    for _ in 0..3 {
        assert!(matches!(scene.sign_in().await, Err(ProviderError::Answer(_))));
    }
    assert_eq!(scene.op.state.discovery_requests(), 1);
    scene.clock.advance(Duration::from_secs(5));
    assert!(scene.sign_in().await.is_err());
    assert_eq!(scene.op.state.discovery_requests(), 2);
}

#[actix::test]
async fn a_provider_that_is_not_configured_has_no_metadata() {
    let scene = Scene::new(Behaviour::default());
    assert!(is_misconfigured(&scene.source.metadata("another", None).await));
}

#[actix::test]
async fn userinfo_is_asked_where_the_token_names_no_address() {
    let without: Change = |claims| {
        claims.as_object_mut().unwrap().remove("email");
    };
    let identity = outcome(Behaviour { claims: without, ..Behaviour::default() }).await.unwrap();
    assert_eq!(identity.emails[0].address, "from@userinfo.example");
    assert!(identity.emails[0].verified);
    assert_eq!(identity.display_name.as_deref(), Some("Rivka Cohen"));

    let subjects: [Change; 2] =
        [|claims| claims["sub"] = "8".into(), |claims| claims["sub"] = Value::Null];
    for userinfo in subjects {
        let refused =
            outcome(Behaviour { claims: without, userinfo, ..Behaviour::default() }).await;
        assert_eq!(refused, Err(TokenProblem::UserinfoSubject.into()));
    }
    let none: Change = |document| {
        document.as_object_mut().unwrap().remove("userinfo_endpoint");
    };
    let behaviour = Behaviour { claims: without, discovery: none, ..Behaviour::default() };
    assert!(outcome(behaviour).await.unwrap().emails.is_empty());
}

#[actix::test]
async fn only_json_true_makes_an_address_verified() {
    let flags: [Change; 4] = [
        |claims| claims["email_verified"] = "true".into(),
        |claims| claims["email_verified"] = 1.into(),
        |claims| claims["email_verified"] = Value::Null,
        |claims| claims["email_verified"] = false.into(),
    ];
    for claims in flags {
        let identity = outcome(Behaviour { claims, ..Behaviour::default() }).await.unwrap();
        assert!(!identity.emails[0].verified);
    }
    let mistrusted =
        Scene::with(Behaviour::default(), PATIENCE, |provider| provider.trust_email = false);
    assert!(!mistrusted.sign_in().await.unwrap().emails[0].verified);
}

#[actix::test]
async fn an_unusable_answer_of_any_endpoint_ends_the_sign_in() {
    let without: Change = |claims| {
        claims.as_object_mut().unwrap().remove("email");
    };
    for (reply, reason) in [
        (Reply::Status(500), "status 500"),
        (Reply::Status(503), "status 503"),
        (Reply::Html, "JSON"),
        (Reply::InvalidJson, "JSON"),
        (Reply::Large, "more than 1048576 bytes"),
        (Reply::LargeUnannounced, "more than 1048576 bytes"),
        (Reply::Compressed, "JSON"),
        (Reply::Redirect("/elsewhere"), "status 307"),
    ] {
        let base = Behaviour { claims: without, ..Behaviour::default() };
        for behaviour in [
            Behaviour { discovery_reply: reply, ..base },
            Behaviour { jwks_reply: reply, ..base },
            Behaviour { token_reply: reply, ..base },
            Behaviour { userinfo_reply: reply, ..base },
        ] {
            let Err(ProviderError::Answer(told)) = outcome(behaviour).await else {
                panic!("{reply:?} was taken");
            };
            assert!(told.contains(reason), "{reply:?}: {told}");
        }
    }
}

#[actix::test]
async fn a_provider_that_does_not_finish_its_answer_is_given_up_in_time() {
    let limits = Limits { total: Duration::from_millis(300), ..PATIENCE };
    for reply in [Reply::Never, Reply::Stalling] {
        for behaviour in [
            Behaviour { discovery_reply: reply, ..Behaviour::default() },
            Behaviour { jwks_reply: reply, ..Behaviour::default() },
            Behaviour { token_reply: reply, ..Behaviour::default() },
        ] {
            let ended = Scene::with(behaviour, limits, |_| {}).sign_in().await;
            assert_eq!(ended, Err(ProviderError::Timeout), "{reply:?}");
        }
    }
}

#[actix::test]
async fn a_provider_that_is_not_there_cannot_be_reached() {
    // A port that is taken, so that nobody else gets it, but not listened on.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let issuer = format!("http://{}", socket.local_addr().unwrap());
    let gone =
        Scene::with(Behaviour::default(), PATIENCE, |provider| provider.issuer = Some(issuer));
    assert!(matches!(gone.sign_in().await, Err(ProviderError::Unreachable(_))));
}

#[actix::test]
async fn a_refusal_of_the_token_endpoint_is_told_by_its_code() {
    let token_reply = Reply::Refusal("invalid_grant");
    let Err(ProviderError::Refused { error, description }) =
        outcome(Behaviour { token_reply, ..Behaviour::default() }).await
    else {
        panic!("not refused");
    };
    assert_eq!((error.as_str(), description.as_deref()), ("invalid_grant", Some("no such code")));
}

#[actix::test]
async fn the_secret_is_sent_as_the_provider_takes_it() {
    let post: Change = |document| {
        document["token_endpoint_auth_methods_supported"] = vec!["client_secret_post"].into();
    };
    outcome(Behaviour { discovery: post, ..Behaviour::default() }).await.unwrap();
    let public =
        Scene::with(Behaviour::default(), PATIENCE, |provider| provider.client_secret = None);
    public.sign_in().await.unwrap();
    let wrong = Scene::with(Behaviour::default(), PATIENCE, |provider| {
        provider.client_secret = Some(Secret::new("wrong"));
    });
    let refused = wrong.sign_in().await;
    assert!(
        matches!(refused, Err(ProviderError::Refused { error, .. }) if error == "invalid_client")
    );
}

#[actix::test]
async fn metadata_of_another_issuer_is_refused() {
    let others: [Change; 3] = [
        |document| document["issuer"] = "https://evil.example".into(),
        |document| document["issuer"] = format!("{}/", document["issuer"].as_str().unwrap()).into(),
        |document| document["id_token_signing_alg_values_supported"] = vec!["HS256"].into(),
    ];
    for discovery in others {
        assert!(is_misconfigured(&outcome(Behaviour { discovery, ..Behaviour::default() }).await));
    }
    let nameless: Change = |document| document["issuer"] = Value::Null;
    let refused = outcome(Behaviour { discovery: nameless, ..Behaviour::default() }).await;
    assert!(matches!(refused, Err(ProviderError::Answer(_))));
}

#[actix::test]
async fn metadata_cannot_lead_inside() {
    let inside: [Change; 6] = [
        |document| document["jwks_uri"] = "https://169.254.169.254/latest".into(),
        |document| document["jwks_uri"] = "http://op.example/jwks".into(),
        |document| document["token_endpoint"] = "https://10.0.0.1/token".into(),
        |document| document["token_endpoint"] = "http://[::ffff:10.0.0.1]/token".into(),
        |document| document["userinfo_endpoint"] = "https://[fd00::1]/userinfo".into(),
        |document| document["authorization_endpoint"] = "javascript:alert(1)".into(),
    ];
    for discovery in inside {
        let refused = outcome(Behaviour { discovery, ..Behaviour::default() }).await;
        assert!(is_misconfigured(&refused), "{refused:?}");
    }
}

#[actix::test]
async fn this_machine_is_asked_only_under_its_own_name() {
    let renamed = |name: &'static str| {
        Scene::with(Behaviour::default(), PATIENCE, move |provider| {
            let issuer = provider.issuer.take().unwrap().replace("127.0.0.1", name);
            provider.issuer = Some(issuer.replace("http://", "https://"));
        })
    };
    for variant in ["localhost.", "a.localhost"] {
        let refused = renamed(variant).source.metadata("op", None).await;
        // Refused when it is resolved; a system that does not know the name says so instead.
        assert!(
            matches!(refused, Err(ProviderError::Misconfigured(_) | ProviderError::Unreachable(_))),
            "{variant}: {refused:?}"
        );
    }
    let local: Change = |document| {
        document["issuer"] =
            document["issuer"].as_str().unwrap().replace("127.0.0.1", "localhost").into();
    };
    let scene =
        Scene::with(Behaviour { discovery: local, ..Behaviour::default() }, PATIENCE, |provider| {
            provider.issuer = provider.issuer.take().map(|it| it.replace("127.0.0.1", "localhost"));
        });
    assert!(scene.source.metadata("op", None).await.is_ok());
}

#[actix::test]
async fn an_answer_of_another_issuer_ends_before_the_code_is_shown_to_anybody() {
    let wrong = Err(ProviderError::Token(TokenProblem::AnswerIssuer));
    let promises: Change =
        |document| document["authorization_response_iss_parameter_supported"] = true.into();
    let promising = Scene::new(Behaviour { discovery: promises, ..Behaviour::default() });
    assert_eq!(promising.sign_in_from(None).await, wrong);
    assert_eq!(promising.sign_in_from(Some("https://evil.example")).await, wrong);
    assert_eq!(promising.op.state.token_requests(), 0);
    assert!(promising.sign_in_from(Some(&promising.op.url)).await.is_ok());

    let silent = Scene::new(Behaviour::default());
    assert_eq!(silent.sign_in_from(Some("https://evil.example")).await, wrong);
    assert_eq!(silent.op.state.token_requests(), 0);
    assert!(silent.sign_in_from(Some(&silent.op.url)).await.is_ok());
}
