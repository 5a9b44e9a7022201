//! Latchkey as it is deployed: several nodes on one PostgreSQL, pictures in a bucket, Caddy or nginx with TLS in
//! front as `contrib` has them, an app behind these that knows no sign-in of its own, somebody else's provider
//! behind. All of them but the app are processes, and tests talk to them from outside.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode};
use serde_json::json;

use crate::buckets::S3Server;
use crate::harness::{Browser, location};
use crate::independent_provider::process::{IndependentProvider, Setting, go_through, walk};
use crate::journey::{self, Admin, SPREAD, Target};
use crate::postgres;
use crate::processes::{BINARY, until_ready, write_private};
use crate::reverse_proxy::{Reserved, ReverseProxy, caddy, nginx_in_front};
use crate::stub_server::StubServer;

const CADDYFILE: &str = include_str!("../../contrib/Caddyfile");
const NGINX_CONF: &str = include_str!("../../contrib/nginx.conf");

/// What the provider is called.
pub const PROVIDER: &str = "independent";

/// Who becomes the first admin by signing in at the provider.
pub const ADMIN: &str = "operator";

/// What stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// By contrib/Caddyfile.
    Caddy,
    /// By contrib/nginx.conf.
    Nginx,
}

/// One `latchkey serve`; ends with the test.
pub struct Node {
    child: Option<Child>,
    config: PathBuf,
    log: PathBuf,
    /// Where it listens, without TLS.
    pub url: String,
    reserved: Reserved,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    fn new(config: PathBuf, log: PathBuf) -> Self {
        let reserved = Reserved::new();
        let url = format!("http://{}", reserved.authority);
        let mut node = Self { child: None, config, log, url, reserved };
        node.start();
        node
    }

    /// Starts it, also again; it may not be ready yet.
    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(BINARY)
            .args(["serve".as_ref(), "--config".as_ref(), self.config.as_os_str()])
            .env("LATCHKEY_SERVER__LISTEN", &self.reserved.authority)
            .env("LATCHKEY_BOOTSTRAP_ADMIN", format!("{PROVIDER}:{ADMIN}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self) {
        until_ready(&plain_client(), &self.url).await;
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for its end; whether it went in order.
    pub async fn ended(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let id = child.id().to_string();
        // Whoever loads the nodes meanwhile needs this thread.
        let waiting = tokio::task::spawn_blocking(move || child.wait().unwrap().success());
        let in_time = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        in_time.map_or_else(
            |_| {
                let _killed = Command::new("kill").args(["-KILL", &id]).status();
                panic!("a node does not end: {}", self.log());
            },
            Result::unwrap,
        )
    }

    /// Ends it on the spot.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_ended = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Whether anybody has refreshed a session here since its start.
    pub async fn has_refreshed(&self) -> bool {
        let metrics = plain_client().get(format!("{}/metrics", self.url)).send().await.unwrap();
        let told = "latchkey_refreshes_total{outcome=\"advanced\"} ";
        let metrics = metrics.text().await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(told)).unwrap();
        count.parse::<f64>().unwrap() > 0.0
    }

    /// All that it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

fn plain_client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

/// A whole deployment; ends with the test.
pub struct Deployment {
    /// Where people and apps reach it: https, by a certificate of Caddy's own authority.
    pub url: String,
    /// Where the app is reached that the proxy lets nobody come to who is not signed in.
    pub app_url: String,
    /// Its nodes, ready.
    pub nodes: Vec<Node>,
    /// What stands in front.
    pub proxy: ReverseProxy,
    front: Front,
    /// Answers with what it was asked.
    _app: StubServer,
    _ports: Vec<Reserved>,
    /// Where people sign in; any name does.
    _provider: IndependentProvider,
    /// Where pictures are kept.
    _bucket: S3Server,
    /// The configuration that all nodes have in common.
    pub config: PathBuf,
    _folder: tempfile::TempDir,
    _database: postgres::Guard,
}

impl Deployment {
    /// Starts everything behind Caddy and waits until all nodes are ready; `further` is added to the
    /// configuration.
    pub async fn start(nodes: usize, further: &str) -> Self {
        Self::start_behind(Front::Caddy, nodes, further).await
    }

    /// The same behind another proxy.
    pub async fn start_behind(front: Front, nodes: usize, further: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (public, for_app) = (Reserved::new(), Reserved::new());
        let url = format!("https://localhost:{}", public.port());
        let app_url = format!("https://localhost:{}", for_app.port());
        let app = StubServer::start(|config| {
            config.default_service(web::to(echo));
        });
        let setting = Setting { everybody: true, ..Setting::named(PROVIDER) };
        let provider = IndependentProvider::start(&setting, &url);
        let bucket = S3Server::start().await;
        let (database, guard) = postgres::fresh_settings();
        let latchkey::config::settings::StoreUrl::Postgres(database_url) = database.url else {
            panic!("no PostgreSQL");
        };
        let config = folder.path().join("latchkey.toml");
        write_private(
            &config,
            &format!(
                "[server]\npublic_url = \"{url}\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
                 return_to = [\"{app_url}\"]\n\
                 secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
                 [store]\nurl = \"{}\"\nschema = \"{}\"\n\
                 [avatars]\nstore = \"s3://bucket/people\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\n\
                 access_key = \"the key\"\nsecret_access_key = \"hunter2\"\n\
                 [telemetry]\nlog_format = \"json\"\n{further}\n{}",
                database_url.expose(),
                database.schema.unwrap(),
                bucket.url,
                provider.block(""),
            ),
        );
        let nodes: Vec<Node> = (0..nodes)
            .map(|number| {
                Node::new(config.clone(), folder.path().join(format!("node-{number}.log")))
            })
            .collect();
        for node in &nodes {
            node.until_ready().await;
        }
        let authorities: Vec<&str> =
            nodes.iter().map(|node| node.reserved.authority.as_str()).collect();
        let behind = app.url.trim_start_matches("http://");
        let proxy = match front {
            Front::Caddy => {
                let mut command = caddy();
                command
                    .env("LATCHKEY_SITE", url.replace("https://", ""))
                    .env("LATCHKEY_NODES", authorities.join(" "))
                    .env("LATCHKEY_APP_SITE", app_url.replace("https://", ""))
                    .env("LATCHKEY_APP", behind)
                    .env(
                        "CADDY_GLOBAL_OPTIONS",
                        "local_certs\nskip_install_trust\nadmin off\nauto_https disable_redirects",
                    );
                ReverseProxy::start(command, public, |_, _| CADDYFILE.to_owned()).await
            }
            Front::Nginx => {
                let port = for_app.port();
                let nodes = [authorities[0], authorities[authorities.len() - 1]];
                let configure = |folder: &Path, listen: &str| {
                    nginx_conf(folder, [listen, &format!("127.0.0.1:{port}")], nodes, behind)
                };
                ReverseProxy::start(nginx_in_front(), public, configure).await
            }
        };
        let deployment = Self {
            url,
            app_url,
            nodes,
            proxy,
            front,
            _app: app,
            _ports: vec![for_app],
            _provider: provider,
            _bucket: bucket,
            config,
            _folder: folder,
            _database: guard,
        };
        deployment.until_served().await;
        deployment
    }

    /// Caddy listens before it has its certificate and before it has asked its nodes.
    async fn until_served(&self) {
        let asking = async {
            loop {
                let served = match std::fs::read(self.certificate()) {
                    Ok(_) => self.client().build().unwrap().get(format!("{}/health", self.url)),
                    Err(_) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
                if served.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking)
            .await
            .unwrap_or_else(|_| panic!("the proxy does not serve: {}", self.proxy.log()));
    }

    /// A client that trusts the proxy's certificate.
    pub fn client(&self) -> ClientBuilder {
        Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .tls_certs_only([self.authority()])
    }

    /// The certificate that clients have to trust: that of Caddy's own authority, or nginx's itself.
    pub fn authority(&self) -> Certificate {
        Certificate::from_pem(&std::fs::read(self.certificate()).unwrap()).unwrap()
    }

    fn certificate(&self) -> PathBuf {
        match self.front {
            Front::Caddy => self.proxy.caddy_authority(),
            Front::Nginx => self.proxy.file("fullchain.pem"),
        }
    }

    /// A browser without cookies; `keeps_cookies` says whether it will have any.
    pub fn browser(&self, keeps_cookies: bool) -> Browser {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        let client = self
            .client()
            .cookie_store(keeps_cookies)
            .redirect(Policy::none())
            .default_headers(headers)
            .build()
            .unwrap();
        Browser { client, url: self.url.clone() }
    }

    /// Signs in at the provider; what our callback answers. `query` is that of the start.
    pub async fn sign_in(&self, browser: &Browser, name: &str, query: &str) -> Response {
        let stop = walk(browser, &format!("/auth/{PROVIDER}?{query}")).await;
        browser.page(&go_through(browser, stop, name).await).await
    }

    /// The same without a query, and again, where the provider or the database has other things to do.
    pub async fn sign_in_patiently(&self, browser: &Browser, name: &str) -> Response {
        for _ in 0..5 {
            let back = self.sign_in(browser, name, "").await;
            if !back.status().is_server_error() {
                return back;
            }
        }
        self.sign_in(browser, name, "").await
    }

    /// A browser in which `name` has signed in, and set up an account of that name if there was none.
    pub async fn signed_in(&self, name: &str) -> Browser {
        let browser = self.browser(true);
        let back = self.sign_in_patiently(&browser, name).await;
        if location(&back).is_some_and(|location| location.ends_with("/onboarding")) {
            let created = browser.post_json("/auth/setup", &json!({ "username": name })).await;
            assert_eq!(created.status(), StatusCode::CREATED);
        }
        browser
    }
}

/// contrib/nginx.conf with the replacements that it asks for.
fn nginx_conf(folder: &Path, listen: [&str; 2], nodes: [&str; 2], app: &str) -> String {
    let certificate = folder.join("fullchain.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=latchkey test"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("privkey.pem"))
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = folder.display().to_string();
    let mut text = NGINX_CONF.to_owned();
    for (from, to) in [
        ("/run/nginx.pid", format!("{folder}/nginx.pid")),
        ("/etc/ssl/auth.example.com", folder.clone()),
        ("/etc/ssl/app.example.com", folder.clone()),
        ("10.0.0.11:8080", nodes[0].to_owned()),
        ("10.0.0.12:8080", nodes[1].to_owned()),
        ("server 127.0.0.1:3000", format!("server {app}")),
        ("auth.example.com", "localhost".to_owned()),
        ("app.example.com", "localhost".to_owned()),
    ] {
        assert!(text.contains(from), "contrib/nginx.conf has no {from}");
        text = text.replace(from, &to);
    }
    for address in listen {
        text = text.replacen("listen 443 ", &format!("listen {address} "), 1);
    }
    assert!(!text.contains("listen 443"), "{text}");
    // As root, nginx gives its folders to another user, who may not read ours.
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"));
    text.replacen("http {\n", &format!("http {{\n{}", folders.concat()), 1)
}

/// Tells what it was asked.
async fn echo(request: HttpRequest, body: web::Payload) -> HttpResponse {
    // What comes after the beginning of a WebSocket has no end.
    let length = match request.headers().contains_key("upgrade") {
        true => 0,
        false => body.to_bytes().await.unwrap().len(),
    };
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    HttpResponse::Ok().json(json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
        "length": length,
    }))
}

#[actix_web::test]
async fn caddy_in_front_of_two_nodes_speaks_tls_and_says_where_people_come_from() {
    let deployment = Deployment::start(2, "").await;
    let client = deployment.client().build().unwrap();
    let discovery = client.get(format!("{}/.well-known/openid-configuration", deployment.url));
    let document: serde_json::Value =
        serde_json::from_str(&discovery.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(document["issuer"], deployment.url.as_str());
}

/// What tests/e2e does against any deployment, against this one; and at both nodes themselves, too.
#[actix_web::test]
async fn people_apps_and_admins_find_everything_as_it_should_be_at_two_nodes_behind_caddy() {
    let deployment = Deployment::start(2, "[tokens]\nsession_grace = \"0s\"\n").await;
    let gone = journey::all(Target {
        url: deployment.url.clone(),
        authorities: vec![deployment.authority()],
        provider: None,
        admin: Some(Admin::Person(ADMIN.to_owned())),
        nodes: deployment.nodes.iter().map(|node| node.url.clone()).collect(),
        rotate_keys: true,
        spread: SPREAD,
    })
    .await;
    if let Err(reason) = gone {
        let logs: Vec<String> = deployment.nodes.iter().map(Node::log).collect();
        panic!("{reason}\n{}", logs.join("\n"));
    }
}
