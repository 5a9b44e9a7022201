//! How the parts of this node are doing.

use actix_web::HttpResponse;
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;

use super::guard::Admin;
use crate::actors::status::{ActorStatus, AskOutcome};
use crate::app::App;
use crate::routes::openapi::operation::{Access, Answer, Operation, Page, Tag};
use crate::routes::system::ActorState;
use crate::telemetry::histogram::Durations;

/// An actor of this node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Actor")]
struct ActorBody {
    #[serde(flatten)]
    state: ActorState,
    /// Asks that were answered since the start.
    answered: u64,
    /// Asks that were refused since the start, as too many were waiting.
    refused: u64,
    /// Asks that were not answered in time, or lost with a restart, since the start.
    lost: u64,
    /// From ask to answer.
    ask_time: Times,
    /// What the handlers took, without waiting.
    handling_time: Times,
}

/// How long something took since the start.
#[derive(Serialize, JsonSchema)]
struct Times {
    /// How often it was done.
    count: u64,
    /// How long all of it took together.
    total_seconds: f64,
    /// How long it took on average; `null` if it was never done.
    mean_seconds: Option<f64>,
}

impl From<&Durations> for Times {
    fn from(durations: &Durations) -> Self {
        let reading = durations.read();
        let (count, total_seconds) = (reading.count(), reading.sum);
        let mean_seconds = (count > 0).then(|| total_seconds / count as f64);
        Self { count, total_seconds, mean_seconds }
    }
}

impl From<&ActorStatus> for ActorBody {
    fn from(status: &ActorStatus) -> Self {
        let asks = |outcome| status.asks(outcome);
        Self {
            state: ActorState::of(status),
            answered: asks(AskOutcome::Answered),
            refused: asks(AskOutcome::Full),
            lost: asks(AskOutcome::TimedOut) + asks(AskOutcome::Dropped),
            ask_time: Times::from(&status.ask_time),
            handling_time: Times::from(&status.handle_time),
        }
    }
}

/// How `GET /admin/actors` is described.
pub const SHOW: Operation = Operation {
    id: "list_actors",
    tag: Tag::Administration,
    summary: "How the actors of this node are doing",
    description: "Each shard for itself. `in_flight` is the depth of the mailbox.",
    access: Access::Admin,
    answers: &[Answer::json::<Page<ActorBody>>(200, "The actors.")],
    ..Operation::PLAIN
};

/// `GET /admin/actors`.
pub async fn show(_: Admin, app: Data<App>) -> HttpResponse {
    let items: Vec<ActorBody> =
        app.statuses.iter().map(|status| ActorBody::from(status.as_ref())).collect();
    HttpResponse::Ok().json(Page::whole(items))
}
