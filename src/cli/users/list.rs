//! `latchkey users list`: pages of people.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::options::List;
use super::{Users, document};
use crate::administration;
use crate::cli::output::{self, DIM};
use crate::cli::{Failure, Format};
use crate::store::model::{Email, FoundUser, UserList, UserPage, UserPosition};

impl Users<'_> {
    /// Prints a page of people.
    pub(super) async fn list(
        &self,
        List { query, role, status, limit, cursor }: List,
    ) -> Result<(), Failure> {
        let is_narrowed = query.is_some() || role.is_some() || status.is_some() || cursor.is_some();
        let page = UserPage {
            search: query.as_deref().map(administration::search),
            role: role.map(Into::into),
            status: status.map(Into::into),
            after: cursor,
            limit,
        };
        let UserList { people: found, next } =
            self.0.store.read.users(&page).await.map_err(Failure::of)?;
        let next = next.as_ref().map(write_cursor);
        match self.0.format {
            Format::Json => {
                let documents: Vec<_> = found
                    .into_iter()
                    .map(|found| document(self.0.settings, &found.user, found.emails))
                    .collect();
                output::json(&json!({ "items": documents, "next_cursor": next }));
            }
            Format::Text if found.is_empty() && next.is_none() => output::line(nobody(is_narrowed)),
            Format::Text => self.print_page(&found, next.as_deref()),
        }
        Ok(())
    }

    fn print_page(&self, found: &[FoundUser], next: Option<&str>) {
        let now = self.0.clock.now();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|FoundUser { user, emails, .. }| {
                vec![
                    user.username.clone(),
                    or_dash(user.display_name.as_deref().map(output::visible)),
                    user.role.as_str().to_owned(),
                    user.status.as_str().to_owned(),
                    or_dash(told(emails)),
                    output::moment(user.created_at, now),
                    user.id.to_string(),
                ]
            })
            .collect();
        output::table(&["USERNAME", "NAME", "ROLE", "STATUS", "ADDRESS", "SINCE", "ID"], &rows);
        if let Some(cursor) = next {
            output::line(format_args!(
                "\n{DIM}There are more. The next page:{DIM:#}\n\n  {}",
                output::next_page(cursor)
            ));
        }
    }
}

/// The address that says most about a person: a verified one, if there is any.
fn told(emails: &[Email]) -> Option<String> {
    let email = emails.iter().find(|email| email.verified).or_else(|| emails.first())?;
    Some(output::visible(&email.address))
}

fn nobody(is_narrowed: bool) -> &'static str {
    if is_narrowed {
        "Nobody matches. `latchkey users list` shows everybody."
    } else {
        "Nobody has signed up yet. The first who does becomes an admin by `latchkey users promote NAME`."
    }
}

fn write_cursor(position: &UserPosition) -> String {
    // A struct of texts always is JSON; an empty cursor is refused when it comes back.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(position).unwrap_or_default())
}

/// Where a page ended, as [`write_cursor`] wrote it.
///
/// # Errors
/// A sentence for anything else.
pub(super) fn read_cursor(text: &str) -> Result<UserPosition, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| "it is not one that `latchkey users list` printed".to_owned())
}
