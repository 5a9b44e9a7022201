//! What a person does with an account: makes it, changes it, deletes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::browser::{Answer, Body, Browser, Cookie};
use super::html::Form;
use super::{Outcome, Scene, check, failure, fresh_name, provider, soon, text_of};

/// A picture of 16 × 16 points.
const PICTURE: &str = "\
    iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAABlklEQVR42hXRURVEIQhFUSMYgQhGMAIRiGCEE8EIRi\
    ACEYhABCLMG7/ZrMt1jMEcyGAN9kAHNjgDBnfwBj6IQQ5q0IMxJnMikzXZE53Y5EyY3Mmb+CQmOalJzw8IUxBhCVtQ\
    wYQjIFzhCS6EkEIJLR9YzIUs1mIvdGGLs2BxF2/hi1jkoha9PrCZG9mszd7oxjZnw+Zu3sY3sclNbXp/QJmKKEvZii\
    qmHAXlKk9xJZRUSmn9gDENMZaxDTXMOAbGNZ7hRhhplNH2gcM8yGEd9kEPdjgHDvfwDn6IQx7q0OcD/wK/Sr4jv9hf\
    kG/1N/x/Fx44BCQU9Pc94zIvclmXfdGLXc79j9/Lu/glLnmpS98PPOZDHuuxH/qwx3n/5ffxHv6IRz7q0e8DznTEWc\
    521DHn+D/KdZ7jTjjplNP+gWAGEqxgBxpYcOIf/AYv8CCCDCro+EAyE0lWshNNLDn5P/MmL/Ekkkwq6fxAMQspVrEL\
    Law49S/lFq/wIoosquj6QDMbaVazG22sOf2v8Dav8SaabKrp5geIAnAQC3NfwAAAAABJRU5ErkJggg==";

/// Somebody who has an account and is signed in.
pub struct Person {
    /// Their name at the provider.
    pub name: String,
    /// Their username.
    pub username: String,
    /// Their id.
    pub id: String,
    /// Where they are signed in.
    pub browser: Browser,
    /// What answered when the account was made.
    pub created: Answer,
}

/// Somebody new, who chooses the username that they have at the provider; deleted when the test ends.
pub async fn sign_up(scene: &Scene) -> Outcome<Person> {
    let name = fresh_name();
    let browser = scene.browser()?;
    let page = provider::sign_in(&browser, &scene.provider, &name, "/account").await?;
    let created = choose_username(&browser, page, &name).await?;
    let me = browser.get("/auth/me").await?.expect(StatusCode::OK)?.json()?;
    let (id, username) = (text_of(&me, "id")?.to_owned(), text_of(&me, "username")?.to_owned());
    scene.remember_person(&name, browser.clone());
    Ok(Person { name, username, id, browser, created })
}

/// Signs somebody in who may have no account yet.
pub async fn sign_in_or_up(scene: &Scene, browser: &Browser, name: &str) -> Outcome {
    let page = provider::sign_in(browser, &scene.provider, name, "/account").await?;
    if page.url.path() == "/onboarding" {
        choose_username(browser, page, name).await?;
    }
    browser.get("/auth/me").await?.expect(StatusCode::OK)?;
    Ok(())
}

/// Fills in the page on which a new person chooses a username; the answer that makes the account.
async fn choose_username(browser: &Browser, page: Answer, username: &str) -> Outcome<Answer> {
    if page.url.path() != "/onboarding" {
        return failure(format!("{page}; the page to choose a username was expected"));
    }
    let page = page.expect(StatusCode::OK)?;
    let Some(mut form) = Form::to(&page.text(), "/auth/form/setup") else {
        return failure(format!("{page}; it has no form to choose a username"));
    };
    form.fill("username", username);
    browser.submit(&page.url, &form).await?.expect(StatusCode::SEE_OTHER)
}

/// Signs somebody in again, and deletes their account.
pub async fn come_back_and_delete(scene: &Scene, name: &str) -> Outcome {
    let browser = scene.browser()?;
    let page = provider::sign_in(&browser, &scene.provider, name, "/account").await?;
    if page.url.path() == "/onboarding" {
        return Ok(()); // it is deleted already
    }
    browser.send(Method::DELETE, "/auth/me", Body::None).await?.expect(StatusCode::NO_CONTENT)?;
    Ok(())
}

/// From the sign-in page to the account page, by forms alone.
pub async fn a_newcomer_signs_up_by_pages_without_a_script(scene: &Scene) -> Outcome {
    let browser = scene.browser()?;
    let login = browser.page("/login").await?.expect(StatusCode::OK)?;
    let way = format!("/auth/{}", scene.provider);
    check(login.text().contains(&way), || format!("{login}; no way to {way} is on it"))?;
    check(!login.text().contains("<script"), || format!("{login}; it has a script"))?;

    let name = fresh_name();
    let page = provider::sign_in(&browser, &scene.provider, &name, "/account").await?;
    let created = choose_username(&browser, page, &name).await?;
    let account = browser.follow(created).await?.expect(StatusCode::OK)?;
    scene.remember_person(&name, browser);
    check(account.url.path() == "/account", || format!("{account}; the account was expected"))?;
    check(account.text().contains(&name), || format!("{account}; the username is not on it"))?;

    // Somebody else cannot have the name, whatever its case.
    let stranger = scene.browser()?;
    let asked = format!("/auth/username-available?username={}", name.to_uppercase());
    let answer = stranger.get(&asked).await?.expect(StatusCode::OK)?;
    check(answer.json()?["available"] == false, || format!("{answer}; the name is still there"))
}

/// Names and attributes of the session's cookies.
pub async fn cookies_are_as_strict_as_the_address_allows(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let cookies = person.created.cookies();
    let named = |ends: &str| -> Outcome<&Cookie> {
        cookies
            .iter()
            .find(|cookie| cookie.name.ends_with(ends) && !cookie.value.is_empty())
            .ok_or_else(|| format!("{}; it sets no cookie …{ends}", person.created))
    };
    for (ends, path) in [("_access", "path=/"), ("_refresh", "path=/auth")] {
        let cookie = named(ends)?;
        let lacks = |what: &str| {
            format!("the cookie {} is {}: {what}", cookie.name, cookie.attributes.join("; "))
        };
        check(cookie.has("httponly"), || lacks("it is not HttpOnly"))?;
        check(cookie.has("samesite=lax") || cookie.has("samesite=none"), || {
            lacks("it has no SameSite")
        })?;
        check(cookie.has(path), || lacks("it has another path"))?;
        check(cookie.attributes.iter().any(|own| own.starts_with("max-age=")), || {
            lacks("it has no end")
        })?;
        let domain = cookie.attributes.iter().any(|own| own.starts_with("domain="));
        let prefix = match (scene.is_secure(), path) {
            (false, _) => "",
            (true, "path=/") if !domain => "__Host-",
            (true, _) => "__Secure-",
        };
        check(cookie.has("secure") == scene.is_secure(), || lacks("Secure goes with https"))?;
        check(cookie.name.starts_with(prefix), || lacks(&format!("{prefix} is missing")))?;
        check(scene.is_secure() || !cookie.name.starts_with("__"), || {
            lacks("browsers refuse this name without https")
        })?;
    }
    // What the form of another site sends is refused.
    let url = format!("{}/auth/refresh", scene.target.url);
    let refresh = person.browser.cookie("/auth/refresh", "_refresh");
    let refresh = refresh.ok_or("the browser keeps no refresh cookie")?;
    let foreign = [
        super::browser::cookie_header(&refresh),
        ("origin", "https://elsewhere.example".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
    ];
    scene
        .caller
        .ask(Method::POST, &url, &foreign, Body::None)
        .await?
        .expect(StatusCode::FORBIDDEN)?;
    Ok(())
}

/// Display name, username, picture; the picture is fetched where its address says.
pub async fn a_person_changes_names_and_picture(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let browser = &person.browser;
    let shown = "End To End שלום";
    let patch = Body::Json(json!({ "display_name": shown }));
    let me = browser.send(Method::PATCH, "/auth/me", patch).await?.expect(StatusCode::OK)?;
    check(me.json()?["display_name"] == shown, || format!("{me}; another display name"))?;
    // The same by the form of the account page.
    let account = browser.page("/account").await?.expect(StatusCode::OK)?;
    check(account.text().contains(shown), || format!("{account}; the name is not on it"))?;
    let form = Form::to(&account.text(), "/auth/form/profile");
    let mut form = form.ok_or_else(|| format!("{account}; it has no form for the name"))?;
    form.fill("display_name", "By a form");
    browser.submit(&account.url, &form).await?.expect(StatusCode::SEE_OTHER)?;
    let me = browser.get("/auth/me").await?.expect(StatusCode::OK)?.json()?;
    check(me["display_name"] == "By a form", || "the form changed nothing".to_owned())?;

    let other = fresh_name();
    let patch = Body::Json(json!({ "username": other }));
    let changed = browser.send(Method::PATCH, "/auth/me/username", patch).await?;
    // Some deployments do not allow it; nobody can do it twice within the cooldown.
    if changed.status != StatusCode::FORBIDDEN {
        let changed = changed.expect(StatusCode::OK)?;
        check(changed.json()?["username"] == other.as_str(), || {
            format!("{changed}; another name")
        })?;
        let claims = super::tokens::unverified(&access_token(browser)?)?;
        check(claims["username"] == other.as_str(), || {
            "the access token still has the former name".to_owned()
        })?;
    }

    let picture = STANDARD.decode(PICTURE).map_err(|error| error.to_string())?;
    let upload = Body::File("file", "image/png", picture);
    let me = browser.send(Method::POST, "/auth/me/avatar", upload).await?.expect(StatusCode::OK)?;
    let me = me.json()?;
    let address = browser.url(text_of(&me, "avatar_url")?)?;
    let shown = scene.caller.ask(Method::GET, address.as_str(), &[], Body::None).await?;
    let shown = shown.expect(StatusCode::OK)?;
    shown.has("content-type", "image/")?;
    check(shown.body.len() > 100, || format!("{shown}; it is no picture"))?;
    let garbage = Body::File("file", "image/png", b"no picture at all".to_vec());
    browser
        .send(Method::POST, "/auth/me/avatar", garbage)
        .await?
        .expect(StatusCode::UNSUPPORTED_MEDIA_TYPE)?;
    browser
        .send(Method::DELETE, "/auth/me/avatar", Body::None)
        .await?
        .expect(StatusCode::NO_CONTENT)?;
    let me = browser.get("/auth/me").await?.expect(StatusCode::OK)?.json()?;
    check(me["avatar_url"].is_null(), || "the picture is still there".to_owned())
}

/// By the page that asks for the username; nothing opens the account afterwards.
pub async fn an_account_is_deleted_by_its_person(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let browser = &person.browser;
    let data = browser.get("/auth/me/export").await?.expect(StatusCode::OK)?.json()?;
    check(data["account"]["id"] == person.id.as_str(), || "the data are not theirs".to_owned())?;
    let token = access_token(browser)?;
    let page = browser.page("/account/delete").await?.expect(StatusCode::OK)?;
    let form = Form::to(&page.text(), "/auth/form/delete");
    let mut form = form.ok_or_else(|| format!("{page}; it has no form to delete the account"))?;
    form.fill("username", "somebody-else");
    browser.submit(&page.url, &form).await?.expect(StatusCode::UNPROCESSABLE_ENTITY)?;
    form.fill("username", &person.username);
    let gone = browser.submit(&page.url, &form).await?.expect(StatusCode::SEE_OTHER)?;
    browser.follow(gone).await?.expect(StatusCode::OK)?;
    browser.get("/auth/me").await?.expect(StatusCode::UNAUTHORIZED)?;
    let url = format!("{}/auth/me", scene.target.url);
    let bearer = ("authorization", format!("Bearer {token}"));
    soon(scene, "the token of a deleted account is refused", || async {
        let bearer = [bearer.clone()];
        let answer = scene.caller.ask(Method::GET, &url, &bearer, Body::None).await?;
        Ok(answer.status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    // Who comes again is somebody new.
    let again = scene.browser()?;
    let page = provider::sign_in(&again, &scene.provider, &person.name, "/account").await?;
    check(page.url.path() == "/onboarding", || format!("{page}; a new account was expected"))
}

/// The access token that a browser holds in a cookie.
pub fn access_token(browser: &Browser) -> Outcome<String> {
    let cookie = browser.cookie("/", "_access");
    cookie.map(|(_, token)| token).ok_or_else(|| "the browser keeps no access cookie".to_owned())
}
