//! Apache with mod_auth_openidc, Debian's: a web server that lets nobody in who has not signed in here.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use url::form_urlencoded::byte_serialize;

use super::person::{server_with_rivka, walk};
use super::program::{Lines, sources};
use super::resource_servers::VERIFIERS;
use crate::harness::Backend;
use crate::on_both_stores;
use crate::registration::{Registered, register};

on_both_stores!(
    mod_auth_openidc_signs_people_in_and_out_as_it_is,
    mod_auth_openidc_signs_people_in_and_out_with_pkce,
);

const PROGRAM: &str = "/usr/sbin/apache2";

/// A web server of this test's own; ends with it.
struct Apache {
    child: Child,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    log: Lines,
}

impl Drop for Apache {
    fn drop(&mut self) {
        // It has children of its own, so it is told to end them.
        let told = self.command().args(["-k", "stop"]).status();
        if !told.is_ok_and(|status| status.success()) {
            let _already_ended = self.child.kill();
        }
        let _reaped = self.child.wait();
        // With the test's failure, if it fails.
        eprint!("{}", self.log.heard());
    }
}

impl Apache {
    /// Starts a web server at `address` as a client of the server at `issuer`, and waits until it serves.
    async fn start(address: &str, issuer: &str, client: &Registered, uses_pkce: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where root starts it, it serves as somebody else.
        let readable = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let pages = folder.path().join("pages/protected");
        std::fs::create_dir_all(&pages).unwrap();
        for path in [folder.path(), pages.parent().unwrap(), &pages] {
            readable(path);
        }
        let from = sources().join("apache");
        for file in ["server.conf", "latchkey.conf"] {
            std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
        }
        std::fs::copy(from.join("person.html"), pages.join("person.html")).unwrap();
        let environment = vec![
            ("FOLDER", folder.path().display().to_string()),
            ("ADDRESS", address.to_owned()),
            ("LATCHKEY", issuer.to_owned()),
            ("CLIENT_ID", client.id.clone()),
            ("CLIENT_SECRET", client.secret.clone()),
            ("PASSPHRASE", "a passphrase of this test alone".replace(' ', "-")),
        ];
        let mut command = command(folder.path(), &environment);
        if uses_pkce {
            command.args(["-D", "PKCE"]);
        }
        let mut child = command
            .args(["-D", "FOREGROUND"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect(
                "Apache can be started: use ./run test, or tests/with-servers, which installs it",
            );
        let log = Lines::of(child.stderr.take().unwrap());
        let mut apache = Self { child, folder, environment, log };
        let mut said = String::new();
        while !said.contains("resuming normal operations") {
            let line = apache.log.next().await.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("Apache does not start: {said}"));
            said = said + &line + "\n";
        }
        apache
    }

    fn command(&self) -> Command {
        command(self.folder.path(), &self.environment)
    }
}

fn command(folder: &Path, environment: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("-f").arg(folder.join("server.conf"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

async fn signs_people_in_and_out(backend: Backend, uses_pkce: bool) {
    let (server, person) = server_with_rivka(backend).await;
    // Apache takes no port of the system's choice. Nobody else gets this one while the socket is open; Apache
    // does, since it allows the same and the socket does not listen.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap().to_string();
    let site = format!("http://{address}");
    let callback = format!("{site}/protected/signed-in");
    let client = register(&server, |metadata| {
        metadata.redirect_uris = vec![callback.clone()];
        metadata.post_logout_redirect_uris = vec![format!("{site}/signed-out")];
        metadata.require_pkce = uses_pkce;
    })
    .await;
    let _apache = Apache::start(&address, &server.url, &client, uses_pkce).await;
    let (browser, page) = (server.browser(), format!("{site}/protected/person.html"));

    let back = walk(&browser, &page, &format!("{callback}?")).await;
    let answer = browser.follow(&back).await;
    assert_eq!((answer.status(), answer.url().as_str()), (StatusCode::OK, page.as_str()));
    let shown = answer.text().await.unwrap();
    for (id, value) in [
        ("remote-user", "rivka"),
        ("sub", &person),
        ("email", "rivka@dev.localhost"),
        ("name", "rivka"),
    ] {
        assert!(shown.contains(&format!("<p id=\"{id}\">{value}</p>")), "{id}: {shown}");
    }

    let access_token = async || {
        let shown = browser.page(&page).await.text().await.unwrap();
        let (_, rest) = shown.split_once("<p id=\"access-token\">").unwrap();
        rest.split_once("</p>").unwrap().0.to_owned()
    };
    let earlier = access_token().await;
    for verifier in VERIFIERS {
        verifier.verify(&server.url, &client.id, &earlier).await.unwrap();
    }
    assert_ne!(access_token().await, earlier, "it refreshes");

    let signed_out = format!("{site}/signed-out");
    let target: String = byte_serialize(signed_out.as_bytes()).collect();
    walk(&browser, &format!("{callback}?logout={target}"), &signed_out).await;
    assert!(!browser.is_signed_in().await);
    assert_eq!(server.audited("grant.revoked").await, 1, "it gives back its tokens");
    assert_eq!(browser.page(&page).await.status(), StatusCode::FOUND);
}

async fn mod_auth_openidc_signs_people_in_and_out_as_it_is(backend: Backend) {
    signs_people_in_and_out(backend, false).await;
}

async fn mod_auth_openidc_signs_people_in_and_out_with_pkce(backend: Backend) {
    signs_people_in_and_out(backend, true).await;
}
