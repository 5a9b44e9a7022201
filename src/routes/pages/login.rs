//! `/`, `/login` and `/signed-out`.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::places::{self, Place};
use super::response::page;
use super::text::Notice;
use super::views::{Login, ProviderButton, SignedOut};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::auth::start::{LONGEST_HINT, PROMPTS};
use crate::routes::cookies::Kind;
use crate::routes::openapi::operation::{Access, Answer, Operation, Parameter, Tag};
use crate::routes::parameters::Parameters;
use crate::routes::return_to;

/// How `GET /` is described.
pub const HOME: Operation = Operation {
    id: "show_home",
    tag: Tag::Pages,
    summary: "The way in",
    answers: &[Answer::redirect(303, "To the account, which leads on to the sign-in if need be.")],
    ..Operation::PLAIN
};

/// `GET /`: leads to the account, which leads on to the sign-in if need be.
pub async fn home(app: Data<App>) -> HttpResponse {
    redirect(places::address(&app, Place::Account, &[]))
}

/// 303 to `location`.
pub fn redirect(location: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// How `GET /login` is described.
pub const LOGIN: Operation = Operation {
    id: "show_login",
    tag: Tag::Pages,
    summary: "Choose a way to sign in",
    access: Access::Visitor,
    parameters: &[
        Parameter::query("return_to", "Where the person goes afterwards."),
        Parameter::query("prompt", "Passed on to the provider."),
        Parameter::query("max_age", "Passed on to the provider."),
        Parameter::query("login_hint", "Passed on to the provider."),
        Parameter::query("not_answering", "A provider that has just failed."),
        Parameter::query("deleted", "`true` after an account was deleted."),
    ],
    answers: &[Answer::page("The page.")],
    errors: &[ErrorCode::InvalidReturnTo],
    ..Operation::PLAIN
};

/// `GET /login?return_to=…&prompt=…&max_age=…&login_hint=…&not_answering=…&deleted=…`: one button a
/// provider, which passes the first four on.
///
/// # Errors
/// `invalid_return_to`.
pub async fn login(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let return_to = query
        .get("return_to")
        .map(|target| return_to::check(target, &app.settings.server))
        .transpose()?;
    let further = further(&query);
    let silent = query.get("not_answering").filter(|name| app.providers.get(name).is_some());
    // Nobody who is signed in is told that by a stranger's link.
    let is_deleted =
        query.get("deleted") == Some("true") && app.cookies.read(&request, Kind::Access)?.is_none();
    if app.settings.server.frontend_url.is_some() {
        let return_to = return_to.iter().map(|target| ("return_to", target.as_str()));
        let further = further.iter().map(|(name, value)| (*name, value.as_str()));
        let silent = silent.iter().map(|name| ("not_answering", *name));
        let deleted = is_deleted.then_some(("deleted", "true"));
        let query: Vec<_> = return_to.chain(further).chain(silent).chain(deleted).collect();
        return Ok(redirect(places::address(&app, Place::Login, &query)));
    }
    let last = app.cookies.read(&request, Kind::LastProvider)?;
    let providers = app
        .providers
        .iter()
        .map(|provider| ProviderButton {
            name: &provider.settings().name,
            display_name: &provider.settings().display_name,
            last_used: last == Some(provider.settings().name.as_str()),
            not_answering: silent == Some(provider.settings().name.as_str()),
        })
        .collect();
    let notice = if silent.is_some() {
        Some(Notice::ProviderSilent)
    } else if is_deleted {
        Some(Notice::AccountDeleted)
    } else {
        asks_for_fresh_sign_in(&further).then_some(Notice::ConfirmIdentity)
    };
    // Without a wish, the person comes to see the account.
    let return_to = return_to.as_deref().or(Some("/account"));
    let view = Login { site: &app.site, notice, providers, return_to, further };
    Ok(page(StatusCode::OK, &view))
}

/// What the start of a sign-in takes beside `return_to`. What it would refuse is left out: a person
/// who follows a clumsy link can still sign in.
fn further(query: &Parameters) -> Vec<(&'static str, String)> {
    PASSED_ON
        .into_iter()
        .filter_map(|name| Some((name, query.get(name)?)))
        .filter(|(name, value)| is_legal(name, value))
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

/// The parameters that the buttons pass on.
const PASSED_ON: [&str; 3] = ["prompt", "max_age", "login_hint"];

fn is_legal(name: &str, value: &str) -> bool {
    match name {
        "prompt" => value.split(' ').all(|word| PROMPTS.contains(&word)),
        // A number in Rust may have a sign, too.
        "max_age" => {
            value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok()
        }
        _ => value.len() <= LONGEST_HINT,
    }
}

fn asks_for_fresh_sign_in(further: &[(&str, String)]) -> bool {
    further
        .iter()
        .any(|(name, value)| *name == "prompt" && value.split(' ').any(|word| word == "login"))
}

/// How `GET /signed-out` is described.
pub const SIGNED_OUT: Operation = Operation {
    id: "show_signed_out",
    tag: Tag::Pages,
    summary: "The farewell",
    parameters: &[Parameter::query("everywhere", "`true` after all sessions were ended.")],
    answers: &[Answer::page("The page.")],
    ..Operation::PLAIN
};

/// `GET /signed-out`.
///
/// # Errors
/// Those of a malformed query.
pub async fn signed_out(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    if app.settings.server.frontend_url.is_some() {
        return Ok(redirect(places::address(&app, Place::SignedOut, &[])));
    }
    let everywhere = query.get("everywhere") == Some("true");
    Ok(page(StatusCode::OK, &SignedOut { site: &app.site, everywhere }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_on(query: &str) -> Vec<(&'static str, String)> {
        further(&Parameters::parse(query).unwrap())
    }

    #[test]
    fn only_what_the_start_of_a_sign_in_takes_is_passed_on() {
        let own = |name, value: &str| (name, value.to_owned());
        let all = passed_on("max_age=900&login_hint=r%40example.com&prompt=login+consent&scope=x");
        assert_eq!(
            all,
            [
                own("prompt", "login consent"),
                own("max_age", "900"),
                own("login_hint", "r@example.com")
            ]
        );
        for left_out in [
            "prompt=none",
            "prompt=login++consent",
            "prompt=LOGIN",
            "max_age=-1",
            "max_age=%2B1",
            "max_age=18446744073709551616",
            &format!("login_hint={}", "a".repeat(321)),
        ] {
            assert_eq!(passed_on(left_out), [], "{left_out}");
        }
    }

    #[test]
    fn only_a_wish_for_a_fresh_sign_in_is_explained() {
        assert!(asks_for_fresh_sign_in(&passed_on("prompt=consent+login")));
        assert!(!asks_for_fresh_sign_in(&passed_on("prompt=consent")));
        assert!(!asks_for_fresh_sign_in(&passed_on("login_hint=login")));
    }
}
