//! What a frontend needs to draw its sign-in buttons.

use actix_web::HttpResponse;
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::routes::openapi::operation::{Answer, Operation, Page, Tag};

/// A way to sign in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
struct Button<'a> {
    /// Its name in addresses.
    name: &'a str,
    /// Its name on the button.
    display_name: &'a str,
    /// Where the button leads.
    url: String,
}

/// How `GET /auth/providers` is described.
pub const PROVIDERS: Operation = Operation {
    id: "list_providers",
    tag: Tag::SignIn,
    summary: "The ways to sign in that there are",
    answers: &[Answer::json::<Page<Button<'_>>>(200, "What a frontend draws its buttons from.")],
    ..Operation::PLAIN
};

/// `GET /auth/providers`: `{"items": [{"name", "display_name", "url"}]}`.
pub async fn providers(app: Data<App>) -> HttpResponse {
    let items: Vec<_> = app
        .providers
        .iter()
        .map(|provider| {
            let provider = provider.settings();
            let url = app.settings.server.public_url.join(&format!("/auth/{}", provider.name));
            Button { name: &provider.name, display_name: &provider.display_name, url }
        })
        .collect();
    HttpResponse::Ok().json(Page::whole(items))
}
