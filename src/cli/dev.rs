//! `latchkey dev`: the whole system for a newcomer, on this machine alone.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cli::serve::until_stopped;
use crate::cli::{Failure, output};
use crate::clock::{Clock, Stopwatch};
use crate::config::problem::{Problem, Problems};
use crate::config::settings::{Origin, Provider, Settings, Telemetry};
use crate::config::{Given, Loaded};
use crate::protocol::random;
use crate::routes::dev::{app as demo_app, idp};
use crate::routes::openapi;
use crate::running::{Running, Signals};
use crate::startup;
use crate::{config, telemetry};

/// What `latchkey dev` was called with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Overrides the port of the configuration for this run; 0 stands for any that is free.
    pub port: Option<u16>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
}

impl Options {
    /// The configuration of the data directory.
    fn file(&self) -> PathBuf {
        self.data_dir.join("latchkey.toml")
    }
}

/// The port of a new configuration.
const DEFAULT_PORT: u16 = 8080;

/// Runs until Ctrl-C.
///
/// # Errors
/// A sentence on why it did not start.
pub async fn run(mut options: Options, named: Option<&Path>) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    if let Some(named) = named {
        check_named(named, &options)?;
    }
    let signals = Signals::listen().map_err(Failure::of)?;
    if options.port == Some(0) {
        options.port = Some(free_port().map_err(Failure::of)?);
    }
    let is_new = prepare(&options)?;
    let loaded = loaded(&options, None).map_err(Failure::nothing_was_started)?;
    for warning in &loaded.warnings {
        output::complain(warning);
    }
    let (again, at) = (options.clone(), loaded.settings.server.public_url.clone());
    let given = Given::new(loaded, Arc::new(move || self::loaded(&again, Some(&at))));
    let (clock, settings) = (Clock::system(), &given.settings);
    let _log = telemetry::init(&settings.telemetry, settings.audit.log, clock.clone())
        .map_err(Failure::of)?;
    let mut running = startup::start(given, true, clock).await.map_err(Failure::of)?;
    running.signing_key_is_there().await;
    demo_app::register(&running.app).await.map_err(Failure::of)?;
    greet(&running, &options.data_dir, is_new, watch).await?;
    until_stopped(running, signals).await
}

/// Refuses a configuration that would not be read: development has its own.
fn check_named(named: &Path, options: &Options) -> Result<(), Failure> {
    let own = options.file();
    let is_own = named == own
        || matches!((named.canonicalize(), own.canonicalize()), (Ok(named), Ok(own)) if named == own);
    if is_own {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`latchkey dev` reads {}, not {}: change that file, or name another folder by --data-dir; \
         `latchkey serve` runs any configuration",
        own.display(),
        named.display()
    )))
}

/// A port that nothing listens on. It is chosen before anything else: the addresses that people and apps are
/// given name it.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The greeting says what a start does, so the log does not say it again.
fn quiet_start(telemetry: &Telemetry) -> Telemetry {
    let mut quiet = telemetry.clone();
    if quiet.log_level == "info" {
        quiet.log_level = "info,latchkey::startup=warn,latchkey::actors::key_ring=warn".to_owned();
    }
    quiet
}

/// Makes the folder, the secret and the configuration if they are missing; whether they were.
fn prepare(options: &Options) -> Result<bool, Failure> {
    let directory = &options.data_dir;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Failure::about(directory, "cannot be made", &error))?;
    let config = options.file();
    if config.exists() {
        return Ok(false);
    }
    let secret = directory.join("secret");
    if !secret.exists() {
        write_private(&secret, &format!("{}\n", STANDARD.encode(random::bytes::<32>())))?;
    }
    let address =
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options.port.unwrap_or(DEFAULT_PORT));
    write_private(
        &config,
        &format!(
            "# Made by `latchkey dev`, and kept. Every key is explained in config/latchkey.example.toml.\n\
             [server]\n\
             listen = \"{address}\"\n\
             public_url = \"http://{address}\"\n\
             secret_key = \"file:secret\"\n\
             \n\
             [store]\n\
             url = \"sqlite:latchkey.db\"\n"
        ),
    )?;
    Ok(true)
}

/// Writes a file that only this user can read, in one step: nobody sees half of it.
fn write_private(path: &Path, content: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::about(path, "cannot be written", &error);
    let mut draft = path.to_path_buf().into_os_string();
    draft.push(".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

/// The configuration of the data directory, made fit for development.
fn loaded(options: &Options, running_at: Option<&Origin>) -> Result<Loaded, Problems> {
    let request = config::Request::of_process(Some(options.file()));
    let mut loaded = config::load(&request)?;
    let settings = &mut loaded.settings;
    let server = &mut settings.server;
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let refused = |key: &str, reason: String, remedy: Option<&str>| Problems {
        file: file.clone(),
        problems: vec![Problem {
            key: key.to_owned(),
            reason,
            remedy: remedy.map(str::to_owned),
            ..Problem::default()
        }],
    };
    if let Some(port) = options.port {
        server.listen.set_port(port);
        let host =
            server.public_url.authority().rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        server.public_url = Origin::parse(&format!("http://{host}:{port}")).ok_or_else(|| {
            refused("server.public_url", format!("cannot take port {port}"), None)
        })?;
    }
    let public_host = url::Url::parse(server.public_url.as_str()).ok();
    let is_public_loopback =
        public_host.as_ref().and_then(url::Url::host).is_some_and(|host| match host {
            url::Host::Ipv4(ip) => ip.is_loopback(),
            url::Host::Ipv6(ip) => ip.is_loopback(),
            url::Host::Domain(name) => name == "localhost",
        });
    if !server.listen.ip().is_loopback() || !is_public_loopback {
        return Err(refused(
            "server.listen",
            format!(
                "is {} ({}), which is not a loopback address: latchkey dev signs in anybody by any name, so it serves this machine only",
                server.listen, server.public_url
            ),
            Some("set server.listen and server.public_url to 127.0.0.1, or use latchkey serve"),
        ));
    }
    // The built-in provider is where the server is, whatever the file says by now.
    if let Some(public_url) = running_at {
        server.public_url = public_url.clone();
    }
    make_fit(settings);
    settings.telemetry = quiet_start(&settings.telemetry);
    Ok(loaded)
}

/// Adds what only development has: the built-in provider, and no rate limits for this machine.
pub fn make_fit(settings: &mut Settings) {
    settings.rate_limits.exempt.extend(
        ["127.0.0.0/8", "::1/128"]
            .iter()
            .filter_map(|network| network.parse::<ipnet::IpNet>().ok()),
    );
    settings.providers.retain(|provider| provider.name != idp::PROVIDER_NAME);
    settings.providers.insert(0, development_provider(&settings.server.public_url));
    // Nobody knows what the built-in provider makes of a name, so the name itself will do.
    if let Some(admin) = &mut settings.bootstrap_admin
        && admin.provider == idp::PROVIDER_NAME
        && let Some(subject) = idp::subject_of(&admin.subject)
    {
        admin.subject = subject;
    }
}

/// The built-in provider, as any other OpenID Connect provider is configured.
fn development_provider(public_url: &Origin) -> Provider {
    Provider {
        name: idp::PROVIDER_NAME.to_owned(),
        display_name: "Development provider".to_owned(),
        client_id: idp::CLIENT_ID.to_owned(),
        client_secret: None,
        issuer: Some(idp::issuer(public_url)),
        auth_url: None,
        token_url: None,
        userinfo_url: None,
        emails_url: None,
        mapping: config::settings::Mapping::default(),
        token_endpoint_auth_method: None,
        scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        trust_email: true,
        allow_private: false,
        signup: None,
    }
}

async fn greet(
    running: &Running,
    data_dir: &Path,
    is_new: bool,
    watch: Stopwatch,
) -> Result<(), Failure> {
    let app = &running.app;
    let url = &app.settings.server.public_url;
    let keys = app.key_snapshot();
    let algorithm = app.settings.keys.algorithm;
    let contents = if is_new {
        format!("new: database, {algorithm} key, secret")
    } else {
        let users = app.store.read.user_count().await.map_err(Failure::of)?;
        let since = keys.keys().iter().map(|key| key.stored.created_at).min();
        let age = since.map_or_else(String::new, |since| {
            format!(", since {}", output::duration(app.clock.now().since(since)))
        });
        format!(
            "{}, {}{age}",
            output::count(users, "user"),
            output::count(keys.keys().len() as u64, "key")
        )
    };
    let directory = if data_dir.is_absolute() {
        data_dir.display().to_string()
    } else {
        format!("./{}", data_dir.strip_prefix("./").unwrap_or(data_dir).display())
    };
    let rows = [
        ("Sign in", url.join("/login"), "any name works: this is the built-in provider"),
        ("Demo app", url.join(demo_app::PATH), "signs in by OAuth, shows the tokens it gets"),
        ("Keys (JWKS)", url.join("/.well-known/jwks.json"), ""),
        ("Discovery", url.join("/.well-known/openid-configuration"), ""),
        ("API", url.join(openapi::PATH), ""),
    ];
    let width = rows.iter().map(|(_, address, _)| address.len()).max().unwrap_or(0);
    let (accent, dim) = (output::ACCENT, output::DIM);
    let mut greeting = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| greeting.push_str(&format!("{line}\n"));
    say(format_args!(
        "Latchkey {} {dim}· development mode · loopback only{dim:#}\n",
        env!("CARGO_PKG_VERSION")
    ));
    for (label, address, remark) in rows {
        match remark.is_empty() {
            true => say(format_args!("  {label:<14} {accent}{address}{accent:#}")),
            false => say(format_args!(
                "  {label:<14} {accent}{address}{accent:#}{}  {dim}{remark}{dim:#}",
                " ".repeat(width - address.len())
            )),
        }
    }
    say(format_args!("\n  {:<14} {directory} {dim}({contents}){dim:#}", "Data"));
    let latchkey = format!("latchkey --config {directory}/latchkey.toml");
    say(format_args!("  {:<14} {latchkey} users promote NAME", "Admin"));
    say(format_args!(
        "  {:<14} {latchkey} clients register NAME --redirect-uri URI",
        "Your own app"
    ));
    if cfg!(feature = "fault-injection") {
        say(format_args!(
            "  {:<14} {}",
            "Faults",
            url.join("/dev/fault/{actor}?kind=panic|stall|stop")
        ));
    }
    let milliseconds = watch.elapsed().as_millis();
    say(format_args!("\nReady in {milliseconds} ms. Ctrl-C stops it; your data stays."));
    // The server runs on, whether anybody reads this or not.
    let _unread = write!(anstream::stdout(), "{greeting}");
    Ok(())
}
