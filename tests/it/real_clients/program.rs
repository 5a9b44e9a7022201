//! The programs of `tests/independent/clients`: each says a line of JSON for each step.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
pub(super) fn installed() -> PathBuf {
    std::env::var_os("LATCHKEY_TEST_SERVERS")
        .expect(
            "this test runs somebody else's client: use ./run test, or tests/with-servers, which installs it",
        )
        .into()
}

/// A running program.
pub(super) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: UnboundedReceiver<String>,
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
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (said, lines) = unbounded_channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Self { child, input, lines, _folder: folder }
    }

    /// The next line; `None` once the program has ended.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        let line = line.expect("the program says nothing")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Says a line to the program, the last one.
    pub(super) fn say(&mut self, line: &str) {
        writeln!(self.input.take().unwrap(), "{line}").unwrap();
    }

    /// Waits until it has ended.
    pub(super) async fn end(mut self) -> ExitStatus {
        while self.next().await.is_some() {}
        self.child.wait().unwrap()
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
