//! STUB
use actix::prelude::*; use std::sync::Arc; use crate::providers::*;
use super::status::ActorStatus; use super::mailbox::Drain;
/// x
pub struct ProviderMetadata { status: Arc<ActorStatus> }
/// x
#[derive(Message)] #[rtype(result="Result<Arc<Discovered>, ProviderError>")] pub struct Metadata { /** x */ pub provider: String }
impl ProviderMetadata { /** x */ pub fn new(_p: Providers, _h: http::HttpClient, status: Arc<ActorStatus>) -> Self { Self{status} } }
impl Actor for ProviderMetadata { type Context = Context<Self>; fn started(&mut self, _: &mut Context<Self>) { self.status.ready(); } }
impl Supervised for ProviderMetadata {}
impl Handler<Metadata> for ProviderMetadata { type Result = ResponseFuture<Result<Arc<Discovered>, ProviderError>>; fn handle(&mut self, _: Metadata, _: &mut Context<Self>) -> Self::Result { unimplemented!() } }
impl Handler<Drain> for ProviderMetadata { type Result=(); fn handle(&mut self, _: Drain, c: &mut Context<Self>) { c.stop(); } }
#[cfg(feature = "fault-injection")]
super::fault::injectable!(ProviderMetadata);
