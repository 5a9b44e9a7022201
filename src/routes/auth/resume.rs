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
use crate::routes::pages::places::{self, Place};
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
    description: "For pages, which are not sent the refresh cookie. It always leads back, unless the sign-in is \
        wished; the cookie that marks the outcome is kept for 30 seconds.",
    access: Access::Visitor,
    parameters: &[
        Parameter::query("return_to", "Where to go back to; `/` without it."),
        Parameter::query(
            "sign_in",
            "`true` leads on to the sign-in, and from there back, where nobody is signed in.",
        ),
    ],
    answers: &[Answer::redirect(
        303,
        "Back, whether somebody is signed in or not; or on to the sign-in, where that is wished.",
    )
    .with(&[Header::Sets(&[Kind::Access, Kind::Refresh, Kind::Resume])])],
    errors: &[ErrorCode::InvalidField, ErrorCode::InvalidReturnTo],
    ..Operation::PLAIN
};

/// `GET /auth/resume?return_to=…&sign_in=true`: back to `return_to`, with a marker of the outcome; where
/// nobody is signed in and that is wished, on to the sign-in.
///
/// # Errors
/// `invalid_return_to`, `invalid_field`; 503 if it cannot be known whether there is a session.
pub async fn resume(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let target =
        return_to::check_at_once(query.get("return_to").unwrap_or("/"), &app.settings.server)?;
    let leads_to_sign_in = match query.get("sign_in") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            let detail = "sign_in is true or false.";
            return Err(ApiError::new(ErrorCode::InvalidField, detail).field("sign_in"));
        }
    };
    let mut answer = HttpResponse::SeeOther();
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
    let location = match outcome {
        Outcome::SignedOut if leads_to_sign_in => {
            // What is too long to be kept until then is not come back to.
            let back = return_to::can_be_kept(&target).then_some(("return_to", target.as_str()));
            places::address(&app, Place::Login, back.as_slice())
        }
        Outcome::SignedOut | Outcome::Refreshed => target,
    };
    answer.insert_header((LOCATION, location));
    let marker = app.cookies.set(Kind::Resume, outcome.as_str().to_owned(), MARKER_LIFE);
    Ok(answer.cookie(marker).finish())
}
