//! The programs of `tests/independent/clients`: each says a line of JSON for each step.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::error::Elapsed;

/// The longest wait for a line, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the programs are.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/clients")
}

/// Where their packages are.
///
/// # Panics
/// If they are not installed.
pub(crate) fn installed() -> PathBuf {
    std::env::var_os("LATCHKEY_TEST_SERVERS")
        .expect(
            "this test runs somebody else's client: use ./run test, or tests/with-servers, which installs it",
        )
        .into()
}

/// What a child process says on one of its outputs, line by line, as long as it has that output.
pub(super) struct Lines(UnboundedReceiver<String>);

impl Lines {
    /// Reads on by itself, so that the process never waits to be heard.
    pub(super) fn of(output: impl Read + Send + 'static) -> Self {
        let (said, lines) = unbounded_channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| said.send(line))
        });
        Self(lines)
    }

    /// The next line, or `None` after the last.
    ///
    /// # Errors
    /// If nothing is said for long.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Elapsed> {
        tokio::time::timeout(PATIENCE, self.0.recv()).await
    }

    /// What was said since, as far as it is here.
    pub(super) fn heard(&mut self) -> String {
        std::iter::from_fn(|| self.0.try_recv().ok()).map(|line| line + "\n").collect()
    }
}

/// A running program.
pub(super) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
    complaints: Lines,
    _folder: Option<TempDir>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Program {
    /// Starts a program by its file's name, which tells the language.
    pub(super) fn start(name: &str, arguments: &[&str]) -> Self {
        let is_python = Path::new(name).extension().is_some_and(|extension| extension == "py");
        let (mut command, folder) = if is_python {
            let mut command = Command::new(installed().join("python/bin/python"));
            command.arg("-B").arg(sources().join(name));
            (command, None)
        } else {
            let folder = beside_packages();
            let mut command = Command::new("node");
            command.current_dir(folder.path()).args(["--import", "./node-18.mjs", name]);
            (command, Some(folder))
        };
        let mut child = command
            .args(arguments)
            // The server is on this machine, whatever proxy there is.
            .envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            lines: Lines::of(child.stdout.take().unwrap()),
            complaints: Lines::of(child.stderr.take().unwrap()),
            child,
            _folder: folder,
        }
    }

    /// The next line that it says.
    ///
    /// # Panics
    /// With what it complains about, if it says nothing more.
    pub(super) async fn next(&mut self) -> Value {
        match self.lines.next().await {
            Ok(Some(line)) => {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
            }
            Ok(None) => {
                let complaints = self.complained().await;
                panic!("{} has ended: {complaints}", self.name)
            }
            Err(_) => {
                self.child.kill().unwrap();
                let complaints = self.complained().await;
                panic!("{} says nothing: {complaints}", self.name)
            }
        }
    }

    /// Says a line to the program, the last one.
    pub(super) fn say(&mut self, line: &str) {
        let said = writeln!(self.input.take().unwrap(), "{line}");
        said.unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// All that it complains about until it ends, which it is made to if it takes too long.
    async fn complained(&mut self) -> String {
        let mut complaints = String::new();
        loop {
            match self.complaints.next().await {
                Ok(Some(line)) => complaints = complaints + &line + "\n",
                Ok(None) => return complaints,
                Err(_) => self.child.kill().unwrap(),
            }
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// What it complains about, if it ends with a failure.
    pub(super) async fn end(mut self) -> Result<(), String> {
        let complaints = self.complained().await;
        let status = self.child.wait().unwrap();
        if status.success() { Ok(()) } else { Err(complaints) }
    }

    /// The only line of a program that says one if all is well.
    ///
    /// # Errors
    /// What it complains about, if all is not well.
    pub(super) async fn verdict(mut self) -> Result<Value, String> {
        let line = self.lines.next().await;
        self.end().await?;
        let line = line.expect("it has ended").expect("a program that is content says so");
        Ok(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}

/// A folder with all programs in which Node.js finds the packages.
fn beside_packages() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(sources()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let packages = installed().join("node_modules");
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    folder
}
