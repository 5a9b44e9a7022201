//! Other people's reverse proxies in front of our servers, each with a folder and a port of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// A port of 127.0.0.1 that nobody gets by chance while this lives. Who asks for it by its number does: both
/// sockets allow it, and this one does not listen.
pub struct Reserved {
    pub authority: String,
    _socket: TcpSocket,
}

impl Reserved {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let authority = socket.local_addr().unwrap().to_string();
        Self { authority, _socket: socket }
    }

    pub fn port(&self) -> u16 {
        self.authority.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

/// A reverse proxy; ends with the test.
pub struct ReverseProxy {
    child: Child,
    pub authority: String,
    folder: tempfile::TempDir,
    _reserved: Reserved,
}

impl Drop for ReverseProxy {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl ReverseProxy {
    /// Starts a program with the configuration that `configure` writes for its folder and the address to
    /// listen on; `environment` may speak of the folder, too. Ready once it listens.
    pub async fn start(
        mut command: Command,
        reserved: Reserved,
        configure: impl FnOnce(&Path, &str) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = reserved.authority.clone();
        let file = folder.path().join("proxy.conf");
        std::fs::write(&file, configure(folder.path(), &authority)).unwrap();
        let program = command.get_program().to_owned();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command
            .arg(&file)
            .current_dir(folder.path())
            // Caddy keeps its authority and its last configuration below these.
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path().join("data"))
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program:?} cannot be started: use ./run test, or tests/with-servers, which installs it: {error}")
            });
        let mut proxy = Self { child, authority, folder, _reserved: reserved };
        let asking = async {
            while TcpStream::connect(&proxy.authority).await.is_err() {
                let ended = proxy.child.try_wait().unwrap();
                assert_eq!(ended, None, "{program:?} does not start: {}", proxy.log());
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap();
        proxy
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate of the authority that Caddy makes for itself.
    pub fn caddy_authority(&self) -> PathBuf {
        self.file("data/caddy/pki/authorities/local/root.crt")
    }
}

/// nginx with a configuration file that comes next.
pub fn nginx() -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-p", ".", "-c"]);
    command
}

/// nginx as one process in the foreground, with a configuration file that comes next and says nothing of that.
pub fn nginx_in_front() -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-p", ".", "-g", "daemon off; master_process off;", "-c"]);
    command
}

/// HAProxy with a configuration file that comes next.
pub fn haproxy() -> Command {
    let mut command = Command::new("/usr/sbin/haproxy");
    command.args(["-db", "-f"]);
    command
}

/// Caddy with a Caddyfile that comes next.
pub fn caddy() -> Command {
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command
}
