//! What admins do, and what others may not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::apps::App;
use super::browser::Body;
use super::people::access_token;
use super::{Outcome, Scene, check, failure, soon, text_of, tokens};

/// A person who is signed in, an app's token, and nobody at all.
pub async fn people_who_are_no_admins_are_refused(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    for path in ["/admin/users", "/admin/clients", "/admin/keys", "/admin/audit", "/admin/actors"] {
        person.browser.get(path).await?.expect(StatusCode::FORBIDDEN)?;
        scene.browser()?.get(path).await?.expect(StatusCode::UNAUTHORIZED)?;
        scene.administer(Method::GET, path, Body::None).await?.expect(StatusCode::OK)?;
    }
    // One admin looks, locks and unlocks; only whom this test made.
    let path = format!("/admin/users/{}", person.id);
    let shown = scene.administer(Method::GET, &path, Body::None).await?.expect(StatusCode::OK)?;
    check(shown.json()?["username"] == person.username.as_str(), || format!("{shown}; another"))?;
    let lock = format!("{path}/lock");
    scene.administer(Method::POST, &lock, Body::None).await?.expect(StatusCode::OK)?;
    soon(scene, "a locked person is refused", || async {
        Ok(person.browser.get("/auth/me").await?.status != StatusCode::OK)
    })
    .await?;
    let unlock = format!("{path}/unlock");
    scene.administer(Method::POST, &unlock, Body::None).await?.expect(StatusCode::OK)?;
    Ok(())
}

/// Each change has its entry, with who did it and in which request.
pub async fn what_was_done_is_in_the_audit_trail(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let app = App::register(scene).await?;
    app.grant(scene, &person.browser).await?;
    let patch = Body::Json(json!({ "display_name": "Noted" }));
    let changed = person.browser.send(Method::PATCH, "/auth/me", patch).await?;
    let request = changed.expect(StatusCode::OK)?.header("x-request-id").to_owned();
    let mut told = entries(scene, &format!("target=user:{}", person.id)).await?;
    told.extend(entries(scene, &format!("actor=user:{}", person.id)).await?);
    let found = |action: &str| told.iter().find(|entry| entry["action"] == action);
    for action in ["user.created", "user.display_name_changed", "consent.given", "grant.opened"] {
        check(found(action).is_some(), || format!("the audit trail has no {action}"))?;
    }
    let entry = found("user.display_name_changed").unwrap_or(&Value::Null);
    check(entry["request_id"] == request.as_str(), || "an entry names another request".to_owned())?;
    check(entry["actor"] == format!("user:{}", person.id), || "it names another actor".to_owned())?;
    let told = entries(scene, &format!("target=client:{}", app.id)).await?;
    check(told.iter().any(|entry| entry["action"] == "client.registered"), || {
        "the audit trail has no client.registered".to_owned()
    })
}

async fn entries(scene: &Scene, filter: &str) -> Outcome<Vec<Value>> {
    let path = format!("/admin/audit?{filter}");
    let page = scene.administer(Method::GET, &path, Body::None).await?.expect(StatusCode::OK)?;
    let Some(items) = page.json()?["items"].as_array().cloned() else {
        return failure(format!("{page}; no entries"));
    };
    Ok(items)
}

/// Another key signs at once; whoever holds an older token notices nothing.
pub async fn keys_rotate_while_tokens_are_verified(scene: &Scene) -> Outcome {
    let person = scene.person().await?;
    let app = App::register(scene).await?;
    let (granted, _) = app.grant(scene, &person.browser).await?;
    let before = tokens::published(scene).await?;
    let (former, token) = (tokens::key_id(&granted.access)?, access_token(&person.browser)?);

    let (done, verified) = (AtomicBool::new(false), AtomicUsize::new(0));
    let verifying = async {
        let url = format!("{}/auth/me", scene.target.url);
        while !done.load(Ordering::Relaxed) || verified.load(Ordering::Relaxed) < 10 {
            let bearer = ("authorization", format!("Bearer {token}"));
            let answer = scene.caller.ask(Method::GET, &url, &[bearer], Body::None).await?;
            answer.expect(StatusCode::OK)?;
            verified.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), String>(())
    };
    let rotating = async {
        let rotated = rotate(scene, &app, &granted.refresh, &former).await;
        done.store(true, Ordering::Relaxed);
        rotated
    };
    let (verifying, rotating) = futures_util::future::join(verifying, rotating).await;
    verifying?;
    rotating?;
    // Who kept the keys from before can still verify what they signed; so can who asks now.
    let audience = tokens::unverified(&token)?["aud"].clone();
    let audience = audience.as_str().unwrap_or_default();
    for keys in [before, tokens::published(scene).await?] {
        tokens::verified(scene, &keys, &token, "at+jwt", audience)?;
    }
    Ok(())
}

async fn rotate(scene: &Scene, app: &App, refresh: &str, former: &str) -> Outcome {
    let now = Body::Json(json!({ "now": true }));
    let rotated = scene.administer(Method::POST, "/admin/keys/rotate", now).await?;
    let rotated = rotated.expect(StatusCode::OK)?.json()?;
    let key = text_of(&rotated, "kid")?.to_owned();
    check(key != former, || "the same key signs".to_owned())?;
    for entrance in scene.entrances() {
        soon(scene, "a new key is published", || async {
            Ok(tokens::published_at(scene, entrance).await?.find(&key).is_some())
        })
        .await?;
    }
    let refreshed = app.refresh(scene, refresh).await?.expect(StatusCode::OK);
    let answer = refreshed.map_err(|reason| format!("after the rotation: {reason}"))?.json()?;
    let token = text_of(&answer, "access_token")?;
    // Without their addresses a node may have been missed that has not heard of it yet.
    let key = if scene.target.nodes.is_empty() { tokens::key_id(token)? } else { key };
    check(tokens::key_id(token)? == key, || "the former key still signs".to_owned())?;
    let audience = tokens::unverified(token)?["aud"].clone();
    let audience = audience.as_str().or_else(|| audience[0].as_str()).unwrap_or_default();
    let keys = tokens::published_with(scene, &key).await?;
    tokens::verified(scene, &keys, token, "at+jwt", audience)?;
    Ok(())
}
