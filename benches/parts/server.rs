//! A server in this process, as `latchkey serve` runs it, on a store of its own.

use std::net::TcpListener;
use std::path::Path;

use actix_web::rt::{self, SystemRunner};
use latchkey::actors::db_writer::apply;
use latchkey::app::App;
use latchkey::clock::{Clock, Timestamp};
use latchkey::config;
use latchkey::config::settings::{Settings, Store, StoreUrl};
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::random;
use latchkey::protocol::secret::Secret;
use latchkey::running::Running;
use latchkey::startup;
use latchkey::store::model::{
    Actor, AuditEntry, FIRST_PARTY, FamilyId, NewFamily, Role, SessionId, User, UserId, UserStatus,
};
use latchkey::store::operation::{CreateUser, CreateUserOutcome, IdentityRefresh};
use tempfile::TempDir;

/// Where the URL of a PostgreSQL server is looked for.
pub(crate) const POSTGRES: &str = "LATCHKEY_TEST_POSTGRES";

/// A database that is removed afterwards.
pub(crate) enum Database {
    /// A file in a folder.
    Sqlite(TempDir),
    /// A schema.
    Postgres { url: Secret, schema: String },
}

impl Database {
    /// A new file.
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// A new schema; `None` if there is no server.
    pub(crate) fn postgres() -> Option<Self> {
        let url = std::env::var(POSTGRES).ok().filter(|url| !url.is_empty())?;
        let name = random::bytes::<8>().map(|byte| format!("{byte:02x}")).concat();
        Some(Self::Postgres { url: Secret::new(url), schema: format!("bench_{name}") })
    }

    fn settings(&self) -> Store {
        let (url, schema) = match self {
            Self::Sqlite(folder) => (StoreUrl::Sqlite(folder.path().join("latchkey.db")), None),
            Self::Postgres { url, schema } => {
                (StoreUrl::Postgres(url.clone()), Some(schema.clone()))
            }
        };
        Store { url, max_connections: 8, migrate_on_start: true, schema }
    }

    async fn remove(self) {
        let Self::Postgres { url, schema } = self else { return };
        let (client, connection) = tokio_postgres::connect(url.expose(), tokio_postgres::NoTls)
            .await
            .expect("PostgreSQL is there still");
        rt::spawn(connection);
        client
            .batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))
            .await
            .expect("our schema can be removed");
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) app: App,
    running: Running,
    database: Database,
}

impl Server {
    /// Starts a server whose sessions advance at each refresh and meet no limit.
    pub(crate) fn start(system: &SystemRunner, database: Database, algorithm: Algorithm) -> Self {
        system.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let mut settings = settings(&listener);
            settings.store = database.settings();
            settings.keys.algorithm = algorithm;
            settings.rate_limits.token.burst = 1_000_000_000;
            let mut running = startup::start_on(listener, settings, false, Clock::system())
                .await
                .expect("the server starts");
            running.signing_key_is_there().await;
            Self { app: running.app.clone(), running, database }
        })
    }

    /// Stops the server and removes its database.
    pub(crate) fn stop(self, system: &SystemRunner) {
        system.block_on(async {
            assert!(self.running.stop().await, "the server stops in time");
            self.database.remove().await;
        });
    }
}

fn settings(listener: &TcpListener) -> Settings {
    let address = listener.local_addr().expect("a listener has an address");
    let text = format!(
        "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\n\
         secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
         [tokens]\nsession_grace = \"0s\"\n"
    );
    config::parse(&text, Path::new(".")).expect("the configuration is valid")
}

/// Signs up a person; the family of their session.
pub(crate) async fn sign_up(app: &App, username: &str) -> FamilyId {
    let now = app.clock.now();
    let create = new_person(username, now);
    let outcome = apply(&app.writer, create).await.expect("the writer answers");
    let CreateUserOutcome::Created(created) = outcome else { panic!("refused: {outcome:?}") };
    created.family.id
}

fn new_person(username: &str, now: Timestamp) -> CreateUser {
    let user = User {
        id: UserId::new(now),
        username: username.to_owned(),
        display_name: None,
        avatar: None,
        role: Role::User,
        status: UserStatus::Active,
        created_at: now,
    };
    let id = FamilyId::new(now);
    let family = NewFamily {
        id,
        user: user.id,
        session: SessionId(id.0),
        client_id: FIRST_PARTY.to_owned(),
        scope: "openid profile email".to_owned(),
        resource: String::new(),
        auth_time: now,
        created_at: now,
        provider: "bench".to_owned(),
        user_agent: "Firefox on Linux".to_owned(),
        network: "203.0.113.0/24".to_owned(),
    };
    CreateUser {
        username_key: username.to_owned(),
        identity: IdentityRefresh {
            provider: "bench".to_owned(),
            subject: username.to_owned(),
            emails: Vec::new(),
        },
        audit: vec![AuditEntry::new(
            now,
            Actor::User(user.id),
            "user.created",
            format!("user:{}", user.id),
        )],
        family,
        spends: Vec::new(),
        ends: None,
        user,
    }
}
