//! A frontend of the deployer's own, as `examples/frontend` is one: on another origin, with its own pages.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::driver::Chromium;
use crate::harness::{Backend, Server};
use crate::people_provider::{PeopleProvider, somebody};
use crate::stub_server::StubServer;

/// Where the files of the example look for the server.
const WRITTEN_ADDRESS: &str = "http://127.0.0.1:8080";

/// The example beside a server that uses it; whoever chooses Forge there comes back as `person`.
struct Scene {
    server: Server,
    origin: String,
    _example: StubServer,
    _people: PeopleProvider,
}

impl Scene {
    async fn start(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let people = PeopleProvider::start();
        let trusted = "trust_email = true\ndisplay_name = \"Forge\"\n";
        let forge = people.block_as(&somebody("octo", address), "forge", trusted);
        let further = format!("frontend_url = \"{origin}\"\n{forge}");
        let server = Server::start(Backend::Sqlite, &further).await;
        let url = server.url.clone();
        let example = StubServer::start_on(listener, move |routes| {
            let url = url.clone();
            let serve = move |request: HttpRequest| std::future::ready(file(request.path(), &url));
            routes.default_service(web::to(serve));
        });
        Self { server, origin, _example: example, _people: people }
    }

    /// A browser that has the example open.
    async fn browser(&self) -> Chromium {
        let chromium = Chromium::start(&self.origin).await;
        chromium.open("/").await;
        chromium.shows("Sign in").await;
        chromium
    }

    /// How many refreshes were answered with new cookies.
    fn refreshes(&self) -> u64 {
        let metrics = self.server.app.metrics.encode();
        let is_refresh = |line: &&str| {
            line.starts_with("latchkey_http_requests_total")
                && line.contains("\"/auth/refresh\"")
                && line.contains("\"200\"")
        };
        let counted = metrics.lines().find(is_refresh);
        counted.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }
}

/// A file of the example, or the page where there is none; with the server's address for the written one.
fn file(path: &str, url: &str) -> HttpResponse {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/frontend");
    let name = match path {
        "/app.js" | "/session.js" | "/style.css" => &path[1..],
        _ => "index.html",
    };
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let content_type = match name.rsplit_once('.').unwrap().1 {
        "js" => "text/javascript",
        "css" => "text/css",
        _ => "text/html",
    };
    HttpResponse::Ok().content_type(content_type).body(text.replace(WRITTEN_ADDRESS, url))
}

/// From the example's sign-in page to its account page.
async fn sign_up(chromium: &Chromium, name: &str) {
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", name).await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    chromium.fill("Username", name).await;
    chromium.click("Use this name").await;
    chromium.shows("Your account").await;
    chromium.find(&format!("//*[@id='name'][.='{name}']")).await;
}

#[actix_web::test]
async fn the_example_signs_people_in_keeps_them_signed_in_and_lets_them_leave() {
    let scene = Scene::start("octo@forge.example").await;
    scene.server.signed_in("alice").await;
    let chromium = scene.browser().await;
    chromium.look_at("example-login").await;
    chromium.click("Continue with Development provider").await;
    chromium.fill("Name", "rivka").await;
    chromium.click("Continue").await;
    chromium.shows("Choose your name").await;
    assert_eq!(chromium.address().await.origin().ascii_serialization(), scene.origin);
    chromium.fill("Username", "alice").await;
    chromium.click("Use this name").await;
    chromium.says("“alice” belongs to another account. “alice2” is free.").await;
    chromium.look_at("example-onboarding").await;
    chromium.fill("Username", "rivka").await;
    chromium.click("Use this name").await;
    chromium.shows("Your account").await;
    chromium.find("//*[@id='name'][.='rivka']").await;
    chromium.look_at("example-account").await;
    assert_eq!(scene.refreshes(), 0);

    // The access token expires. Nobody notices.
    scene.server.clock.advance(Duration::from_secs(1_000));
    chromium.evaluate("document.getElementById(\"name\").className = \"old\";").await;
    chromium.click("Look again").await;
    chromium.find("//*[@id='name'][not(@class)][.='rivka']").await;
    chromium.open("/account").await;
    chromium.find("//*[@id='name'][.='rivka']").await;
    assert_eq!(scene.refreshes(), 1);

    // Many requests find it expired at the same time, and one of them refreshes.
    scene.server.clock.advance(Duration::from_secs(1_000));
    let many = "const done = arguments[arguments.length - 1];
        import(\"/session.js\")
          .then(({ call }) => Promise.all(Array.from({ length: 8 }, () => call(\"GET\", \"/auth/me\"))))
          .then((answers) => done(answers.map((answer) => answer.status)), (error) => done(String(error)));";
    assert_eq!(chromium.evaluate_later(many).await, json!(vec![200; 8]));
    assert_eq!(scene.refreshes(), 2);

    chromium.click("Sign out").await;
    chromium.shows("You are signed out").await;
    chromium.click("Sign in again").await;
    chromium.shows("Sign in").await;
    // Without a session there is no second attempt, and no loop.
    chromium.open("/account").await;
    chromium.shows("Sign in").await;
    assert_eq!(scene.refreshes(), 2);
    chromium.close().await;
}

#[actix_web::test]
async fn of_two_tabs_of_the_example_one_refreshes() {
    let scene = Scene::start("octo@forge.example").await;
    let chromium = scene.browser().await;
    sign_up(&chromium, "rivka").await;
    let first = chromium.open_tab().await;
    chromium.open("/account").await;
    chromium.find("//*[@id='name'][.='rivka']").await;
    scene.server.clock.advance(Duration::from_secs(1_000));
    // Both ask before either has an answer: the first is not waited for.
    let ask = "window.asked = import(\"/session.js\")
        .then(({ call }) => call(\"GET\", \"/auth/me\")).then((answer) => answer.status, String);";
    let answered = "const done = arguments[arguments.length - 1]; window.asked.then(done);";
    chromium.evaluate(ask).await;
    let second = chromium.switch_to(&first).await;
    chromium.evaluate(ask).await;
    assert_eq!(chromium.evaluate_later(answered).await, 200);
    chromium.switch_to(&second).await;
    assert_eq!(chromium.evaluate_later(answered).await, 200);
    assert_eq!(scene.refreshes(), 1);
    chromium.close().await;
}

#[actix_web::test]
async fn the_example_connects_and_disconnects_ways_to_sign_in() {
    let scene = Scene::start("octo@forge.example").await;
    let chromium = scene.browser().await;
    sign_up(&chromium, "rivka").await;
    chromium.click("Connect Forge").await;
    // Others' pages can lead here, too: so Latchkey's own page asks first, and again on the way back.
    chromium.says("You come from another page.").await;
    chromium.click("Go to Forge").await;
    chromium.says("octo").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    chromium.find("//button[.='Disconnect forge']").await;
    assert_eq!(chromium.address().await.origin().ascii_serialization(), scene.origin);

    // It has been a while: a fresh sign-in, then the same again.
    scene.server.clock.advance(Duration::from_secs(1_000));
    chromium.evaluate("document.body.className = \"old\";").await;
    chromium.click("Disconnect forge").await;
    chromium.find("//body[not(@class)]//button[.='Disconnect forge']").await;
    chromium.click("Disconnect forge").await;
    chromium.find("//main[not(.//button[.='Disconnect forge'])]//a[.='Connect Forge']").await;
    chromium.close().await;
}

#[actix_web::test]
async fn the_example_offers_to_connect_a_matching_address() {
    let scene = Scene::start("alice@dev.localhost").await;
    scene.server.signed_in("alice").await;
    let chromium = scene.browser().await;
    chromium.click("Continue with Forge").await;
    chromium.shows("You already have an account here").await;
    chromium.click("Sign in with dev to connect forge").await;
    chromium.fill("Name", "alice").await;
    chromium.click("Continue").await;
    chromium.shows("Connect Forge to your account?").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    chromium.find("//*[@id='name'][.='alice']").await;
    chromium.close().await;
}

#[actix_web::test]
async fn our_own_forms_lead_to_the_frontend_whatever_they_come_to() {
    let scene = Scene::start("octo@forge.example").await;
    let chromium = scene.browser().await;
    sign_up(&chromium, "rivka").await;
    // Without return_to the form ends at our /account, which leads on to the frontend's.
    chromium.open(&format!("{}/auth/link/forge", scene.server.url)).await;
    chromium.click("Go to Forge").await;
    chromium.says("octo").await;
    chromium.click("Connect Forge").await;
    chromium.shows("Your account").await;
    // A form that fails ends at the frontend's page of errors.
    chromium.open(&format!("{}/auth/link/forge", scene.server.url)).await;
    chromium.says("You come from another page.").await;
    scene.server.clock.advance(Duration::from_secs(1_000));
    chromium.click("Go to Forge").await;
    chromium.shows("That did not work").await;
    chromium.says("reauthentication_required").await;
    chromium.look_at("example-error").await;
    chromium.close().await;
}
