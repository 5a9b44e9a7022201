//! Pages of people: what an administrator looks through.

use latchkey::protocol::username::comparison_key;
use latchkey::store::Store;
use latchkey::store::model::{
    Email, FoundBy, FoundUser, KeyRange, Role, User, UserId, UserPage, UserSearch, UserStatus,
};
use latchkey::store::operation::{
    CreateUserOutcome, IdentityRefresh, LinkIdentity, LinkOutcome, Write,
};

use super::Database;
use super::accounts::deletion;
use super::fixtures::{apply, apply_batch, at, created, creation, email, entry, ticket};

fn search(text: &str) -> UserSearch {
    UserSearch {
        name: KeyRange::beginning_with(&comparison_key(text)),
        address: KeyRange::beginning_with(&Email::comparison_key(text)),
    }
}

/// Everybody who is asked for, `limit` on a page.
async fn walk(store: &Store, page: &UserPage, limit: u32) -> Vec<FoundUser> {
    let mut page = UserPage { limit, ..page.clone() };
    let mut found: Vec<FoundUser> = Vec::new();
    loop {
        let list = store.read.users(&page).await.unwrap();
        assert!(list.people.len() <= limit as usize);
        found.extend(list.people);
        page.after = list.next;
        if page.after.is_none() {
            return found;
        }
    }
}

async fn names(store: &Store, page: &UserPage) -> Vec<String> {
    walk(store, page, 3).await.into_iter().map(|found| found.user.username).collect()
}

/// People whose names and addresses begin alike in many ways.
async fn crowd(store: &Store, database: &impl Database) -> Vec<(User, Vec<Email>)> {
    let people = [
        ("ada", Some("Ada Lovelace"), vec![("ada@x.example", true), ("ada.l@x.example", true)]),
        ("adam", Some("100% Adam"), vec![("first@x.example", true), ("zz@x.example", false)]),
        ("a_b", Some("Ada"), vec![("ADA@y.example", true)]),
        ("a-b", None, vec![("ad@z.example", false), ("bea@z.example", true)]),
        ("bea", Some("ADAM of Bea"), vec![("adam@x.example", true)]),
        ("cem", Some("a_bcem"), vec![("100%@x.example", true), ("1000@x.example", true)]),
        ("dora", Some("Ada"), vec![]),
        ("eve", None, vec![("ada@x.example", true)]),
        ("ada2", Some("Ada"), vec![("eve@x.example", true)]),
    ];
    let mut crowd = Vec::new();
    for (name, display_name, addresses) in people {
        let mut request = creation(name);
        request.user.display_name = display_name.map(str::to_owned);
        request.identity.emails =
            addresses.iter().map(|(address, verified)| email(address, *verified)).collect();
        let outcome = apply(store, request.clone()).await;
        assert!(matches!(outcome, CreateUserOutcome::Created(_)), "{outcome:?}");
        crowd.push((request.user, request.identity.emails));
    }
    for (name, column, value) in [
        ("adam", "role", "admin"),
        ("bea", "role", "admin"),
        ("bea", "status", "locked"),
        ("ada2", "status", "locked"),
    ] {
        let sql = format!("UPDATE users SET {column} = '{value}' WHERE username = '{name}'");
        database.execute(&sql).await;
        let (user, _) = crowd.iter_mut().find(|(user, _)| user.username == name).unwrap();
        match value {
            "admin" => user.role = Role::Admin,
            _ => user.status = UserStatus::Locked,
        }
    }
    crowd
}

/// The same by looking at everybody.
fn expected(crowd: &[(User, Vec<Email>)], page: &UserPage) -> Vec<(FoundBy, String, UserId)> {
    let is_in =
        |range: &KeyRange, key: &str| range.start.as_str() <= key && key < range.end.as_str();
    let mut found = Vec::new();
    for (user, emails) in crowd {
        let is_meant = page.role.is_none_or(|role| role == user.role)
            && page.status.is_none_or(|status| status == user.status);
        let Some(UserSearch { name, address }) = &page.search else {
            found.extend(is_meant.then(|| (FoundBy::Nothing, String::new(), user.id)));
            continue;
        };
        let username = comparison_key(&user.username);
        let display_name = user.display_name.as_deref().map(comparison_key);
        let addresses = emails.iter().filter(|email| email.verified);
        let by_address = addresses
            .map(|email| Email::comparison_key(&email.address))
            .filter(|key| is_in(address, key))
            .min();
        let by = if is_in(name, &username) {
            Some((FoundBy::Username, username))
        } else if let Some(key) = display_name.filter(|key| is_in(name, key)) {
            Some((FoundBy::DisplayName, key))
        } else {
            by_address.map(|key| (FoundBy::Address, key))
        };
        found.extend(by.filter(|_| is_meant).map(|(by, key)| (by, key, user.id)));
    }
    found.sort();
    if page.search.is_none() {
        found.reverse();
    }
    found
}

pub async fn everybody_who_matches_is_found_once_and_in_order(
    store: &Store,
    database: &impl Database,
) {
    let crowd = crowd(store, database).await;
    let searches = [
        "", "a", "ad", "ada", "Ada", "ada@", "a_", "a_b", "100%", "100", "%", "_", "eve", "bea",
        "zz", "none",
    ];
    let roles = [None, Some(Role::User), Some(Role::Admin)];
    let statuses = [None, Some(UserStatus::Active), Some(UserStatus::Locked)];
    let searches = searches.iter().map(|text| Some(search(text))).chain([None]);
    for search in searches {
        for (role, status) in roles.iter().flat_map(|role| statuses.map(|status| (*role, status))) {
            let page = UserPage { search: search.clone(), role, status, ..UserPage::default() };
            let expected = expected(&crowd, &page);
            for limit in [1, 2, 100] {
                let found = walk(store, &page, limit).await;
                let positions: Vec<_> = found
                    .iter()
                    .map(|one| (one.position.found_by, one.position.key.clone(), one.position.id))
                    .collect();
                assert_eq!(positions, expected, "{page:?}");
                for one in &found {
                    let (user, emails) =
                        crowd.iter().find(|(user, _)| user.id == one.user.id).unwrap();
                    assert_eq!((&one.user, &one.emails), (user, emails));
                }
            }
        }
    }
    let nobody = UserPage { limit: 0, ..UserPage::default() };
    assert_eq!(store.read.users(&nobody).await.unwrap().people, []);
}

pub async fn however_many_are_passed_over_the_search_goes_on(store: &Store, _: &impl Database) {
    // All are found by their usernames, and their display names lie before that of the last one.
    let many = (0..510).map(|number| {
        let mut request = creation(&format!("p{number:03}"));
        request.user.display_name = Some(format!("P{number:03}"));
        request.into_operation()
    });
    assert!(apply_batch(store, many.collect()).await.iter().all(Result::is_ok));
    let mut last = creation("zoe");
    last.user.display_name = Some("Pz".to_owned());
    apply(store, last).await;
    let page = UserPage { search: Some(search("p")), ..UserPage::default() };
    let found = walk(store, &page, 100).await;
    assert!(found.is_sorted_by_key(|one| (one.position.found_by, one.position.key.clone())));
    assert_eq!(found.len(), 511);
    assert_eq!(found[510].user.username, "zoe");

    let after = found[509].position.clone();
    let list = store.read.users(&UserPage { after: Some(after), limit: 5, ..page }).await.unwrap();
    assert_eq!(list.people, [], "this page is short");
    assert!(list.next.is_some(), "and others follow");
}

pub async fn a_tombstone_is_found_by_its_status_alone(store: &Store, _: &impl Database) {
    let (ada, _) = (created(store, "ada").await, created(store, "deleter").await);
    apply(store, deletion(&ada)).await;
    assert_eq!(names(store, &UserPage::default()).await, ["deleter"]);
    let gone = UserPage { status: Some(UserStatus::Deleted), ..UserPage::default() };
    assert_eq!(names(store, &gone).await, ["deleted"]);
    for text in ["ada", "deleted"] {
        for status in [None, Some(UserStatus::Deleted)] {
            let page = UserPage { search: Some(search(text)), status, ..UserPage::default() };
            assert_eq!(names(store, &page).await, [""; 0], "{page:?}");
        }
    }
}

pub async fn people_who_come_and_go_between_pages_move_nobody_else(
    store: &Store,
    database: &impl Database,
) {
    for searched in [None, Some(search("p"))] {
        let mut people = Vec::new();
        for number in 0..9 {
            people.push(created(store, &format!("p{number}")).await);
        }
        let mut page = UserPage { search: searched.clone(), limit: 2, ..UserPage::default() };
        let mut seen: Vec<String> = Vec::new();
        for step in 0.. {
            let list = store.read.users(&page).await.unwrap();
            seen.extend(list.people.iter().map(|one| one.user.username.clone()));
            page.after = list.next;
            if page.after.is_none() {
                break;
            }
            // One who was seen goes, and so does the very one after whom the next page begins; others come.
            match step {
                0 => {
                    for gone in people.iter().filter(|one| seen.contains(&one.user.username)) {
                        apply(store, deletion(gone)).await;
                    }
                }
                1 => drop(created(store, "p00").await),
                _ => {}
            }
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{seen:?}");
        let missed =
            |one: &&latchkey::store::model::FamilyWithUser| !seen.contains(&one.user.username);
        assert_eq!(people.iter().filter(missed).count(), 0, "{seen:?}");
        for table in ["token_families", "emails", "identities", "held_usernames", "users"] {
            database.execute(&format!("DELETE FROM {table}")).await;
        }
    }
}

pub async fn a_display_name_is_found_as_it_is_now(store: &Store, _: &impl Database) {
    let mut request = creation("ada");
    request.user.display_name = None;
    assert!(matches!(apply(store, request.clone()).await, CreateUserOutcome::Created(_)));
    let by_name = |text| UserPage { search: Some(search(text)), ..UserPage::default() };
    let link = LinkIdentity {
        user: request.user.id,
        identity: IdentityRefresh { subject: "further".to_owned(), ..request.identity.clone() },
        display_name: Some("Countess".to_owned()),
        asked_in: None,
        spends: vec![ticket()],
        opens: None,
        ends: None,
        now: at(50),
        audit: vec![entry("identity.linked")],
    };
    assert!(matches!(apply(store, link).await, LinkOutcome::Linked(_)));
    assert_eq!(names(store, &by_name("count")).await, ["ada"]);
    let change = |display_name: Option<&str>| latchkey::store::operation::SetDisplayName {
        user: request.user.id,
        display_name: display_name.map(str::to_owned),
        audit: entry("user.display_name_changed"),
    };
    apply(store, change(Some("LADY"))).await;
    assert_eq!(names(store, &by_name("count")).await, [""; 0]);
    assert_eq!(names(store, &by_name("lady")).await, ["ada"]);
    apply(store, change(None)).await;
    assert_eq!(names(store, &by_name("lady")).await, [""; 0]);
}
