//! Which network addresses our own requests may go to, so that nobody can make us ask the insides
//! of the deployer's network (RFC 9700 §4.15 warns of it for metadata that an attacker controls).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far requests on behalf of one provider may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses over https.
    Public,
    /// Also this machine, if it is named as such (`localhost` or an address), over http too.
    Loopback,
    /// Any address: the deployer said `allow_private`.
    Private,
}

/// Why an address is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither https nor a loopback host over http.
    #[error("only https is allowed")]
    Insecure,
    /// No host, or a user name, password or fragment.
    #[error("it is not a plain address")]
    Unusual,
    /// A private, loopback, link-local, multicast or otherwise special address.
    #[error("it lies on a private or special network address")]
    NotPublic,
}

/// Checks a URL before it is asked. Names are checked again when they are resolved.
///
/// # Errors
/// [`AddressError`].
pub fn check(url: &Url, reach: Reach) -> Result<(), AddressError> {
    let host = url.host().ok_or(AddressError::Unusual)?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(AddressError::Unusual);
    }
    let loopback = is_loopback(&host);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err(AddressError::Insecure),
    }
    let allowed = match reach {
        Reach::Private => true,
        Reach::Loopback if loopback => true,
        Reach::Loopback | Reach::Public => match host {
            Host::Domain(name) => !is_localhost(name),
            Host::Ipv4(address) => is_public(IpAddr::V4(address)),
            Host::Ipv6(address) => is_public(IpAddr::V6(address)),
        },
    };
    if allowed { Ok(()) } else { Err(AddressError::NotPublic) }
}

/// Whether a URL's host names this machine: a loopback address or exactly `localhost`.
pub fn names_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback(&host))
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_localhost(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Exactly `localhost`: its variants (`localhost.`, `a.localhost`) are names like any other, and
/// refused for what they resolve to.
pub fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

/// Whether an address is reachable from anywhere and belongs to one machine (IANA's registries of
/// special-purpose addresses, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0 // "this network"
        || (a == 100 && (64..128).contains(&b)) // shared by carriers
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 198 && (b == 18 || b == 19)) // benchmarks
        || a >= 224; // multicast, reserved, broadcast
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // NAT64 (RFC 6052): how networks without IPv4 reach a public IPv4 address.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [a, b, c, d] =
            [segments[6] >> 8, segments[6] & 0xff, segments[7] >> 8, segments[7] & 0xff]
                .map(|octet| u8::try_from(octet).unwrap_or(0));
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Everything else public lies in 2000::/3; IPv4-mapped, unique-local, link-local and multicast
    // addresses do not.
    let global = segments[0] & 0xe000 == 0x2000;
    let special = match segments[0] {
        0x2001 => segments[1] < 0x200 || segments[1] == 0xdb8, // protocols, Teredo; documentation
        0x2002 => true,                                        // 6to4: leads to any IPv4 address
        0x3fff => segments[1] < 0x1000,                        // documentation
        _ => false,
    };
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(url: &str, reach: Reach) -> Result<(), AddressError> {
        check(&Url::parse(url).unwrap(), reach)
    }

    #[test]
    fn public_addresses_are_public_and_special_ones_are_not() {
        for public in ["1.1.1.1", "172.15.0.1", "100.63.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn a_public_reach_takes_https_on_public_hosts_alone() {
        use AddressError::{Insecure, NotPublic, Unusual};
        let public = |url| verdict(url, Reach::Public);
        assert_eq!(public("https://op.example/a?b=c"), Ok(()));
        assert_eq!(public("https://1.1.1.1/"), Ok(()));
        assert_eq!(public("http://op.example/"), Err(Insecure));
        assert_eq!(public("ftp://op.example/"), Err(Insecure));
        assert_eq!(public("https://user@op.example/"), Err(Unusual));
        assert_eq!(public("https://op.example/#a"), Err(Unusual));
        assert_eq!(public("data:text/plain,a"), Err(Unusual));
        for inside in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://LOCALHOST/",
            "http://localhost/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
        ] {
            assert_eq!(public(inside), Err(NotPublic), "{inside}");
        }
    }

    #[test]
    fn a_loopback_reach_adds_this_machine_and_no_other() {
        let loopback = |url| verdict(url, Reach::Loopback);
        for here in ["http://127.0.0.1:8080/", "http://localhost/", "https://[::1]/"] {
            assert_eq!(loopback(here), Ok(()), "{here}");
        }
        assert_eq!(loopback("http://localhost./"), Err(AddressError::Insecure));
        assert_eq!(loopback("http://a.localhost/"), Err(AddressError::Insecure));
        assert_eq!(loopback("http://10.0.0.1/"), Err(AddressError::Insecure));
        assert_eq!(loopback("https://10.0.0.1/"), Err(AddressError::NotPublic));
    }

    #[test]
    fn a_private_reach_still_demands_https_off_this_machine() {
        assert_eq!(verdict("https://10.0.0.1/", Reach::Private), Ok(()));
        assert_eq!(verdict("http://10.0.0.1/", Reach::Private), Err(AddressError::Insecure));
    }
}
