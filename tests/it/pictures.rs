//! From a picture at a provider to an avatar that is served, on a whole server, with a picture server
//! that misbehaves on demand.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpResponse, web};
use futures_util::{StreamExt, stream};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use latchkey::actors::db_writer;
use latchkey::actors::pictures::{Fetch, Idle, fetch_later};
use latchkey::avatars::image as avatar_image;
use latchkey::avatars::name::AvatarName;
use latchkey::clock::Timestamp;
use latchkey::config::settings::AvatarStore;
use latchkey::providers::ProviderError;
use latchkey::providers::address::Reach;
use latchkey::providers::http::{HttpClient, Limits};
use latchkey::store::model::{Actor, AuditEntry, User, UserId};
use latchkey::store::operation::FillAvatar;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

use crate::harness::{Backend, Browser, Server};
use crate::linking::connect;
use crate::people_provider::{PeopleProvider, go_and_come_back, somebody};
use crate::stub_server::StubServer;

crate::on_both_stores!(
    signing_up_and_connecting_fill_an_empty_avatar,
    a_providers_picture_becomes_the_avatar,
    a_picture_that_cannot_be_had_leaves_no_avatar,
    an_avatar_is_never_replaced,
    an_avatar_chosen_during_the_fetch_stays,
    an_equal_picture_that_came_first_keeps_its_objects,
    a_fetch_under_way_does_not_hold_up_the_end,
);

/// Private addresses are allowed, as the picture server is on this machine.
const PRIVATE: &str = "allow_private_receivers = true\n";

/// A picture of 640 × 480 pixels.
pub fn picture(colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture: DynamicImage = RgbImage::from_pixel(640, 480, Rgb(colour)).into();
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// What the picture server was asked, and when it may go on.
struct State {
    requests: AtomicUsize,
    /// A permit for each request to `/held` that has come.
    arrived: Semaphore,
    /// A permit for each that may be answered.
    released: Semaphore,
}

/// A picture server on a port of its own; ends with the test.
struct PictureServer {
    server: StubServer,
    state: Data<State>,
}

impl PictureServer {
    fn start() -> Self {
        let state = Data::new(State {
            requests: AtomicUsize::new(0),
            arrived: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let shared = state.clone();
        let server = StubServer::start(move |routes| {
            routes.app_data(shared.clone()).route("/{name}", web::get().to(answer));
        });
        Self { server, state }
    }

    fn address(&self, name: &str) -> Url {
        Url::parse(&format!("{}/{name}", self.server.url)).unwrap()
    }

    fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Waits until a request to `/held` has come.
    async fn arrival(&self) {
        self.state.arrived.acquire().await.unwrap().forget();
    }

    fn release(&self) {
        self.state.released.add_permits(1);
    }
}

async fn answer(name: Path<String>, state: Data<State>) -> HttpResponse {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let mut ok = HttpResponse::Ok();
    let large = || Bytes::from(vec![b' '; 3 << 20]);
    match name.as_str() {
        // What a server says of the type means nothing.
        "red" => ok.content_type("text/html").body(picture([200, 0, 0])),
        "blue" => ok.body(picture([0, 0, 200])),
        "html" => ok.content_type("image/png").body("<!doctype html><p>Sorry</p>"),
        "svg" => ok.content_type("image/svg+xml").body("<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "redirect" => HttpResponse::Found().insert_header((LOCATION, "/red")).finish(),
        "large" => ok.body(large()),
        "large-unannounced" => ok.streaming(stream::iter([Ok::<_, actix_web::Error>(large())])),
        "missing" => HttpResponse::NotFound().body(picture([200, 0, 0])),
        "cut" => ok.body(picture([200, 0, 0])[..400].to_vec()),
        "stalling" => {
            let start = stream::iter([Ok::<_, actix_web::Error>(Bytes::from_static(b"\x89PNG"))]);
            ok.streaming(start.chain(stream::pending()))
        }
        "held" => {
            state.arrived.add_permits(1);
            state.released.acquire().await.unwrap().forget();
            ok.body(picture([0, 0, 200]))
        }
        other => panic!("there is no {other}"),
    }
}

pub async fn person(server: &Server, name: &str) -> User {
    server.app.store.read.user_by_name(name).await.unwrap().unwrap()
}

/// Has a picture fetched; returns when all is over.
async fn fetch(server: &Server, user: UserId, address: Url) {
    fetch_later(&server.app.pictures, user, address);
    server.app.pictures.ask(Idle).await.unwrap();
}

pub async fn avatar_url(browser: &Browser) -> Option<String> {
    let me: Value =
        serde_json::from_str(&browser.get("/auth/me").await.text().await.unwrap()).unwrap();
    me["avatar_url"].as_str().map(str::to_owned)
}

/// The files in which the server keeps pictures.
pub fn objects(server: &Server) -> Vec<PathBuf> {
    let AvatarStore::File(folder) = &server.app.settings.avatars.store else { panic!("a folder") };
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

async fn a_providers_picture_becomes_the_avatar(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    let browser = server.signed_in("alice").await;
    assert_eq!(avatar_url(&browser).await, None);
    let alice = person(&server, "alice").await.id;
    fetch(&server, alice, pictures.address("red?size=640&token=secret")).await;
    assert_eq!((pictures.requests(), server.audited("user.avatar_filled").await), (1, 1));

    let url = avatar_url(&browser).await.unwrap();
    assert!(url.starts_with(&format!("{}/avatars/", server.url)), "{url}");
    let outside = reqwest::Client::builder().no_proxy().build().unwrap();
    for (url, side) in [(url.clone(), 480), (url.replace("-512.", "-128."), 128)] {
        let answer = outside.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        for (name, value) in [
            ("content-type", "image/jpeg"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert!(!headers.contains_key("set-cookie"));
        let served = image::load_from_memory(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!((served.width(), served.height()), (side, side));

        let etag = headers["etag"].to_str().unwrap();
        let ask_again = outside.get(&url).header("if-none-match", etag);
        let known = ask_again.send().await.unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known.headers()["etag"], etag);
        assert_eq!(known.headers()["cache-control"], headers["cache-control"]);
        assert!(known.bytes().await.unwrap().is_empty());
    }
    let head = outside.head(&url).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(outside.post(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    let unknown = format!("{}/avatars/{}-512.jpg", server.url, "0".repeat(64));
    for absent in [
        unknown.as_str(),
        &url.replace("-512.", "-256."),
        &url.replace(".jpg", ".png"),
        &url.replace(".jpg", ""),
        &format!("{}/avatars/..%2flatchkey.toml", server.url),
    ] {
        let answer = outside.get(absent).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{absent}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{absent}");
    }
    assert!(server.stop().await);
}

async fn signing_up_and_connecting_fill_an_empty_avatar(backend: Backend) {
    let (people, pictures) = (PeopleProvider::start(), PictureServer::start());
    let blocks = format!("{PRIVATE}{}", people.block("forge", "trust_email = true\n"));
    let server = Server::start(backend, &blocks).await;
    let with_picture = |id: &str, picture: &str| {
        let mut person = somebody(id, &format!("{id}@forge.example"));
        person["picture"] = pictures.address(picture).as_str().into();
        person
    };
    let newcomer = server.browser();
    go_and_come_back(&newcomer, "/auth/forge", &with_picture("octo", "red")).await;
    newcomer.post_json("/auth/setup", &json!({ "username": "octo" })).await;
    server.app.pictures.ask(Idle).await.unwrap();
    let red = avatar_url(&newcomer).await.expect("the provider's picture");
    assert_eq!(newcomer.get(&red).await.status(), StatusCode::OK);
    connect(&newcomer, "forge", &with_picture("octo2", "blue")).await;
    server.app.pictures.ask(Idle).await.unwrap();
    assert_eq!(avatar_url(&newcomer).await, Some(red));

    let without = server.signed_in("alice").await;
    assert_eq!(avatar_url(&without).await, None);
    connect(&without, "forge", &with_picture("alice", "blue")).await;
    server.app.pictures.ask(Idle).await.unwrap();
    assert!(avatar_url(&without).await.is_some());
}

async fn a_picture_that_cannot_be_had_leaves_no_avatar(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    let unusable = ["html", "svg", "redirect", "large", "large-unannounced", "missing", "cut"];
    for name in unusable {
        fetch(&server, alice, pictures.address(name)).await;
        assert_eq!(person(&server, "alice").await.avatar, None, "{name}");
        assert_eq!(objects(&server), [""; 0].map(PathBuf::from), "{name}");
    }
    // The redirect was not followed.
    assert_eq!(pictures.requests(), unusable.len());
    fetch(&server, alice, Url::parse("http://127.0.0.1:1/closed").unwrap()).await;
    fetch(&server, UserId::new(Timestamp::from_seconds(1)), pictures.address("red")).await;
    assert_eq!(pictures.requests(), unusable.len());
    assert_eq!(server.audited("user.avatar_filled").await, 0);

    // Without the permission nobody's network is asked.
    let guarded = Server::start(backend, "").await;
    guarded.signed_in("alice").await;
    let alice = person(&guarded, "alice").await.id;
    for address in [pictures.address("red"), Url::parse("https://10.0.0.1/red").unwrap()] {
        fetch(&guarded, alice, address).await;
    }
    assert_eq!(pictures.requests(), unusable.len());
    assert_eq!(person(&guarded, "alice").await.avatar, None);
}

async fn an_avatar_is_never_replaced(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    fetch(&server, alice, pictures.address("red")).await;
    let (first, kept) = (person(&server, "alice").await.avatar, objects(&server));
    assert!(first.is_some());
    for name in ["blue", "red"] {
        fetch(&server, alice, pictures.address(name)).await;
        assert_eq!(
            (person(&server, "alice").await.avatar, objects(&server)),
            (first.clone(), kept.clone())
        );
    }
    // Not even asked for.
    assert_eq!(pictures.requests(), 1);
}

/// Enters an avatar as another node or an upload would.
async fn enter(server: &Server, user: UserId, avatar: &str) {
    let now = server.clock.now();
    let audit = AuditEntry::new(now, Actor::User(user), "user.avatar_filled", "a".to_owned());
    let write = FillAvatar { user, avatar: avatar.to_owned(), audit };
    assert!(db_writer::apply(&server.app.writer, write).await.unwrap());
}

async fn an_avatar_chosen_during_the_fetch_stays(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    fetch_later(&server.app.pictures, alice, pictures.address("held"));
    pictures.arrival().await;
    enter(&server, alice, "chosen").await;
    pictures.release();
    server.app.pictures.ask(Idle).await.unwrap();
    assert_eq!(person(&server, "alice").await.avatar.as_deref(), Some("chosen"));
    assert_eq!(objects(&server), [""; 0].map(PathBuf::from));
}

async fn an_equal_picture_that_came_first_keeps_its_objects(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    fetch_later(&server.app.pictures, alice, pictures.address("held"));
    pictures.arrival().await;
    let avatar = avatar_image::encode(&picture([0, 0, 200]), 1_000_000).unwrap();
    let name = AvatarName::new(alice, &avatar);
    server.app.avatars.put(name, &avatar).await.unwrap();
    enter(&server, alice, &name.to_string()).await;
    pictures.release();
    server.app.pictures.ask(Idle).await.unwrap();
    assert_eq!(objects(&server).len(), 2);
}

async fn a_fetch_under_way_does_not_hold_up_the_end(backend: Backend) {
    let (server, pictures) = (Server::start(backend, PRIVATE).await, PictureServer::start());
    let people = ["alice", "ben"];
    for name in people {
        server.signed_in(name).await;
        let user = person(&server, name).await.id;
        let address = pictures.address("held");
        assert!(server.app.pictures.ask(Fetch { user, address, origin: None }).await.unwrap());
        pictures.arrival().await;
        let again = Fetch { user, address: pictures.address("red"), origin: None };
        assert!(!server.app.pictures.ask(again).await.unwrap(), "one at a time for one person");
    }
    let mut taken = 0;
    let nobody = || UserId::new(Timestamp::from_seconds(1));
    while server
        .app
        .pictures
        .ask(Fetch { user: nobody(), address: pictures.address("red"), origin: None })
        .await
        .unwrap()
    {
        taken += 1;
    }
    assert_eq!(taken, 64, "the rest waits, within a bound");
    let (app, folder) = (server.app.clone(), objects(&server));
    assert!(server.stop().await);
    assert_eq!((pictures.requests(), folder.len()), (2, 0));
    drop(app);
}

#[cfg(feature = "fault-injection")]
#[actix_web::test]
async fn a_panic_of_the_owner_does_not_cost_the_picture_under_way() {
    let server = Server::start(Backend::Sqlite, PRIVATE).await;
    let pictures = PictureServer::start();
    let browser = server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    fetch_later(&server.app.pictures, alice, pictures.address("held"));
    pictures.arrival().await;
    let fault = browser.post("/dev/fault/pictures?kind=panic").await;
    assert_eq!(fault.status(), StatusCode::NO_CONTENT);
    pictures.release();
    server.app.pictures.ask(Idle).await.unwrap();
    assert!(avatar_url(&browser).await.is_some());
    assert_eq!(server.app.pictures.status().restarts(), 1);
}

#[actix_web::test]
async fn a_slow_picture_is_given_up() {
    let pictures = PictureServer::start();
    let patience = Duration::from_millis(300);
    let limits = Limits { connect: patience, total: patience, body: 1 };
    let http = HttpClient::new(limits).unwrap();
    for name in ["stalling", "held"] {
        let address = pictures.address(name);
        let answer = http.get_bytes(&address, "image/png", Reach::Private, 1 << 20).await;
        assert_eq!(answer, Err(ProviderError::Timeout), "{name}");
    }
}

#[actix_web::test]
async fn pictures_lie_below_their_own_address_if_there_is_one() {
    let further = "[avatars]\npublic_url = \"https://pictures.example/a/\"\n";
    let server = Server::start(Backend::Sqlite, further).await;
    let browser = server.signed_in("alice").await;
    let digest = "0a".repeat(32);
    enter(&server, person(&server, "alice").await.id, &format!("{digest}.png")).await;
    let expected = format!("https://pictures.example/a/{digest}-512.png");
    assert_eq!(avatar_url(&browser).await, Some(expected));
}
