//! Tables `identities` and `emails`: what signs a person in, and the addresses it told us.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::ClientWrapper;
use futures_util::try_join;
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::{Parameters, execute, query, query_first};
use super::failure::Failure;
use crate::clock::Timestamp;
use crate::store::model::{Email, Identity, UserId};
use crate::store::operation::IdentityRefresh;

/// A person's identities, oldest first, with their addresses.
pub(super) async fn of_user(db: &ClientWrapper, user: UserId) -> Result<Vec<Identity>, Failure> {
    const SQL: &str = "
        SELECT i.provider, i.subject, i.created_at, i.last_used_at, e.address, e.verified
          FROM identities i LEFT JOIN emails e USING (provider, subject)
         WHERE i.user_id = $1
         ORDER BY i.created_at, i.provider, i.subject, e.position";
    let mut identities: Vec<Identity> = Vec::new();
    for row in query(db, SQL, &[&user.0]).await? {
        let (provider, subject) = (row.try_get("provider")?, row.try_get("subject")?);
        let is_same = identities
            .last()
            .is_some_and(|last| last.provider == provider && last.subject == subject);
        if !is_same {
            identities.push(Identity {
                provider,
                subject,
                emails: Vec::new(),
                linked_at: Timestamp::from_millis(row.try_get("created_at")?),
                last_used_at: Timestamp::from_millis(row.try_get("last_used_at")?),
            });
        }
        let address: Option<String> = row.try_get("address")?;
        if let (Some(address), Some(identity)) = (address, identities.last_mut()) {
            let verified = row.try_get("verified")?;
            let provider = identity.provider.clone();
            identity.emails.push(Email { address, verified, provider });
        }
    }
    Ok(identities)
}

/// A person's addresses from all providers, oldest identity first.
pub(super) async fn emails_of_user(
    db: &ClientWrapper,
    user: UserId,
) -> Result<Vec<Email>, Failure> {
    const SQL: &str = "
        SELECT e.provider, e.address, e.verified
          FROM identities i JOIN emails e USING (provider, subject)
         WHERE i.user_id = $1
         ORDER BY i.created_at, i.provider, i.subject, e.position";
    query(db, SQL, &[&user.0]).await?.iter().map(email_from_row).collect()
}

/// The addresses of each of these people, oldest identity first.
pub(super) async fn emails_of_users(
    db: &ClientWrapper,
    users: &[Uuid],
) -> Result<HashMap<UserId, Vec<Email>>, Failure> {
    const SQL: &str = "
        SELECT i.user_id, e.provider, e.address, e.verified
          FROM identities i JOIN emails e USING (provider, subject)
         WHERE i.user_id = ANY ($1::uuid[])
         ORDER BY i.created_at, i.provider, i.subject, e.position";
    let mut emails: HashMap<UserId, Vec<Email>> = HashMap::new();
    for row in query(db, SQL, &[&users]).await? {
        emails.entry(UserId(row.try_get("user_id")?)).or_default().push(email_from_row(&row)?);
    }
    Ok(emails)
}

fn email_from_row(row: &Row) -> Result<Email, Failure> {
    Ok(Email {
        address: row.try_get("address")?,
        verified: row.try_get("verified")?,
        provider: row.try_get("provider")?,
    })
}

/// Whose the identity is.
pub(super) async fn owner(
    db: &ClientWrapper,
    provider: &str,
    subject: &str,
) -> Result<Option<UserId>, Failure> {
    const SQL: &str = "SELECT user_id FROM identities WHERE provider = $1 AND subject = $2";
    let row = query_first(db, SQL, &[&provider, &subject]).await?;
    row.map(|row| Ok(UserId(row.try_get("user_id")?))).transpose()
}

/// At most two people who hold one of these addresses as a verified one.
pub(super) async fn verified_holders(
    db: &ClientWrapper,
    address_keys: &[String],
) -> Result<Vec<UserId>, Failure> {
    const SQL: &str = "
        SELECT DISTINCT i.user_id
          FROM emails e JOIN identities i USING (provider, subject)
         WHERE e.address_key = ANY ($1::text[]) AND e.verified
         LIMIT 2";
    let rows = query(db, SQL, &[&address_keys]).await?;
    rows.iter().map(|row| Ok(UserId(row.try_get("user_id")?))).collect()
}

/// Takes identities from a person: all of a provider, or one.
pub(super) async fn remove(
    db: &ClientWrapper,
    user: UserId,
    provider: &str,
    subject: Option<&str>,
) -> Result<(), Failure> {
    const SQL: &str = "
        DELETE FROM identities
         WHERE user_id = $1 AND provider = $2 AND ($3::text IS NULL OR subject = $3)";
    execute(db, SQL, &[&user.0, &provider, &subject]).await?;
    Ok(())
}

/// Takes all identities from a person, with their addresses.
pub(super) async fn remove_all(db: &ClientWrapper, user: UserId) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM identities WHERE user_id = $1";
    execute(db, SQL, &[&user.0]).await?;
    Ok(())
}

/// Inserts an identity without addresses; `false` if it belongs to an account already.
pub(super) async fn insert(
    db: &ClientWrapper,
    identity: &IdentityRefresh,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "
        INSERT INTO identities (provider, subject, user_id, created_at, last_used_at)
        VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (provider, subject) DO NOTHING";
    let (provider, subject) = (&identity.provider, &identity.subject);
    Ok(execute(db, SQL, &[provider, subject, &user.0, &now.millis()]).await? == 1)
}

/// Notes that the identity was used.
pub(super) async fn touch(
    db: &ClientWrapper,
    identity: &IdentityRefresh,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str =
        "UPDATE identities SET last_used_at = $3 WHERE provider = $1 AND subject = $2";
    execute(db, SQL, &[&identity.provider, &identity.subject, &now.millis()]).await?;
    Ok(())
}

/// Replaces the addresses of an identity by those that the provider told this time.
pub(super) async fn replace_emails(
    db: &ClientWrapper,
    identity: &IdentityRefresh,
) -> Result<(), Failure> {
    const REMOVE: &str = "
        DELETE FROM emails WHERE provider = $1 AND subject = $2 AND address <> ALL ($3::text[])";
    const KEEP: &str = "
        INSERT INTO emails (provider, subject, address, address_key, verified, position)
        SELECT $1, $2, e.address, e.address_key, e.verified, e.position::integer
          FROM unnest($3::text[], $4::text[], $5::boolean[])
               WITH ORDINALITY AS e (address, address_key, verified, position)
        ON CONFLICT (provider, subject, address) DO UPDATE
           SET address_key = EXCLUDED.address_key, verified = EXCLUDED.verified,
               position = EXCLUDED.position";
    let emails = distinct(&identity.emails);
    let addresses: Vec<&str> = emails.iter().map(|email| email.address.as_str()).collect();
    let keys: Vec<String> =
        emails.iter().map(|email| Email::comparison_key(&email.address)).collect();
    let verified: Vec<bool> = emails.iter().map(|email| email.verified).collect();
    let (provider, subject) = (&identity.provider, &identity.subject);
    let told: Parameters<'_> = &[provider, subject, &addresses, &keys, &verified];
    try_join!(execute(db, REMOVE, &told[..3]), execute(db, KEEP, told))?;
    Ok(())
}

/// Each address once, in the order told; verified if it is so anywhere.
fn distinct(emails: &[Email]) -> Vec<Email> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut result: Vec<Email> = Vec::new();
    for email in emails {
        match seen.get(email.address.as_str()) {
            Some(&index) => result[index].verified |= email.verified,
            None => {
                seen.insert(&email.address, result.len());
                result.push(email.clone());
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_told_twice_is_kept_once_and_verified_if_it_was_once() {
        let email = |address: &str, verified| Email {
            address: address.to_owned(),
            verified,
            provider: "google".to_owned(),
        };
        let told = [email("b@x", false), email("a@x", false), email("b@x", true)];
        assert_eq!(distinct(&told), [email("b@x", true), email("a@x", false)]);
    }
}
