//! `latchkey completions SHELL`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{CommandLine, output};

/// Prints the script.
pub fn run(shell: Shell) {
    let mut script = Vec::new();
    generate(shell, &mut CommandLine::command(), "latchkey", &mut script);
    output::print(String::from_utf8_lossy(&script));
}
