//! A session in a browser: renewed, listed, ended.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};

use super::browser::{Answer, Body, cookie_header};
use super::people::access_token;
use super::{Outcome, Scene, check, failure, provider, soon, text_of};

/// Refreshes with a cookie that was kept aside, at one of the entrances.
async fn refresh_with(scene: &Scene, entrance: &str, cookie: &(String, String)) -> Outcome<Answer> {
    let url = format!("{entrance}/auth/refresh");
    for _ in 0..3 {
        let headers =
            [cookie_header(cookie), ("sec-fetch-site", "same-origin".to_owned()), scene.host()];
        let answer = scene.caller.ask(Method::POST, &url, &headers, Body::None).await?;
        // Asking again is safe, and what a client does.
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return Ok(answer);
        }
    }
    failure("POST /auth/refresh answered 503 three times")
}

/// The refresh token that an answer sets.
fn successor(answer: &Answer) -> Option<(String, String)> {
    let cookies = answer.cookies().into_iter();
    cookies
        .filter(|cookie| cookie.name.ends_with("_refresh") && !cookie.value.is_empty())
        .map(|cookie| (cookie.name, cookie.value))
        .next()
}

/// One token in 32 tabs gets one successor, at whatever node; the token before it is answered again, an older one
/// ends the session. Where sessions rest for a while (tokens.session_grace) no successor comes at all.
pub async fn thirty_two_refreshes_at_once_get_one_successor(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let browser = &person.browser;
    let me = browser.get("/auth/me").await?.expect(StatusCode::OK)?.json()?;
    check(me["id"] == person.id.as_str(), || "somebody else is signed in".to_owned())?;
    let first = browser.cookie("/auth/refresh", "_refresh");
    let first = first.ok_or("the browser keeps no refresh cookie")?;

    let entrances = scene.entrances();
    let asked = (0..32).map(|turn| refresh_with(scene, entrances[turn % entrances.len()], &first));
    let mut successors = Vec::new();
    for answer in join_all(asked).await {
        let answer = answer?.expect(StatusCode::OK)?;
        check(answer.json()?["user"]["id"] == person.id.as_str(), || {
            format!("{answer}; somebody else")
        })?;
        successors.extend(successor(&answer));
    }
    successors.sort();
    successors.dedup();
    let second = match &successors[..] {
        [] => first.clone(),
        [one] => one.clone(),
        several => return failure(format!("one token got {} successors", several.len())),
    };
    if second == first {
        // It rests; it is good for another access token all the same.
        refresh_with(scene, entrances[0], &first).await?.expect(StatusCode::OK)?;
        return Ok(());
    }
    // The answer may have been lost: the last token is answered with its successor.
    let again = refresh_with(scene, entrances[0], &first).await?.expect(StatusCode::OK)?;
    check(successor(&again).is_none_or(|token| token == second), || {
        "a retry of the last token got another successor".to_owned()
    })?;
    let third = refresh_with(scene, entrances[0], &second).await?.expect(StatusCode::OK)?;
    let Some(third) = successor(&third).filter(|token| *token != second) else {
        return Ok(()); // the session rests from now on
    };
    // Whoever still uses the first one stole it, or was stolen from: nobody goes on.
    let stolen = refresh_with(scene, entrances[entrances.len() - 1], &first).await?;
    stolen.expect(StatusCode::UNAUTHORIZED)?;
    refresh_with(scene, entrances[0], &third).await?.expect(StatusCode::UNAUTHORIZED)?;
    Ok(())
}

/// The list tells two browsers apart, and ends one of them.
pub async fn a_person_sees_their_sessions_and_ends_one(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let elsewhere = scene.browser()?;
    provider::sign_in(&elsewhere, &scene.provider, &person.name, "/account").await?;
    let list = elsewhere.get("/auth/sessions").await?.expect(StatusCode::OK)?.json()?;
    let own = list["items"].as_array().into_iter().flatten().find(|item| item["current"] == true);
    let own = text_of(own.ok_or("the list does not say which session asks")?, "id")?.to_owned();
    let list = person.browser.get("/auth/sessions").await?.expect(StatusCode::OK)?.json()?;
    let known =
        list["items"].as_array().into_iter().flatten().any(|item| item["id"] == own.as_str());
    check(known, || "the other session is not listed".to_owned())?;
    let end = format!("/auth/sessions/{own}");
    person.browser.send(Method::DELETE, &end, Body::None).await?.expect(StatusCode::NO_CONTENT)?;
    soon(scene, "a session that was ended from elsewhere is refused", || async {
        Ok(elsewhere.get("/auth/me").await?.status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    elsewhere
        .send(Method::POST, "/auth/refresh", Body::None)
        .await?
        .expect(StatusCode::UNAUTHORIZED)?;
    person.browser.get("/auth/me").await?.expect(StatusCode::OK)?;
    Ok(())
}

/// Cookies are cleared, and what was copied of them before is refused.
pub async fn signing_out_ends_the_access_token_at_once(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let browser = &person.browser;
    let token = access_token(browser)?;
    let refresh = browser.cookie("/auth/refresh", "_refresh");
    let refresh = refresh.ok_or("the browser keeps no refresh cookie")?;
    let url = format!("{}/auth/me", scene.target.url);
    let ask = || async {
        let bearer = ("authorization", format!("Bearer {token}"));
        scene.caller.ask(Method::GET, &url, &[bearer], Body::None).await
    };
    ask().await?.expect(StatusCode::OK)?;
    let out = browser.send(Method::POST, "/auth/logout", Body::None).await?;
    let out = out.expect(StatusCode::NO_CONTENT)?;
    for ends in ["_access", "_refresh"] {
        let cleared = out
            .cookies()
            .iter()
            .any(|cookie| cookie.name.ends_with(ends) && cookie.has("max-age=0"));
        check(cleared, || format!("{out}; it does not clear the cookie …{ends}"))?;
    }
    soon(scene, "the access token of a session that was signed out is refused", || async {
        Ok(ask().await?.status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    let refused = refresh_with(scene, &scene.target.url, &refresh).await?;
    refused.expect(StatusCode::UNAUTHORIZED)?;
    let account = browser.page("/account").await?;
    let login = browser.follow(account).await?.expect(StatusCode::OK)?;
    check(login.url.path() == "/login", || format!("{login}; the sign-in was expected"))
}
