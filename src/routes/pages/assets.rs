//! Static files: part of the binary, named by their content, cached for ever.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{Bytes, Data, Path};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::site::Site;
use super::theme::Theme;
use crate::error::{ApiError, ErrorCode};
use crate::routes::openapi::operation::{Answer, Header, Operation, Parameter, Tag};

/// The path that all static files lie below.
pub const FOLDER: &str = "/static/";

/// One file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its path: [`FOLDER`], its name, a digest of its content, its extension.
    pub path: String,
    /// Its media type.
    pub content_type: &'static str,
    /// What it holds.
    pub body: Bytes,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, body: Bytes) -> Self {
        let digest = digest(&SHA256, &body);
        let version = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..9]);
        Self { path: format!("{FOLDER}{stem}-{version}.{extension}"), content_type, body }
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The rules of the look, behind the deployer's colours: one file, so that a page waits once.
    pub style: Asset,
    /// The icon of the browser's tab.
    pub icon: Asset,
    /// Live feedback on `/onboarding`.
    pub username_script: Asset,
    /// Takes a person back to an app.
    pub way_back_script: Asset,
}

impl Assets {
    /// Makes the table.
    pub fn new(theme: &Theme) -> Self {
        let style = theme.css() + &compact(include_str!("static/style.css"));
        let icon = include_bytes!("static/icon.svg");
        let script = |stem, body| {
            let content_type = "text/javascript; charset=utf-8";
            Asset::new(stem, "js", content_type, Bytes::from_static(body))
        };
        Self {
            style: Asset::new("style", "css", "text/css; charset=utf-8", style.into()),
            icon: Asset::new("icon", "svg", "image/svg+xml", Bytes::from_static(icon)),
            username_script: script("username", include_bytes!("static/username.js")),
            way_back_script: script("way-back", include_bytes!("static/way_back.js")),
        }
    }

    /// The file with this name below [`FOLDER`].
    pub fn find(&self, name: &str) -> Option<&Asset> {
        self.all().into_iter().find(|asset| asset.path.strip_prefix(FOLDER) == Some(name))
    }

    fn all(&self) -> [&Asset; 4] {
        [&self.style, &self.icon, &self.username_script, &self.way_back_script]
    }
}

/// A style without what only its readers need: comments, indentation and the ends of lines.
fn compact(css: &str) -> String {
    let mut parts = css.split("/*");
    let first = parts.next();
    let behind_comments = parts.filter_map(|part| part.split_once("*/")).map(|(_, code)| code);
    first.into_iter().chain(behind_comments).flat_map(str::lines).map(str::trim).collect()
}

/// How `GET /static/{name}` is described.
pub const SERVE: Operation = Operation {
    id: "get_static_file",
    tag: Tag::Pages,
    summary: "What the pages are made of",
    description: "The name changes with the content.",
    parameters: &[Parameter::path("name", "Its name.")],
    answers: &[Answer::other(
        &["text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"],
        "The file.",
    )
    .with(&[Header::CACHING])],
    errors: &[ErrorCode::NotFound],
    ..Operation::PLAIN
};

/// `GET /static/{name}`.
///
/// # Errors
/// [`ErrorCode::NotFound`] for any other name, so that a stale name is never cached as a new file.
pub async fn serve(name: Path<String>, site: Data<Site>) -> Result<HttpResponse, ApiError> {
    let asset = site.assets().find(&name).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "This file is not part of the pages as they are now.")
    })?;
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(asset.body.clone()))
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::{App, test, web};

    use super::*;
    use crate::routes::pages::samples;

    #[actix_web::test]
    async fn files_are_served_by_their_hashed_name_for_ever() {
        let site = Data::new(samples::site());
        let app = App::new().app_data(site.clone()).route("/static/{name}", web::get().to(serve));
        let app = test::init_service(app).await;
        for asset in site.assets().all() {
            let request = test::TestRequest::get().uri(&asset.path).to_request();
            let answer = test::call_service(&app, request).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let header = |name| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header("cache-control"), "public, max-age=31536000, immutable");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("content-type"), asset.content_type);
            assert_eq!(test::read_body(answer).await, asset.body);
        }
        for unknown in ["/static/style.css", "/static/style-000000000000.css", "/static/%2e%2e"] {
            let request = test::TestRequest::get().uri(unknown).to_request();
            let answer = test::call_service(&app, request).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{unknown}");
            assert!(!answer.headers().contains_key("cache-control"), "{unknown}");
        }
    }

    #[test]
    async fn a_style_loses_what_its_readers_need_and_nothing_else() {
        let css =
            "/* One. */\na {\n  margin: 0 1px;\n}\n/* Two,\n   three. */\nb,\ni { top: 0; }\n";
        assert_eq!(compact(css), "a {margin: 0 1px;}b,i { top: 0; }");
        let style = include_str!("static/style.css").lines().map(str::trim);
        let is_comment = |line: &str| line.starts_with("/*") || line.ends_with("*/");
        for line in style.filter(|line| !line.is_empty() && !is_comment(line)) {
            assert!(line.ends_with(['{', '}', ';', ',']), "nothing may end here: {line}");
        }
    }

    #[test]
    async fn a_name_changes_with_the_content_alone() {
        let assets = |accent| Assets::new(&Theme::new(accent));
        assert_eq!(assets(None).style.path, assets(None).style.path);
        assert_ne!(assets(None).style.path, assets(Some("#3a56c5")).style.path);
        assert_eq!(assets(None).icon.path, assets(Some("#3a56c5")).icon.path);
    }
}
