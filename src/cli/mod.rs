//! The command line: one function a command, one file a topic.

pub mod audit;
pub mod backup;
pub mod clients;
pub mod completions;
pub mod config;
mod desk;
pub mod dev;
pub mod failure;
pub mod healthcheck;
pub mod keys;
pub mod man;
pub mod migrate;
pub mod openapi;
pub mod output;
mod progress;
pub mod restore;
pub mod serve;
pub mod sessions;
pub mod users;
pub mod validate;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config as configuration;
use crate::config::settings::Settings;
use crate::protocol::jwt::Algorithm;
pub use failure::Failure;

/// A self-hosted auth server: sign-in with any OpenID Connect provider, identities that you own.
#[derive(Debug, Parser)]
#[command(
    name = "latchkey",
    version,
    about,
    after_help = "Examples:\n  \
        latchkey dev                           everything on this machine, made on first start\n  \
        latchkey serve                         the server, from the configuration\n  \
        latchkey validate                      what is wrong with the configuration, all of it\n  \
        latchkey keys list --format json       the signing keys, for a script\n  \
        latchkey backup /backups/latchkey.db   a copy of the database, while the server runs\n  \
        latchkey users promote rivka           an admin, for a start\n  \
        latchkey users recover rivka           a way back for somebody who lost their provider\n  \
        latchkey clients register --help       how an app gets its id and secret\n\n\
        The configuration is found by --config, LATCHKEY_CONFIG, ./latchkey.toml,\n\
        ./config/latchkey.toml, ~/.config/latchkey/latchkey.toml, /etc/latchkey/latchkey.toml.\n\
        Any key can be set by the environment: LATCHKEY_SERVER__LISTEN=127.0.0.1:9000.\n\n\
        Exit status: 0 done, 1 failed (one sentence on standard error), 2 wrong usage."
)]
pub struct CommandLine {
    /// The configuration file.
    // Behind the options of the command itself.
    #[arg(long, global = true, value_name = "FILE", display_order = 100)]
    config: Option<PathBuf>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, display_order = 101)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs; the names are those of the HTTP interface.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything for development: database, keys, and a provider where any name signs in
    Dev {
        /// Port to listen on, 0 for any free one; without it, that of the data directory's configuration (8080 at
        /// first)
        #[arg(long)]
        port: Option<u16>,
        /// Where the database, the secret and the configuration are kept
        #[arg(long, value_name = "DIR", default_value = "./latchkey-data")]
        data_dir: PathBuf,
    },
    /// Start the server
    Serve,
    /// Bring the database's schema up to date
    Migrate {
        /// List the migrations and change nothing
        #[arg(long)]
        status: bool,
    },
    /// Check configuration, store, keys and providers, and print every problem
    Validate {
        /// Leave out what needs the network
        #[arg(long)]
        offline: bool,
    },
    /// Print the effective configuration and where each value comes from, secrets redacted
    Config,
    /// Make a signing key: staged in the store, or as files with --output
    GenerateKeys(GenerateKeys),
    /// List, rotate and retire signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look after people: find them, make them admins, lock them out, end their sessions
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// End everybody's sessions, after a restore
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Read, export and verify the audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Register apps and services, and look after them
    #[command(subcommand)]
    Clients(clients::ClientsCommand),
    /// Copy the SQLite database to a file, beside a live server
    #[command(after_help = "\
The copy is one moment of the database, whatever is written meanwhile, and holds all that was answered before \
it began. It is written to FILE.partial, checked, and then gets its name; nothing is ever overwritten. It can be \
read by you alone: it holds names and addresses. Ctrl-C stops and leaves nothing.

Not in it: the server secret, without which its signing keys do not open; the pictures; the configuration. \
PostgreSQL is backed up by pg_dump; the command says how.

Examples:
  latchkey backup /backups/latchkey.db
  latchkey backup \"/backups/latchkey-$(date +%F).db\" --format json")]
    Backup {
        /// Where to; must not exist yet
        file: PathBuf,
    },
    /// Put a backup in the place of the SQLite database, and keep what was there
    #[command(after_help = "\
The server must be stopped. The backup is checked first: that it is whole, that its schema fits this binary, and \
that its signing keys open with server.secret_key. The database that was there is kept beside the new one, under a \
name that is printed. Whatever interrupts this, one of the two is in place.

What happened since the backup is undone, sign-outs and locks, too: afterwards the command prints what to do.

Example:
  latchkey restore /backups/latchkey-2026-11-29.db
  latchkey sessions revoke --before 2026-11-29T03:00:05Z")]
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Print the description of the HTTP interface, as /openapi.json serves it (OpenAPI 3.1)
    Openapi,
    /// Exit with 0 if the local server is ready
    #[command(after_help = "\
It asks /ready at server.listen of the configuration, by TLS where server.tls is set, and says on standard error why \
it is not ready: exit status 1.")]
    Healthcheck,
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  latchkey completions bash > /etc/bash_completion.d/latchkey
  latchkey completions zsh > ~/.zfunc/_latchkey
  latchkey completions fish > ~/.config/fish/completions/latchkey.fish")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, or of one of its commands
    #[command(after_help = "\
Examples:
  latchkey man | man -l -
  latchkey man users token | man -l -
  latchkey man > /usr/local/share/man/man1/latchkey.1")]
    Man {
        /// Which command; without it, the whole program
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct GenerateKeys {
    /// What the key signs with; without it, keys.algorithm
    #[arg(long, value_parser = parse_algorithm, value_name = "RS256|ES256|EdDSA")]
    algorithm: Option<Algorithm>,
    /// Size of an RSA key: 2048, 3072 or 4096; without it, keys.bits
    #[arg(long, value_parser = ["2048", "3072", "4096"], hide_possible_values = true)]
    bits: Option<String>,
    /// Write the key as PEM files into this folder instead (0600 and 0644; never overwrites)
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List all keys with their states and times
    List,
    /// Make the next key; it signs once it was published for keys.publish_ahead
    Rotate {
        /// Let it sign at once: consumers that cached the JWKS may refuse its tokens for a while
        #[arg(long)]
        now: bool,
    },
    /// Take a key out of use; if it signs, another takes over first
    Retire {
        /// The key's id, or the start of it
        // Ids are in base64url, and one of 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Drop it from the JWKS now and refuse its tokens: for a key that was stolen
        #[arg(long)]
        compromised: bool,
    },
    /// Seal all keys with the first of server.secret_key, after it was changed
    Reseal,
}

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| "it is one of RS256, ES256, EdDSA".to_owned())
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    let done = actix_web::rt::System::new().block_on(dispatch(line));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.status()
        }
    }
}

async fn dispatch(line: CommandLine) -> Result<(), Failure> {
    let CommandLine { config, format, command } = line;
    let settings = || read_settings(config.clone());
    match command {
        Command::Dev { port, data_dir } => {
            dev::run(dev::Options { port, data_dir }, config.as_deref()).await
        }
        Command::Serve => serve::run(config).await,
        Command::Migrate { status } => migrate::run(&settings()?, format, status).await,
        Command::Validate { offline } => validate::run(&settings()?, format, offline).await,
        Command::Config => config::run(config.clone(), format),
        Command::GenerateKeys(options) => generate_keys(settings, format, options).await,
        Command::Keys(KeysCommand::List) => keys::list(&settings()?, format).await,
        Command::Keys(KeysCommand::Rotate { now }) => keys::rotate(&settings()?, format, now).await,
        Command::Keys(KeysCommand::Retire { kid, compromised }) => {
            keys::retire(&settings()?, format, &kid, compromised).await
        }
        Command::Keys(KeysCommand::Reseal) => keys::reseal(&settings()?, format).await,
        Command::Users(command) => users::run(&settings()?, format, command).await,
        Command::Sessions(command) => sessions::run(&settings()?, format, command).await,
        Command::Audit(command) => audit::run(settings, format, command).await,
        Command::Clients(command) => clients::run(&settings()?, format, command).await,
        Command::Backup { file } => {
            let request = configuration::Request::of_process(config);
            backup::run(&load(&request).map_err(Failure::of)?, format, &file).await
        }
        Command::Restore { file } => {
            restore::run(&settings()?, format, config.as_deref(), &file).await
        }
        Command::Healthcheck => healthcheck::run(&settings()?).await,
        Command::Openapi => {
            openapi::run(&settings()?);
            Ok(())
        }
        Command::Completions { shell } => {
            completions::run(shell);
            Ok(())
        }
        Command::Man { command } => man::run(&command),
    }
}

/// Files are made without any configuration; keys in the store need one.
async fn generate_keys(
    settings: impl Fn() -> Result<Settings, Failure>,
    format: Format,
    options: GenerateKeys,
) -> Result<(), Failure> {
    let bits: Option<u32> = options.bits.and_then(|bits| bits.parse().ok());
    match options.output {
        Some(directory) => {
            let algorithm = options.algorithm.unwrap_or(Algorithm::RS256);
            keys::generate_files(format, algorithm, bits.unwrap_or(2048), &directory)
        }
        None => keys::generate_staged(&settings()?, format, options.algorithm, bits).await,
    }
}

fn read_settings(explicit: Option<PathBuf>) -> Result<Settings, Failure> {
    let request = configuration::Request::of_process(explicit);
    Ok(load(&request).map_err(Failure::of)?.settings)
}

/// Loads a configuration and says what is legal but doubtful in it.
fn load(
    request: &configuration::Request,
) -> Result<configuration::Loaded, configuration::problem::Problems> {
    let loaded = configuration::load(request)?;
    for warning in &loaded.warnings {
        // A server starts, too, where nobody can be warned.
        let _written = writeln!(anstream::stderr(), "{warning}");
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        for line in [
            "latchkey keys retire -4rX --compromised",
            "latchkey keys retire --compromised -4rX",
            "latchkey clients show -Zk2",
            "latchkey clients update -Zk2 --auto-approve",
            "latchkey clients rotate-secret -Zk2 --overlap 0",
            "latchkey clients remove -Zk2 --format json",
        ] {
            let parsed = CommandLine::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        let CommandLine { command, .. } =
            CommandLine::try_parse_from(["latchkey", "keys", "retire", "-4rX", "--compromised"])
                .unwrap();
        let Command::Keys(KeysCommand::Retire { kid, compromised }) = command else {
            panic!("{command:?}")
        };
        assert_eq!((&*kid, compromised), ("-4rX", true));
    }
}
