//! `latchkey clients …`: apps and services that may use this server.

mod options;

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::desk::{Absent, Desk};
use crate::cli::output::{self, ACCENT, DIM};
use crate::cli::{Failure, Format};
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::protocol::client::{ClientMetadata, GrantType};
use crate::protocol::client_registration::{IdError, first, merged};
use crate::registration::{self, Registered, RegistrationError};
use crate::routes::oauth;
use crate::routes::session::tokens_live_for;
use crate::store::model::Client;
pub use options::{ClientsCommand, Register, Update};

/// Does what the command says.
///
/// # Errors
/// A sentence on what stood in the way, or all that is wrong with what was to be registered.
pub async fn run(
    settings: &Settings,
    format: Format,
    command: ClientsCommand,
) -> Result<(), Failure> {
    let absent = match command {
        ClientsCommand::Register(_) => Absent::Made,
        _ => Absent::Refused,
    };
    let clients = Clients(Desk::open(settings, format, absent).await?);
    match command {
        ClientsCommand::Register(request) => clients.register(request).await,
        ClientsCommand::List => clients.list().await,
        ClientsCommand::Show { id } => clients.show(&id).await,
        ClientsCommand::Update(request) => clients.update(request).await,
        ClientsCommand::RotateSecret { id, overlap } => clients.rotate_secret(&id, overlap).await,
        ClientsCommand::Remove { id } => clients.remove(&id).await,
    }
}

/// These commands, at their clients.
struct Clients<'s>(Desk<'s>);

impl Clients<'_> {
    async fn find(&self, id: &str) -> Result<Client, Failure> {
        let found = self.0.store.read.client(id).await.map_err(Failure::of)?;
        found.ok_or_else(|| self.failure(RegistrationError::Unknown(id.to_owned())))
    }

    /// What a person can do about it, where the error alone does not say.
    fn failure(&self, error: RegistrationError) -> Failure {
        match &error {
            RegistrationError::Unknown(_) => {
                Failure::new(format!("{error} `latchkey clients list` shows them all."))
            }
            RegistrationError::Id { problem: IdError::Taken, .. } => Failure::new(format!(
                "{error} Another client has it, or had it less than {} ago, or it is of the form that ids of people have. Choose another.",
                output::duration(tokens_live_for(self.0.settings.tokens.access_ttl))
            )),
            RegistrationError::Metadata(_) => {
                Failure::new(format!("{error}\nNothing was changed."))
            }
            _ => Failure::of(error),
        }
    }

    async fn register(&self, request: Register) -> Result<(), Failure> {
        let named = request.named()?;
        let metadata = first(&named.members).map_err(|problems| self.failure(problems.into()))?;
        let rules = registration::rules(self.0.settings).map_err(Failure::of)?;
        let registered = registration::register(
            &self.0.writer(),
            &rules,
            self.0.by(),
            named.client_id,
            metadata,
        )
        .await
        .map_err(|error| self.failure(error))?;
        match self.0.format {
            Format::Json => self.print_json(&registered),
            Format::Text => self.tell_registered(&registered),
        }
        Ok(())
    }

    fn print_json(&self, Registered { client, secret }: &Registered) {
        output::json(&registration::document(client, secret.as_ref()));
    }

    fn tell_registered(&self, Registered { client, secret }: &Registered) {
        let Client { client_id, metadata, .. } = client;
        let url = &self.0.settings.server.public_url;
        output::line(format_args!(
            "Registered {}, a {} client.\n",
            metadata.client_name,
            kind(metadata)
        ));
        row("Client id", client_id, "");
        if let Some(secret) = secret {
            row(
                "Client secret",
                secret.expose(),
                "shown once; keep it where only the app can read it",
            );
        }
        row("Issuer", url.as_str(), "");
        row("Discovery", &url.join("/.well-known/openid-configuration"), "");
        if metadata.may_use(GrantType::AuthorizationCode) {
            row("Authorization", &url.join(oauth::authorize::PATH), "");
        }
        row("Token", &url.join(oauth::discovery::TOKEN), "");
        for redirect_uri in &metadata.redirect_uris {
            row("Redirect URI", redirect_uri, "");
        }
        let scope = if metadata.scope.is_empty() { "none" } else { &metadata.scope };
        output::line(format_args!("  {:<15} {scope}", "Scope"));
        output::line(format_args!("\n{}", self.next_step(client)));
    }

    /// What to do with a new client.
    fn next_step(&self, Client { client_id, metadata, .. }: &Client) -> String {
        if !metadata.may_use(GrantType::AuthorizationCode) {
            let token = self.0.settings.server.public_url.join(oauth::discovery::TOKEN);
            return format!(
                "Next, get a token:\n\n  curl -u {client_id}:SECRET -d grant_type=client_credentials {token}"
            );
        }
        let also = if metadata.is_public() {
            "It has no secret: PKCE protects it."
        } else {
            "An OpenID Connect library needs no more than these."
        };
        format!(
            "Next, give the app the issuer, the id{} and the redirect URI. {also}",
            if metadata.is_public() { "" } else { ", the secret" }
        )
    }

    async fn list(&self) -> Result<(), Failure> {
        let clients = registration::all(self.0.store.read.as_ref()).await.map_err(Failure::of)?;
        if self.0.format == Format::Json {
            let items: Vec<_> =
                clients.iter().map(|client| registration::document(client, None)).collect();
            output::json(&json!({ "items": items, "next_cursor": null }));
            return Ok(());
        }
        if clients.is_empty() {
            output::line(
                "No clients yet. Register one:\n\n  latchkey clients register \"My app\" --redirect-uri https://app.example/callback",
            );
            return Ok(());
        }
        let now = self.0.clock.now();
        let rows: Vec<Vec<String>> = clients
            .iter()
            .map(|Client { client_id, metadata, created_at, updated_at, .. }| {
                let grants: Vec<_> =
                    metadata.grant_types.iter().map(|grant| grant.as_str()).collect();
                vec![
                    client_id.clone(),
                    metadata.client_name.clone(),
                    kind(metadata).to_owned(),
                    grants.join(" "),
                    output::moment(*created_at, now),
                    output::moment(*updated_at, now),
                ]
            })
            .collect();
        output::table(&["CLIENT", "NAME", "KIND", "GRANTS", "REGISTERED", "CHANGED"], &rows);
        Ok(())
    }

    async fn show(&self, id: &str) -> Result<(), Failure> {
        let client = self.find(id).await?;
        let document = registration::document(&client, None);
        if self.0.format == Format::Json {
            output::json(&document);
            return Ok(());
        }
        let now = self.0.clock.now();
        output::line(format_args!(
            "{}, a {} client\n",
            client.metadata.client_name,
            kind(&client.metadata)
        ));
        member("client_id", std::slice::from_ref(&client.client_id));
        member("registered", &[output::moment(client.created_at, now)]);
        member("changed", &[output::moment(client.updated_at, now)]);
        if client.metadata.token_endpoint_auth_method.takes_secret() {
            member("secret", &secret_state(&client, now));
        }
        let settable = document.as_object().into_iter().flatten();
        for (name, value) in settable.filter(|(name, _)| !is_told(name)) {
            member(name, &lines(value));
        }
        Ok(())
    }

    async fn update(&self, request: Update) -> Result<(), Failure> {
        let known = self.find(&request.id).await?;
        let changes = request.named()?;
        let metadata =
            merged(&known.metadata, &changes).map_err(|problems| self.failure(problems.into()))?;
        let rules = registration::rules(self.0.settings).map_err(Failure::of)?;
        let changed =
            registration::update(&self.0.writer(), &rules, self.0.by(), &known, metadata.clone())
                .await
                .map_err(|error| self.failure(error))?;
        if self.0.format == Format::Json {
            // As it is stored now: the time of the change is the store's to say.
            let client = self.find(&known.client_id).await?;
            output::json(&registration::document(&client, None));
            return Ok(());
        }
        let id = &known.client_id;
        if changed.is_empty() {
            output::line(format_args!("Nothing changed: {id} is registered like that already."));
            return Ok(());
        }
        output::line(format_args!(
            "Changed {} of {id}. A running server follows within a second.",
            changed.join(", ")
        ));
        if metadata.token_endpoint_auth_method.takes_secret() && known.secret.is_none() {
            output::line(format_args!(
                "It has no secret yet: `latchkey clients rotate-secret {id}` makes one."
            ));
        }
        Ok(())
    }

    async fn rotate_secret(&self, id: &str, overlap: Duration) -> Result<(), Failure> {
        let known = self.find(id).await?;
        let by = self.0.by();
        let former_until = by.at.plus(overlap);
        let rotated = registration::rotate_secret(&self.0.writer(), by, &known, former_until)
            .await
            .map_err(|error| self.failure(error))?;
        if self.0.format == Format::Json {
            self.print_json(&rotated);
            return Ok(());
        }
        output::line(format_args!("Made a new secret for {}.\n", known.metadata.client_name));
        row("Client id", id, "");
        if let Some(secret) = &rotated.secret {
            row(
                "Client secret",
                secret.expose(),
                "shown once; keep it where only the app can read it",
            );
        }
        let former = match (&known.secret, &rotated.client.former_secret) {
            (None, _) => "It is the first.".to_owned(),
            (Some(_), Some(former)) => format!(
                "The former secret works until {}. One made before that works no more.",
                output::minute(former.until)
            ),
            (Some(_), None) => {
                "The former secret works no more; a running server follows within a second."
                    .to_owned()
            }
        };
        output::line(format_args!("\n{former}"));
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), Failure> {
        let known = self.find(id).await?;
        let by = self.0.by();
        let access_ttl = self.0.settings.tokens.access_ttl;
        let until = by.at.plus(tokens_live_for(access_ttl));
        registration::remove(&self.0.writer(), by, id, until)
            .await
            .map_err(|error| self.failure(error))?;
        match self.0.format {
            Format::Json => output::json(&json!({ "client_id": id, "outcome": "removed" })),
            Format::Text => output::line(format_args!(
                "Removed {} ({id}), with its secret, what people allowed it, and all access that it had.\n\
                 A running server refuses its tokens within a second. Who verifies access tokens without asking\n\
                 takes the last ones until they expire, in {} at the latest.",
                known.metadata.client_name,
                output::duration(access_ttl)
            )),
        }
        Ok(())
    }
}

/// What a client is, in a word.
fn kind(metadata: &ClientMetadata) -> &'static str {
    if metadata.is_public() { "public" } else { "confidential" }
}

fn row(label: &str, value: &str, remark: &str) {
    let remark = if remark.is_empty() { String::new() } else { format!("  {DIM}{remark}{DIM:#}") };
    output::line(format_args!("  {label:<15} {ACCENT}{value}{ACCENT:#}{remark}"));
}

/// Members that `show` tells in words.
fn is_told(name: &str) -> bool {
    name == "client_id" || registration::ANSWERED.contains(&name)
}

fn secret_state(client: &Client, now: Timestamp) -> Vec<String> {
    let present = match client.secret {
        Some(_) => "one, stored as a hash",
        None => "none yet",
    };
    let former = client.former_secret.as_ref().filter(|former| former.until > now);
    let former =
        former.map(|former| format!("the former one works until {}", output::minute(former.until)));
    std::iter::once(present.to_owned()).chain(former).collect()
}

/// A value as lines of text: lists have one for each element.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if items.is_empty() => vec!["–".to_owned()],
        Value::Array(items) => items.iter().flat_map(lines).collect(),
        Value::String(text) if text.is_empty() => vec!["–".to_owned()],
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn member(name: &str, values: &[String]) {
    /// The longest name, and a gap.
    const WIDTH: usize = 36;
    output::member(name, values, WIDTH);
}
