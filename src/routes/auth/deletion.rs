//! The end of an account.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::logout::{SESSION_COOKIES, cleared};
use crate::actors::db_writer::apply;
use crate::actors::outbox::Wake;
use crate::actors::revocations::Add;
use crate::app::App;
use crate::avatars::name::AvatarName;
use crate::clock::Timestamp;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Tag};
use crate::routes::session::{self, check_recent};
use crate::routes::{csrf, edge};
use crate::store::model::{Actor, AuditEntry, FamilyWithUser, Revocation, User, UserId};
use crate::store::operation::{DeleteUser, DeleteUserOutcome};

/// A token may be signed for a moment longer: by a refresh that was committed just before.
const BEING_SIGNED: Duration = Duration::from_secs(60);

/// The step in which the end of a hold is told.
const HOUR: Duration = Duration::from_secs(3_600);

/// How `DELETE /auth/me` is described.
pub const DELETE_ME: Operation = Operation {
    id: "delete_me",
    tag: Tag::Account,
    summary: "Delete the account",
    description: "Needs a sign-in of the last 15 minutes. The id is never used again; the name is held for \
        `usernames.hold`.",
    access: Access::Session,
    answers: &[Answer::empty(204, "It is deleted, and its sessions have ended.")
        .with(&[Header::Clears(SESSION_COOKIES)])],
    errors: &[ErrorCode::ReauthenticationRequired, ErrorCode::LastAdmin],
    ..Operation::PLAIN
};

/// `DELETE /auth/me`: deletes the account of the person who is signed in; 204, and the cookies cleared.
///
/// # Errors
/// `csrf_rejected`, `unauthenticated`, those of [`delete`].
pub async fn delete_me(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let live = session::live(&request, &app).await?.ok_or_else(session::unauthenticated)?;
    delete(&request, &app, &live).await?;
    Ok(cleared(&app, HttpResponse::NoContent()))
}

/// Deletes the account of a session's person. When it answers, this node refuses their tokens.
///
/// # Errors
/// `reauthentication_required` if the sign-in is older than 15 minutes; `last_admin`;
/// `unauthenticated` if the session has ended meanwhile; 503 if the end could not be stored.
pub async fn delete(
    request: &HttpRequest,
    app: &App,
    live: &FamilyWithUser,
) -> Result<(), ApiError> {
    let now = app.clock.now();
    check_recent(live.family.auth_time, now, "/account")?;
    let user = live.user.id;
    // Without the address: it would be the first personal value of a person who is gone.
    let mut entry = AuditEntry::new(now, Actor::User(user), "user.deleted", format!("user:{user}"));
    entry.request_id = Some(edge::request_id(request));
    let Times { held_until, tokens_live_until } = Times::of(app, now);
    let write = DeleteUser {
        user,
        asked_in: Some(live.family.id),
        by_admin: false,
        held_until,
        tokens_live_until,
        audit: entry,
    };
    match apply(&app.writer, write).await? {
        DeleteUserOutcome::Deleted { avatar, revocations } => {
            finish(app, &live.user, avatar, revocations).await
        }
        DeleteUserOutcome::NotAllowed => Err(session::unauthenticated()),
        DeleteUserOutcome::LastAdmin => Err(ApiError::new(
            ErrorCode::LastAdmin,
            "You are the only admin, and nobody could run this service without one. Make somebody else an admin first.",
        )),
    }
}

/// Until when something stays that a deletion leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The person's name is held; `None` frees it at once.
    pub held_until: Option<Timestamp>,
    /// The last token that names the person has expired.
    pub tokens_live_until: Timestamp,
}

impl Times {
    /// Of a deletion at this moment.
    pub fn of(app: &App, now: Timestamp) -> Self {
        let tokens_live_for = session::tokens_live_for(app.settings.tokens.access_ttl);
        Self {
            held_until: held_until(now, app.settings.usernames.hold),
            tokens_live_until: now.plus(tokens_live_for).plus(BEING_SIGNED),
        }
    }
}

/// What comes after the deletion of a person, as they were before: this node refuses their tokens, their apps
/// are told, their pictures go.
///
/// # Errors
/// 503; they are deleted all the same, and it is known within a second.
pub async fn finish(
    app: &App,
    person: &User,
    avatar: Option<String>,
    revocations: Vec<Revocation>,
) -> Result<(), ApiError> {
    app.outbox.tell(Wake);
    app.revocations.ask(Add(revocations)).await?;
    remove_pictures(app, person.id, avatar.as_ref().or(person.avatar.as_ref())).await;
    Ok(())
}

/// Rounded up to the hour: to the millisecond it would tell which of the deleted people had the name.
fn held_until(now: Timestamp, hold: Duration) -> Option<Timestamp> {
    let hour = i64::try_from(HOUR.as_secs()).ok()?;
    let end = now.plus(hold).plus(HOUR).minus(Duration::from_millis(1)).seconds();
    (!hold.is_zero()).then(|| Timestamp::from_seconds(end.div_euclid(hour) * hour))
}

/// The account is gone whether this works or not: what is left is no more than a file without an owner.
async fn remove_pictures(app: &App, user: UserId, avatar: Option<&String>) {
    let Some(name) = avatar.and_then(|avatar| AvatarName::parse(avatar)) else { return };
    if let Err(error) = app.avatars.remove(name).await {
        tracing::warn!(%user, %error, "the pictures of a deleted account could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_with_a_full_hour_and_never_early() {
        let now = Timestamp::from_millis(3_600_000 * 10 + 1);
        for (hold, hours) in [(1, 11), (3_599, 11), (3_600, 12)] {
            let expected = Timestamp::from_seconds(3_600 * hours);
            assert_eq!(held_until(now, Duration::from_secs(hold)), Some(expected), "{hold}");
        }
        let full = Timestamp::from_seconds(36_000);
        assert_eq!(held_until(full, HOUR), Some(full.plus(HOUR)));
        assert_eq!(held_until(now, Duration::ZERO), None);
    }
}
