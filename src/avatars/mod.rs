//! Pictures of people: how bytes from outside become pictures of our own, what those are called and
//! where they are kept. No actor and no request: it is the same wherever the bytes come from.

pub mod image;
pub mod name;
pub mod storage;
