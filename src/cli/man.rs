//! `latchkey man [COMMAND…]`: the manual page of the program or of one of its commands.

use clap::CommandFactory;

use crate::cli::{CommandLine, Failure, output};

/// Prints the page as a manual reader takes it.
///
/// # Errors
/// If there is no such command, or its page cannot be made.
pub fn run(names: &[String]) -> Result<(), Failure> {
    let mut command = CommandLine::command();
    // Names the commands below after those above.
    command.build();
    let mut title = "latchkey".to_owned();
    for name in names {
        let Some(found) = command.find_subcommand(name) else {
            return Err(Failure::usage(format!(
                "There is no command `{title} {name}`. `{title} --help` shows which there are."
            )));
        };
        let found = found.clone();
        title = format!("{title} {name}");
        command = found;
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).title(title.replace(' ', "-")).render(&mut page);
    rendered.map_err(Failure::of)?;
    output::print(String::from_utf8_lossy(&page));
    Ok(())
}
