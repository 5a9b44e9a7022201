//! Bodies that are answered before they were read to their end.
//!
//! The HTTP library closes a connection on which the rest of a body is still to come, two seconds after the
//! answer. Not so where the body is in chunks and nobody holds it any longer: those it reads on, without
//! limit or deadline, to keep the connection. So they are held here until the answer is sent.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures_util::Stream;

/// The body of a request, held beside whoever reads it.
pub(super) struct Unread(Rc<RefCell<Payload>>);

/// Holds a body in chunks; others end by themselves.
pub(super) fn hold(request: &mut ServiceRequest) -> Option<Unread> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let payload = Rc::new(RefCell::new(request.take_payload()));
    let read = Unread(Rc::clone(&payload));
    request.set_payload(Payload::Stream { payload: Box::pin(read) });
    Some(Unread(payload))
}

impl Stream for Unread {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

impl Unread {
    /// Holds on until this answer is sent.
    pub(super) fn until_sent(self, answer: BoxBody) -> BoxBody {
        BoxBody::new(Answer { body: answer, _unread: self })
    }
}

/// The body of an answer, beside what it is an answer to.
struct Answer {
    body: BoxBody,
    _unread: Unread,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
