//! Owner of the memory for people's pictures: what is being uploaded, and what is being decoded.
//!
//! A small file can become a large picture, and a hundred people can send one at once. So whoever
//! wants to read an upload takes a place first, and decodings wait their turn.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use actix_web::web::Bytes;
use tokio::sync::oneshot;

use super::mailbox::{AskError, Drain, Mailbox};
use super::status::ActorStatus;
use crate::avatars::image::{self, Avatar, PictureError};
use crate::in_force::Live;
use crate::store::model::UserId;

/// Decodings at once: more than processors would not be faster.
const AT_ONCE: usize = 2;

/// Pictures that wait to be decoded.
const WAITING: usize = 64;

/// Uploads under way.
const PLACES: usize = 128;

/// Bytes of all uploads under way, unless a single one may be larger.
const UPLOADS: usize = 16 << 20;

/// Take a place for an upload; nothing of it is read before.
#[derive(Debug, Message)]
#[rtype(result = "Result<Place, NoPlace>")]
pub struct TakePlace {
    /// Who uploads.
    pub user: UserId,
    /// How many bytes there can be.
    pub bytes: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The person's avatar is being changed by another request.
    #[error("another request is changing this person's avatar")]
    Occupied,
    /// Too many uploads are under way.
    #[error("too many uploads are under way")]
    Full,
}

/// A place among the uploads; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    user: UserId,
    decoder: Addr<PictureDecoder>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.decoder.do_send(Left(self.user));
    }
}

/// Decode a picture and encode it anew; [`encode`] asks so.
#[derive(Debug, Message)]
#[rtype(result = "Result<Avatar, EncodeError>")]
pub struct Encode {
    bytes: Bytes,
    /// What that takes, about.
    memory: u64,
}

/// Why there is no avatar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The picture cannot be used.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Too many wait already; or the decoder restarted, or did not answer in time.
    #[error(transparent)]
    Busy(#[from] AskError),
}

/// Decodes a picture of at most `most_pixels` pixels and encodes it anew, as soon as there is memory
/// for it. What is refused by its head does not wait.
///
/// # Errors
/// [`EncodeError`].
pub async fn encode(
    decoder: &Mailbox<PictureDecoder>,
    bytes: Bytes,
    most_pixels: u64,
) -> Result<Avatar, EncodeError> {
    let head = bytes.clone();
    let looking =
        tokio::task::spawn_blocking(move || guarded(|| image::memory(&head, most_pixels)));
    let memory = looking.await.unwrap_or_else(|_| Err(gave_up()))?;
    decoder.ask(Encode { bytes, memory }).await?
}

/// Work on bytes that anybody may have made: a panic in it is the picture's fault, not the server's.
fn guarded<T>(work: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(gave_up()))
}

fn gave_up() -> PictureError {
    PictureError::Damaged("the decoder gave up".to_owned())
}

/// A place is free again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Left(UserId);

/// A decoding is over, however it ended, and gives its memory back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Decoded {
    memory: u64,
}

/// A picture that waits.
struct Waiting {
    bytes: Bytes,
    memory: u64,
    reply: oneshot::Sender<Result<Avatar, PictureError>>,
}

/// What a picture may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most pixels.
    pub most_pixels: u64,
    /// Most bytes of a single upload, all in all.
    pub largest_upload: usize,
}

/// The owner.
pub struct PictureDecoder {
    status: Arc<ActorStatus>,
    limits: Live<Limits>,
    /// How many bytes each person may be sending.
    places: HashMap<UserId, usize>,
    waiting: VecDeque<Waiting>,
    decodings: usize,
    /// What the decodings under way take together.
    memory: u64,
    drained: Vec<oneshot::Sender<()>>,
}

impl PictureDecoder {
    /// An owner with nothing to do yet.
    pub fn new(limits: Live<Limits>, status: Arc<ActorStatus>) -> Self {
        Self {
            status,
            limits,
            places: HashMap::new(),
            waiting: VecDeque::new(),
            decodings: 0,
            memory: 0,
            drained: Vec::new(),
        }
    }

    /// Begins with what waits, in its order, as far as there is memory: the most that one picture can
    /// take is there for all together.
    fn go_on(&mut self, context: &mut Context<Self>) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        let most_pixels = self.limits.now().most_pixels;
        while self.decodings < AT_ONCE
            && let Some(next) = self.waiting.front()
            && (self.decodings == 0
                || self.memory.saturating_add(next.memory) <= image::most_memory(most_pixels))
            && let Some(Waiting { bytes, memory, reply }) = self.waiting.pop_front()
        {
            self.decodings += 1;
            self.memory = self.memory.saturating_add(memory);
            let over = SendsOnDrop(context.address(), memory);
            let _task = tokio::task::spawn_blocking(move || {
                let _over = over;
                let _gone = reply.send(guarded(|| image::encode(&bytes, most_pixels)));
            });
        }
        if self.decodings == 0 && !self.drained.is_empty() {
            for drained in self.drained.drain(..) {
                let _gone = drained.send(());
            }
            context.stop();
        }
    }
}

/// Sends [`Decoded`] when it is dropped.
struct SendsOnDrop(Addr<PictureDecoder>, u64);

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        self.0.do_send(Decoded { memory: self.1 });
    }
}

impl Actor for PictureDecoder {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.status.ready();
        self.go_on(context);
    }
}

/// A restart forgets what waits, whose askers learn so at once. What is being decoded, and who has a
/// place, report their end to the same address.
impl Supervised for PictureDecoder {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.waiting.clear();
    }
}

impl Handler<TakePlace> for PictureDecoder {
    type Result = Result<Place, NoPlace>;

    fn handle(&mut self, take: TakePlace, context: &mut Context<Self>) -> Self::Result {
        let TakePlace { user, bytes } = take;
        if self.places.contains_key(&user) {
            return Err(NoPlace::Occupied);
        }
        let taken: usize = self.places.values().sum();
        let most = UPLOADS.max(self.limits.now().largest_upload);
        if self.places.len() >= PLACES || taken.saturating_add(bytes) > most {
            return Err(NoPlace::Full);
        }
        self.places.insert(user, bytes);
        Ok(Place { user, decoder: context.address() })
    }
}

impl Handler<Left> for PictureDecoder {
    type Result = ();

    fn handle(&mut self, Left(user): Left, _: &mut Context<Self>) {
        self.places.remove(&user);
    }
}

impl Handler<Encode> for PictureDecoder {
    type Result = ResponseFuture<Result<Avatar, EncodeError>>;

    fn handle(&mut self, encode: Encode, context: &mut Context<Self>) -> Self::Result {
        let Encode { bytes, memory } = encode;
        if self.waiting.len() >= WAITING || !self.drained.is_empty() {
            return Box::pin(async { Err(AskError::Full.into()) });
        }
        let (reply, answer) = oneshot::channel();
        self.waiting.push_back(Waiting { bytes, memory, reply });
        self.go_on(context);
        Box::pin(async { Ok(answer.await.map_err(|_| AskError::Dropped)??) })
    }
}

impl Handler<Decoded> for PictureDecoder {
    type Result = ();

    fn handle(&mut self, Decoded { memory }: Decoded, context: &mut Context<Self>) {
        self.decodings = self.decodings.saturating_sub(1);
        self.memory = self.memory.saturating_sub(memory);
        self.go_on(context);
    }
}

/// What waits is let go; what is being decoded goes to its end.
impl Handler<Drain> for PictureDecoder {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) -> Self::Result {
        self.waiting.clear();
        let (drained, end) = oneshot::channel();
        self.drained.push(drained);
        self.go_on(context);
        Box::pin(async move {
            let _over = end.await;
        })
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(PictureDecoder);
