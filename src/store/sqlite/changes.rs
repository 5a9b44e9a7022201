//! News of what others changed: SQLite tells a connection that another one wrote, not what.
//!
//! The connection is the writer's, so what this process writes does not count, however much it is. Its own
//! changes of clients are told by the writer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::worker::{Worker, job, lost};
use crate::store::error::StoreError;
use crate::store::{Change, ChangeFeed, Changes};

/// How often the writer's connection is asked: a few microseconds each time.
const POLL: Duration = Duration::from_millis(200);

/// Watches the file with the writer's connection.
pub(super) struct Feed {
    pub(super) writer: Arc<Worker>,
    /// Changes with each transaction of ours that changed a client.
    pub(super) own: watch::Receiver<u64>,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn listen(&self) -> Result<Box<dyn Changes>, StoreError> {
        let (writer, mut own) = (Arc::clone(&self.writer), self.own.clone());
        own.mark_unchanged();
        let version = version(&writer).await?;
        Ok(Box::new(Link { writer, own, version }))
    }
}

/// What the file was like.
struct Link {
    writer: Arc<Worker>,
    own: watch::Receiver<u64>,
    version: i64,
}

#[async_trait]
impl Changes for Link {
    async fn next(&mut self) -> Result<Option<Change>, StoreError> {
        let is_own = tokio::select! {
            () = tokio::time::sleep(POLL) => false,
            Ok(()) = self.own.changed() => true,
        };
        let version = version(&self.writer).await?;
        if std::mem::replace(&mut self.version, version) != version {
            return Ok(Some(Change::Anything));
        }
        Ok(is_own.then_some(Change::Clients))
    }
}

/// A number that changes when another connection has written (PRAGMA data_version).
async fn version(writer: &Worker) -> Result<i64, StoreError> {
    let (job, answer) = job(|connection| {
        let mut asking = connection.prepare_cached("PRAGMA data_version")?;
        asking.query_row([], |row| row.get(0))
    });
    if writer.try_run(job).is_err() {
        return Err(StoreError::Unavailable("too many writes are waiting".to_owned()));
    }
    Ok(answer.await.map_err(|_| lost())??)
}
