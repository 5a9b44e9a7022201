//! Attacks by addresses: a provider on the public network that names places inside ours.

use latchkey::providers::ProviderError;
use latchkey::providers::address::Reach;
use latchkey::providers::http::{HttpClient, Limits, check};
use serde_json::Value;
use url::Url;

use crate::openid_provider::{Behaviour, TestProvider};

/// The client is asked itself: a provider that is not on this machine cannot be had without a network.
#[actix_web::test]
async fn a_public_provider_leads_neither_onto_this_machine_nor_into_its_network() {
    let op = TestProvider::start(Behaviour::default());
    let port = op.url.rsplit_once(':').unwrap().1;
    let http = HttpClient::new(Limits::default()).unwrap();
    let places = [
        format!("http://127.0.0.1:{port}/.well-known/openid-configuration"),
        format!("http://localhost:{port}/.well-known/openid-configuration"),
        format!("http://[::1]:{port}/.well-known/openid-configuration"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://0x7f000001:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        "https://10.0.0.1/jwks".to_owned(),
        "https://172.16.0.1/jwks".to_owned(),
        "https://192.168.1.1/jwks".to_owned(),
        "https://100.64.0.1/jwks".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[fe80::1]/jwks".to_owned(),
        "https://[fd00::1]/jwks".to_owned(),
        "https://[64:ff9b::7f00:1]/jwks".to_owned(),
        "http://op.example/jwks".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://op.example/".to_owned(),
    ];
    for place in places {
        let url = Url::parse(&place).unwrap();
        // When the metadata is read, and again when the place is asked.
        let refused = check(&url, Reach::Public);
        assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{place}: {refused:?}");
        let refused = http.get_json::<Value>(&url, None, Reach::Public).await;
        let unasked =
            matches!(refused, Err(ProviderError::Misconfigured(_) | ProviderError::Answer(_)));
        assert!(unasked, "{place}: {refused:?}");
    }
    assert_eq!(op.state.discovery_requests(), 0);
}
