//! Everything that needs more than one part of Latchkey, in one test binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "nobody uses this binary as a library")]

#[macro_use]
mod store_contract;
mod postgres;
mod sqlite;
