//! An app that people sign in to: registered by an admin, and a client like any other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use super::browser::{Answer, Body, Browser, fields};
use super::html::Form;
use super::{Outcome, Scene, check, failure, fresh_secret, provider, soon, text_of, tokens};

/// Where the app is called back. Nobody listens: the browser of this test stops before it.
const CALLBACK: &str = "http://127.0.0.1:9/callback";
const FAREWELL: &str = "http://127.0.0.1:9/farewell";
const SCOPE: &str = "openid profile email";

/// A registered app.
pub struct App {
    /// Its id.
    pub id: String,
    secret: String,
}

/// What it got for a person.
pub struct Granted {
    /// Its access token.
    pub access: String,
    /// Its refresh token.
    pub refresh: String,
    /// Its ID token.
    pub id: String,
}

impl Granted {
    fn of(answer: &Answer) -> Outcome<Self> {
        let body = answer.json()?;
        let token = |member: &str| text_of(&body, member).map(str::to_owned);
        answer.has("cache-control", "no-store")?;
        Ok(Self {
            access: token("access_token")?,
            refresh: token("refresh_token")?,
            id: token("id_token")?,
        })
    }
}

impl App {
    /// Registers it by the admin interface; removed when the test ends.
    pub async fn register(scene: &Scene) -> Outcome<Self> {
        let wanted = json!({
            "client_name": "End-to-end test",
            "redirect_uris": [CALLBACK],
            "post_logout_redirect_uris": [FAREWELL],
            "grant_types": ["authorization_code", "refresh_token"],
            "scope": SCOPE,
        });
        let answer = scene.administer(Method::POST, "/admin/clients", Body::Json(wanted)).await?;
        let registered = answer.expect(StatusCode::CREATED)?.json()?;
        let id = text_of(&registered, "client_id")?.to_owned();
        scene.remember_client(&id);
        Ok(Self { id, secret: text_of(&registered, "client_secret")?.to_owned() })
    }

    /// Sends a form as the app, to the public origin or to a node.
    async fn send_to(
        &self,
        scene: &Scene,
        entrance: &str,
        path: &str,
        form: &[(&str, &str)],
    ) -> Outcome<Answer> {
        let credentials = STANDARD.encode(format!("{}:{}", self.id, self.secret));
        let headers = [("authorization", format!("Basic {credentials}")), scene.host()];
        let url = format!("{entrance}{path}");
        scene.caller.ask(Method::POST, &url, &headers, fields(form)).await
    }

    /// Sends a form as the app.
    pub async fn send(&self, scene: &Scene, path: &str, form: &[(&str, &str)]) -> Outcome<Answer> {
        self.send_to(scene, &scene.target.url, path, form).await
    }

    /// Refreshes at one of the entrances, again where it was told to try again.
    async fn refresh_at(&self, scene: &Scene, entrance: &str, token: &str) -> Outcome<Answer> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        for _ in 0..3 {
            let answer = self.send_to(scene, entrance, "/oauth/token", &form).await?;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                return Ok(answer);
            }
        }
        failure("POST /oauth/token answered 503 three times")
    }

    /// Refreshes.
    pub async fn refresh(&self, scene: &Scene, token: &str) -> Outcome<Answer> {
        self.refresh_at(scene, &scene.target.url, token).await
    }

    /// Where the app sends a browser to.
    fn authorization(&self, scene: &Scene, further: &[(&str, &str)]) -> Outcome<Url> {
        let mut url = Url::parse(&format!("{}/oauth/authorize", scene.target.url))
            .map_err(|error| error.to_string())?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.id)
            .append_pair("redirect_uri", CALLBACK)
            .append_pair("response_type", "code")
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(further);
        Ok(url)
    }

    /// A person who is signed in allows it: the code that comes back, its verifier and the nonce.
    async fn code(&self, scene: &Scene, browser: &Browser) -> Outcome<[String; 3]> {
        let (verifier, state, nonce) = (fresh_secret(), fresh_secret(), fresh_secret());
        let challenge = tokens::challenge(&verifier);
        let further = [
            ("scope", SCOPE),
            ("state", state.as_str()),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
        ];
        let asked = self.authorization(scene, &further)?;
        // Another node may hear of a new client a moment later.
        soon(scene, "a new client is known", || async {
            Ok(browser.page(asked.as_str()).await?.status != StatusCode::BAD_REQUEST)
        })
        .await?;
        let mut answer = browser.page(asked.as_str()).await?;
        for _ in 0..6 {
            answer = match answer.location() {
                Some(next) if next.as_str().starts_with(CALLBACK) => {
                    return Ok([came_back(scene, &next, &state)?, verifier, nonce]);
                }
                Some(next) => browser.page(next.as_str()).await?,
                None => agree(browser, answer).await?,
            };
        }
        failure(format!("{answer}; the way back to the app was expected"))
    }

    async fn redeem(&self, scene: &Scene, code: &str, verifier: &str) -> Outcome<Answer> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", verifier),
        ];
        self.send(scene, "/oauth/token", &form).await
    }

    /// A person who is signed in allows it; what it gets, with the nonce that it sent.
    pub async fn grant(&self, scene: &Scene, browser: &Browser) -> Outcome<(Granted, String)> {
        let [code, verifier, nonce] = self.code(scene, browser).await?;
        let answer = self.redeem(scene, &code, &verifier).await?;
        Ok((Granted::of(&answer.expect(StatusCode::OK)?)?, nonce))
    }
}

/// The code that a browser brings back to the app.
fn came_back(scene: &Scene, back: &Url, state: &str) -> Outcome<String> {
    let found = |name: &str| {
        back.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    };
    if let Some(error) = found("error") {
        return failure(format!("the app was told {error}"));
    }
    check(found("state").as_deref() == Some(state), || "another state came back".to_owned())?;
    check(found("iss").as_deref() == Some(&scene.target.url), || {
        "another issuer came back".to_owned()
    })?;
    found("code").ok_or_else(|| "no code came back".to_owned())
}

/// Says yes on the page that asks for consent.
async fn agree(browser: &Browser, page: Answer) -> Outcome<Answer> {
    let page = page.expect(StatusCode::OK)?;
    let form = Form::to(&page.text(), "/auth/form/consent");
    let mut form = form.ok_or_else(|| format!("{page}; the question for consent was expected"))?;
    form.fill("decision", "allow");
    browser.submit(&page.url, &form).await
}

async fn userinfo(scene: &Scene, token: &str) -> Outcome<Answer> {
    let url = format!("{}/oauth/userinfo", scene.target.url);
    let bearer = ("authorization", format!("Bearer {token}"));
    scene.caller.ask(Method::GET, &url, &[bearer], Body::None).await
}

/// Code with PKCE, verified tokens, refresh, userinfo, introspection, revocation, logout.
pub async fn an_app_signs_a_person_in_and_out(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let app = App::register(scene).await?;
    // Whoever has the code and not its verifier gets nothing.
    let [code, verifier, _] = app.code(scene, &person.browser).await?;
    let stolen = app.redeem(scene, &code, &tokens::challenge(&verifier)).await?;
    stolen.expect(StatusCode::BAD_REQUEST)?;
    let (granted, nonce) = app.grant(scene, &person.browser).await?;

    let keys = tokens::published(scene).await?;
    let id = tokens::verified(scene, &keys, &granted.id, "JWT", &app.id)?;
    check(id["nonce"] == nonce.as_str(), || "the ID token has another nonce".to_owned())?;
    check(id["sub"] == person.id.as_str(), || "the ID token is somebody else's".to_owned())?;
    let audience = tokens::unverified(&granted.access)?["aud"].clone();
    let audience =
        audience.as_str().or_else(|| audience[0].as_str()).unwrap_or_default().to_owned();
    let access = tokens::verified(scene, &keys, &granted.access, "at+jwt", &audience)?;
    check(access["client_id"] == app.id.as_str(), || "the access token is another's".to_owned())?;

    let known = userinfo(scene, &granted.access).await?.expect(StatusCode::OK)?.json()?;
    check(known["sub"] == person.id.as_str(), || "userinfo is somebody else's".to_owned())?;
    check(known["preferred_username"] == person.username.as_str(), || {
        "userinfo has another username".to_owned()
    })?;
    // It opens nothing of the account itself.
    let url = format!("{}/auth/me", scene.target.url);
    let bearer = ("authorization", format!("Bearer {}", granted.access));
    let own = scene.caller.ask(Method::GET, &url, &[bearer], Body::None).await?;
    own.expect(StatusCode::UNAUTHORIZED)?;

    let newer = Granted::of(&app.refresh(scene, &granted.refresh).await?.expect(StatusCode::OK)?)?;
    tokens::verified(scene, &keys, &newer.access, "at+jwt", &audience)?;
    let ask = |token: String| {
        let app = &app;
        async move {
            let answer = app.send(scene, "/oauth/introspect", &[("token", &token)]).await?;
            let body: Value = answer.expect(StatusCode::OK)?.json()?;
            Ok::<bool, String>(body["active"] == true)
        }
    };
    check(ask(newer.access.clone()).await?, || "a fresh access token is not active".to_owned())?;
    check(!ask("nonsense".to_owned()).await?, || "nonsense is active".to_owned())?;
    let revoked = app.send(scene, "/oauth/revoke", &[("token", &newer.access)]).await?;
    revoked.expect(StatusCode::OK)?;
    soon(scene, "a revoked access token is refused", || async {
        Ok(userinfo(scene, &newer.access).await?.status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    soon(scene, "a revoked access token is not active", || async {
        Ok(!ask(newer.access.clone()).await?)
    })
    .await?;

    // The person finds it in the account.
    let apps = person.browser.get("/auth/me/apps").await?.expect(StatusCode::OK)?.json()?;
    let mut listed = apps["items"].as_array().into_iter().flatten();
    check(listed.any(|item| item["client_id"] == app.id.as_str()), || {
        "the app is not in the account".to_owned()
    })?;

    // And signs out from there.
    let mut out = person.browser.url("/oauth/logout")?;
    out.query_pairs_mut()
        .append_pair("id_token_hint", &newer.id)
        .append_pair("post_logout_redirect_uri", FAREWELL)
        .append_pair("state", "over");
    let answer = person.browser.page(out.as_str()).await?.expect(StatusCode::SEE_OTHER)?;
    let back = answer.location().map(String::from).unwrap_or_default();
    check(back == format!("{FAREWELL}?state=over"), || {
        format!("{answer}; the way back to the app was expected")
    })?;
    person.browser.get("/auth/me").await?.expect(StatusCode::UNAUTHORIZED)?;

    // Who comes from the app without a session signs in, and comes back to it.
    let verifier = tokens::challenge(&fresh_secret());
    let asked = app.authorization(
        scene,
        &[("scope", SCOPE), ("state", "again"), ("code_challenge", &verifier)],
    )?;
    let login = person.browser.page(asked.as_str()).await?;
    let login = person.browser.follow(login).await?.expect(StatusCode::OK)?;
    check(login.url.path() == "/login", || format!("{login}; the sign-in was expected"))?;
    let page = login.text();
    let way = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|link| link.starts_with(&format!("/auth/{}?", scene.provider)))
        .ok_or_else(|| format!("{login}; no way to the provider is on it"))?
        .replace("&amp;", "&");
    let begun = person.browser.page(&way).await?;
    provider::sign_in_until(&person.browser, &scene.provider, &person.name, begun, CALLBACK)
        .await?;
    Ok(())
}

/// At whatever node: one successor for 32 at once, the last token again, an older one never.
pub async fn a_refresh_token_is_renewed_once_and_its_theft_is_found_out(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let app = App::register(scene).await?;
    let (granted, _) = app.grant(scene, &person.browser).await?;
    let entrances = scene.entrances();
    let token = granted.refresh.as_str();
    let asked = (0..32).map(|turn| app.refresh_at(scene, entrances[turn % entrances.len()], token));
    let mut successors = Vec::new();
    for answer in join_all(asked).await {
        successors.push(Granted::of(&answer?.expect(StatusCode::OK)?)?.refresh);
    }
    successors.sort();
    successors.dedup();
    let [second] = &successors[..] else {
        return failure(format!("one token got {} successors", successors.len()));
    };
    check(second != token, || "a refresh token was not renewed".to_owned())?;
    let third = Granted::of(&app.refresh(scene, second).await?.expect(StatusCode::OK)?)?;
    let again = Granted::of(&app.refresh(scene, second).await?.expect(StatusCode::OK)?)?;
    check(third.refresh == again.refresh, || {
        "a retry of the last token got another successor".to_owned()
    })?;
    let stolen = app.refresh(scene, token).await?.expect(StatusCode::BAD_REQUEST)?;
    check(stolen.json()?["error"] == "invalid_grant", || format!("{stolen}; another error"))?;
    app.refresh(scene, &third.refresh).await?.expect(StatusCode::BAD_REQUEST)?;
    soon(scene, "the access token of a grant that was stolen is refused", || async {
        Ok(userinfo(scene, &third.access).await?.status == StatusCode::UNAUTHORIZED)
    })
    .await
}

/// What is allowed, and whether it is there at all.
pub async fn what_an_admin_changes_about_an_app_counts(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let app = App::register(scene).await?;
    let (granted, _) = app.grant(scene, &person.browser).await?;
    let path = format!("/admin/clients/{}", app.id);
    let patch =
        json!({ "redirect_uris": ["http://127.0.0.1:9/elsewhere"], "client_name": "Changed" });
    let changed = scene.administer(Method::PATCH, &path, Body::Json(patch)).await?;
    check(changed.expect(StatusCode::OK)?.json()?["client_name"] == "Changed", || {
        "the name is not changed".to_owned()
    })?;
    let verifier = tokens::challenge(&fresh_secret());
    let asked = app.authorization(scene, &[("scope", "openid"), ("code_challenge", &verifier)])?;
    soon(scene, "a redirect URI that is not registered any more is refused", || async {
        Ok(person.browser.page(asked.as_str()).await?.status == StatusCode::BAD_REQUEST)
    })
    .await?;
    // Tokens live on; until it is removed.
    userinfo(scene, &granted.access).await?.expect(StatusCode::OK)?;
    scene.administer(Method::DELETE, &path, Body::None).await?.expect(StatusCode::NO_CONTENT)?;
    soon(scene, "the tokens of a client that was removed are refused", || async {
        Ok(userinfo(scene, &granted.access).await?.status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    soon(scene, "a client that was removed cannot refresh", || async {
        Ok(app.refresh(scene, &granted.refresh).await?.status == StatusCode::UNAUTHORIZED)
    })
    .await
}
