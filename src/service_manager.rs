//! Telling a service manager how the server does, where one asks: systemd with `Type=notify` names a socket.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where systemd wants to be told.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests are answered.
    Ready,
    /// What is under way is being finished.
    Stopping,
}

impl State {
    fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the service manager, if there is one. That it cannot be told is logged, and no reason to stop.
pub fn tell(state: State) {
    if let Some(socket) = std::env::var_os(VARIABLE)
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!(%error, ?state, "the service manager could not be told");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => abstract_address(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.message(), &address).map(drop)
}

/// A name of Linux that is in no file system.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_one_datagram_by_either_kind_of_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("latchkey-test-{}", std::process::id());
        let hidden = abstract_address(name.as_bytes()).unwrap();
        for (socket, heard) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&hidden).unwrap()),
        ] {
            for (state, expected) in [(State::Ready, "READY=1"), (State::Stopping, "STOPPING=1")] {
                send(&socket, state).unwrap();
                let mut message = [0; 64];
                let length = heard.recv(&mut message).unwrap();
                assert_eq!(&message[..length], expected.as_bytes());
            }
        }
        assert!(send(OsStr::new("/nowhere/notify"), State::Ready).is_err());
    }
}
