//! `store.url`: which servers, which database, and how TLS is used.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::protocol::secret::Secret;
use crate::store::error::OpenError;

/// How long one host may take to accept a connection, so that a second one gets its turn.
const HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// PostgreSQL's own limit of a name, in bytes.
const LONGEST_NAME: usize = 63;

/// Where to connect and how.
#[derive(Clone)]
pub(super) struct Address {
    /// What the driver takes.
    pub(super) config: Config,
    /// Whom to believe on the other side.
    pub(super) trust: Trust,
    /// The schema that holds our tables; `None` is the connection's default.
    pub(super) schema: Option<String>,
}

/// Which certificates of the server are accepted where TLS is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Any: `sslmode=prefer` promises nothing, since an attacker could turn TLS off as well.
    Anyone,
    /// Those of the platform's authorities, for the host's name.
    Platform,
    /// Those that the authorities in this PEM file issued, for the host's name.
    File(PathBuf),
}

impl Address {
    /// Reads `store.url` and `store.schema`.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`], never with a part of the address: what the driver stumbles over may
    /// be a password with characters that were not encoded.
    pub(super) fn parse(url: &Secret, schema: Option<&str>) -> Result<Self, OpenError> {
        let (plain, options) = split_options(url.expose());
        let mut config: Config = plain.parse().map_err(|_| malformed())?;
        if config.get_hosts().is_empty() || config.get_hosts().iter().any(is_suspicious) {
            return Err(malformed());
        }
        let trust = options.trust(config.get_ssl_mode());
        if options.verify_full {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(HOST_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("latchkey");
        }
        // Of several hosts only the primary can be written: after a failover that is another one.
        if config.get_hosts().len() > 1
            && config.get_target_session_attrs() == TargetSessionAttrs::Any
        {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config, trust, schema: check_schema_name(schema)? })
    }

    /// The place without the password: `db.example:5432, database latchkey, user latchkey`.
    pub(super) fn place(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        let mut place = hosts.collect::<Vec<_>>().join(" or ");
        for (kind, name) in
            [("database", self.config.get_dbname()), ("user", self.config.get_user())]
        {
            if let Some(name) = name {
                place = format!("{place}, {kind} {name}");
            }
        }
        place
    }
}

/// The place as PostgreSQL's own programs take it: an address without the password.
impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encoded = |text: &str| -> String {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let ports = self.config.get_ports();
        let (mut hosts, mut options) = (Vec::new(), Vec::new());
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => hosts.push(format!("[{name}]:{port}")),
                Host::Tcp(name) => hosts.push(format!("{name}:{port}")),
                #[cfg(unix)]
                Host::Unix(folder) => {
                    options.push(format!("host={}", encoded(&folder.to_string_lossy())));
                    options.push(format!("port={port}"));
                }
            }
        }
        match (&self.trust, self.config.get_ssl_mode()) {
            (Trust::File(file), _) => {
                options.push("sslmode=verify-full".to_owned());
                options.push(format!("sslrootcert={}", encoded(&file.to_string_lossy())));
            }
            (Trust::Platform, _) | (_, SslMode::Require) => {
                options.push("sslmode=require".to_owned());
            }
            _ => {}
        }
        formatter.write_str("postgresql://")?;
        if let Some(user) = self.config.get_user() {
            write!(formatter, "{}@", encoded(user))?;
        }
        write!(formatter, "{}/", hosts.join(","))?;
        if let Some(database) = self.config.get_dbname() {
            formatter.write_str(&encoded(database))?;
        }
        if !options.is_empty() {
            write!(formatter, "?{}", options.join("&"))?;
        }
        Ok(())
    }
}

/// A part of a password that was not encoded would look like a host with such characters.
fn is_suspicious(host: &Host) -> bool {
    matches!(host, Host::Tcp(name) if name.is_empty() || name.contains(['@', '/', '#', ' ']))
}

fn malformed() -> OpenError {
    OpenError::Unreachable(
        "store.url is not a PostgreSQL address; it looks like postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password percent-encoded, and takes the driver's options (sslmode, sslrootcert, target_session_attrs, …) after a question mark".to_owned(),
    )
}

fn check_schema_name(schema: Option<&str>) -> Result<Option<String>, OpenError> {
    match schema {
        Some(name) if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') => {
            Err(OpenError::Unreachable(format!(
                "store.schema must be a name of 1 to {LONGEST_NAME} bytes"
            )))
        }
        name => Ok(name.map(ToOwned::to_owned)),
    }
}

/// Options of libpq that the driver does not know.
#[derive(Debug, Default, PartialEq, Eq)]
struct TlsOptions {
    verify_full: bool,
    root: Option<PathBuf>,
}

impl TlsOptions {
    fn trust(&self, mode: SslMode) -> Trust {
        match &self.root {
            Some(file) => Trust::File(file.clone()),
            None if self.verify_full || mode == SslMode::Require => Trust::Platform,
            None => Trust::Anyone,
        }
    }
}

/// Takes `sslmode=verify-full` and `sslrootcert` out of the address.
fn split_options(url: &str) -> (String, TlsOptions) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), TlsOptions::default());
    };
    let mut options = TlsOptions::default();
    let mut others = Vec::new();
    for option in query.split('&') {
        match option.split_once('=') {
            Some(("sslmode", "verify-full")) => options.verify_full = true,
            Some(("sslrootcert", _)) => {
                let file = url::form_urlencoded::parse(option.as_bytes()).next();
                options.root = file.map(|(_, path)| PathBuf::from(path.into_owned()));
            }
            _ => others.push(option),
        }
    }
    (format!("{base}?{}", others.join("&")), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, OpenError> {
        Address::parse(&Secret::new(url), None)
    }

    #[test]
    fn sslmode_decides_whom_we_believe() {
        let trust = |url: &str| parse(url).unwrap().trust;
        let file = Trust::File(PathBuf::from("/etc/my ca.pem"));
        assert_eq!(trust("postgres://u@h/d"), Trust::Anyone);
        assert_eq!(trust("postgres://u@h/d?sslmode=require"), Trust::Platform);
        assert_eq!(trust("postgres://u@h/d?sslmode=verify-full"), Trust::Platform);
        assert_eq!(
            trust("postgres://u@h/d?sslrootcert=%2Fetc%2Fmy%20ca.pem&sslmode=require"),
            file
        );
        let full = parse("postgres://u@h/d?sslmode=verify-full&connect_timeout=4").unwrap();
        assert_eq!(full.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(full.config.get_connect_timeout(), Some(&Duration::from_secs(4)));
    }

    #[test]
    fn of_several_hosts_the_primary_is_sought() {
        let several = parse("postgres://u@a:1,b:2/d").unwrap();
        assert_eq!(several.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(several.place(), "a:1 or b:2, database d, user u");
    }

    #[test]
    fn other_programs_get_the_address_without_the_password() {
        for (url, expected) in [
            ("postgres://u:hunter2@h/d", "postgresql://u@h:5432/d"),
            ("postgres://a%2Fb:x@h:6432/my%20db", "postgresql://a%2Fb@h:6432/my%20db"),
            ("postgres://u@a:1,b:2/d", "postgresql://u@a:1,b:2/d"),
            (
                "postgres://u@%2Frun%2Fpostgresql:5433/d",
                "postgresql://u@/d?host=%2Frun%2Fpostgresql&port=5433",
            ),
            ("postgres://u@h/d?sslmode=require", "postgresql://u@h:5432/d?sslmode=require"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn no_part_of_a_password_is_ever_shown() {
        let address = parse("postgres://u:hunter2@h/d").unwrap();
        assert_eq!(address.place(), "h:5432, database d, user u");
        for url in [
            "postgres://u:hun@ter2@h/d",
            "postgres://u:hun/ter2@h/d",
            "postgres://u:hun?ter2@h/d",
            "postgres://u:hun#ter2@h:x/d",
            "mysql://u:hunter2@h/d",
        ] {
            let error =
                parse(url).map(|address| address.place()).map_err(|error| error.to_string());
            let shown = format!("{error:?}");
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{url}: {shown}");
        }
    }

    #[test]
    fn a_schema_has_a_name_that_postgresql_can_hold() {
        let url = Secret::new("postgres://u@h/d");
        assert!(Address::parse(&url, Some("auth")).is_ok());
        for name in ["", "a\0b", &"x".repeat(64)] {
            assert!(Address::parse(&url, Some(name)).is_err());
        }
    }
}
