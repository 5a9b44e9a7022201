//! The command line as an operator uses it: alone, or beside a server that runs in this process.

use std::path::PathBuf;
use std::process::Output;

use latchkey::config::settings::{AvatarStore, Settings, StoreUrl};
use serde_json::Value;

use crate::harness::Server;
use crate::processes::{run, text, write_private};

/// A configuration for the command line.
pub struct Operator {
    pub config: PathBuf,
    _directory: tempfile::TempDir,
}

impl Operator {
    /// With a store of its own, in which nothing is yet.
    pub fn alone() -> Self {
        let operator = Self::of("https://auth.example", "url = \"sqlite:latchkey.db\"", "");
        operator.told(&["migrate"]);
        operator
    }

    /// With address, store and pictures of a server; `further` stands behind them.
    pub fn beside(server: &Server, further: &str) -> Self {
        let Settings { server: address, store, avatars, .. } = &server.app.settings;
        let store = match &store.url {
            StoreUrl::Sqlite(path) => format!("url = \"sqlite:{}\"", path.display()),
            StoreUrl::Postgres(url) => {
                let schema = store.schema.as_ref().unwrap();
                format!("url = \"{}\"\nschema = \"{schema}\"", url.expose())
            }
        };
        let AvatarStore::File(pictures) = &avatars.store else { panic!("pictures in a folder") };
        let pictures = format!("[avatars]\nstore = \"file:{}\"\n", pictures.display());
        Self::of(address.public_url.as_str(), &store, &format!("{pictures}{further}"))
    }

    fn of(public_url: &str, store: &str, further: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("latchkey.toml");
        write_private(
            &config,
            &format!(
                "[server]\npublic_url = \"{public_url}\"\n\
                 secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
                 [store]\n{store}\n{further}"
            ),
        );
        Self { config, _directory: directory }
    }

    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &self.config)
    }

    /// What it tells a person.
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The JSON that it prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let told = self.told(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    }

    /// Why it fails, with this exit status.
    pub fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?}");
        text(&output.stderr)
    }
}
