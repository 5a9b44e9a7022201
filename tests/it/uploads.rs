//! Choosing a picture and doing without it, on a whole server; and what becomes of the objects.

use std::time::Duration;

use futures_util::future::join_all;
use latchkey::actors::janitor::{Last, Run};
use latchkey::actors::picture_decoder::{NoPlace, TakePlace};
use latchkey::avatars::image as avatar_image;
use latchkey::avatars::name::AvatarName;
use latchkey::clock::Timestamp;
use latchkey::config::settings::AvatarStore;
use latchkey::store::model::UserId;
use reqwest::{Client, Response, StatusCode};

use crate::harness::{Backend, Browser, Server, body, code, cookie};
use crate::pictures::{avatar_url, objects, person, picture};

crate::on_both_stores!(
    an_upload_becomes_the_avatar_and_replaces_the_former,
    who_may_not_is_refused_before_anything_is_read,
    an_upload_of_somebody_who_is_not_active_leaves_nothing,
    of_two_changes_at_once_one_waits_for_the_other,
    pictures_that_nobody_has_are_swept,
);

const BOUNDARY: &str = "a-line-between";

/// The type of a body that [`form`] makes.
pub const FORM: &str = "multipart/form-data; boundary=a-line-between";

/// The disposition of the part that is expected.
pub const FILE: &str = "name=\"file\"; filename=\"me.png\"";

/// A form with parts of these dispositions.
pub fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, content) in parts {
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; ").bytes());
        body.extend(disposition.bytes());
        body.extend(b"\r\nContent-Type: image/png\r\n\r\n");
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    body
}

/// Posts a body of [`form`], or of no form at all.
pub async fn post(browser: &Browser, content_type: &str, body: Vec<u8>) -> Response {
    let request = browser.client.post(format!("{}/auth/me/avatar", browser.url));
    browser.send(request.header("content-type", content_type).body(body)).await
}

/// Chooses a picture.
pub async fn upload(browser: &Browser, picture: &[u8]) -> Response {
    post(browser, FORM, form(&[(FILE, picture)])).await
}

async fn remove(browser: &Browser) -> Response {
    browser.delete("/auth/me/avatar").await
}

async fn an_upload_becomes_the_avatar_and_replaces_the_former(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let mut urls: Vec<String> = Vec::new();
    for colour in [[200, 0, 0], [0, 0, 200]] {
        let answer = upload(&browser, &picture(colour)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let user = body(answer).await;
        assert_eq!(user, body(browser.get("/auth/me").await).await);
        assert_eq!(user["emails"][0]["address"], "alice@dev.localhost");
        let url = user["avatar_url"].as_str().unwrap().to_owned();
        assert_eq!(browser.get(&url).await.status(), StatusCode::OK);
        if let Some(former) = urls.last() {
            assert_eq!(browser.get(former).await.status(), StatusCode::NOT_FOUND);
        }
        assert_eq!(objects(&server).len(), 2);
        urls.push(url);
    }
    // The same again is the same, and nothing to tell.
    assert_eq!(upload(&browser, &picture([0, 0, 200])).await.status(), StatusCode::OK);
    assert_eq!((avatar_url(&browser).await.as_ref(), objects(&server).len()), (urls.last(), 2));
    assert_eq!(server.audited("user.avatar_changed").await, 2);

    for _ in 0..2 {
        assert_eq!(remove(&browser).await.status(), StatusCode::NO_CONTENT);
        assert_eq!((avatar_url(&browser).await, objects(&server).len()), (None, 0));
    }
    assert_eq!(server.audited("user.avatar_removed").await, 1);
    assert!(server.stop().await);
}

async fn who_may_not_is_refused_before_anything_is_read(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let token = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
    let plain = Client::builder().no_proxy().build().unwrap();
    let target = format!("{}/auth/me/avatar", server.url);
    let cookies = format!("auth_access={token}");
    for request in [plain.post(&target), plain.delete(&target)] {
        let stranger = request.try_clone().unwrap().body("what is no form").send().await.unwrap();
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
        let across = request.header("cookie", &cookies).header("sec-fetch-site", "cross-site");
        let across = across.body("what is no form").send().await.unwrap();
        assert_eq!(across.status(), StatusCode::FORBIDDEN);
        assert_eq!(code(across).await, "csrf_rejected");
    }
    let by_bearer = |request: reqwest::RequestBuilder| request.bearer_auth(&token);
    let body = form(&[(FILE, &picture([200, 0, 0]))]);
    let posted = by_bearer(plain.post(&target)).header("content-type", FORM).body(body);
    assert_eq!(posted.send().await.unwrap().status(), StatusCode::OK);
    let removed = by_bearer(plain.delete(&target)).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
}

async fn an_upload_of_somebody_who_is_not_active_leaves_nothing(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    server.execute("UPDATE users SET status = 'locked'").await;
    for answer in [upload(&browser, &picture([200, 0, 0])).await, remove(&browser).await] {
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(objects(&server).is_empty());
}

async fn of_two_changes_at_once_one_waits_for_the_other(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let alice = person(&server, "alice").await.id;
    let decoder = &server.app.picture_decoder;
    let place = decoder.ask(TakePlace { user: alice, bytes: 0 }).await.unwrap().unwrap();
    for answer in [upload(&browser, &picture([200, 0, 0])).await, remove(&browser).await] {
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key("retry-after"));
    }
    drop(place);
    assert_eq!(upload(&browser, &picture([200, 0, 0])).await.status(), StatusCode::OK);

    let mut places = Vec::new();
    let full = loop {
        let user = UserId::new(Timestamp::from_seconds(1));
        match decoder.ask(TakePlace { user, bytes: 2 << 20 }).await.unwrap() {
            Ok(place) => places.push(place),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((full, places.len()), (NoPlace::Full, 8));
    let answer = upload(&browser, &picture([0, 0, 200])).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(code(answer).await, "overloaded");
}

async fn pictures_that_nobody_has_are_swept(backend: Backend) {
    let server = Server::start(backend, "").await;
    let browser = server.signed_in("alice").await;
    let now = server.clock.now().millis();
    let stored_at = |path: &std::path::Path, seconds: i64| {
        let millis = u64::try_from(now + seconds * 1_000).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_millis(millis);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    assert_eq!(upload(&browser, &picture([200, 0, 0])).await.status(), StatusCode::OK);
    // As after a crash between storing and entering: objects without a row, of her and of somebody else.
    let alice = person(&server, "alice").await.id;
    let avatar = avatar_image::encode(&picture([0, 0, 200]), 1_000_000).unwrap();
    let put = async |user: UserId| {
        server.app.avatars.put(AvatarName::new(user, &avatar), &avatar).await.unwrap();
    };
    put(alice).await;
    put(UserId::new(Timestamp::from_seconds(1))).await;
    let folder = objects(&server)[0].parent().unwrap().to_owned();
    std::fs::write(folder.join("README"), "not ours").unwrap();
    std::fs::create_dir(folder.join("below")).unwrap();
    let beside = folder.join("below").join(objects(&server)[0].file_name().unwrap());
    std::fs::write(&beside, "not ours").unwrap();
    for path in objects(&server).iter().filter(|path| path.is_file()).chain([&beside]) {
        stored_at(path, -3_601);
    }
    put(UserId::new(Timestamp::from_seconds(2))).await;
    for path in objects(&server).iter().filter(|path| path.is_file()) {
        let modified = path.metadata().unwrap().modified().unwrap();
        let age = Duration::from_millis(u64::try_from(now).unwrap())
            .saturating_sub(modified.duration_since(std::time::UNIX_EPOCH).unwrap());
        if age != Duration::from_secs(3_601) {
            stored_at(path, -3_599);
        }
    }
    assert_eq!(objects(&server).len(), 2 + 4 + 2 + 2);
    server.app.janitor.ask(Run).await.unwrap().unwrap();
    let last = server.app.janitor.ask(Last).await.unwrap().unwrap();
    assert_eq!((last.pictures, objects(&server).len()), (Some(4), 2 + 2 + 2));
    assert!(beside.exists() && folder.join("README").exists());
    let url = avatar_url(&browser).await.unwrap();
    assert_eq!(browser.get(&url).await.status(), StatusCode::OK);
    // Two seconds later the young ones are old, too.
    server.clock.advance(Duration::from_secs(2));
    server.app.janitor.ask(Run).await.unwrap().unwrap();
    let last = server.app.janitor.ask(Last).await.unwrap().unwrap();
    assert_eq!((last.pictures, objects(&server).len()), (Some(2), 2 + 2));
    assert_eq!(browser.get(&url).await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn a_picture_that_cannot_be_stored_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let change = |settings: &mut latchkey::config::settings::Settings| {
        settings.avatars.store = AvatarStore::File(file.clone());
    };
    let server = Server::start_with(Backend::Sqlite, "", change).await;
    let browser = server.signed_in("alice").await;
    let answer = upload(&browser, &picture([200, 0, 0])).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code(answer).await, "store_unavailable");
    assert_eq!(
        (avatar_url(&browser).await, server.audited("user.avatar_changed").await),
        (None, 0)
    );
    // The next round is not held up, either.
    server.app.janitor.ask(Run).await.unwrap().unwrap();
}

#[actix_web::test]
async fn more_pictures_than_are_decoded_at_once_wait_their_turn() {
    let server = Server::start(Backend::Sqlite, "").await;
    let picture = picture([200, 0, 0]);
    let decode = |_| {
        let picture = picture.clone();
        let most_pixels = server.app.settings.avatars.max_pixels;
        latchkey::actors::picture_decoder::encode(
            &server.app.picture_decoder,
            picture.into(),
            most_pixels,
        )
    };
    let answers = join_all((0..8).map(decode)).await;
    assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|one| one.is_err()));
    assert!(server.stop().await);
}

#[cfg(feature = "fault-injection")]
#[actix_web::test]
async fn a_panic_of_the_decoder_leaves_uploads_working() {
    let server = Server::start(Backend::Sqlite, "").await;
    let browser = server.signed_in("alice").await;
    let broken = browser.post("/dev/fault/PictureDecoder?kind=panic").await;
    assert_eq!(broken.status(), StatusCode::NO_CONTENT);
    assert_eq!(upload(&browser, &picture([200, 0, 0])).await.status(), StatusCode::OK);
    assert_eq!(server.app.picture_decoder.status().restarts(), 1);
}
