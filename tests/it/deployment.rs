//! Latchkey as it is deployed: several nodes on one PostgreSQL, pictures in a bucket, Caddy with TLS in front,
//! somebody else's provider behind. All of them are processes, and tests talk to them from outside.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, StatusCode};

use crate::buckets::S3Server;
use crate::independent_provider::process::{IndependentProvider, Setting};
use crate::journey::{self, Admin, SPREAD, Target};
use crate::postgres;
use crate::processes::{BINARY, until_ready, write_private};
use crate::reverse_proxy::{Reserved, ReverseProxy, caddy};

const CADDYFILE: &str = include_str!("../../contrib/Caddyfile");

/// What the provider is called.
pub const PROVIDER: &str = "independent";

/// Who becomes the first admin by signing in at the provider.
pub const ADMIN: &str = "operator";

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
        let child = self.child.as_mut().unwrap();
        let waiting = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status.success();
                }
                tokio::task::yield_now().await;
            }
        };
        let in_order = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
        self.child = None;
        in_order
    }

    /// Ends it on the spot.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_ended = child.kill();
            let _reaped = child.wait();
        }
    }

    /// All that it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

fn plain_client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

/// A whole deployment; ends with the test.
pub struct Deployment {
    /// Where people and apps reach it: https, by a certificate of Caddy's own authority.
    pub url: String,
    /// Its nodes, ready.
    pub nodes: Vec<Node>,
    /// What stands in front.
    pub caddy: ReverseProxy,
    /// Where people sign in; any name does.
    pub provider: IndependentProvider,
    /// Where pictures are kept.
    pub bucket: S3Server,
    /// The configuration that all nodes have in common.
    pub config: PathBuf,
    _folder: tempfile::TempDir,
    _database: postgres::Guard,
}

impl Deployment {
    /// Starts everything and waits until all nodes are ready; `further` is added to the configuration.
    pub async fn start(nodes: usize, further: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let front = Reserved::new();
        let url = format!("https://localhost:{}", front.port());
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
        let mut command = caddy();
        command
            .env("LATCHKEY_SITE", url.replace("https://", ""))
            .env("LATCHKEY_NODES", authorities.join(" "))
            .env(
                "CADDY_GLOBAL_OPTIONS",
                "local_certs\nskip_install_trust\nadmin off\nauto_https disable_redirects",
            );
        let caddy = ReverseProxy::start(command, front, |_, _| CADDYFILE.to_owned()).await;
        let deployment =
            Self { url, nodes, caddy, provider, bucket, config, _folder: folder, _database: guard };
        deployment.until_served().await;
        deployment
    }

    /// Caddy listens before it has its certificate and before it has asked its nodes.
    async fn until_served(&self) {
        let asking = async {
            loop {
                let served = match std::fs::read(self.caddy.caddy_authority()) {
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
        tokio::time::timeout(Duration::from_secs(20), asking)
            .await
            .unwrap_or_else(|_| panic!("Caddy does not serve: {}", self.caddy.log()));
    }

    /// A client that trusts Caddy's own authority.
    pub fn client(&self) -> ClientBuilder {
        Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .tls_certs_only([self.authority()])
    }

    /// The certificate of Caddy's own authority.
    pub fn authority(&self) -> Certificate {
        Certificate::from_pem(&std::fs::read(self.caddy.caddy_authority()).unwrap()).unwrap()
    }
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
