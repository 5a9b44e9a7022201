//! Nodes that are stopped, started again and killed behind a proxy, while sessions are refreshed through it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use tokio::sync::watch;

use crate::deployment::{Deployment, Front};
use crate::harness::{Backend, Server, cookie};

const CHAINS: usize = 64;

/// How many ask for what cannot be asked twice, beside them.
const REDEEMERS: usize = 8;

/// Without a grace each refresh is a new generation, and a lost one would end its session. Nobody is limited.
const FURTHER: &str =
    "[tokens]\nsession_grace = \"0s\"\n[rate_limits]\nexempt = [\"127.0.0.0/8\"]\n";

/// Sessions that are refreshed all the time, each with one request after the other.
struct Load {
    url: String,
    client: Client,
    answers: watch::Sender<usize>,
    /// What was answered otherwise, and asked again.
    failed: RefCell<Vec<String>>,
    /// How often the database was too slow, or no node said in time that it is ready, on a machine that has other
    /// things to do: nothing was taken, and no node has failed.
    slow: Cell<usize>,
    /// How many of those the proxy answered by itself: it knew of no node that is ready.
    without_node: Cell<usize>,
    is_over: Cell<bool>,
}

impl Load {
    fn new(deployment: &Deployment) -> Self {
        let client = deployment.client().build().unwrap();
        let url = deployment.url.clone();
        let (answers, failed, slow, without_node, is_over) = Default::default();
        Self { url, client, answers, failed, slow, without_node, is_over }
    }

    /// Goes on until it is over; the last token of the chain.
    async fn refresh(&self, mut token: String) -> String {
        while !self.is_over.get() {
            let request = self
                .client
                .post(format!("{}/auth/refresh", self.url))
                .header("sec-fetch-site", "same-origin")
                .header("cookie", format!("__Secure-auth_refresh={token}"));
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    token = cookie(&answer, "__Secure-auth_refresh").unwrap();
                    self.answers.send_modify(|answers| *answers += 1);
                }
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap();
                    assert!(status.is_server_error(), "a chain has ended: {status} {text}");
                    if is_slow(status, &text) {
                        self.was_slow(&text);
                    } else {
                        self.failed.borrow_mut().push(format!("{status} {text}"));
                    }
                }
                Err(error) => self.failed.borrow_mut().push(format!("{error:?}")),
            }
        }
        token
    }

    /// Asks until it is over for what no proxy may ask twice; that it is refused is an answer.
    async fn redeem(&self) {
        while !self.is_over.get() {
            let request = self
                .client
                .post(format!("{}/oauth/token", self.url))
                .header("content-type", "application/x-www-form-urlencoded")
                .body("grant_type=authorization_code&code=x&client_id=nobody");
            match request.send().await {
                Ok(answer) if answer.status().is_client_error() => {}
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap();
                    if is_slow(status, &text) {
                        self.was_slow(&text);
                        self.is_answered_again().await;
                    } else {
                        self.failed.borrow_mut().push(format!("token: {status} {text}"));
                    }
                }
                Err(error) => self.failed.borrow_mut().push(format!("token: {error:?}")),
            }
        }
    }

    /// Waits until somebody has been answered: whoever is refused at once would else ask, and count, as often as
    /// the machine can during one outage.
    async fn is_answered_again(&self) {
        let before = *self.answers.borrow();
        let mut answers = self.answers.subscribe();
        let again = answers.wait_for(|answers| *answers > before || self.is_over.get());
        drop(again.await.unwrap());
    }

    fn was_slow(&self, text: &str) {
        self.slow.set(self.slow.get() + 1);
        if text.is_empty() {
            self.without_node.set(self.without_node.get() + 1);
        }
    }

    fn end(&self) {
        self.is_over.set(true);
        self.answers.send_modify(|_| ());
    }

    /// All of it, from these tokens to the last ones.
    async fn run(&self, tokens: Vec<String>) -> Vec<String> {
        let refreshing = join_all(tokens.into_iter().map(|token| self.refresh(token)));
        let redeeming = join_all((0..REDEEMERS).map(|_| self.redeem()));
        tokio::join!(refreshing, redeeming).0
    }

    /// Waits until so many have been answered from now on.
    async fn goes_on(&self, number: usize) {
        let until = *self.answers.borrow() + number;
        let mut answers = self.answers.subscribe();
        let waiting = answers.wait_for(|answers| *answers >= until);
        let in_time = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(in_time.is_ok(), "refreshes have stopped: {:?}", self.failed.borrow());
    }
}

/// Whether the database did not answer in time, or the proxy had no node that had told it in time that it is ready,
/// in which case Caddy answers without a word and asks again only what it may.
fn is_slow(status: StatusCode, text: &str) -> bool {
    let codes = ["\"store_unavailable\"", "\"temporarily_unavailable\""];
    status == StatusCode::SERVICE_UNAVAILABLE
        && (text.is_empty() || codes.iter().any(|code| text.contains(code)))
}

/// Whether the machine was too busy for the nodes to reach their database, or for Caddy to reach the nodes.
fn is_busy(deployment: &Deployment) -> bool {
    let nodes = &deployment.nodes;
    nodes.iter().any(|node| node.log().contains("the database does not answer"))
        || deployment.proxy.log().contains("Client.Timeout exceeded")
}

/// Signs in so many browsers of a few people.
async fn open_chains(deployment: &Deployment) -> Vec<String> {
    for name in ["rivka", "noa"] {
        deployment.signed_in(name).await;
    }
    let mut tokens = Vec::new();
    for _ in 0..CHAINS / 8 {
        let opening = (0..8).map(|number| async move {
            let browser = deployment.browser(true);
            let name = if number % 2 == 0 { "rivka" } else { "noa" };
            let back = deployment.sign_in_patiently(&browser, name).await;
            let status = back.status();
            cookie(&back, "__Secure-auth_refresh").unwrap_or_else(|| panic!("{status}: {back:?}"))
        });
        tokens.extend(join_all(opening).await);
    }
    tokens
}

async fn a_node_after_the_other_restarts_and_no_request_fails(front: Front) {
    let mut deployment = Deployment::start_behind(front, 2, FURTHER).await;
    let tokens = open_chains(&deployment).await;
    let load = Load::new(&deployment);
    let restarting = async {
        for number in [0, 1, 0] {
            load.goes_on(300).await;
            let node = &mut deployment.nodes[number];
            node.signal("-TERM");
            assert!(node.ended().await, "{}", node.log());
            load.goes_on(100).await;
            node.start();
            node.until_ready().await;
        }
        load.goes_on(300).await;
        load.end();
    };
    let (last, ()) = tokio::join!(load.run(tokens), restarting);
    let (answers, slow) = (*load.answers.borrow(), load.slow.get());
    assert_eq!(*load.failed.borrow(), [""; 0], "of {answers} refreshes; {slow} were too slow");
    let without_node = load.without_node.get();
    assert!(
        (slow <= answers / 50 && without_node == 0) || is_busy(&deployment),
        "of {answers} refreshes {slow} were too slow, and {without_node} found no node"
    );
    println!("{answers} refreshes, none failed, {slow} were too slow");
    every_session_is_there(&deployment, &last).await;
}

async fn a_killed_node_costs_no_session(front: Front) {
    let mut deployment = Deployment::start_behind(front, 2, FURTHER).await;
    let tokens = open_chains(&deployment).await;
    let load = Load::new(&deployment);
    let killing = async {
        for number in [0, 1] {
            load.goes_on(300).await;
            deployment.nodes[number].kill();
            load.goes_on(300).await;
            deployment.nodes[number].start();
            deployment.nodes[number].until_ready().await;
            // Both proxies leave a node alone for a while that they could not reach.
            while !deployment.nodes[number].has_refreshed().await {
                load.goes_on(20).await;
            }
        }
        load.end();
    };
    let (last, ()) = tokio::join!(load.run(tokens), killing);
    // What is under way at a node that is killed may be lost: each chain has one request at a time.
    let (answers, slow, failed) = (*load.answers.borrow(), load.slow.get(), load.failed.take());
    assert!(
        failed.len() <= 2 * (CHAINS + REDEEMERS),
        "{} failed: {:?}",
        failed.len(),
        &failed[..9]
    );
    assert!(
        slow <= 2 * (CHAINS + REDEEMERS) || is_busy(&deployment),
        "of {answers} refreshes {slow} were too slow"
    );
    println!("{answers} refreshes, {} failed, {slow} were too slow", failed.len());
    every_session_is_there(&deployment, &last).await;
}

/// Each chain's last token is live: none was taken for reuse, which would have ended its session.
async fn every_session_is_there(deployment: &Deployment, last: &[String]) {
    let client = deployment.client().build().unwrap();
    for token in last {
        let request = client
            .post(format!("{}/auth/refresh", deployment.url))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("__Secure-auth_refresh={token}"));
        let (status, text) = loop {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            if !is_slow(status, &text) {
                break (status, text);
            }
        };
        assert_eq!(status, StatusCode::OK, "{text}");
    }
    for node in &deployment.nodes {
        assert!(!node.log().contains("reuse_detected"), "{}", node.log());
    }
}

#[actix_web::test]
async fn a_node_that_is_to_end_says_so_serves_on_and_ends_its_connections() {
    let server = Server::start(Backend::Sqlite, "[keys]\nalgorithm = \"ES256\"\n").await;
    let browser = server.signed_in("alice").await;
    assert_eq!(browser.get("/ready").await.status(), StatusCode::OK);
    server.app.set_draining();
    for (path, status) in [
        ("/ready", StatusCode::SERVICE_UNAVAILABLE),
        ("/health", StatusCode::OK),
        ("/auth/me", StatusCode::OK),
        ("/nothing", StatusCode::NOT_FOUND),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["connection"], "close", "{path}");
    }
    assert!(browser.refresh().await.is_ok());
    assert!(server.stop().await);
}

#[actix_web::test]
async fn a_second_signal_ends_a_node_at_once() {
    let mut deployment = Deployment::start(1, "").await;
    let node = &mut deployment.nodes[0];
    node.signal("-TERM");
    let client = Client::builder().no_proxy().build().unwrap();
    let draining = async {
        loop {
            let ready = client.get(format!("{}/ready", node.url)).send().await.unwrap();
            if ready.status() == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), draining).await.unwrap();
    node.signal("-TERM");
    assert!(!node.ended().await, "not all was finished: {}", node.log());
    let log = node.log();
    assert!(log.contains("A second signal (SIGTERM)"), "{log}");
    let (_before, draining) = log.split_once("shutting down").unwrap();
    assert!(!draining.contains("\"/ready\""), "that it drains is no failure: {log}");
}

#[actix_web::test]
async fn behind_caddy_a_node_after_the_other_restarts_and_no_request_fails() {
    a_node_after_the_other_restarts_and_no_request_fails(Front::Caddy).await;
}

#[actix_web::test]
async fn behind_nginx_a_node_after_the_other_restarts_and_no_request_fails() {
    a_node_after_the_other_restarts_and_no_request_fails(Front::Nginx).await;
}

#[actix_web::test]
async fn behind_caddy_a_killed_node_costs_no_session() {
    a_killed_node_costs_no_session(Front::Caddy).await;
}

#[actix_web::test]
async fn behind_nginx_a_killed_node_costs_no_session() {
    a_killed_node_costs_no_session(Front::Nginx).await;
}
