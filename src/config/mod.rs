//! Configuration: from files, environment and references to secrets to typed [`settings`].

pub mod settings;
