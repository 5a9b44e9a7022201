//! Owner of the pictures that are still to be fetched from providers, and of how many are under way.
//!
//! A picture is a nicety: what does not fit into the queue is dropped, what fails is told in one line,
//! and the person sets a picture some other day. Nobody's sign-in waits for it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use tokio::sync::{oneshot, watch};
use url::Url;

use super::db_writer::{DbWriter, WriteError, apply};
use super::mailbox::{AskError, Drain, Mailbox};
use super::picture_decoder::{self, EncodeError, PictureDecoder};
use super::status::ActorStatus;
use crate::avatars::name::AvatarName;
use crate::avatars::storage::{AvatarStorage, StorageError};
use crate::clock::Clock;
use crate::in_force::Live;
use crate::providers::ProviderError;
use crate::providers::address::Reach;
use crate::providers::http::HttpClient;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{self, AuditEntry, UserId, UserStatus};
use crate::store::operation::FillAvatar;
use crate::telemetry::origin::Origin;
use crate::telemetry::traces;

/// Fetches at once: each can hold a decoded picture in memory.
const AT_ONCE: usize = 2;

/// Fetches that wait.
const WAITING: usize = 64;

/// Longest address of a picture.
const LONGEST_ADDRESS: usize = 2_048;

/// What a server is told that we can use.
const ACCEPTED: &str = "image/webp, image/png, image/jpeg, image/gif";

/// Make the picture at this address the person's avatar, unless they have one; answered at once with
/// whether it will be tried.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Fetch {
    /// Whose picture it is.
    pub user: UserId,
    /// Where it is, as a provider says.
    pub address: Url,
    /// The request that brought it about.
    pub origin: Option<Origin>,
}

/// Answered when nothing waits and nothing is under way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Idle;

/// The work on a person's picture is over, however it ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ended(UserId);

/// Has a provider's picture made a person's avatar some time soon, unless they have one. Delays and
/// fails nobody.
pub fn fetch_later(pictures: &Mailbox<Pictures>, user: UserId, address: Url) {
    pictures.offer(Fetch { user, address, origin: Origin::current() });
}

/// What pictures are fetched, kept and entered with.
#[derive(Clone)]
pub struct Means {
    /// Goes where `reach` allows.
    pub http: HttpClient,
    /// Public addresses, or any if the deployer said `allow_private_receivers`.
    pub reach: Live<Reach>,
    /// Most bytes and most pixels of a picture as it comes.
    pub most: Live<(usize, u64)>,
    /// Decodes what was fetched.
    pub decoder: Mailbox<PictureDecoder>,
    /// Where avatars are kept.
    pub storage: Live<AvatarStorage>,
    /// Tells who has an avatar already.
    pub read: Arc<dyn ReadStore>,
    /// For the write.
    pub writer: Mailbox<DbWriter>,
    /// Tells the time.
    pub clock: Clock,
}

/// The owner.
pub struct Pictures {
    means: Means,
    status: Arc<ActorStatus>,
    waiting: VecDeque<Fetch>,
    under_way: HashSet<UserId>,
    /// Who wants to know when nothing is left.
    watchers: Vec<oneshot::Sender<()>>,
    /// Turns true when no fetch is worth waiting for any more.
    ending: watch::Sender<bool>,
}

impl Pictures {
    /// An owner with nothing to do yet.
    pub fn new(means: Means, status: Arc<ActorStatus>) -> Self {
        Self {
            means,
            status,
            waiting: VecDeque::new(),
            under_way: HashSet::new(),
            watchers: Vec::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// Begins with what waits, as far as there is room, and tells whoever waits for the end.
    fn go_on(&mut self, context: &mut Context<Self>) {
        while self.under_way.len() < AT_ONCE
            && let Some(fetch) = self.waiting.pop_front()
        {
            self.under_way.insert(fetch.user);
            let (means, ending) = (self.means.clone(), self.ending.subscribe());
            let ended = SendsOnDrop(context.address(), fetch.user);
            // A task of its own: a panic in it costs this picture alone.
            actix::spawn(async move {
                let _ended = ended;
                let origin = fetch.origin.clone();
                let work = fetch_and_tell(means, fetch, ending);
                traces::left_by(origin, "fetch picture", work, |span, failed| {
                    if let Some(how) = failed {
                        span.failed(how);
                    }
                })
                .await;
            });
        }
        if self.under_way.is_empty() {
            for watcher in self.watchers.drain(..) {
                let _gone = watcher.send(());
            }
            if *self.ending.borrow() {
                context.stop();
            }
        }
    }

    /// A future that ends with the last work.
    fn end_of_work(&mut self, context: &mut Context<Self>) -> ResponseFuture<()> {
        let (watcher, end) = oneshot::channel();
        self.watchers.push(watcher);
        self.go_on(context);
        Box::pin(async move {
            let _over = end.await;
        })
    }
}

/// Sends [`Ended`] when it is dropped.
struct SendsOnDrop(Addr<Pictures>, UserId);

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        self.0.do_send(Ended(self.1));
    }
}

/// Why a picture did not become an avatar.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Fetch(#[from] ProviderError),
    #[error(transparent)]
    Picture(#[from] EncodeError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Read(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the server is shutting down")]
    Ending,
}

impl Unusable {
    /// In one word, for traces.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "not_fetched",
            Self::Picture(_) => "not_decoded",
            Self::Storage(_) => "not_stored",
            Self::Read(_) | Self::Write(_) => "not_entered",
            Self::Ending => "shutting_down",
        }
    }
}

/// Tries it, and logs what became of it; how it failed, if it did.
async fn fetch_and_tell(
    means: Means,
    fetch: Fetch,
    ending: watch::Receiver<bool>,
) -> Option<&'static str> {
    let user = fetch.user;
    match fill(means, fetch, ending).await {
        Ok(true) => tracing::debug!(%user, "provider picture became the avatar"),
        Ok(false) => tracing::debug!(%user, "provider picture was not needed"),
        Err(reason) => {
            tracing::info!(%user, %reason, "provider picture could not be used");
            return Some(reason.as_str());
        }
    }
    None
}

/// The whole way of one picture; whether it became the avatar.
async fn fill(
    means: Means,
    Fetch { user, address, origin: _ }: Fetch,
    mut ending: watch::Receiver<bool>,
) -> Result<bool, Unusable> {
    let person = means.read.user(user).await?;
    if !person.is_some_and(|person| takes_avatar(&person)) {
        return Ok(false);
    }
    let ((max_bytes, max_pixels), storage) = (means.most.now(), means.storage.now());
    let reach = means.reach.now();
    let bytes = tokio::select! {
        bytes = means.http.get_bytes(&address, ACCEPTED, reach, max_bytes) => bytes?,
        _ = ending.wait_for(|is_ending| *is_ending) => return Err(Unusable::Ending),
    };
    let avatar = picture_decoder::encode(&means.decoder, bytes.into(), max_pixels).await?;
    let name = AvatarName::new(user, &avatar);
    if let Err(error) = storage.put(name, &avatar).await {
        give_up(means.read.as_ref(), &storage, user, name).await;
        return Err(error.into());
    }
    let audit = AuditEntry::new(
        means.clock.now(),
        model::Actor::System,
        "user.avatar_filled",
        format!("user:{user}"),
    );
    let write = FillAvatar { user, avatar: name.to_string(), audit };
    match apply(&means.writer, write).await {
        Ok(true) => Ok(true),
        Ok(false) => {
            give_up(means.read.as_ref(), &storage, user, name).await;
            Ok(false)
        }
        Err(error) => {
            // With any other error the write may still be done, and the objects be needed.
            if matches!(error, WriteError::Ask(AskError::Full)) {
                give_up(means.read.as_ref(), &storage, user, name).await;
            }
            Err(error.into())
        }
    }
}

fn takes_avatar(person: &model::User) -> bool {
    person.status == UserStatus::Active && person.avatar.is_none()
}

/// Removes objects that are not needed. Those of an equal picture have the same names: if the person
/// has it already, by another node or another way, they stay, and so they do if that is not known.
/// What is left all the same is swept some day.
pub async fn give_up(
    read: &dyn ReadStore,
    storage: &AvatarStorage,
    user: UserId,
    name: AvatarName,
) {
    let Ok(person) = read.user(user).await else { return };
    if person.and_then(|person| person.avatar) == Some(name.to_string()) {
        return;
    }
    if let Err(error) = storage.remove(name).await {
        tracing::debug!(%user, %error, "an unused picture could not be removed");
    }
}

impl Actor for Pictures {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.status.ready();
        self.go_on(context);
    }
}

/// A restart forgets what waits. What is under way are tasks of their own, which report their end to
/// the same address.
impl Supervised for Pictures {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.waiting.clear();
    }
}

impl Handler<Fetch> for Pictures {
    type Result = bool;

    fn handle(&mut self, fetch: Fetch, context: &mut Context<Self>) -> bool {
        let is_known = self.under_way.contains(&fetch.user)
            || self.waiting.iter().any(|waiting| waiting.user == fetch.user);
        let refusal = if *self.ending.borrow() {
            "the server is shutting down"
        } else if is_known {
            "another is being fetched for the same person"
        } else if self.waiting.len() >= WAITING {
            "too many are waiting"
        } else if fetch.address.as_str().len() > LONGEST_ADDRESS {
            "its address is too long"
        } else {
            self.waiting.push_back(fetch);
            self.go_on(context);
            return true;
        };
        tracing::debug!(user = %fetch.user, reason = refusal, "provider picture is not fetched");
        false
    }
}

impl Handler<Ended> for Pictures {
    type Result = ();

    fn handle(&mut self, Ended(user): Ended, context: &mut Context<Self>) {
        self.under_way.remove(&user);
        self.go_on(context);
    }
}

impl Handler<Idle> for Pictures {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Idle: Idle, context: &mut Context<Self>) -> Self::Result {
        self.end_of_work(context)
    }
}

/// What waits is dropped and what is being fetched is let go; what is fetched goes to its end.
impl Handler<Drain> for Pictures {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) -> Self::Result {
        self.waiting.clear();
        self.ending.send_replace(true);
        self.end_of_work(context)
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(Pictures);
