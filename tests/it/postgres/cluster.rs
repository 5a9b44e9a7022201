//! Private PostgreSQL servers that tests may stop, break and freeze.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use latchkey::protocol::random;
use latchkey::protocol::secret::Secret;
use tempfile::TempDir;

/// A server of its own in a temporary folder. It ends with the test's process, however that ends.
pub(crate) struct PrivateCluster {
    folder: TempDir,
    binaries: PathBuf,
    owner: Option<Owner>,
    password: String,
    port: u16,
    has_tls: bool,
    guard: Option<Child>,
}

/// Whom the server runs as where the tests run as root, which PostgreSQL refuses.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

/// Runs the server until its own standard input ends, which the test's process holds open. So the
/// server and its folder go even if that process is killed.
const GUARD: &str = r#"
    "$@" </dev/null >>server.log 2>&1 &
    server=$!
    read -r wish
    kill -INT "$server" 2>/dev/null
    wait "$server"
    [ "$wish" = keep ] || rm -rf "$PWD"
"#;

impl PrivateCluster {
    /// Makes a cluster and starts its server.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::initialize();
        cluster.restart();
        cluster
    }

    /// The same with a certificate for 127.0.0.1 that it issued itself.
    pub(crate) fn start_with_tls() -> Self {
        let mut cluster = Self::initialize();
        let mut openssl = cluster.command("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-nodes", "-days", "2", "-subj", "/CN=latchkey test"]);
        openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-keyout").arg(cluster.data().join("server.key"));
        openssl.arg("-out").arg(cluster.certificate());
        run(&mut openssl, "the test of TLS needs openssl (Debian: apt-get install openssl)");
        cluster.has_tls = true;
        cluster.restart();
        cluster
    }

    /// The certificate of [`PrivateCluster::start_with_tls`].
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data().join("server.crt")
    }

    /// Where the server listens.
    pub(crate) fn url(&self) -> Secret {
        let Self { password, port, .. } = self;
        Secret::new(format!("postgres://latchkey:{password}@127.0.0.1:{port}/postgres"))
    }

    /// A standby that follows this one, on a port of its own.
    pub(crate) fn standby(&self) -> Self {
        let mut standby = Self::without_data();
        standby.password.clone_from(&self.password);
        let mut copy = standby.command(self.tool("pg_basebackup"));
        copy.arg("--pgdata").arg(standby.data()).args(["--checkpoint=fast", "--no-sync"]);
        copy.args(["--write-recovery-conf", "--dbname", self.url().expose()]);
        run(&mut copy, "pg_basebackup cannot be started");
        standby.restart();
        standby
    }

    /// Makes a standby the primary; when it returns it is.
    pub(crate) fn promote(&self) {
        let mut promotion = self.command(self.tool("pg_ctl"));
        promotion.args(["promote", "--wait", "--pgdata"]).arg(self.data());
        run(&mut promotion, "pg_ctl cannot be started");
    }

    /// Ends the server at once, as a crash does: what was not committed is lost.
    pub(crate) fn kill(&mut self) {
        signal("QUIT", &[self.postmaster()]);
        self.end_guard("keep\n");
    }

    /// Starts the server after [`PrivateCluster::kill`].
    pub(crate) fn restart(&mut self) {
        let postgres = self.binaries.join("postgres");
        let mut command = self.command("sh");
        command.args(["-c", GUARD, "sh"]).arg(postgres).arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string()]);
        let tls = if self.has_tls { "ssl=on" } else { "ssl=off" };
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", tls]
        {
            command.args(["-c", setting]);
        }
        let log = self.folder.path().join("server.log");
        if log.exists() {
            fs::remove_file(&log).unwrap();
        }
        // Ctrl-C is for the tests: their end is what ends the server.
        let mut guard = command.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let is_ready =
            || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready to accept"));
        while !is_ready() {
            assert!(is_running(&mut guard, &log), "PostgreSQL does not start: {}", read(&log));
            std::thread::yield_now();
        }
        self.guard = Some(guard);
    }

    /// Stops the server's processes where they are; they answer nothing, and hold what they hold.
    pub(crate) fn freeze(&self) {
        signal("STOP", &self.processes());
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        signal("CONT", &self.processes());
    }

    /// A folder for a cluster.
    fn without_data() -> Self {
        let cluster = Self {
            folder: tempfile::Builder::new().prefix("latchkey-postgres.").tempdir().unwrap(),
            binaries: find_binaries(),
            owner: ordinary_user(),
            password: random::bytes::<16>().map(|byte| format!("{byte:02x}")).concat(),
            port: free_port(),
            has_tls: false,
            guard: None,
        };
        if let Some(Owner { user, group }) = cluster.owner {
            chown(cluster.folder.path(), Some(user), Some(group)).unwrap();
        }
        cluster
    }

    fn initialize() -> Self {
        let cluster = Self::without_data();
        let password = cluster.folder.path().join("password");
        fs::write(&password, &cluster.password).unwrap();
        if let Some(Owner { user, group }) = cluster.owner {
            chown(&password, Some(user), Some(group)).unwrap();
        }
        let mut initdb = cluster.command(cluster.binaries.join("initdb"));
        initdb.arg("--pgdata").arg(cluster.data()).arg("--pwfile").arg(&password);
        initdb.args(["--username=latchkey", "--auth=scram-sha-256", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--no-sync"]);
        run(&mut initdb, "initdb cannot be started");
        cluster
    }

    /// A program that belongs to the server's: beside it where it really is, else wherever it is found.
    fn tool(&self, name: &str) -> PathBuf {
        let server = fs::canonicalize(self.binaries.join("postgres")).unwrap();
        Some(server.with_file_name(name)).filter(|tool| tool.exists()).unwrap_or(name.into())
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        if let Some(Owner { user, group }) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn postmaster(&self) -> u32 {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }

    fn processes(&self) -> Vec<u32> {
        let postmaster = self.postmaster();
        let children =
            fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        std::iter::once(postmaster).chain(children).collect()
    }

    fn end_guard(&mut self, wish: &str) {
        if let Some(mut guard) = self.guard.take() {
            if let Some(mut input) = guard.stdin.take() {
                input.write_all(wish.as_bytes()).unwrap();
            }
            guard.wait().unwrap();
        }
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        if self.guard.is_some() && self.data().join("postmaster.pid").exists() {
            self.thaw();
        }
        self.end_guard("");
    }
}

fn run(command: &mut Command, if_missing: &str) {
    let output = command.stdin(Stdio::null()).output().expect(if_missing);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_running(guard: &mut Child, log: &Path) -> bool {
    // Who connects too early is told in the same words, and that is no failure.
    let is_failure =
        |line: &str| line.contains("FATAL") && !line.contains("the database system is ");
    !read(log).lines().any(is_failure) && guard.try_wait().unwrap().is_none()
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

fn signal(name: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).args(processes.iter().map(u32::to_string));
    // A connection's process may have ended in the meantime.
    command.stderr(Stdio::null()).status().unwrap();
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The folder of initdb and postgres: that on PATH, else the newest of Debian's.
fn find_binaries() -> PathBuf {
    let holds_both =
        |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(holds_both) {
        return folder;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, folder)| holds_both(folder))
        .max();
    let (_, folder) = newest.expect(
        "these tests need PostgreSQL's server: install it (Debian: apt-get install postgresql) or name one in LATCHKEY_TEST_POSTGRES",
    );
    folder
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whom to run the server as; `None` if the tests do not run as root.
fn ordinary_user() -> Option<Owner> {
    if !is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let owner = ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let user = fields.next()?.parse().ok()?;
        Some(Owner { user, group: fields.next()?.parse().ok()? })
    });
    Some(owner.expect("PostgreSQL refuses to run as root, and there is no user postgres or nobody"))
}
