//! The signed-in person's picture: choosing another, and doing without.

use std::time::Duration;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::opening::audit;
use crate::actors::db_writer::{WriteError, apply};
use crate::actors::mailbox::AskError;
use crate::actors::picture_decoder::{EncodeError, NoPlace, Place, TakePlace, encode};
use crate::actors::pictures::give_up;
use crate::app::App;
use crate::avatars::image::PictureError;
use crate::avatars::name::AvatarName;
use crate::avatars::storage::StorageError;
use crate::config::settings::Avatars;
use crate::error::{ApiError, ErrorCode};
use crate::routes::csrf;
use crate::routes::multipart::{self, FILE, MultipartForm};
use crate::routes::openapi::operation::{Access, Answer, Body, Field, FieldKind, Operation, Tag};
use crate::routes::session::{Authenticated, UserBody, unauthenticated};
use crate::store::model::{User, UserId, UserStatus};
use crate::store::operation::{SetAvatar, SetAvatarOutcome};

/// How `POST /auth/me/avatar` is described.
pub const UPLOAD: Operation = Operation {
    id: "upload_avatar",
    tag: Tag::Account,
    summary: "Choose a picture",
    description: "PNG, JPEG, WebP or GIF; it is cut square, made smaller, and written anew without metadata.",
    access: Access::Person,
    body: Body::Multipart(&[Field::new(FILE, "The picture.").required().holding(FieldKind::File)]),
    answers: &[Answer::json::<UserBody>(200, "The person with the new `avatar_url`.")],
    ..Operation::PLAIN
};

/// `POST /auth/me/avatar` with one part `file`: 200 with the person and the new `avatar_url`.
///
/// # Errors
/// `csrf_rejected` and `unauthenticated` before anything is read; then those of [`receive`] and
/// [`replace`].
pub async fn upload(
    request: HttpRequest,
    session: Authenticated,
    payload: Payload,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let (_place, form) = receive(&request, payload, &app, session.claims.sub).await?;
    if form.fields.count() > 0 {
        return Err(ApiError::new(
            ErrorCode::InvalidRequest,
            format!("Send one part, “{FILE}”, and nothing else."),
        ));
    }
    let picture = form.file.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidField, format!("Send a picture as the part “{FILE}”."))
            .field(FILE)
    })?;
    let user = replace(&request, &app, session.claims.sub, picture).await?;
    let emails = app.store.read.emails(user.id).await?;
    Ok(HttpResponse::Ok().json(UserBody::new(&user, &app.settings).with_emails(emails)))
}

/// How `DELETE /auth/me/avatar` is described.
pub const DELETE: Operation = Operation {
    id: "remove_avatar",
    tag: Tag::Account,
    summary: "Do without a picture",
    access: Access::Person,
    answers: &[Answer::empty(204, "There is none, now or before.")],
    ..Operation::PLAIN
};

/// `DELETE /auth/me/avatar`: 204, also if there is none.
///
/// # Errors
/// `csrf_rejected`, and those of [`begin`] and [`remove`].
pub async fn delete(
    request: HttpRequest,
    session: Authenticated,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    csrf::check(&request, &app.settings.server)?;
    let user = session.claims.sub;
    let _place = begin(&app, user, 0).await?;
    remove(&request, &app, user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes a place for a change of a person's avatar, with a body of at most `bytes`. One person has one
/// at a time, so that of two pictures the objects of the right one are removed.
///
/// # Errors
/// `rate_limited` while another request changes it; `overloaded` if too many are under way.
pub async fn begin(app: &App, user: UserId, bytes: usize) -> Result<Place, ApiError> {
    app.picture_decoder.ask(TakePlace { user, bytes }).await?.map_err(|refusal| {
        let (code, detail) = match refusal {
            NoPlace::Occupied => (
                ErrorCode::RateLimited,
                "Another request is changing your picture. Wait until it is done, then try again.",
            ),
            NoPlace::Full => (ErrorCode::Overloaded, "Try again in a moment."),
        };
        ApiError::new(code, detail).retry_after(Duration::from_secs(1)).cause(refusal)
    })
}

/// Reads a form with a picture, once there is a place for it; the place is kept until the picture is
/// dealt with.
///
/// # Errors
/// Those of [`begin`] and [`multipart::read`].
pub async fn receive(
    request: &HttpRequest,
    payload: Payload,
    app: &App,
    user: UserId,
) -> Result<(Place, MultipartForm), ApiError> {
    let limit = app.settings.avatars.max_bytes;
    let place = match multipart::expected(request, limit) {
        Ok(bytes) => begin(app, user, bytes).await,
        Err(refusal) => Err(refusal),
    };
    match place {
        Ok(place) => Ok((place, multipart::read(request, payload, limit).await?)),
        Err(refusal) => {
            multipart::discard(request, payload).await;
            Err(refusal)
        }
    }
}

/// Makes a picture the avatar of a person and returns them with it. First its objects are stored, then
/// it is entered, then those of the former one go; what a crash in between leaves behind is swept.
///
/// # Errors
/// `unsupported_media_type` for what is no picture, `payload_too_large` for too many pixels,
/// `invalid_field` for a broken one; `unauthenticated` if the person is not active; `overloaded`,
/// `store_unavailable`, `temporarily_unavailable`.
pub async fn replace(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    picture: Bytes,
) -> Result<User, ApiError> {
    let settings = &app.settings.avatars;
    let encoding = encode(&app.picture_decoder, picture, settings.max_pixels);
    let avatar = encoding.await.map_err(|error| refused(error, settings))?;
    let name = AvatarName::new(user, &avatar);
    let read = app.store.read.as_ref();
    if let Err(error) = app.avatars.put(name, &avatar).await {
        give_up(read, &app.avatars, user, name).await;
        return Err(not_stored(error));
    }
    let former = match set(request, app, user, Some(name)).await {
        Ok(SetAvatarOutcome::Set { former }) => former,
        Ok(SetAvatarOutcome::NotAllowed) => {
            give_up(read, &app.avatars, user, name).await;
            return Err(unauthenticated());
        }
        Err(error) => {
            // With any other error the write may still be done, and the objects be needed.
            if matches!(error, WriteError::Ask(AskError::Full)) {
                give_up(read, &app.avatars, user, name).await;
            }
            return Err(error.into());
        }
    };
    remove_former(app, user, former, Some(name)).await;
    // Another node may have removed the same picture as a former one just before it was entered again.
    if !app.avatars.has(name).await.map_err(not_stored)? {
        app.avatars.put(name, &avatar).await.map_err(not_stored)?;
    }
    let person = read.user(user).await?;
    person.filter(|person| person.status == UserStatus::Active).ok_or_else(unauthenticated)
}

/// Takes the avatar of a person away, if they have one; its objects go after it.
///
/// # Errors
/// `unauthenticated` if the person is not active; `overloaded`, `store_unavailable`,
/// `temporarily_unavailable`.
pub async fn remove(request: &HttpRequest, app: &App, user: UserId) -> Result<(), ApiError> {
    match set(request, app, user, None).await? {
        SetAvatarOutcome::Set { former } => {
            remove_former(app, user, former, None).await;
            Ok(())
        }
        SetAvatarOutcome::NotAllowed => Err(unauthenticated()),
    }
}

async fn set(
    request: &HttpRequest,
    app: &App,
    user: UserId,
    avatar: Option<AvatarName>,
) -> Result<SetAvatarOutcome, WriteError> {
    let now = app.clock.now();
    let action = if avatar.is_some() { "user.avatar_changed" } else { "user.avatar_removed" };
    let audit = audit(request, app, user, action, now);
    let avatar = avatar.map(|name| name.to_string());
    apply(&app.writer, SetAvatar { user, avatar, now, audit }).await
}

/// Removes the objects of an avatar that was replaced. Whether that works changes no answer.
async fn remove_former(
    app: &App,
    user: UserId,
    former: Option<String>,
    present: Option<AvatarName>,
) {
    let former = former.and_then(|former| AvatarName::parse(&former));
    if let Some(former) = former.filter(|former| Some(*former) != present) {
        give_up(app.store.read.as_ref(), &app.avatars, user, former).await;
    }
}

fn not_stored(error: StorageError) -> ApiError {
    ApiError::new(ErrorCode::StoreUnavailable, "Try again in a moment; nothing is lost.")
        .retry_after(Duration::from_secs(1))
        .cause(error)
}

fn refused(error: EncodeError, settings: &Avatars) -> ApiError {
    let error = match error {
        EncodeError::Busy(busy) => return busy.into(),
        EncodeError::Picture(error) => error,
    };
    let most = settings.max_pixels;
    let (code, detail) = match &error {
        PictureError::Unknown => (
            ErrorCode::UnsupportedMediaType,
            "This is no picture that can be used here: choose a PNG, JPEG, WebP or GIF.".to_owned(),
        ),
        PictureError::TooManyPixels { width, height, .. } => (
            ErrorCode::PayloadTooLarge,
            format!(
                "The picture has {width} × {height} pixels, and at most {most} are allowed in all. Make it smaller."
            ),
        ),
        PictureError::TooExpensive => (
            ErrorCode::PayloadTooLarge,
            "The picture would take too much memory or time. Make it smaller, or save it in another format."
                .to_owned(),
        ),
        PictureError::Damaged(_) | PictureError::NotEncoded(_) => (
            ErrorCode::InvalidField,
            "The picture is damaged. Choose another, or save it anew as PNG, JPEG, WebP or GIF."
                .to_owned(),
        ),
    };
    ApiError::new(code, detail).field(FILE).cause(error)
}
