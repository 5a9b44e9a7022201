//! Owner of the questions about grants: group reading.
//!
//! Resource servers and apps ask userinfo all day. While the store answers some, others queue; all that queued
//! share the next statement, as writes share a commit. No timer and no added delay: a lone question is asked
//! at once. A question never joins a statement that was sent before it came, so nobody is told what was true
//! before they asked. Nothing is kept: the next who ask read again.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
};
use tokio::sync::oneshot;

use super::mailbox::Drain;
use super::status::ActorStatus;
use crate::store::ReadStore;
use crate::store::error::StoreError;
use crate::store::model::{FamilyId, GrantWithPerson};

/// The grant of this id with its person, if there is one; as it is in the store now.
#[derive(Debug, Message)]
#[rtype(result = "Found")]
pub struct FindGrant(pub FamilyId);

/// What is answered to [`FindGrant`].
pub type Found = Result<Option<Arc<GrantWithPerson>>, StoreError>;

/// Statements under way at once. More would make each smaller; with one, who comes behind a statement that
/// hangs would wait until it is given up.
const AT_ONCE: usize = 2;

/// Most questions of one statement.
const LARGEST_BATCH: usize = 256;

/// A statement is over, however it ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Over;

struct Waiting {
    id: FamilyId,
    reply: oneshot::Sender<Found>,
}

/// The owner.
pub struct GrantReader {
    read: Arc<dyn ReadStore>,
    status: Arc<ActorStatus>,
    waiting: Vec<Waiting>,
    under_way: usize,
}

impl GrantReader {
    /// Asks this store.
    pub fn new(read: Arc<dyn ReadStore>, status: Arc<ActorStatus>) -> Self {
        Self { read, status, waiting: Vec::new(), under_way: 0 }
    }

    /// Asks the store for all that wait, unless enough statements are under way.
    fn go_on(&mut self, context: &mut Context<Self>) {
        while self.under_way < AT_ONCE && !self.waiting.is_empty() {
            self.under_way += 1;
            let batch = match self.waiting.len() > LARGEST_BATCH {
                true => self.waiting.drain(..LARGEST_BATCH).collect(),
                false => std::mem::take(&mut self.waiting),
            };
            let (read, over) = (Arc::clone(&self.read), SendsOnDrop(context.address()));
            // A task of its own: it outlives a restart of this actor, and so do the answers.
            actix::spawn(async move {
                let _over = over;
                answer(&*read, batch).await;
            });
        }
    }
}

/// Answers a batch by one statement. If that is refused for what one of them holds, each is asked for alone.
async fn answer(read: &dyn ReadStore, batch: Vec<Waiting>) {
    let ids: Vec<FamilyId> = batch.iter().map(|waiting| waiting.id).collect();
    let outcome = find(read, &ids).await;
    let ask_alone = ids.len() > 1 && outcome.as_ref().is_err_and(|error| !error.is_transient());
    for Waiting { id, reply } in batch {
        let found = match &outcome {
            Ok(grants) => Ok(grants.get(&id).cloned()),
            Err(_) if ask_alone => find(read, &[id]).await.map(|mut grants| grants.remove(&id)),
            Err(error) => Err(error.clone()),
        };
        // Who has gone away does not need the answer.
        let _gone = reply.send(found);
    }
}

async fn find(
    read: &dyn ReadStore,
    ids: &[FamilyId],
) -> Result<HashMap<FamilyId, Arc<GrantWithPerson>>, StoreError> {
    let grants = read.grants_with_people(ids).await?;
    Ok(grants.into_iter().map(|grant| (grant.live.family.id, Arc::new(grant))).collect())
}

/// Sends [`Over`] when it is dropped.
struct SendsOnDrop(Addr<GrantReader>);

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        self.0.do_send(Over);
    }
}

impl Actor for GrantReader {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.status.ready();
        self.go_on(context);
    }
}

/// A restart keeps who waits, and how many statements are under way: their tasks go on and report.
impl Supervised for GrantReader {}

impl Handler<FindGrant> for GrantReader {
    type Result = ResponseFuture<Found>;

    fn handle(&mut self, FindGrant(id): FindGrant, context: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.waiting.push(Waiting { id, reply });
        self.go_on(context);
        Box::pin(async move {
            let lost =
                |_| StoreError::Unavailable("the reading ended without an answer".to_owned());
            answer.await.map_err(lost)?
        })
    }
}

impl Handler<Over> for GrantReader {
    type Result = ();

    fn handle(&mut self, Over: Over, context: &mut Context<Self>) {
        self.under_way -= 1;
        self.go_on(context);
    }
}

/// What is under way is answered by tasks of its own; who still waits is told that nobody answers.
impl Handler<Drain> for GrantReader {
    type Result = ();

    fn handle(&mut self, Drain: Drain, context: &mut Context<Self>) {
        context.stop();
    }
}

#[cfg(feature = "fault-injection")]
super::fault::injectable!(GrantReader);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use actix::Arbiter;
    use futures_util::future::join_all;
    use uuid::Uuid;

    use crate::actors::mailbox::Mailbox;
    use crate::actors::supervisor::{Supervision, Terms};
    use crate::clock::Timestamp;
    use crate::store::double::{Script, ScriptedReads};
    use crate::store::model::{Family, FamilyWithUser, Role, SessionId, User, UserId, UserStatus};

    fn reader() -> (Mailbox<GrantReader>, Script) {
        let (read, script) = ScriptedReads::new(None);
        let terms = Terms {
            name: "grant_reader",
            shard: 0,
            capacity: 4096,
            deadline: Duration::from_secs(60),
        };
        let mailbox = Supervision::default().start(&Arbiter::current(), terms, move |status| {
            GrantReader::new(Arc::new(read), status)
        });
        (mailbox, script)
    }

    fn id(number: u128) -> FamilyId {
        FamilyId(Uuid::from_u128(number))
    }

    fn grant(id: FamilyId) -> GrantWithPerson {
        let (user, now) = (UserId(Uuid::from_u128(1)), Timestamp::from_seconds(1));
        let user = User {
            id: user,
            username: "ada".to_owned(),
            display_name: None,
            avatar: None,
            role: Role::User,
            status: UserStatus::Active,
            created_at: now,
        };
        let family = Family {
            id,
            user: user.id,
            session: SessionId(id.0),
            client_id: "shop".to_owned(),
            scope: "openid".to_owned(),
            resource: String::new(),
            generation: 0,
            rotated_at: now,
            created_at: now,
            auth_time: now,
            revoked_at: None,
        };
        GrantWithPerson { live: FamilyWithUser { family, user }, emails: Vec::new() }
    }

    /// Answered after all that was asked before it.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Barrier;

    impl Handler<Barrier> for GrantReader {
        type Result = ();
        fn handle(&mut self, Barrier: Barrier, _: &mut Context<Self>) {}
    }

    #[actix::test]
    async fn a_lone_question_is_asked_at_once_and_what_queues_goes_together() {
        let (reader, mut script) = reader();
        let asks = join_all((0..40).map(|number| reader.ask(FindGrant(id(number)))));
        let answering = async {
            let (first, first_reply) = script.grants.recv().await.unwrap();
            let (second, second_reply) = script.grants.recv().await.unwrap();
            assert_eq!((first, second), (vec![id(0)], vec![id(1)]));
            reader.ask(Barrier).await.unwrap();
            // They come in any order.
            second_reply.send(Ok(vec![grant(id(1))])).unwrap();
            let (third, third_reply) = script.grants.recv().await.unwrap();
            assert_eq!(third, (2..40).map(id).collect::<Vec<_>>());
            first_reply.send(Ok(vec![grant(id(0))])).unwrap();
            // The store knows the even ones, and says so in an order of its own.
            let even = third.into_iter().rev().filter(|id| id.0.as_u128() % 2 == 0);
            third_reply.send(Ok(even.map(grant).collect())).unwrap();
        };
        let (answers, ()) = tokio::join!(asks, answering);
        for (number, answer) in (0..40).zip(answers) {
            let found = answer.unwrap().unwrap().map(|grant| grant.live.family.id);
            assert_eq!(found, (number == 1 || number % 2 == 0).then(|| id(number)));
        }
    }

    #[actix::test]
    async fn who_asks_after_a_statement_was_sent_gets_the_next_one() {
        let (reader, mut script) = reader();
        let first = tokio::spawn({
            let reader = reader.clone();
            async move { reader.ask(FindGrant(id(7))).await }
        });
        let (_, first_reply) = script.grants.recv().await.unwrap();
        let second = tokio::spawn(async move { reader.ask(FindGrant(id(7))).await });
        let (asked, second_reply) = script.grants.recv().await.unwrap();
        assert_eq!(asked, [id(7)], "the same question, asked again");
        first_reply.send(Ok(vec![grant(id(7))])).unwrap();
        second_reply.send(Ok(Vec::new())).unwrap();
        assert!(first.await.unwrap().unwrap().unwrap().is_some());
        assert!(second.await.unwrap().unwrap().unwrap().is_none(), "it has ended meanwhile");
    }

    #[actix::test]
    async fn a_statement_is_no_larger_than_it_may_be() {
        let (reader, mut script) = reader();
        let number = 2 + LARGEST_BATCH + 10;
        let asks = join_all((0..number).map(|number| reader.ask(FindGrant(id(number as u128)))));
        let answering = async {
            let mut replies = Vec::new();
            for _ in 0..AT_ONCE {
                replies.push(script.grants.recv().await.unwrap().1);
            }
            reader.ask(Barrier).await.unwrap();
            replies.into_iter().for_each(|reply| reply.send(Ok(Vec::new())).unwrap());
            let mut sizes = Vec::new();
            for _ in 0..2 {
                let (asked, reply) = script.grants.recv().await.unwrap();
                sizes.push(asked.len());
                reply.send(Ok(Vec::new())).unwrap();
            }
            sizes
        };
        let (answers, sizes) = tokio::join!(asks, answering);
        assert_eq!(sizes, [LARGEST_BATCH, 10]);
        assert!(answers.into_iter().all(|answer| answer.unwrap().unwrap().is_none()));
    }

    #[actix::test]
    async fn a_row_that_cannot_be_costs_its_own_question_alone() {
        let (reader, mut script) = reader();
        let broken = || StoreError::Inconsistent("scripted".to_owned());
        let asks = join_all((0..5).map(|number| reader.ask(FindGrant(id(number)))));
        let answering = async {
            let first = [script.grants.recv().await.unwrap(), script.grants.recv().await.unwrap()];
            reader.ask(Barrier).await.unwrap();
            for (ids, reply) in first {
                reply.send(Ok(ids.into_iter().map(grant).collect())).unwrap();
            }
            let (ids, reply) = script.grants.recv().await.unwrap();
            assert_eq!(ids, [id(2), id(3), id(4)]);
            reply.send(Err(broken())).unwrap();
            for _ in 0..3 {
                let (ids, reply) = script.grants.recv().await.unwrap();
                let [alone] = ids[..] else { panic!("{ids:?}") };
                let answer = if alone == id(3) { Err(broken()) } else { Ok(vec![grant(alone)]) };
                reply.send(answer).unwrap();
            }
        };
        let (answers, ()) = tokio::join!(asks, answering);
        let is_found = answers.into_iter().map(|answer| answer.unwrap().is_ok());
        assert_eq!(is_found.collect::<Vec<_>>(), [true, true, true, false, true]);
    }

    #[actix::test]
    async fn a_store_that_does_not_answer_is_asked_once_for_all() {
        let (reader, mut script) = reader();
        let asks = join_all((0..12).map(|number| reader.ask(FindGrant(id(number)))));
        let answering = async {
            let first = [script.grants.recv().await.unwrap(), script.grants.recv().await.unwrap()];
            reader.ask(Barrier).await.unwrap();
            for (_, reply) in first {
                reply.send(Err(StoreError::Unavailable("scripted".to_owned()))).unwrap();
            }
            let (ids, reply) = script.grants.recv().await.unwrap();
            assert_eq!(ids.len(), 10);
            reply.send(Err(StoreError::Unavailable("scripted".to_owned()))).unwrap();
        };
        let (answers, ()) = tokio::join!(asks, answering);
        let all_know =
            |answer: Result<Found, _>| matches!(answer, Ok(Err(StoreError::Unavailable(_))));
        assert!(answers.into_iter().all(all_know));
        reader.ask(Barrier).await.unwrap();
        assert!(script.grants.try_recv().is_err(), "nobody is asked for alone");
    }
}
