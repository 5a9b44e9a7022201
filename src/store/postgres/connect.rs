//! Connections: how they are made, kept, and given up.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Notification, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::address::Address;
use super::failure::Failure;
use super::tls;
use crate::store::error::{OpenError, StoreError};

/// How long a connection may take to be made, and how long one waits for a free one.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Refuses a standby, as a server that takes no connections yet: what it tells may be old, and what was revoked a
/// moment ago be missing in it. One host's name may lead to one for a while after a failover.
const REFUSE_STANDBY: &str = "\
    DO $$ BEGIN IF pg_is_in_recovery() THEN \
        RAISE EXCEPTION USING ERRCODE = 'cannot_connect_now', \
            MESSAGE = 'it is a standby, whose answers may be old'; \
    END IF; END $$";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Single statements that read.
    Reading,
    /// The one connection that writes.
    Writing,
    /// Changing the schema, which may take its time.
    Migrating,
    /// Hearing what others changed.
    Listening,
}

impl Purpose {
    /// Limits that the server itself keeps, somewhat below ours: a statement that we have given up must
    /// not go on there, and a frozen node must not hold its locks against the others.
    ///
    /// Our conditional statements rely on READ COMMITTED: having waited for a row, they judge it as it
    /// is then.
    fn session_settings(self) -> &'static str {
        match self {
            // Pages follow an index in its order, however few the planner takes them for: it is not to
            // gather all and sort them.
            Self::Reading => "SET statement_timeout = 1900; SET enable_bitmapscan = off",
            Self::Listening => "SET statement_timeout = 900",
            Self::Writing => {
                "SET default_transaction_isolation = 'read committed'; \
                 SET statement_timeout = 2500; SET lock_timeout = 1000; \
                 SET idle_in_transaction_session_timeout = 5000"
            }
            Self::Migrating => "SET statement_timeout = 0; SET lock_timeout = '60s'",
        }
    }
}

/// Makes connections with our session settings.
pub(super) struct Connector {
    tls: MakeRustlsConnect,
    session_settings: String,
}

impl Connector {
    /// A connector for one purpose.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] if TLS cannot be set up.
    pub(super) fn new(address: &Address, purpose: Purpose) -> Result<Self, OpenError> {
        let mut session_settings = format!("{REFUSE_STANDBY}; {}", purpose.session_settings());
        if let Some(schema) = &address.schema {
            let quoted = quote(schema);
            write!(session_settings, "; SET search_path = {quoted}").expect("a String takes text");
        }
        Ok(Self { tls: tls::connector(&address.trust)?, session_settings })
    }

    /// Makes a connection whose notifications go to `heard`. It ends when its client or the other end of
    /// `heard` is dropped; `heard` ends with the connection.
    pub(super) async fn connect_listening(
        &self,
        config: &Config,
        heard: mpsc::Sender<Notification>,
    ) -> Result<Client, Error> {
        let (client, mut connection) = config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message
                    && heard.send(notification).await.is_err()
                {
                    return;
                }
            }
        });
        client.batch_execute(&self.session_settings).await?;
        Ok(client)
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            client.batch_execute(&self.session_settings).await?;
            Ok((client, task))
        })
    }
}

/// A name as SQL takes it, whatever it holds.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A pool of at most `size` connections for one purpose.
///
/// # Errors
/// [`OpenError::Unreachable`] if TLS cannot be set up.
pub(super) fn pool(address: &Address, purpose: Purpose, size: usize) -> Result<Pool, OpenError> {
    let connector = Connector::new(address, purpose)?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(address.config.clone(), connector, recycling);
    Pool::builder(manager)
        .max_size(size.max(1))
        .wait_timeout(Some(CONNECT_LIMIT))
        .create_timeout(Some(CONNECT_LIMIT))
        .recycle_timeout(Some(CONNECT_LIMIT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| OpenError::Unreachable(error.to_string()))
}

/// A connection that is closed when this is dropped, unless it is kept on purpose. So one that somebody
/// left midway, by an error, a panic or a future that was dropped, never serves again with an open
/// transaction.
pub(super) struct Lease(Option<Object>);

impl Lease {
    /// Takes the connection out of `pool`, or makes one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(super) async fn take(pool: &Pool) -> Result<Self, StoreError> {
        match pool.get().await {
            Ok(object) => Ok(Self(Some(object))),
            Err(error) => Err(StoreError::Unavailable(describe_pool_error(error))),
        }
    }

    /// Puts the connection back: it is in order.
    pub(super) fn keep(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Lease {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.0.as_ref().expect("only keep and drop take the connection out, and both end the lease")
    }
}

pub(super) fn describe_pool_error(error: PoolError) -> String {
    match error {
        PoolError::Timeout(_) => format!("no connection within {} s", CONNECT_LIMIT.as_secs()),
        PoolError::Backend(error) => describe(&error),
        other => other.to_string(),
    }
}

/// Why no connection could be made, for an operator.
pub(super) fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(refusal) if *refusal.code() == SqlState::INVALID_PASSWORD => {
            "the server refuses this user's password".to_owned()
        }
        Some(refusal) => format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code()),
        None => match std::error::Error::source(error) {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        },
    }
}

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs a statement, prepared once a connection, and returns its rows.
///
/// Once it is prepared it is sent at the first poll: statements that are joined travel together.
pub(super) async fn query(
    db: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, Failure> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.query(&statement, parameters).await?)
}

/// As [`query`], for a statement with at most one row.
pub(super) async fn query_first(
    db: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Option<Row>, Failure> {
    Ok(query(db, sql, parameters).await?.into_iter().next())
}

/// Runs a statement, prepared once a connection, and returns how many rows it touched.
pub(super) async fn execute(
    db: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<u64, Failure> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.execute(&statement, parameters).await?)
}

/// A statement that is put together for one question, with its values.
///
/// It is planned each time, for these very values: which index is the best depends on them, and a plan that
/// is made for any values cannot know.
#[derive(Default)]
pub(super) struct TypedQuery(Vec<(Box<dyn ToSql + Sync + Send>, Type)>);

impl TypedQuery {
    /// The parameter that has this value.
    pub(super) fn bind<T: Typed>(&mut self, value: T) -> String {
        self.0.push((Box::new(value), T::TYPE));
        format!("${}", self.0.len())
    }

    /// Runs the statement.
    pub(super) async fn run(&self, db: &ClientWrapper, sql: &str) -> Result<Vec<Row>, Failure> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            self.0.iter().map(|(value, kind)| (&**value as _, kind.clone())).collect();
        Ok(db.query_typed(sql, &values).await?)
    }
}

/// A value of which the type in the database is known.
pub(super) trait Typed: ToSql + Sync + Send + 'static {
    /// This type.
    const TYPE: Type;
}

impl Typed for String {
    const TYPE: Type = Type::TEXT;
}

impl Typed for Uuid {
    const TYPE: Type = Type::UUID;
}

impl Typed for i64 {
    const TYPE: Type = Type::INT8;
}

/// A count as PostgreSQL can hold it; what is larger is out of any row's reach.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
