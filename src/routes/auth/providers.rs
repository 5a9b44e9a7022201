//! What a frontend needs to draw its sign-in buttons.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use crate::app::App;

/// `GET /auth/providers`: `{"items": [{"name", "display_name", "url"}]}`.
pub async fn providers(app: Data<App>) -> HttpResponse {
    let items: Vec<_> = app
        .providers
        .iter()
        .map(|provider| {
            json!({
                "name": provider.settings().name,
                "display_name": provider.settings().display_name,
                "url": app.settings.server.public_url.join(&format!("/auth/{}", provider.settings().name)),
            })
        })
        .collect();
    HttpResponse::Ok().json(json!({ "items": items, "next_cursor": null }))
}
