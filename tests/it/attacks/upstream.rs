//! Attacks on signing in at a provider, on connecting further ways to sign in, and on setting up accounts:
//! over HTTP, against a whole server beside a provider that misbehaves.

mod accounts;
mod addresses;
mod answers;
mod attempts;
mod scene;
