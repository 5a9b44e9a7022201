//! Who is calling: the peer, or what trusted proxies say of it.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The address, IPv4-mapped ones as IPv4.
    pub ip: IpAddr,
    /// Whether an untrusted peer sent `X-Forwarded-For`: then it never counts as loopback or exempt.
    pub claims_another: bool,
}

impl ClientAddress {
    /// Finds the client: the peer, unless it is a trusted proxy; then the rightmost address of
    /// `X-Forwarded-For` that is not one.
    pub fn of(request: &HttpRequest, trusted_proxies: &[IpNet]) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
        Self::find(peer, request.headers(), trusted_proxies)
    }

    /// Whether the peer is a trusted proxy, so that what it says of a request is believed.
    pub fn is_of_proxy(request: &HttpRequest, trusted_proxies: &[IpNet]) -> bool {
        request.peer_addr().is_some_and(|peer| {
            let peer = peer.ip().to_canonical();
            trusted_proxies.iter().any(|network| network.contains(&peer))
        })
    }

    fn find(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Self {
        let is_trusted = |ip: IpAddr| trusted_proxies.iter().any(|network| network.contains(&ip));
        let mut ip = peer.to_canonical();
        if !is_trusted(ip) {
            return Self { ip, claims_another: headers.contains_key("x-forwarded-for") };
        }
        // By bytes: a client may have begun a line with what is no text, and a proxy have written on.
        let forwarded: Vec<&[u8]> = headers
            .get_all("x-forwarded-for")
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .collect();
        for entry in forwarded.into_iter().rev() {
            // What cannot be read ends the chain at the last proxy that could be.
            let Some(next) = std::str::from_utf8(entry).ok().and_then(|entry| read(entry.trim()))
            else {
                break;
            };
            ip = next;
            if !is_trusted(ip) {
                break;
            }
        }
        Self { ip, claims_another: false }
    }

    /// What rate limits count by: the address, or the /64 of an IPv6 address.
    pub fn bucket(&self) -> String {
        self.network(32, 64)
    }

    /// What a person sees of where a session was opened: /24 or /48.
    pub fn coarse(&self) -> String {
        self.network(24, 48)
    }

    fn network(&self, v4: u8, v6: u8) -> String {
        let length = if self.ip.is_ipv4() { v4 } else { v6 };
        IpNet::new(self.ip, length)
            .map_or_else(|_| self.ip.to_string(), |network| network.trunc().to_string())
    }

    /// Whether it lies in one of the networks; never if it claims another address.
    pub fn is_in(&self, networks: &[IpNet]) -> bool {
        !self.claims_another && networks.iter().any(|network| network.contains(&self.ip))
    }

    /// Whether it is this machine; never if it claims another address.
    pub fn is_loopback(&self) -> bool {
        !self.claims_another && self.ip.is_loopback()
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn read(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn find<T: AsRef<[u8]>>(peer: &str, forwarded: &[T]) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_bytes(value.as_ref()).unwrap(),
            );
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        ClientAddress::find(peer.parse().unwrap(), &headers, &trusted)
    }

    #[test]
    fn an_untrusted_peer_is_itself_whatever_it_claims() {
        let address = find("127.0.0.1", &["192.0.2.7"]);
        assert_eq!(address.ip.to_string(), "127.0.0.1");
        assert!(address.claims_another && !address.is_loopback());
        assert!(!address.is_in(&["127.0.0.0/8".parse().unwrap()]));
        assert!(find::<&str>("127.0.0.1", &[]).is_loopback());
    }

    #[test]
    fn a_trusted_proxy_is_believed_from_the_right() {
        for (forwarded, expected) in [
            (vec!["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
            (vec!["198.51.100.1, 192.0.2.7, 10.1.2.3"], "192.0.2.7"),
            (vec!["198.51.100.1", "192.0.2.7:4711"], "192.0.2.7"),
            (vec!["[2001:db8::1]:443"], "2001:db8::1"),
            (vec!["::ffff:192.0.2.7"], "192.0.2.7"),
            (vec!["192.0.2.7, junk"], "10.0.0.1"),
            (vec![], "10.0.0.1"),
            (vec!["10.9.9.9"], "10.9.9.9"),
        ] {
            assert_eq!(find("10.0.0.1", &forwarded).ip.to_string(), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn what_is_no_text_hides_neither_what_follows_nor_itself() {
        for (forwarded, expected) in [
            (vec![&b"\xff, 192.0.2.7"[..]], "192.0.2.7"),
            (vec![b"198.51.100.1", b"\xff, 192.0.2.7"], "192.0.2.7"),
            (vec![b"198.51.100.1", b"\xff"], "10.0.0.1"),
            (vec![b"198.51.100.1, \xff, 10.9.9.9"], "10.9.9.9"),
        ] {
            assert_eq!(find("10.0.0.1", &forwarded).ip.to_string(), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn ipv6_is_counted_by_its_network() {
        let address = find::<&str>("2001:db8:1:2:3:4:5:6", &[]);
        assert_eq!(address.bucket(), "2001:db8:1:2::/64");
        assert_eq!(address.coarse(), "2001:db8:1::/48");
        assert_eq!(find::<&str>("192.0.2.77", &[]).coarse(), "192.0.2.0/24");
    }
}
