//! The audit trail outside the database: what is signed about it, how it is exported, how an export is
//! verified. `docs/audit.md` describes the formats for whoever wants to write another verifier.

pub mod export;
pub mod statement;
pub mod survey;
pub mod verifier;
