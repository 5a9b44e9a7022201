//! What attackers try, and the answer that each gets. A letter and a number at the beginning of
//! a test's name are those of the attack in our catalogue; where our rules give another answer than the
//! catalogue, the test says so.

mod admin;
mod authorization;
mod avatars;
mod codes;
mod exhaustion;
mod http;
pub mod logout;
pub mod logs;
mod operation;
mod profile;
mod promises;
mod registration;
mod resources;
mod sessions;
mod token_endpoint;
mod tokens;
mod upstream;
