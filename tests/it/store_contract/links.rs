//! [`LinkIdentity`] and [`UnlinkIdentities`]: never two owners of one identity, never a person without
//! a way in.

use futures_util::future::join;
use latchkey::store::Store;
use latchkey::store::model::{FamilyWithUser, UserId};
use latchkey::store::operation::{
    CreateUserOutcome, LinkIdentity, LinkOutcome, RevokeTarget, SignInOutcome, UnlinkIdentities,
    UnlinkOutcome,
};

use super::Database;
use super::fixtures::{
    apply, at, audited, created, creation, email, entry, family, identity, open_again, revoke,
    rows, sign_in, ticket, try_apply,
};

/// `person` asks, in their session, for the identity `subject` at the provider `dev`.
fn link(person: &FamilyWithUser, subject: &str) -> LinkIdentity {
    LinkIdentity {
        user: person.user.id,
        identity: identity(subject),
        display_name: None,
        asked_in: Some(person.family.id),
        spends: vec![ticket(), ticket()],
        opens: None,
        ends: None,
        now: at(50),
        audit: vec![entry("identity.linked")],
    }
}

fn unlink(person: &FamilyWithUser, provider: &str, subject: Option<&str>) -> UnlinkIdentities {
    UnlinkIdentities {
        user: person.user.id,
        provider: provider.to_owned(),
        subject: subject.map(str::to_owned),
        usable: vec!["dev".to_owned(), "other".to_owned()],
        audit: entry("identity.unlinked"),
    }
}

async fn refused(
    store: &Store,
    database: &impl Database,
    request: LinkIdentity,
    expected: LinkOutcome,
) {
    let before = rows(database).await;
    assert_eq!(apply(store, request).await, expected);
    assert_eq!(rows(database).await, before);
}

async fn subjects(store: &Store, user: UserId) -> Vec<(String, String)> {
    let identities = store.read.identities(user).await.unwrap();
    identities.into_iter().map(|one| (one.provider, one.subject)).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(provider, subject)| ((*provider).to_owned(), (*subject).to_owned()))
        .collect()
}

pub async fn a_further_identity_signs_the_same_person_in(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let mut request = link(&ada, "ada2");
    request.identity.provider = "other".to_owned();
    request.identity.emails = vec![email("ada@other.example", true)];
    request.identity.emails[0].provider = "other".to_owned();
    let emails = request.identity.emails.clone();
    assert_eq!(apply(store, request.clone()).await, LinkOutcome::Linked(None));

    let owner = store.read.user_by_identity("other", "ada2").await.unwrap();
    assert_eq!(owner, Some(ada.user.clone()));
    let identities = store.read.identities(ada.user.id).await.unwrap();
    assert_eq!((identities[1].linked_at, identities[1].last_used_at), (at(50), at(50)));
    assert_eq!(identities[1].emails, emails);
    assert_eq!(audited(store, "identity.linked").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM spent").await, 4);

    let mut session = sign_in(&ada);
    session.identity = request.identity;
    assert!(matches!(apply(store, session).await, SignInOutcome::Opened(_)));
}

pub async fn the_same_link_again_changes_nothing(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let request = link(&ada, "ada2");
    assert_eq!(apply(store, request.clone()).await, LinkOutcome::Linked(None));
    refused(store, database, request.clone(), LinkOutcome::AlreadyLinked).await;
    refused(store, database, link(&ada, "ada"), LinkOutcome::AlreadyLinked).await;
}

pub async fn an_identity_of_somebody_else_is_not_linked(store: &Store, database: &impl Database) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    refused(store, database, link(&ada, "ben"), LinkOutcome::IdentityTaken).await;
    assert_eq!(subjects(store, ben.user.id).await, owned(&[("dev", "ben")]));
}

pub async fn a_spent_ticket_links_nothing(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let first = link(&ada, "ada2");
    let mut second = link(&ada, "ada3");
    second.spends = vec![ticket(), first.spends[0].clone()];
    apply(store, first).await;
    refused(store, database, second, LinkOutcome::AlreadySpent).await;
}

pub async fn only_a_live_session_of_an_active_person_links(
    store: &Store,
    database: &impl Database,
) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut of_another = link(&ada, "ada2");
    of_another.asked_in = Some(ben.family.id);
    refused(store, database, of_another, LinkOutcome::NotAllowed).await;
    for status in ["locked", "deleted"] {
        database.execute(&format!("UPDATE users SET status = '{status}'")).await;
        refused(store, database, link(&ada, "ada2"), LinkOutcome::NotAllowed).await;
    }
    database.execute("UPDATE users SET status = 'active'").await;
    apply(store, revoke(RevokeTarget::Session(ada.family.session))).await;
    refused(store, database, link(&ada, "ada2"), LinkOutcome::NotAllowed).await;
}

pub async fn a_recovery_links_without_a_session_and_opens_one(
    store: &Store,
    database: &impl Database,
) {
    let (ada, ben) = (created(store, "ada").await, created(store, "ben").await);
    let mut request = link(&ada, "ada2");
    request.asked_in = None;
    request.opens = Some(family(ada.user.id));
    request.ends = Some(revoke(RevokeTarget::Session(ben.family.session)));
    request.audit.push(entry("session.opened"));
    let LinkOutcome::Linked(Some(opened)) = apply(store, request.clone()).await else {
        panic!("nothing stands in the way")
    };
    assert_eq!((&opened.user, opened.family.generation), (&ada.user, 0));
    assert_eq!(store.read.family(opened.family.id).await.unwrap(), Some(*opened));
    let ended = store.read.family(ben.family.id).await.unwrap().unwrap();
    assert_eq!(ended.family.revoked_at, Some(at(100)));
    request.identity = identity("ada3");
    request.opens = Some(family(ada.user.id));
    refused(store, database, request, LinkOutcome::AlreadySpent).await;
}

pub async fn a_display_name_is_filled_only_where_there_is_none(store: &Store, _: &impl Database) {
    let named = created(store, "ada").await;
    let mut request = link(&named, "ada2");
    request.display_name = Some("From the provider".to_owned());
    apply(store, request).await;
    let user = store.read.user(named.user.id).await.unwrap().unwrap();
    assert_eq!(user.display_name, named.user.display_name);

    let mut creation = creation("ben");
    creation.user.display_name = None;
    let CreateUserOutcome::Created(nameless) = apply(store, creation).await else { panic!() };
    let mut request = link(&nameless, "ben2");
    request.display_name = Some("From the provider".to_owned());
    request.opens = Some(family(nameless.user.id));
    let LinkOutcome::Linked(Some(opened)) = apply(store, request).await else { panic!() };
    let filled = Some("From the provider".to_owned());
    assert_eq!(opened.user.display_name, filled);
    let user = store.read.user(nameless.user.id).await.unwrap().unwrap();
    assert_eq!(user.display_name, filled);
}

pub async fn a_link_that_fails_leaves_nothing(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    let before = rows(database).await;
    let mut twice = link(&ada, "ada2");
    twice.audit.push(twice.audit[0].clone());
    assert!(try_apply(store, twice).await.is_err(), "one entry's id is taken");
    assert_eq!(rows(database).await, before);
}

pub async fn an_identity_is_unlinked_with_its_addresses(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    apply(store, link(&ada, "ada2")).await;
    assert_eq!(apply(store, unlink(&ada, "dev", Some("ada2"))).await, UnlinkOutcome::Unlinked);
    assert_eq!(subjects(store, ada.user.id).await, owned(&[("dev", "ada")]));
    assert_eq!(database.number("SELECT count(*) FROM emails").await, 1);
    assert_eq!(audited(store, "identity.unlinked").await, 1);
    let again = apply(store, unlink(&ada, "dev", Some("ada2"))).await;
    assert_eq!(again, UnlinkOutcome::NotLinked);
    assert_eq!(apply(store, unlink(&ada, "other", None)).await, UnlinkOutcome::NotLinked);
    let mut session = sign_in(&ada);
    session.identity = identity("ada2");
    assert_eq!(apply(store, session).await, SignInOutcome::NotAllowed);
    created(store, "ada2").await;
}

pub async fn the_last_identity_stays(store: &Store, database: &impl Database) {
    let ada = created(store, "ada").await;
    apply(store, link(&ada, "ada2")).await;
    let before = rows(database).await;
    assert_eq!(apply(store, unlink(&ada, "dev", None)).await, UnlinkOutcome::Last);
    apply(store, unlink(&ada, "dev", Some("ada"))).await;
    assert_eq!(apply(store, unlink(&ada, "dev", Some("ada2"))).await, UnlinkOutcome::Last);
    assert_eq!(subjects(store, ada.user.id).await, owned(&[("dev", "ada2")]));
    database.execute("UPDATE users SET status = 'locked'").await;
    let locked = apply(store, unlink(&ada, "dev", Some("ada"))).await;
    assert_eq!(locked, UnlinkOutcome::NotAllowed);
    assert_eq!(before.iter().find(|(table, _)| *table == "users"), Some(&("users", 1)));
}

pub async fn what_nobody_can_sign_in_with_does_not_count(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    let mut gone = link(&ada, "old");
    gone.identity.provider = "gone".to_owned();
    apply(store, gone).await;
    assert_eq!(apply(store, unlink(&ada, "dev", None)).await, UnlinkOutcome::Last);
    assert_eq!(apply(store, unlink(&ada, "gone", None)).await, UnlinkOutcome::Unlinked);
}

pub async fn of_two_who_link_one_identity_one_gets_it(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..8 {
        let ada = created(store, &format!("ada{number}")).await;
        let ben = created(store, &format!("ben{number}")).await;
        let wanted = format!("wanted{number}");
        let (first, second) =
            join(apply(store, link(&ada, &wanted)), apply(&other, link(&ben, &wanted))).await;
        let linked = |outcome: &LinkOutcome| matches!(outcome, LinkOutcome::Linked(_));
        assert!(linked(&first) != linked(&second), "{first:?}, {second:?}");
    }
    assert_eq!(audited(store, "identity.linked").await, 8);
}

pub async fn of_two_who_unlink_the_last_two_one_does(store: &Store, database: &impl Database) {
    let other = open_again(database).await;
    for number in 0..8 {
        let ada = created(store, &format!("ada{number}")).await;
        let second = format!("second{number}");
        apply(store, link(&ada, &second)).await;
        let (one, two) = join(
            apply(store, unlink(&ada, "dev", Some(&ada.user.username))),
            apply(&other, unlink(&ada, "dev", Some(&second))),
        )
        .await;
        let expected = [UnlinkOutcome::Unlinked, UnlinkOutcome::Last];
        assert!([one, two] == expected || [two, one] == expected, "{one:?}, {two:?}");
        assert_eq!(subjects(store, ada.user.id).await.len(), 1);
    }
}

pub async fn a_sign_in_and_the_end_of_its_identity_do_not_miss_each_other(
    store: &Store,
    database: &impl Database,
) {
    let other = open_again(database).await;
    for number in 0..8 {
        let ada = created(store, &format!("ada{number}")).await;
        let second = format!("second{number}");
        apply(store, link(&ada, &second)).await;
        let mut session = sign_in(&ada);
        session.identity = identity(&second);
        let (signed_in, unlinked) =
            join(apply(store, session), apply(&other, unlink(&ada, "dev", Some(&second)))).await;
        assert_eq!(unlinked, UnlinkOutcome::Unlinked);
        let is_settled = matches!(signed_in, SignInOutcome::Opened(_) | SignInOutcome::NotAllowed);
        assert!(is_settled, "{signed_in:?}");
    }
    let left = database.number("SELECT count(*) FROM emails").await;
    assert_eq!(left, 8, "no address outlives its identity");
}

pub async fn verified_holders_are_at_most_two(store: &Store, _: &impl Database) {
    let ada = created(store, "ada").await;
    let holders = async |addresses: &[&str]| {
        let addresses: Vec<String> = addresses.iter().map(|one| (*one).to_owned()).collect();
        store.read.verified_holders(&addresses).await.unwrap()
    };
    assert_eq!(holders(&["ADA@dev.localhost"]).await, [ada.user.id]);
    assert_eq!(holders(&[]).await, []);
    assert_eq!(holders(&["other@dev.localhost"]).await, []);
    let mut further = link(&ada, "ada2");
    further.identity.emails = vec![email("ada@work.example", true), email("no@x.example", false)];
    apply(store, further).await;
    let both = ["ada@dev.localhost", "ada@work.example"];
    assert_eq!(holders(&both).await, [ada.user.id], "one person, however many addresses");
    assert_eq!(holders(&["no@x.example"]).await, []);
    for name in ["ben", "cem", "dan"] {
        let mut request = creation(name);
        request.identity.emails = vec![email("ada@work.example", true)];
        apply(store, request).await;
    }
    assert_eq!(holders(&both).await.len(), 2);
    // Not the Kelvin sign: letters that fold into ours by Unicode's rules are other letters.
    assert_eq!(holders(&["ada@wor\u{212a}.example"]).await, []);
}
