//! What may be registered about a client (RFC 7591 §2, OpenID Connect Registration §2, and our own
//! members). All problems are found, not the first, and each names its member.

mod addresses;
mod document;
mod keys;
mod rules;

use std::fmt;

use uuid::Uuid;

pub use document::{MEMBERS, first, member_schema, merged, response_types};
pub use rules::{Rules, check};

use crate::store::model::FIRST_PARTY;

/// The error codes of RFC 7591 §3.2.2 that a registration can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A redirect URI is not allowed.
    InvalidRedirectUri,
    /// Anything else is not allowed.
    InvalidClientMetadata,
}

impl Code {
    /// As the answer spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
        }
    }
}

/// One thing that is wrong with a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which member, with the place in its list: `redirect_uris[1]`.
    pub member: String,
    /// What was to be registered, as JSON writes it and cut where it is long.
    pub value: Option<String>,
    /// Goes on from the member: "has a fragment".
    pub reason: String,
    /// What is allowed.
    pub remedy: Option<String>,
}

impl Problem {
    fn new(member: impl Into<String>, refusal: Refusal) -> Self {
        let Refusal { reason, remedy } = refusal;
        Self { member: member.into(), value: None, reason, remedy }
    }

    fn valued(mut self, value: &impl serde::Serialize) -> Self {
        /// More of a value helps nobody.
        const LONGEST: usize = 100;
        let written = serde_json::to_string(value).unwrap_or_default();
        let cut: String = written.chars().take(LONGEST).collect();
        let is_cut = cut.len() < written.len();
        self.value = Some(if is_cut { format!("{cut}…") } else { cut });
        self
    }

    /// Its code of RFC 7591 §3.2.2.
    pub fn code(&self) -> Code {
        if self.member.starts_with("redirect_uris") {
            Code::InvalidRedirectUri
        } else {
            Code::InvalidClientMetadata
        }
    }

    fn subject(&self) -> String {
        match &self.value {
            Some(value) => format!("{} = {value}", self.member),
            None => self.member.clone(),
        }
    }

    fn explanation(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// A sentence without a period.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.subject(), self.explanation())
    }
}

/// Everything that is wrong with a registration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Success if there are none.
    fn none(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The one code that an answer has: of the first problem.
    pub fn code(&self) -> Code {
        self.0.first().map_or(Code::InvalidClientMetadata, Problem::code)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(formatter, "{only}");
        }
        writeln!(formatter, "{} problems with what is to be registered", self.0.len())?;
        for problem in &self.0 {
            write!(formatter, "\n  {}\n      {}", problem.subject(), problem.explanation())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a value is refused, before it is known which member has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: String,
    remedy: Option<String>,
}

impl Refusal {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: None }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn did_you_mean(self, candidate: Option<&str>) -> Self {
        match candidate {
            Some(candidate) => self.remedy(format!("did you mean {candidate}?")),
            None => self,
        }
    }
}

/// Why an id that was chosen is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1 to 64 letters, digits and `. _ ~ -`.
    #[error("is not made of 1 to 64 letters, digits and . _ ~ -")]
    Illegal,
    /// Our own cookies' client, or of the form that people's ids have (RFC 9700 §4.15): they share the
    /// claim `sub`.
    #[error("is taken")]
    Taken,
}

/// Longest id that can be chosen.
const LONGEST_ID: usize = 64;

/// Checks an id that was chosen.
///
/// # Errors
/// [`IdError`].
pub fn check_id(id: &str) -> Result<(), IdError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(is_legal) {
        return Err(IdError::Illegal);
    }
    if id == FIRST_PARTY || Uuid::parse_str(id).is_ok() {
        return Err(IdError::Taken);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_that_of_a_person_or_of_our_own_cookies() {
        for legal in ["app", "a", "My.app_1~x-2", &"a".repeat(64)] {
            assert_eq!(check_id(legal), Ok(()), "{legal}");
        }
        for illegal in ["", "a b", "a/b", "a:b", "é", "a\n", &"a".repeat(65)] {
            assert_eq!(check_id(illegal), Err(IdError::Illegal), "{illegal:?}");
        }
        for taken in [
            "latchkey",
            "01890a5d-ac96-774b-bcce-b302099a8057",
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
        ] {
            assert_eq!(check_id(taken), Err(IdError::Taken), "{taken}");
        }
    }

    #[test]
    fn one_problem_is_a_sentence_and_several_are_a_list() {
        let one = Problem::new("redirect_uris[0]", Refusal::new("has a fragment")).valued(&"a#b");
        let other = Problem::new("scope", Refusal::new("is too long").remedy("leave some out"));
        let problems = Problems(vec![one.clone()]);
        assert_eq!(problems.to_string(), "redirect_uris[0] = \"a#b\" has a fragment");
        assert_eq!(problems.code(), Code::InvalidRedirectUri);
        assert_eq!(
            Problems(vec![one, other]).to_string(),
            "2 problems with what is to be registered\n\
             \n  redirect_uris[0] = \"a#b\"\n      has a fragment\
             \n  scope\n      is too long; leave some out"
        );
    }
}
