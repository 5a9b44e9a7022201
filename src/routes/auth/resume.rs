//! Pages are not sent the refresh cookie; this path is. It refreshes and leads back.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::refresh::rotate;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Header, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::{return_to, session};

/// What a resume came to, kept in a cookie for half a minute so that pages do not loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cookies were renewed: a page that still finds no session knows that they are not kept.
    Refreshed,
    /// There is no session to resume.
    SignedOut,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::SignedOut => "signed-out",
        }
    }

    /// The outcome of a resume that has just been, if the browser kept its marker.
    ///
    /// # Errors
    /// `duplicate_cookie`.
    pub fn of(request: &HttpRequest, app: &App) -> Result<Option<Self>, ApiError> {
        let value = app.cookies.read(request, Kind::Resume)?;
        Ok([Self::Refreshed, Self::SignedOut]
            .into_iter()
            .find(|outcome| Some(outcome.as_str()) == value))
    }
}

const MARKER_LIFE: Duration = Duration::from_secs(30);

/// How `GET /auth/resume` is described.
pub const RESUME: Operation = Operation {
    id: "resume_session",
    tag: Tag::SignIn,
    summary: "Renew the cookies on the way to a page",
    description: "For pages, which are not sent the refresh cookie. It always leads back; the cookie that marks \
        the outcome is kept for 30 seconds.",
    access: Access::Visitor,
    parameters: &[Parameter::query("return_to", "Where to go back to; `/` without it.")],
    answers: &[Answer::redirect(303, "Back, whether somebody is signed in or not.")
        .with(&[Header::Sets(&[Kind::Access, Kind::Refresh, Kind::Resume])])],
    errors: &[ErrorCode::InvalidReturnTo],
    ..Operation::PLAIN
};

/// `GET /auth/resume?return_to=…`: always back to `return_to`, with a marker of the outcome.
///
/// # Errors
/// `invalid_return_to`; 503 if it cannot be known whether there is a session.
pub async fn resume(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let target =
        return_to::check_at_once(query.get("return_to").unwrap_or("/"), &app.settings.server)?;
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((LOCATION, target));
    let outcome = match session::presented_refresh(&request, &app)? {
        None => Outcome::SignedOut,
        Some(presented) => match rotate(&request, &app, presented).await {
            Ok(rotated) => {
                let cookies = session::issue(&app, &rotated.live, app.clock.now())?;
                answer.cookie(cookies.access).cookie(cookies.refresh);
                Outcome::Refreshed
            }
            Err(ApiError { code: ErrorCode::SessionEnded | ErrorCode::AccountLocked, .. }) => {
                Outcome::SignedOut
            }
            Err(error) => return Err(error),
        },
    };
    let marker = app.cookies.set(Kind::Resume, outcome.as_str().to_owned(), MARKER_LIFE);
    Ok(answer.cookie(marker).finish())
}
