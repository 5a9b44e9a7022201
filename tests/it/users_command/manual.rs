//! What the command line says of itself: help, completions, the manual page, and its document.

use std::process::{Command, Stdio};

use clap::{CommandFactory, ValueEnum};
use latchkey::cli::CommandLine;

use crate::processes::text;

fn said(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Every command with its words, those with commands below them, too.
fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            let words = [words, &[child.get_name().to_owned()]].concat();
            found.push(words.clone());
            below(child, &words, found);
        }
    }
    let mut found = Vec::new();
    below(&CommandLine::command(), &[], &mut found);
    found
}

#[test]
fn every_command_has_help_and_a_manual_page() {
    for words in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = said(&[&words[..], &["--help"]].concat());
        assert!(help.contains(&format!("Usage: latchkey {}", words.join(" "))), "{help}");
        let page = said(&[&["man"], &words[..]].concat());
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
    }
    for command in ["list", "token", "delete", "lock"] {
        let help = said(&["users", command, "--help"]);
        assert!(
            help.contains("Example") && help.contains(&format!("latchkey users {command}")),
            "{help}"
        );
    }
    let page = said(&["man"]);
    for expected in [".TH latchkey 1", "users", "sessions", "Exit status: 0 done"] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .args(["man", "users", "dance"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn every_shell_completes_every_command() {
    for shell in clap_complete::Shell::value_variants() {
        let script = said(&["completions", &shell.to_string()]);
        for word in ["users", "promote", "unlock", "token", "sessions", "revoke", "before", "man"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn every_command_is_in_its_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/command-line.md");
    let document = std::fs::read_to_string(path).unwrap();
    for words in commands() {
        let command = format!("latchkey {}", words.join(" "));
        assert!(document.contains(&command), "{command}");
    }
}
