//! Journeys through a deployment, by HTTP alone: what a person, an app and an admin do, from the first look to the
//! end of the account. They need nothing of Latchkey's own code, and touch only what they made themselves.

#![allow(
    clippy::disallowed_methods,
    reason = "outside the server there are no clock and no randomness of its own to be injected"
)]

pub mod administration;
pub mod apps;
pub mod browser;
pub mod html;
pub mod machines;
pub mod people;
pub mod provider;
pub mod sessions;
pub mod tokens;

use std::cell::RefCell;
use std::future::Future;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use browser::{Answer, Body, Browser, Caller};
use people::Person;

/// What a step comes to; an error is a sentence without secrets.
pub type Outcome<T = ()> = Result<T, String>;

/// A step that failed.
pub fn failure<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(reason.into())
}

/// Goes on only if it is so.
pub fn check(so: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if so { Ok(()) } else { Err(otherwise()) }
}

/// Longest time until what happened at one node is known at the others, with room for a busy machine.
pub const SPREAD: Duration = Duration::from_secs(5);

/// Who opens the admin interface.
#[derive(Clone)]
pub enum Admin {
    /// Whoever this access token belongs to.
    Token(String),
    /// A person of this name at the provider, who is an admin or becomes one by signing in.
    Person(String),
}

/// What is tried, and how.
pub struct Target {
    /// The public origin.
    pub url: String,
    /// Who vouches for its certificate; nobody where the system's authorities do.
    pub authorities: Vec<Certificate>,
    /// The provider to sign in at; the first one without it.
    pub provider: Option<String>,
    /// Without one the admin's journeys are left out.
    pub admin: Option<Admin>,
    /// Origins at which single nodes can be reached directly.
    pub nodes: Vec<String>,
    /// Whether signing keys may be rotated.
    pub rotate_keys: bool,
    /// Longest time until what happened counts everywhere: [`SPREAD`], or none where there is one process.
    pub spread: Duration,
}

/// A deployment under way, and what the journeys have made there.
pub struct Scene {
    /// What is tried.
    pub target: Target,
    /// Where people sign in.
    pub provider: String,
    /// Asks with tokens in place of cookies.
    pub caller: Caller,
    admin: Option<Reaching>,
    made: RefCell<Made>,
}

#[derive(Default)]
struct Made {
    people: Vec<(String, Browser)>,
    clients: Vec<String>,
}

/// How the admin interface is reached.
enum Reaching {
    Token(String),
    Browser(Box<Browser>),
}

impl Scene {
    async fn open(target: Target) -> Outcome<Self> {
        let caller = Caller::new(&target.authorities)?;
        let browser = Browser::new(&target.url, &target.authorities)?;
        let providers = browser.get("/auth/providers").await?.expect(StatusCode::OK)?.json()?;
        let names: Vec<String> = providers["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["name"].as_str().map(str::to_owned))
            .collect();
        let provider = provider::choose(&target, &names).await?;
        let mut scene =
            Self { target, provider, caller, admin: None, made: RefCell::new(Made::default()) };
        scene.admin = match scene.target.admin.clone() {
            None => None,
            Some(Admin::Token(token)) => Some(Reaching::Token(token)),
            Some(Admin::Person(name)) => {
                let browser = scene.browser()?;
                people::sign_in_or_up(&scene, &browser, &name).await?;
                Some(Reaching::Browser(Box::new(browser)))
            }
        };
        if scene.admin.is_some() {
            scene
                .administer(Method::GET, "/admin/keys", Body::None)
                .await?
                .expect(StatusCode::OK)?;
        }
        Ok(scene)
    }

    /// Another browser.
    pub fn browser(&self) -> Outcome<Browser> {
        Browser::new(&self.target.url, &self.target.authorities)
    }

    /// Whether it is reached by https.
    pub fn is_secure(&self) -> bool {
        self.target.url.starts_with("https:")
    }

    /// Where requests that are to reach every node are sent: the nodes themselves, else the public origin.
    pub fn entrances(&self) -> Vec<&str> {
        if self.target.nodes.is_empty() {
            return vec![&self.target.url];
        }
        self.target.nodes.iter().map(String::as_str).collect()
    }

    /// The name that the public origin has in requests, also in those that go to a node directly.
    pub fn host(&self) -> (&'static str, String) {
        let authority = self.target.url.split_once("://").map_or("", |(_, authority)| authority);
        ("host", authority.to_owned())
    }

    /// Asks the admin interface.
    pub async fn administer(&self, method: Method, path: &str, body: Body) -> Outcome<Answer> {
        match &self.admin {
            None => failure("no admin is known"),
            Some(Reaching::Browser(browser)) => browser.send(method, path, body).await,
            Some(Reaching::Token(token)) => {
                let url = format!("{}{path}", self.target.url);
                let bearer = ("authorization", format!("Bearer {token}"));
                self.caller.ask(method, &url, &[bearer], body).await
            }
        }
    }

    /// A new person with an account of their own.
    pub async fn person(&self) -> Outcome<Person> {
        people::sign_up(self).await
    }

    fn remember_person(&self, username: &str, browser: Browser) {
        self.made.borrow_mut().people.push((username.to_owned(), browser));
    }

    fn remember_client(&self, id: &str) {
        self.made.borrow_mut().clients.push(id.to_owned());
    }

    /// Takes away what the journeys made and left; what could not be taken away.
    async fn clean_up(&self) -> Vec<String> {
        let made = self.made.take();
        let mut left = Vec::new();
        for id in made.clients {
            let path = format!("/admin/clients/{id}");
            match self.administer(Method::DELETE, &path, Body::None).await {
                Ok(answer) if matches!(answer.status.as_u16(), 204 | 404) => {}
                Ok(answer) => left.push(format!("client {id}: {answer}")),
                Err(reason) => left.push(format!("client {id}: {reason}")),
            }
        }
        for (username, browser) in made.people {
            // Who is not signed in any more signs in again.
            let deleted = match browser.send(Method::DELETE, "/auth/me", Body::None).await {
                Ok(answer) if answer.status == StatusCode::NO_CONTENT => Ok(()),
                _ => people::come_back_and_delete(self, &username).await,
            };
            if let Err(reason) = deleted {
                left.push(format!("account {username}: {reason}"));
            }
        }
        left
    }
}

/// A name that nobody has.
pub fn fresh_name() -> String {
    let random = Uuid::now_v7().simple().to_string();
    format!("e2e{}", &random[random.len() - 12..])
}

/// Text that nobody guesses, with more than 128 random bits.
pub fn fresh_secret() -> String {
    format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple())
}

/// Asks again until it is so, as it must be within [`Target::spread`], several times in a row: behind one address
/// there may be several nodes.
pub async fn soon<F>(scene: &Scene, what: &str, asking: impl Fn() -> F) -> Outcome
where
    F: Future<Output = Outcome<bool>>,
{
    const IN_A_ROW: u32 = 6;
    let began = Instant::now();
    let mut row = 0;
    while row < IN_A_ROW {
        if asking().await? {
            row += 1;
        } else if began.elapsed() > scene.target.spread {
            return failure(format!("{what}: not everywhere within {:?}", scene.target.spread));
        } else {
            row = 0;
        }
    }
    Ok(())
}

/// A member of a JSON object as text.
pub fn text_of<'a>(value: &'a Value, member: &str) -> Outcome<&'a str> {
    value[member].as_str().ok_or_else(|| format!("the answer has no {member}"))
}

/// Goes all journeys, prints a line for each, and takes away what they made. An error names all that failed.
pub async fn all(target: Target) -> Outcome {
    let began = Instant::now();
    let url = target.url.clone();
    println!("Latchkey at {url}");
    let scene = Scene::open(target).await.map_err(|reason| format!("{url}: {reason}"))?;
    println!("people sign in at the provider {}", scene.provider);
    let mut failures = Vec::new();
    let mut gone = 0;

    macro_rules! journeys {
        ($($journey:path),* $(,)?) => {
            $(
                let name = stringify!($journey).replace("::", ": ").replace('_', " ");
                let begun = Instant::now();
                match $journey(&scene).await {
                    Ok(()) => {
                        gone += 1;
                        println!("ok      {name} ({} ms)", begun.elapsed().as_millis());
                    }
                    Err(reason) => {
                        println!("FAILED  {name}: {reason}");
                        failures.push(format!("{name}: {reason}"));
                    }
                }
            )*
        };
    }
    journeys!(
        machines::it_is_ready_and_says_so,
        machines::it_publishes_what_it_can_do_and_its_keys,
        machines::answers_have_the_headers_that_protect_them,
        people::a_newcomer_signs_up_by_pages_without_a_script,
        people::cookies_are_as_strict_as_the_address_allows,
        people::a_person_changes_names_and_picture,
        sessions::thirty_two_refreshes_at_once_get_one_successor,
        sessions::a_person_sees_their_sessions_and_ends_one,
        sessions::signing_out_ends_the_access_token_at_once,
    );
    if scene.admin.is_some() {
        journeys!(
            apps::an_app_signs_a_person_in_and_out,
            apps::a_refresh_token_is_renewed_once_and_its_theft_is_found_out,
            apps::what_an_admin_changes_about_an_app_counts,
            administration::people_who_are_no_admins_are_refused,
            administration::what_was_done_is_in_the_audit_trail,
        );
        if scene.target.rotate_keys {
            journeys!(administration::keys_rotate_while_tokens_are_verified);
        } else {
            println!("left    rotation of the signing keys: LATCHKEY_E2E_ROTATE_KEYS=1 allows it");
        }
    } else {
        println!(
            "left    apps and administration: LATCHKEY_E2E_ADMIN_TOKEN or LATCHKEY_E2E_ADMIN opens them"
        );
    }
    journeys!(people::an_account_is_deleted_by_its_person);

    for left in scene.clean_up().await {
        println!("LEFT    {left}");
        failures.push(format!("something is left behind: {left}"));
    }
    if let Some(Admin::Person(name)) = &scene.target.admin {
        println!("left    the account of the admin {name}, and the audit trail");
    }
    println!("{gone} journeys, {} failures, {} ms", failures.len(), began.elapsed().as_millis());
    if failures.is_empty() { Ok(()) } else { failure(failures.join("\n")) }
}
