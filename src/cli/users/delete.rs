//! `latchkey users delete`: the end of an account.

use std::io::{BufRead, IsTerminal};

use serde_json::json;

use super::Users;
use crate::administration;
use crate::avatars::storage::AvatarStorage;
use crate::cli::{Failure, Format, output};
use crate::protocol::username::comparison_key;
use crate::routes::session::tokens_live_for;

impl Users<'_> {
    /// Deletes a person, once it is sure that this is meant.
    pub(super) async fn delete(&self, who: &str, is_sure: bool) -> Result<(), Failure> {
        let settings = self.0.settings;
        let user = self.find(who).await?;
        let name = &user.username;
        let hold = settings.usernames.hold;
        if !is_sure {
            let input = std::io::stdin();
            if !input.is_terminal() {
                return Err(Failure::usage(format!(
                    "Deleting {name} cannot be undone, and here is no terminal to ask at. Say --yes if you mean it."
                )));
            }
            output::aside(format_args!(
                "This deletes {name} for good, with their ways to sign in, sessions and pictures.\nType the username to go on: "
            ));
            confirm(name, input.lock())?;
        }
        let by = self.0.by();
        let held_until = administration::held_until(by.at, hold);
        let live_until =
            administration::tokens_live_until(by.at, tokens_live_for(settings.tokens.access_ttl));
        let deleted = administration::delete(&self.0.writer(), by, user.id, held_until, live_until)
            .await
            .map_err(|error| Self::failure(name, &error))?;
        let avatar = deleted.avatar.as_ref().or(user.avatar.as_ref());
        let removed = match AvatarStorage::open(&settings.avatars.store) {
            Ok(storage) => administration::remove_pictures(&storage, avatar).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            output::complain(format_args!(
                "{name} is deleted, but their pictures are still there: {error}. A running server removes them later."
            ));
        }
        match self.0.format {
            Format::Json => {
                output::json(&json!({ "id": user.id, "username": name, "outcome": "deleted" }));
            }
            Format::Text => {
                let held = match held_until {
                    Some(until) => {
                        format!("Nobody else can take the name until {}.", output::minute(until))
                    }
                    None => "Anybody can take the name.".to_owned(),
                };
                output::line(format_args!(
                    "Deleted {name}, with their ways to sign in, sessions and pictures. {held}\nA running server refuses their tokens within a second."
                ));
            }
        }
        Ok(())
    }
}

/// Reads the username, however it is spelled.
fn confirm(name: &str, mut input: impl BufRead) -> Result<(), Failure> {
    let mut typed = String::new();
    input.read_line(&mut typed).map_err(Failure::of)?;
    if comparison_key(typed.trim()) == comparison_key(name) {
        Ok(())
    } else {
        Err(Failure::new("That is another name. Nothing was deleted."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_username_confirms_and_nothing_else_does() {
        for typed in ["Rivka\n", " rivka", "RIVKA\r\n"] {
            assert!(confirm("Rivka", typed.as_bytes()).is_ok(), "{typed:?}");
        }
        for typed in ["", "\n", "yes\n", "rivk\n", "rivka2\n"] {
            assert!(confirm("Rivka", typed.as_bytes()).is_err(), "{typed:?}");
        }
    }
}
