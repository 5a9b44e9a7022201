//! A browser without JavaScript: cookies, redirects, forms. What it cannot get by HTTP it does not know.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use reqwest::cookie::{CookieStore as _, Jar};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, ORIGIN};
use reqwest::{Certificate, Client, ClientBuilder, Method, StatusCode, Url};
use serde_json::Value;

use super::html::Form;
use super::{Outcome, failure};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent with a request.
pub enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Value),
    /// The fields of a form.
    Form(Vec<(String, String)>),
    /// A file as a form sends it: the field's name, the type, the content.
    File(&'static str, &'static str, Vec<u8>),
}

/// Fields of a form from texts.
pub fn fields(fields: &[(&str, &str)]) -> Body {
    Body::Form(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

/// An answer, and what was asked.
pub struct Answer {
    method: Method,
    /// Where it came from.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// What was asked and what came, without anything that may be a secret: no query, no cookie, and of the body only
/// the code of an error or the title of a page.
impl Display for Answer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let origin = self.url.origin().ascii_serialization();
        write!(formatter, "{} {origin}{} answered {}", self.method, self.url.path(), self.status)?;
        let text = String::from_utf8_lossy(&self.body);
        if let Ok(body) = serde_json::from_str::<Value>(&text) {
            for member in ["code", "error", "field", "reasons"] {
                if let Some(value) = body.get(member) {
                    write!(formatter, ", {member} {value}")?;
                }
            }
        } else if let Some((_, rest)) = text.split_once("<title>") {
            let title = rest.split('<').next().unwrap_or_default();
            write!(formatter, ", a page titled {title:?}")?;
        }
        if let Some(id) = self.headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
            write!(formatter, ", request id {id}")?;
        }
        Ok(())
    }
}

impl Answer {
    /// Goes on only with this status.
    pub fn expect(self, status: StatusCode) -> Outcome<Self> {
        if self.status == status {
            return Ok(self);
        }
        failure(format!("{self}; {} was expected", status.as_u16()))
    }

    /// The body as JSON.
    pub fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.body)
            .or_else(|_| failure(format!("{self}; JSON was expected")))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Goes on only if a header holds this text.
    pub fn has(&self, header: &str, text: &str) -> Outcome {
        let value = self.header(header);
        if value.to_ascii_lowercase().contains(&text.to_ascii_lowercase()) {
            return Ok(());
        }
        failure(format!("{self}; its {header} is {value:?}, and {text:?} was expected in it"))
    }

    /// Where it leads.
    pub fn location(&self) -> Option<Url> {
        let next = self.headers.get(LOCATION)?.to_str().ok()?;
        if self.status.is_redirection() { self.url.join(next).ok() } else { None }
    }

    /// The cookies that it sets: name and attributes, value aside.
    pub fn cookies(&self) -> Vec<Cookie> {
        self.headers
            .get_all("set-cookie")
            .iter()
            .filter_map(|header| Cookie::parse(header.to_str().ok()?))
            .collect()
    }
}

/// A cookie as it was set.
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value; never printed.
    pub value: String,
    /// Its attributes, in lower case.
    pub attributes: Vec<String>,
}

impl Cookie {
    fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let attributes = parts.map(str::to_ascii_lowercase).collect();
        Some(Self { name: name.to_owned(), value: value.to_owned(), attributes })
    }

    /// Whether it has this attribute.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|own| own == attribute)
    }
}

/// A browser with a jar of its own, which its clones share.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    jar: Arc<Jar>,
    /// The origin of the server that is tried.
    pub origin: String,
}

/// A client as all of them are; without further authorities it trusts those of the system.
pub fn client(authorities: &[Certificate]) -> ClientBuilder {
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent("Latchkey end-to-end test");
    if authorities.is_empty() { client } else { client.tls_certs_only(authorities.iter().cloned()) }
}

impl Browser {
    /// A browser that knows nobody yet.
    pub fn new(origin: &str, authorities: &[Certificate]) -> Outcome<Self> {
        let jar = Arc::new(Jar::default());
        let client = client(authorities)
            .cookie_provider(Arc::clone(&jar))
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { client, jar, origin: origin.to_owned() })
    }

    /// The value of the cookie whose name ends so, for requests to a path.
    pub fn cookie(&self, path: &str, ends: &str) -> Option<(String, String)> {
        let header = self.jar.cookies(&self.url(path).ok()?)?;
        header
            .to_str()
            .ok()?
            .split("; ")
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| name.ends_with(ends))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// An address: an absolute one, or a path of the server.
    pub fn url(&self, target: &str) -> Outcome<Url> {
        let address = if target.starts_with('/') {
            format!("{}{target}", self.origin)
        } else {
            target.to_owned()
        };
        Url::parse(&address).map_err(|error| format!("{address} is no address: {error}"))
    }

    /// What a script asks.
    pub async fn get(&self, path: &str) -> Outcome<Answer> {
        self.send(Method::GET, path, Body::None).await
    }

    /// What a script of our own page changes.
    pub async fn send(&self, method: Method, path: &str, body: Body) -> Outcome<Answer> {
        let headers = [("accept", "application/json"), ("sec-fetch-site", "same-origin")];
        self.ask(method, self.url(path)?, &headers, body).await
    }

    /// Opens a page, and follows no redirect.
    pub async fn page(&self, target: &str) -> Outcome<Answer> {
        self.ask(Method::GET, self.url(target)?, &[(ACCEPT.as_str(), "text/html")], Body::None)
            .await
    }

    /// Sends a form from the page where it stands.
    pub async fn submit(&self, page: &Url, form: &Form) -> Outcome<Answer> {
        let mut action =
            page.join(&form.action).map_err(|error| format!("{}: {error}", form.action))?;
        if form.is_post {
            let origin = page.origin().ascii_serialization();
            let site = if action.origin() == page.origin() { "same-origin" } else { "cross-site" };
            let headers = [
                (ACCEPT.as_str(), "text/html"),
                (ORIGIN.as_str(), origin.as_str()),
                ("sec-fetch-site", site),
            ];
            self.ask(Method::POST, action, &headers, Body::Form(form.fields.clone())).await
        } else {
            action.query_pairs_mut().clear().extend_pairs(&form.fields);
            self.page(action.as_str()).await
        }
    }

    /// Follows redirects from an answer, as long as they lead to our server or to a page; the last answer.
    pub async fn follow(&self, mut answer: Answer) -> Outcome<Answer> {
        for _ in 0..15 {
            let Some(next) = answer.location() else { return Ok(answer) };
            answer = self.page(next.as_str()).await?;
        }
        failure(format!("{answer}; it leads on without end"))
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Outcome<Answer> {
        let mut request = self.client.request(method.clone(), url.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(&self.client, request, method, url, body).await
    }
}

/// Somebody who has tokens and no cookies.
pub struct Caller {
    client: Client,
}

impl Caller {
    /// A caller that trusts these authorities.
    pub fn new(authorities: &[Certificate]) -> Outcome<Self> {
        let client =
            client(authorities).build().map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { client })
    }

    /// Asks with headers of its own: a token, a client's secret, a cookie that was kept aside.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, String)],
        body: Body,
    ) -> Outcome<Answer> {
        let address = Url::parse(url).map_err(|error| format!("{url} is no address: {error}"))?;
        let mut request = self.client.request(method.clone(), address.clone());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        send(&self.client, request, method, address, body).await
    }
}

/// The header that sends one cookie.
pub fn cookie_header((name, value): &(String, String)) -> (&'static str, String) {
    (COOKIE.as_str(), format!("{name}={value}"))
}

async fn send(
    client: &Client,
    request: reqwest::RequestBuilder,
    method: Method,
    url: Url,
    body: Body,
) -> Outcome<Answer> {
    let (kind, content) = match body {
        Body::None => (None, Vec::new()),
        Body::Json(value) => (Some("application/json".to_owned()), value.to_string().into_bytes()),
        Body::Form(fields) => {
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(&fields);
            let text = text.finish().into_bytes();
            (Some("application/x-www-form-urlencoded".to_owned()), text)
        }
        Body::File(field, kind, content) => multipart(field, kind, &content),
    };
    let request = match kind {
        Some(kind) => request.header(CONTENT_TYPE, kind).body(content),
        None => request,
    };
    let asked = format!("{method} {}{}", url.origin().ascii_serialization(), url.path());
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        let mut reasons = error.to_string();
        let mut inner: &dyn std::error::Error = &error;
        while let Some(source) = inner.source() {
            reasons = format!("{reasons}: {source}");
            inner = source;
        }
        format!("{asked} was not answered: {reasons}")
    };
    let request = request.build().map_err(told)?;
    for _ in 0..3 {
        let again = request.try_clone().ok_or("a request cannot be sent twice")?;
        let answer = client.execute(again).await.map_err(told)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(told)?.to_vec();
        let answer = Answer { method: method.clone(), url: url.clone(), status, headers, body };
        // This test alone is far below the limits; beside others it waits for its turn, as it is asked to.
        let wait = answer.header("retry-after").parse::<u64>().unwrap_or(0);
        if status != StatusCode::TOO_MANY_REQUESTS || !(1..=60).contains(&wait) {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
    failure(format!("{asked} was answered 429 three times"))
}

fn multipart(field: &str, kind: &str, content: &[u8]) -> (Option<String>, Vec<u8>) {
    const BOUNDARY: &str = "latchkey-end-to-end-3d8f1c";
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"picture\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (Some(format!("multipart/form-data; boundary={BOUNDARY}")), body)
}
