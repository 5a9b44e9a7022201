//! Every answer that a test's browser gets is held against the OpenAPI document: its status, its headers, its
//! media type, and every member of its JSON. What the document does not tell of fails the test.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use latchkey::config;
use latchkey::routes::openapi::document::document;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, ResponseBuilderExt, StatusCode};
use serde_json::{Map, Value, json};

/// The document of a server with a frontend, which has all that others have.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = "[server]\npublic_url = \"https://auth.example\"\nfrontend_url = \"https://app.example\"\n\
                secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";
    let settings = config::parse(text, Path::new("."));
    document(&settings.unwrap_or_else(|problems| panic!("{problems}")))
});

/// The answer as it was, if it is as the document says. `path` is that of the request; those that are not in
/// the document are somebody else's.
///
/// # Panics
/// If it is not.
pub async fn checked(method: &str, path: &str, answer: Response) -> Response {
    let Some(methods) = operations(path) else { return answer };
    let (status, url) = (answer.status(), answer.url().clone());
    let headers = answer.headers().clone();
    let body = answer.bytes().await.unwrap();
    let problem = match methods.get(&method.to_lowercase()) {
        Some(operation) => judge(operation, status, &headers, &body),
        None if status == StatusCode::METHOD_NOT_ALLOWED => Ok(()),
        None => Err("the document has no such method".to_owned()),
    };
    if let Err(problem) = problem {
        let body = String::from_utf8_lossy(&body);
        panic!("{method} {path} answers {status}, and {problem}\n{headers:?}\n{body}");
    }
    let mut same = http::Response::builder().status(status).url(url);
    *same.headers_mut().unwrap() = headers;
    same.body(body).unwrap().into()
}

/// The methods of the path that a request's path is an instance of: of two that match, the one with a word
/// where the other takes any.
fn operations(path: &str) -> Option<&'static Map<String, Value>> {
    let path = path.split(['?', '#']).next().unwrap();
    let asked: Vec<&str> = path.split('/').collect();
    let fits = |known: &&String| {
        let known: Vec<&str> = known.split('/').collect();
        let mut pairs = known.iter().zip(&asked);
        known.len() == asked.len()
            && pairs
                .all(|(known, asked)| known == asked || known.starts_with('{') && !asked.is_empty())
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let found = paths.keys().filter(fits).min_by_key(|known| known.matches('{').count())?;
    paths[found].as_object()
}

fn judge(
    operation: &Value,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    let answers = operation["responses"].as_object().unwrap();
    let answer = answers.get(status.as_str()).ok_or("the document has no such status")?;
    let answer = resolved(answer);
    for (name, header) in answer["headers"].as_object().unwrap() {
        if resolved(header)["required"] == true && !headers.contains_key(name) {
            return Err(format!("the header {name} is missing"));
        }
    }
    let Some(content) = answer.get("content").and_then(Value::as_object) else {
        return if body.is_empty() { Ok(()) } else { Err("there should be no content".to_owned()) };
    };
    let sent = headers.get(CONTENT_TYPE).ok_or("it has no media type")?.to_str().unwrap();
    let essence = |media_type: &str| media_type.split(';').next().unwrap().to_owned();
    let media = content.iter().find(|(known, _)| essence(known) == essence(sent));
    let (_, media) = media.ok_or_else(|| format!("the document does not know {sent} there"))?;
    if !essence(sent).ends_with("json") || body.is_empty() {
        return Ok(());
    }
    let value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    matches(&media["schema"], &value)
        .and_then(|()| has_no_others(&media["schema"], &value))
        .map_err(|problem| format!("its content is not as the document says: {problem}"))
}

/// What a reference refers to.
fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            DOCUMENT.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference}"))
        }
        None => value,
    }
}

fn list<'a>(schema: &'a Value, keyword: &str) -> &'a [Value] {
    schema[keyword].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a value is as a schema says, as far as the keywords go that our schemas have.
fn matches(schema: &Value, value: &Value) -> Result<(), String> {
    if schema.get("$ref").is_some() {
        matches(resolved(schema), value)?;
    }
    let is_of = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    };
    let is_right = match &schema["type"] {
        Value::Null => true,
        Value::String(name) => is_of(name),
        names => names.as_array().unwrap().iter().any(|name| is_of(name.as_str().unwrap())),
    };
    if !is_right {
        return Err(format!("{value} is not of the type {}", schema["type"]));
    }
    if schema.get("enum").is_some() && !list(schema, "enum").contains(value) {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        return Err(format!("{value} is not {}", schema["const"]));
    }
    if let (Some(format), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        has_format(format, text)?;
    }
    for part in list(schema, "allOf") {
        matches(part, value)?;
    }
    for (keyword, least) in [("anyOf", 1), ("oneOf", 1)] {
        let parts = list(schema, keyword);
        let fitting = parts.iter().filter(|part| matches(part, value).is_ok()).count();
        if !parts.is_empty() && (fitting < least || keyword == "oneOf" && fitting > 1) {
            return Err(format!("{value} fits {fitting} of {parts:?}"));
        }
    }
    if let Some(items) = value.as_array() {
        items.iter().try_for_each(|item| matches(&schema["items"], item))?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for name in list(schema, "required").iter().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, member) in members {
        matches(&schema["properties"][name], member).map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}

fn has_format(format: &str, text: &str) -> Result<(), String> {
    use time::format_description::well_known::Rfc3339;
    let is_right = match format {
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "date-time" => text.ends_with('Z') && time::OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        _ => true,
    };
    if is_right { Ok(()) } else { Err(format!("{text} is no {format}")) }
}

/// Whether an object has no members that its schema does not name, at any depth.
fn has_no_others(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(items) = value.as_array() {
        let parts = parts(schema, value);
        let of_items = || parts.iter().filter_map(|part| part.get("items"));
        return items
            .iter()
            .try_for_each(|item| of_items().try_for_each(|schema| has_no_others(schema, item)));
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    let parts = parts(schema, value);
    // What says nothing about members, or says that there may be any, takes any.
    let named: BTreeSet<&String> = parts
        .iter()
        .filter_map(|part| part["properties"].as_object())
        .flat_map(Map::keys)
        .collect();
    if named.is_empty() || parts.iter().any(|part| part.get("additionalProperties").is_some()) {
        return Ok(());
    }
    for (name, member) in members {
        if !named.contains(name) {
            return Err(format!("{name} is not in the document"));
        }
        let schemas = parts.iter().filter_map(|part| part["properties"].get(name));
        schemas
            .into_iter()
            .try_for_each(|schema| has_no_others(schema, member))
            .map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}

/// The schemas that together say what a value has, without references and alternatives that it is none of.
fn parts<'a>(schema: &'a Value, value: &Value) -> Vec<&'a Value> {
    let mut found = vec![schema];
    if schema.get("$ref").is_some() {
        found.extend(parts(resolved(schema), value));
    }
    found.extend(list(schema, "allOf").iter().flat_map(|part| parts(part, value)));
    let alternatives = list(schema, "anyOf").iter().chain(list(schema, "oneOf"));
    let fitting = alternatives.filter(|part| matches(part, value).is_ok());
    // The first that fits: it asks for the most.
    found.extend(fitting.take(1).flat_map(|part| parts(part, value)));
    found
}

/// What is wrong with an answer to `GET /auth/me`.
fn problem(status: u16, media_type: &str, body: &Value) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
    headers.insert("x-request-id", "1".parse().unwrap());
    let operation = &operations("/auth/me").unwrap()["get"];
    let status = StatusCode::from_u16(status).unwrap();
    judge(operation, status, &headers, body.to_string().as_bytes()).err()
}

#[test]
fn what_the_document_does_not_tell_of_is_found() {
    let person = json!({
        "id": "01a20f90-14e9-79e4-9f20-af6c59645326", "username": "rivka", "display_name": null,
        "avatar_url": null, "role": "user", "created_at": "2027-01-15T08:00:00Z",
        "emails": [{ "address": "rivka@example.com", "verified": true, "provider": "dev" }],
    });
    let json = "application/json";
    assert_eq!(problem(200, json, &person), None);
    assert_eq!(problem(200, "application/json; charset=utf-8", &person), None);
    for (pointer, value) in [
        ("/id", json!("1")),
        ("/username", json!(7)),
        ("/role", json!("owner")),
        ("/created_at", json!("yesterday")),
        ("/emails", json!(null)),
        ("/emails/0", json!({ "address": "rivka@example.com", "verified": true })),
    ] {
        let mut other = person.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(problem(200, json, &other).is_some(), "{other}");
    }
    let mut more = person.clone();
    more["emails"][0]["subject"] = "1".into();
    assert!(problem(200, json, &more).unwrap().contains("subject is not in the document"));
    assert!(problem(201, json, &person).is_some());
    assert!(problem(200, "text/html", &person).is_some());

    let refusal = |code: &str| {
        json!({
            "type": "urn", "title": "t", "status": 400, "code": code, "detail": "d", "request_id": "1",
        })
    };
    let media_type = "application/problem+json";
    assert_eq!(problem(400, media_type, &refusal("duplicate_cookie")), None);
    assert!(problem(400, media_type, &refusal("username_taken")).is_some());
    assert!(problem(401, media_type, &refusal("unauthenticated")).unwrap().contains("header"));
}
