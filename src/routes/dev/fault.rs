//! `POST /dev/fault/{actor}?kind=panic|stall|stop`: breaks an actor of the running server, for the
//! tests of supervision.

use std::slice::from_ref;

use actix::dev::ToEnvelope;
use actix::{Actor, Handler};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use crate::actors::fault::{Fault, Inject};
use crate::actors::mailbox::{AskError, Mailbox};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::routes::endpoint::{Endpoint, Limit};
use crate::routes::openapi::operation::Operation;
use crate::routes::parameters::Parameters;

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new("/dev/fault/{actor}", Limit::None).post(inject, Operation::UNTOLD)
}

/// Breaks every shard of an actor; 204 once each has taken the fault.
async fn inject(
    request: HttpRequest,
    actor: Path<String>,
    app: Data<App>,
) -> Result<HttpResponse, ApiError> {
    let query = Parameters::of_query(&request)?;
    let fault = match query.get("kind") {
        Some("panic") => Fault::Panic,
        Some("stall") => Fault::Stall,
        Some("stop") => Fault::Stop,
        _ => {
            return Err(ApiError::new(ErrorCode::InvalidField, "kind is panic, stall or stop.")
                .field("kind"));
        }
    };
    // `DbWriter`, `db_writer` and `db-writer` are the same.
    match actor.replace(['-', '_'], "").to_ascii_lowercase().as_str() {
        "dbwriter" => break_all(from_ref(&app.writer), fault).await,
        "keyring" => break_all(from_ref(&app.key_ring), fault).await,
        "revocations" => break_all(from_ref(&app.revocations), fault).await,
        "auditor" => break_all(from_ref(&app.auditor), fault).await,
        "janitor" => break_all(from_ref(&app.janitor), fault).await,
        "tokenfamilies" => break_all(app.families.all(), fault).await,
        "ratelimiter" => break_all(app.rate_limiters.all(), fault).await,
        "providermetadata" => break_all(from_ref(&app.provider_metadata), fault).await,
        "picturedecoder" => break_all(from_ref(&app.picture_decoder), fault).await,
        "pictures" => break_all(from_ref(&app.pictures), fault).await,
        "changelistener" => break_all(from_ref(&app.change_listener), fault).await,
        "clientkeys" => break_all(from_ref(&app.client_keys), fault).await,
        "grantreader" => break_all(from_ref(&app.grant_reader), fault).await,
        "outbox" => break_all(from_ref(&app.outbox), fault).await,
        "configuration" => break_all(from_ref(&app.configuration), fault).await,
        "clients" => break_all(from_ref(&app.clients), fault).await,
        _ => return Err(ApiError::new(ErrorCode::NotFound, "There is no such actor.")),
    }
    Ok(HttpResponse::NoContent().finish())
}

async fn break_all<A>(mailboxes: &[Mailbox<A>], fault: Fault)
where
    A: Actor + Handler<Inject>,
    A::Context: ToEnvelope<A, Inject>,
{
    for mailbox in mailboxes {
        // A panicking handler gives no answer, and that is the point.
        let _answer: Result<(), AskError> = mailbox.ask(Inject(fault)).await;
    }
}
