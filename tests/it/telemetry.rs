//! What the server tells of itself: metrics, log lines, traces, and the documents that explain them.

mod documents;
mod lines;
mod metrics;
pub mod traces;
