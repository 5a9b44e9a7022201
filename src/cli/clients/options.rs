//! What `latchkey clients …` is called with, and which members that names.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::Failure;
use crate::config::units::parse_duration;
use crate::protocol::client::{ApplicationType, AuthMethod, GrantType};
use crate::protocol::scope::Scope;
use crate::providers::strict_json;
use crate::registration::{ANSWERED, LONGEST_OVERLAP};

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Register an app that signs people in, or a service that acts for itself
    #[command(after_help = "\
Examples:
  A web app with a server, which keeps a secret:
    latchkey clients register \"My app\" --redirect-uri https://app.example/callback

  A single-page app, which cannot:
    latchkey clients register \"My page\" --redirect-uri https://app.example/ --public

  An app on phones or desktops (loopback addresses need no --native):
    latchkey clients register \"My phone app\" --redirect-uri com.example.app:/callback --public --native

  A service that calls an API on its own account:
    latchkey clients register \"Nightly report\" --grant client_credentials --scope orders.read

  Everything else by its name in RFC 7591:
    latchkey clients register \"My app\" --redirect-uri https://app.example/callback \\
      --set 'post_logout_redirect_uris=[\"https://app.example/\"]' --set require_pkce=false
    latchkey clients register --from client.json

The secret is printed once and stored as a hash: put it where only the app can read it.")]
    Register(Register),
    /// List all clients
    List,
    /// Show everything that is registered about a client, except its secret
    Show {
        /// The client's id
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Change what is registered about a client; what is not named stays as it is
    #[command(after_help = "\
A list is replaced whole: name all redirect URIs, not only the new one. A running server follows within a \
second. If somebody else changes the client at the same moment, nothing is changed.

Examples:
  latchkey clients update my-app --redirect-uri https://app.example/callback --redirect-uri http://localhost:3000/callback
  latchkey clients update my-app --auto-approve=false --set 'client_name=My better app'
  latchkey clients update my-app --set audience=null      the default again")]
    Update(Update),
    /// Give a client another secret; the present one works on for a while
    #[command(after_help = "\
Examples:
  latchkey clients rotate-secret my-app                   both secrets work for a day
  latchkey clients rotate-secret my-app --overlap 0       the old one was stolen: it stops at once")]
    RotateSecret {
        /// The client's id
        #[arg(allow_hyphen_values = true)]
        id: String,
        /// How long the present secret still works: "90s", "24h", "7d"; 0 ends it at once
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = overlap)]
        overlap: Duration,
    },
    /// Remove a client with its secret, what people allowed it, and all access that it has
    Remove {
        /// The client's id
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

/// A new client.
#[derive(Debug, Args)]
pub struct Register {
    /// What people read on the consent page
    #[arg(required_unless_present_any = ["from", "set"])]
    name: Option<String>,
    /// An id of your choice: letters, digits and . _ ~ - (without it, a random one)
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// A client that is changed.
#[derive(Debug, Args)]
pub struct Update {
    /// The client's id
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    #[command(flatten)]
    options: Options,
}

/// What can be registered. Of a file, the other options and --set, the later in this order win.
#[derive(Debug, Args)]
struct Options {
    /// Where people are sent back to, compared character by character; again for each further one
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// It cannot keep a secret: a page in a browser, an app on a phone; PKCE protects it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    public: Option<bool>,
    /// It runs on the person's own machine, and may have a scheme such as com.example.app:
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    native: Option<bool>,
    /// Scopes that it may ask for; without it, openid profile email
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// People are not asked for their consent: for apps of your own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    auto_approve: Option<bool>,
    /// authorization_code, refresh_token or client_credentials; without it, the first two
    #[arg(long = "grant", value_name = "GRANT", value_delimiter = ',', value_parser = grant)]
    grants: Vec<GrantType>,
    /// Any member of RFC 7591 or our own, as JSON; what is not JSON is taken as text; null is the default
    #[arg(long = "set", value_name = "MEMBER=JSON", value_parser = assignment)]
    set: Vec<(String, Value)>,
    /// A JSON document of such members; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

fn grant(text: &str) -> Result<GrantType, String> {
    GrantType::parse(text)
        .ok_or_else(|| format!("it is one of {}", GrantType::ALL.map(GrantType::as_str).join(", ")))
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    let (member, value) = text
        .split_once('=')
        .filter(|(member, _)| !member.is_empty())
        .ok_or("write it as MEMBER=JSON, such as require_pkce=false")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((member.to_owned(), value))
}

fn overlap(text: &str) -> Result<Duration, String> {
    let overlap =
        parse_duration(text).ok_or("write a duration such as 90s, 15m, 24h or 7d, or 0")?;
    if overlap > LONGEST_OVERLAP { Err("it is at most 365d".to_owned()) } else { Ok(overlap) }
}

/// What is named, by the names of RFC 7591.
pub(super) struct Named {
    /// The id, if one is named.
    pub(super) client_id: Option<String>,
    /// Members with their values.
    pub(super) members: Map<String, Value>,
}

impl Register {
    pub(super) fn named(self) -> Result<Named, Failure> {
        self.options.named([("client_name", self.name), ("client_id", self.client_id)])
    }
}

impl Update {
    /// A document may say whose it is; another's is a mistake.
    pub(super) fn named(self) -> Result<Map<String, Value>, Failure> {
        let Named { client_id, members } = self.options.named([])?;
        match client_id {
            Some(other) if other != self.id => Err(Failure::new(format!(
                "The id of a client does not change, and client_id is {other:?}. Nothing was changed."
            ))),
            _ => Ok(members),
        }
    }
}

impl Options {
    fn named<const N: usize>(self, texts: [(&str, Option<String>); N]) -> Result<Named, Failure> {
        let mut members = match &self.from {
            Some(file) => read(file)?,
            None => Map::new(),
        };
        members.retain(|member, _| !ANSWERED.contains(&member.as_str()));
        let mut name = |member: &str, value: Value| members.insert(member.to_owned(), value);
        for (member, text) in texts {
            text.map(|text| name(member, json!(text)));
        }
        if !self.redirect_uris.is_empty() {
            name("redirect_uris", json!(self.redirect_uris));
        }
        if let Some(public) = self.public {
            let method = if public { AuthMethod::None } else { AuthMethod::default() };
            name("token_endpoint_auth_method", json!(method));
        }
        if let Some(native) = self.native {
            let kind = if native { ApplicationType::Native } else { ApplicationType::Web };
            name("application_type", json!(kind));
        }
        if !self.scopes.is_empty() {
            let text = self.scopes.join(" ");
            // What is no scope stays as it is: the rules say what is wrong with it.
            let scope = Scope::parse(&text).map_or(text, |scope| scope.to_string());
            name("scope", json!(scope));
        }
        if let Some(auto_approve) = self.auto_approve {
            name("auto_approve", json!(auto_approve));
        }
        if !self.grants.is_empty() {
            name("grant_types", json!(self.grants));
        }
        for (member, value) in self.set {
            name(&member, value);
        }
        let client_id = match members.remove("client_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(Failure::new("client_id is not text.")),
        };
        Ok(Named { client_id, members })
    }
}

fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    let is_input = file == Path::new("-");
    let file = if is_input { Path::new("standard input") } else { file };
    let content = if is_input {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let content = content.map_err(|error| Failure::about(file, "cannot be read", &error))?;
    strict_json::from_slice(content.as_bytes())
        .map_err(|error| Failure::about(file, "is not a JSON object of members", &error))
}
