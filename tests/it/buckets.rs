//! Pictures in a bucket of an S3 server that we did not write: moto.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use latchkey::actors::janitor::{Last, Run};
use latchkey::avatars::image as avatar_image;
use latchkey::avatars::name::{AvatarName, Size};
use latchkey::avatars::storage::AvatarStorage;
use latchkey::clock::Timestamp;
use latchkey::config::settings::AvatarStore;
use latchkey::protocol::secret::Secret;
use latchkey::store::model::UserId;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use url::Url;

use crate::harness::{Backend, Server};
use crate::pictures::{avatar_url, picture};
use crate::uploads::upload;

/// An S3 server on a port of the system's choice, with one bucket; ends with the test.
pub struct S3Server {
    child: Child,
    pub url: String,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl S3Server {
    /// Starts the server and makes the bucket.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    pub async fn start() -> Self {
        let installed = std::env::var_os("LATCHKEY_TEST_SERVERS").expect(
            "this test needs somebody else's S3 server: use ./run test, or tests/with-servers, which installs it",
        );
        let mut child = Command::new(Path::new(&installed).join("python/bin/python"))
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python can be started");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("Running on ")?.1.trim().to_owned()))
            .expect("the S3 server says where it listens");
        // The rest is read on, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, url };
        let made = client().put(format!("{}/bucket", server.url)).send().await.unwrap();
        assert_eq!(made.status(), StatusCode::OK);
        server
    }

    fn settings(&self) -> AvatarStore {
        AvatarStore::S3 {
            bucket: "bucket".to_owned(),
            prefix: "some/people".to_owned(),
            endpoint: Some(Url::parse(&self.url).unwrap()),
            region: Some("us-east-1".to_owned()),
            access_key: Some(Secret::new("the key")),
            secret_access_key: Some(Secret::new("hunter2")),
        }
    }

    /// How many objects are in the bucket.
    async fn count(&self) -> usize {
        let listed = client().get(format!("{}/bucket?list-type=2", self.url)).send().await.unwrap();
        listed.text().await.unwrap().matches("<Key>").count()
    }
}

/// Somebody who may read the bucket: this server wants to be told who asks, and does not check it.
fn client() -> Client {
    let asker = "AWS4-HMAC-SHA256 Credential=the key/20270115/us-east-1/s3/aws4_request";
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(asker))]);
    Client::builder()
        .no_proxy()
        .default_headers(headers)
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

#[actix_web::test]
async fn a_bucket_keeps_pictures_with_their_headers() {
    let server = S3Server::start().await;
    let storage = AvatarStorage::open(&server.settings()).unwrap();
    let avatar = avatar_image::encode(&picture([200, 0, 0]), 1_000_000).unwrap();
    let name = AvatarName::new(UserId::new(Timestamp::from_seconds(1)), &avatar);
    let [large, small] = Size::ALL.map(|size| name.object(size));
    assert_eq!((storage.get(large).await, storage.has(name).await), (Ok(None), Ok(false)));
    storage.remove(name).await.unwrap();
    storage.put(name, &avatar).await.unwrap();
    assert_eq!(storage.has(name).await, Ok(true));
    assert_eq!(storage.get(large).await.unwrap().unwrap(), avatar.large);
    assert_eq!(storage.get(small).await.unwrap().unwrap(), avatar.small);
    // As others read it there.
    let object = format!("{}/bucket/some/people/{large}", server.url);
    let answer = client().get(object).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "image/jpeg");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
    storage.remove(name).await.unwrap();
    assert_eq!(server.count().await, 0);
}

#[actix_web::test]
async fn a_bucket_is_listed_in_parts() {
    let server = S3Server::start().await;
    let storage = AvatarStorage::open(&server.settings()).unwrap();
    let avatar = avatar_image::encode(&picture([200, 0, 0]), 1_000_000).unwrap();
    for number in 1..=3 {
        let name = AvatarName::new(UserId::new(Timestamp::from_seconds(number)), &avatar);
        storage.put(name, &avatar).await.unwrap();
    }
    let foreign = format!("{}/bucket/some/people/README", server.url);
    let put = client().put(foreign).body("not ours").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::OK);
    let (mut mark, mut sizes, mut names) = (None, Vec::new(), Vec::new());
    loop {
        let page = storage.list(mark.as_ref(), 4).await.unwrap();
        sizes.push(page.objects.len());
        names.extend(page.objects.into_iter().map(|object| object.name.to_string()));
        mark = page.next;
        if mark.is_none() {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 6);
    assert!(sizes.len() == 2 && names.is_sorted(), "{sizes:?} {names:?}");
}

#[actix_web::test]
async fn uploads_are_kept_in_a_bucket_and_what_nobody_has_is_swept() {
    let s3 = S3Server::start().await;
    let server = Server::start_with_pictures_at(Backend::Sqlite, s3.settings()).await;
    let browser = server.signed_in("alice").await;
    for colour in [[200, 0, 0], [0, 0, 200]] {
        assert_eq!(upload(&browser, &picture(colour)).await.status(), StatusCode::OK);
        assert_eq!(s3.count().await, 2);
    }
    let url = avatar_url(&browser).await.unwrap();
    let avatar = avatar_image::encode(&picture([200, 0, 0]), 1_000_000).unwrap();
    let nobody = AvatarName::new(UserId::new(Timestamp::from_seconds(1)), &avatar);
    server.app.avatars.put(nobody, &avatar).await.unwrap();
    // The bucket's clock is this machine's: all of it was stored just now, and is old an hour later.
    for (seconds, swept) in [(0, 0), (3_700, 2)] {
        server.clock.advance(Duration::from_secs(seconds));
        server.app.janitor.ask(Run).await.unwrap().unwrap();
        let last = server.app.janitor.ask(Last).await.unwrap().unwrap();
        assert_eq!(last.pictures, Some(swept));
    }
    assert_eq!(s3.count().await, 2);
    assert_eq!(browser.get(&url).await.status(), StatusCode::OK);
    browser.refresh().await.unwrap();
    let removed = browser.client.delete(format!("{}/auth/me/avatar", server.url)).send().await;
    assert_eq!(removed.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(s3.count().await, 0);
}
