//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

pub(super) use crate::protocol::spelling::nearest;

/// One thing that is wrong, with its place, value, reason and remedy.
///
/// A secret's value is never part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ConfigurationProblem")]
pub struct Problem {
    /// The file that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The environment variable that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Path of the key, such as `providers[0].client_id`; empty where the whole file is meant.
    pub key: String,
    /// The value as TOML writes it, if it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Goes on from the key: "is not an absolute address".
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Problem {
    /// Where it is, in a word or two.
    fn place(&self) -> String {
        match (self.line, &self.variable) {
            (Some(line), _) => format!("line {line}"),
            (None, Some(_)) => "environment".to_owned(),
            (None, None) if self.key.is_empty() => "file".to_owned(),
            (None, None) if self.value.is_some() => "default".to_owned(),
            (None, None) => "missing".to_owned(),
        }
    }

    /// What it is about: the key, or the variable that sets it, and the value.
    fn subject(&self) -> String {
        let name = self.variable.as_deref().unwrap_or(&self.key);
        match &self.value {
            Some(value) => format!("{name} = {value}"),
            None => name.to_owned(),
        }
    }

    /// What is wrong with it and what helps.
    fn explanation(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.reason),
            None => self.reason.clone(),
        }
    }

    /// Problems of the file as a whole come first, then line by line, then what is missing, then
    /// what the environment says.
    pub(super) fn order(&self) -> (bool, bool, usize) {
        let is_missing = self.line.is_none() && !self.key.is_empty();
        (self.variable.is_some(), is_missing, self.line.unwrap_or(0))
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The file that was read, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl Problems {
    fn heading(&self) -> String {
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            several => format!("{several} problems"),
        };
        match &self.file {
            Some(file) => format!("{count} in {file}"),
            None => format!("{count} in the configuration (no file was found)"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.problems.iter().map(|problem| problem.place().len()).max().unwrap_or(0);
        writeln!(formatter, "{}", self.heading())?;
        writeln!(formatter)?;
        for problem in &self.problems {
            let subject = problem.subject();
            let mut place = problem.place();
            if !subject.is_empty() {
                writeln!(formatter, "  {place:width$}  {subject}")?;
                place.clear();
            }
            writeln!(formatter, "  {place:width$}  {}", problem.explanation())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Why a value is refused, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) remedy: Option<String>,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn did_you_mean(self, candidate: Option<impl fmt::Display>) -> Self {
        match candidate {
            Some(candidate) => self.remedy(format!("did you mean {candidate}?")),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_written_in_aligned_blocks() {
        let at =
            |line, key: &str, value: Option<&str>, reason: &str, remedy: Option<&str>| Problem {
                file: Some("./latchkey.toml".to_owned()),
                line: Some(line),
                key: key.to_owned(),
                value: value.map(str::to_owned),
                reason: reason.to_owned(),
                remedy: remedy.map(str::to_owned),
                ..Problem::default()
            };
        let problems = Problems {
            file: Some("./latchkey.toml".to_owned()),
            problems: vec![
                at(
                    4,
                    "server.public_url",
                    Some("\"auth.example.com\""),
                    "is not an absolute address",
                    Some("did you mean \"https://auth.example.com\"?"),
                ),
                at(
                    17,
                    "tokens.acess_ttl",
                    None,
                    "is not a key of [tokens]",
                    Some("did you mean access_ttl?"),
                ),
            ],
        };
        assert_eq!(
            problems.to_string(),
            "2 problems in ./latchkey.toml\n\
             \n\
             \x20 line 4   server.public_url = \"auth.example.com\"\n\
             \x20          is not an absolute address; did you mean \"https://auth.example.com\"?\n\
             \x20 line 17  tokens.acess_ttl\n\
             \x20          is not a key of [tokens]; did you mean access_ttl?\n"
        );
    }
}
