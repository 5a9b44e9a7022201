//! Which redirect URI is a registered one (RFC 6749 §3.1.2.3, RFC 9700 §4.1.3).

/// Beginnings of addresses at which only the port may differ (RFC 8252 §7.3). `localhost` is a name that
/// can be made to lead elsewhere (§8.3), so it is compared like any other.
const LOOPBACK: [&str; 2] = ["http://127.0.0.1", "http://[::1]"];

/// Whether `asked` is one of `registered`, character by character; the port of loopback addresses apart,
/// since a program on the person's machine takes the one that is free.
pub fn is_registered(asked: &str, registered: &[String]) -> bool {
    registered.iter().any(|known| known == asked || differ_in_port_alone(asked, known))
}

/// Whether the address belongs to a program on the person's device by a scheme of its own, which any other
/// program can claim, too (RFC 8252 §7.1, §8.6).
pub fn has_own_scheme(redirect_uri: &str) -> bool {
    !redirect_uri.starts_with("https://") && !redirect_uri.starts_with("http://")
}

fn differ_in_port_alone(asked: &str, registered: &str) -> bool {
    LOOPBACK.iter().any(|host| {
        let (Some(asked), Some(registered)) =
            (asked.strip_prefix(host), registered.strip_prefix(host))
        else {
            return false;
        };
        matches!((without_port(asked), without_port(registered)), (Some(asked), Some(registered))
            if asked == registered && (asked.is_empty() || asked.starts_with(['/', '?'])))
    })
}

/// What follows the port, if there is none or a legal one.
fn without_port(rest: &str) -> Option<&str> {
    let Some(port) = rest.strip_prefix(':') else { return Some(rest) };
    let end = port.find(|character: char| !character.is_ascii_digit()).unwrap_or(port.len());
    let is_legal = port[..end].parse::<u16>().is_ok_and(|number| number > 0);
    is_legal.then(|| &port[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ok(asked: &str, registered: &str) -> bool {
        is_registered(asked, &[registered.to_owned()])
    }

    #[test]
    fn addresses_are_compared_character_by_character() {
        let registered = "https://app.example/cb";
        assert!(is_ok(registered, registered));
        for other in [
            "",
            "https://app.example/cb/",
            "https://app.example/cb/x",
            "https://app.example/cbevil",
            "https://app.example/cb?x=1",
            "https://app.example/cb#f",
            "https://app.example/cb/../evil",
            "https://app.example/cb/%2e%2e/evil",
            "https://app.example/%63b",
            "https://APP.example/cb",
            "HTTPS://app.example/cb",
            "https://app.example./cb",
            "https://app.example:443/cb",
            "https://app.example:8443/cb",
            "https://app.example@evil.example/cb",
            "https://\u{430}pp.example/cb",
            "https:\\\\app.example/cb",
            "https://app.example/cb\n",
            " https://app.example/cb",
            "http://app.example/cb",
        ] {
            assert!(!is_ok(other, registered), "{other:?}");
        }
    }

    #[test]
    fn at_loopback_addresses_the_port_is_free() {
        for registered in ["http://127.0.0.1/cb", "http://127.0.0.1:8000/cb"] {
            for port in ["", ":1", ":80", ":51004", ":65535"] {
                assert!(is_ok(&format!("http://127.0.0.1{port}/cb"), registered), "{port}");
            }
        }
        assert!(is_ok("http://[::1]:51004/cb?a=b", "http://[::1]/cb?a=b"));
        assert!(is_ok("http://127.0.0.1:51004", "http://127.0.0.1"));
    }

    #[test]
    fn nothing_but_the_port_is_free() {
        for other in [
            "http://127.0.0.1:51004/other",
            "http://127.0.0.1:51004/cb/",
            "http://127.0.0.1:51004/cb?x=1",
            "http://127.0.0.1:51004/cb#f",
            "https://127.0.0.1:51004/cb",
            "http://localhost:51004/cb",
            "http://127.0.0.2:51004/cb",
            "http://127.0.0.1.evil/cb",
            "http://127.0.0.1:80.evil/cb",
            "http://127.0.0.1:80@evil/cb",
            "http://127.0.0.1@evil/cb",
            "http://[::1]:51004/cb",
            "http://[::ffff:127.0.0.1]:51004/cb",
            "http://127.1:51004/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:65536/cb",
            "http://127.0.0.1:+80/cb",
            "http://127.0.0.1:80:81/cb",
        ] {
            assert!(!is_ok(other, "http://127.0.0.1/cb"), "{other:?}");
        }
        assert!(!is_ok("http://localhost:51004/cb", "http://localhost/cb"));
        assert!(!is_ok("http://127.0.0.1:80.evil/cb", "http://127.0.0.1.evil/cb"));
    }

    #[test]
    fn a_scheme_of_its_own_is_told_from_the_webs() {
        assert!(has_own_scheme("com.example.app:/done"));
        assert!(!has_own_scheme("https://app.example/cb"));
        assert!(!has_own_scheme("http://127.0.0.1/cb"));
    }
}
