//! `latchkey completions SHELL`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::CommandLine;

/// Prints the script.
pub fn run(shell: Shell) {
    generate(shell, &mut CommandLine::command(), "latchkey", &mut std::io::stdout());
}
