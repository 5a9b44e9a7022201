//! [`Revoke`](latchkey::store::operation::Revoke), and the revocations that it stores.

use std::time::Duration;

use latchkey::store::Store;
use latchkey::store::model::{Revocation, RevocationKind, SessionId};
use latchkey::store::operation::{RevokeOutcome, RevokeTarget};
use uuid::Uuid;

use super::Database;
use super::fixtures::{
    TOKENS_LIVE_FOR, advance, apply, at, audited, created, granted, revoke, sign_in, signed_in,
};

/// The revocation that [`revoke`] stores.
fn revocation(kind: RevocationKind, id: Uuid) -> Revocation {
    Revocation { kind, id: id.to_string(), until: at(100).plus(TOKENS_LIVE_FOR) }
}

fn sorted(mut outcome: RevokeOutcome) -> RevokeOutcome {
    outcome.families.sort();
    outcome.revocations.sort_by_key(|revocation| (revocation.kind, revocation.id.clone()));
    outcome
}

pub async fn a_first_party_family_ends_with_its_session(store: &Store, database: &impl Database) {
    let person = created(store, "ada").await;
    let outcome = apply(store, revoke(RevokeTarget::Family(person.family.id))).await;
    let session = revocation(RevocationKind::Session, person.family.session.0);
    assert_eq!(outcome.families, [person.family.id]);
    assert_eq!(outcome.revocations, [session]);
    assert_eq!(store.read.revocations(at(100), at(100)).await.unwrap(), outcome.revocations);
    assert_eq!(audited(store, "session.ended").await, 1);
    let reasons = "SELECT count(*) FROM token_families WHERE revoke_reason = 'logout'";
    assert_eq!(database.number(reasons).await, 1);
}

pub async fn a_client_family_ends_alone(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let client = granted(store, &person, "openid").await;
    let outcome = apply(store, revoke(RevokeTarget::Family(client.family.id))).await;
    assert_eq!(outcome.families, [client.family.id]);
    assert_eq!(outcome.revocations, [revocation(RevocationKind::Family, client.family.id.0)]);
    assert_eq!(store.read.live_families().await.unwrap(), [(person.family.id, 0)]);
}

pub async fn a_session_ends_with_its_client_families_unless_offline(
    store: &Store,
    _: &impl Database,
) {
    let person = created(store, "ada").await;
    let other = signed_in(store, sign_in(&person)).await;
    let online = granted(store, &person, "openid email").await;
    let offline = granted(store, &person, "openid offline_access").await;
    let look_alike = granted(store, &person, "openid no_offline_access").await;
    let outcome = sorted(apply(store, revoke(RevokeTarget::Session(person.family.session))).await);

    let mut ended = [person.family.id, online.family.id, look_alike.family.id];
    ended.sort();
    assert_eq!(outcome.families, ended);
    let expected = sorted(RevokeOutcome {
        families: Vec::new(),
        revocations: vec![
            revocation(RevocationKind::Session, person.family.session.0),
            revocation(RevocationKind::Family, online.family.id.0),
            revocation(RevocationKind::Family, look_alike.family.id.0),
        ],
    });
    assert_eq!(outcome.revocations, expected.revocations);
    let mut live = [(other.family.id, 0), (offline.family.id, 0)];
    live.sort();
    assert_eq!(store.read.live_families().await.unwrap(), live);
}

pub async fn a_session_that_is_over_is_refused_all_the_same(store: &Store, _: &impl Database) {
    let session = SessionId::new(at(0));
    let outcome = apply(store, revoke(RevokeTarget::Session(session))).await;
    assert_eq!(outcome.families, []);
    assert_eq!(outcome.revocations, [revocation(RevocationKind::Session, session.0)]);
    assert_eq!(store.read.revocations(at(0), at(0)).await.unwrap(), outcome.revocations);
    assert_eq!(audited(store, "session.ended").await, 0, "nothing ended");
}

pub async fn everything_of_a_person_ends(store: &Store, _: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let second = signed_in(store, sign_in(&ada)).await;
    let offline = granted(store, &ada, "offline_access").await;
    let outcome = sorted(apply(store, revoke(RevokeTarget::User(ada.user.id))).await);
    let mut ended = [ada.family.id, second.family.id, offline.family.id];
    ended.sort();
    assert_eq!(outcome.families, ended);
    assert_eq!(outcome.revocations.len(), 3);
    let of_client = revocation(RevocationKind::Family, offline.family.id.0);
    assert!(outcome.revocations.contains(&of_client));
    assert_eq!(store.read.live_families().await.unwrap(), [(ben.family.id, 0)]);
    assert_eq!(audited(store, "session.ended").await, 1);
}

pub async fn nothing_ends_twice(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    for target in [RevokeTarget::Family(person.family.id), RevokeTarget::User(person.user.id)] {
        apply(store, revoke(target)).await;
        let mut again = revoke(target);
        again.now = at(200);
        assert_eq!(apply(store, again).await, RevokeOutcome::default());
    }
    let family = store.read.family(person.family.id).await.unwrap().unwrap().family;
    assert_eq!(family.revoked_at, Some(at(100)));
    assert_eq!(audited(store, "session.ended").await, 1);
}

pub async fn reuse_is_judged_again(store: &Store, _: &impl Database) {
    let person = created(store, "ada").await;
    let id = person.family.id;
    apply(store, advance(id, 0)).await;
    for presented in [1, 2, u64::MAX] {
        let mut not_reused = revoke(RevokeTarget::Session(person.family.session));
        not_reused.only_if_reused = Some((id, presented));
        assert_eq!(apply(store, not_reused).await, RevokeOutcome::default());
    }
    assert_eq!(store.read.live_families().await.unwrap(), [(id, 1)]);
    assert_eq!(store.read.revocations(at(0), at(0)).await.unwrap(), []);
    assert_eq!(audited(store, "session.ended").await, 0);

    let mut reused = revoke(RevokeTarget::Family(id));
    reused.only_if_reused = Some((id, 0));
    assert_eq!(apply(store, reused).await.families, [id]);
    let mut again = revoke(RevokeTarget::Family(id));
    (again.only_if_reused, again.audit.id) = (Some((id, 0)), Uuid::nil());
    assert_eq!(apply(store, again).await, RevokeOutcome::default(), "it has ended");
}

pub async fn a_revocation_only_grows(store: &Store, _: &impl Database) {
    let session = SessionId::new(at(0));
    let in_force = async || store.read.revocations(at(0), at(0)).await.unwrap()[0].until;
    for (seconds, until) in [(100, 200), (50, 200), (300, 400)] {
        let mut longer = revoke(RevokeTarget::Session(session));
        (longer.now, longer.tokens_live_for) = (at(seconds), Duration::from_secs(100));
        apply(store, longer).await;
        assert_eq!(in_force().await, at(until));
    }
}

pub async fn revocations_are_found_by_time(store: &Store, _: &impl Database) {
    let (early, late) = (SessionId::new(at(0)), SessionId::new(at(0)));
    apply(store, revoke(RevokeTarget::Session(early))).await;
    let mut second = revoke(RevokeTarget::Session(late));
    (second.now, second.tokens_live_for) = (at(200), Duration::from_secs(10));
    apply(store, second).await;

    let found = async |since, now| {
        let revocations = store.read.revocations(at(since), at(now)).await.unwrap();
        Vec::from_iter(revocations.into_iter().map(|revocation| revocation.id))
    };
    assert_eq!(found(100, 209).await, [early.to_string(), late.to_string()]);
    assert_eq!(found(101, 209).await, [late.to_string()]);
    assert_eq!(found(0, 210).await, [early.to_string()]);
    assert_eq!(found(201, 201).await, Vec::<String>::new());
}
