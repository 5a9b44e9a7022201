//! On whose behalf something is done: the id of the request, if it is one, and, where traces are wanted, its span.
//!
//! It goes with the task, and is lent to what the task polls; asking for it costs a thread-local look. What an
//! actor does for a request in a task of its own is given its origin by the message.

use std::future::Future;
use std::sync::Arc;

use super::traces::Position;

tokio::task_local! {
    static CURRENT: Origin;
}

/// The request that is being answered, or the work that no request waits for.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The id of the request, as in `X-Request-Id`; `None` where no request brought it about.
    pub request_id: Option<Arc<str>>,
    /// Where its trace stands; `None` where nobody wants traces.
    pub position: Option<Position>,
}

impl Origin {
    /// That of the task that asks; `None` outside of requests.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The id of the request on whose behalf the task works.
    pub fn request_id() -> Option<Arc<str>> {
        Self::with(|origin| origin.request_id.clone()).flatten()
    }

    /// Looks at that of the task that asks.
    pub fn with<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(look).ok()
    }

    /// Does `work` on behalf of this request.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

/// Does `work` on behalf of `origin`, if there is one.
pub async fn on_behalf_of<F: Future>(origin: Option<Origin>, work: F) -> F::Output {
    match origin {
        Some(origin) => origin.scope(work).await,
        None => work.await,
    }
}
