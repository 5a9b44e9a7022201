//! A server of the test's own: `latchkey dev` on SQLite, in a folder that goes with it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Who becomes its admin by signing in.
pub const ADMIN: &str = "operator";

/// The running server; ends with the test.
pub struct Server {
    child: Child,
    /// Where it is.
    pub url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder: {error}"))?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no port: {error}"))?
            .port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_latchkey"))
            .args(["dev", "--port", &port.to_string(), "--data-dir"])
            .arg(folder.path().join("data"))
            .env("LATCHKEY_BOOTSTRAP_ADMIN", format!("dev:{ADMIN}"))
            .env("LATCHKEY_TELEMETRY__LOG_LEVEL", "warn")
            // Cookies are renewed at each refresh, so that each has a successor.
            .env("LATCHKEY_TOKENS__SESSION_GRACE", "0s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("latchkey cannot be started: {error}"))?;
        let output = child.stdout.take();
        let mut lines = BufReader::new(output.ok_or("no output")?).lines().map_while(Result::ok);
        let is_ready = lines.by_ref().any(|line| line.starts_with("Ready in"));
        // The rest is read on, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{port}");
        let server = Self { child, url, _folder: folder };
        if is_ready { Ok(server) } else { Err("latchkey dev does not become ready".to_owned()) }
    }
}
