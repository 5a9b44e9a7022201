//! HTTP as no library sends it: bytes on a connection, and all that comes back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest wait for a server that has to close a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back on a connection.
#[derive(Clone, Debug)]
pub struct Heard {
    /// All bytes, read as text.
    pub text: String,
    /// Whether the other side closed the connection within [`PATIENCE`].
    pub closed: bool,
}

impl Heard {
    /// The status of each answer, in order.
    pub fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.1 ").skip(1);
        lines
            .map(|rest| rest.get(..3).and_then(|status| status.parse().ok()).unwrap_or(0))
            .collect()
    }
}

/// Reads until the other side closes.
pub async fn hear(stream: &mut (impl AsyncReadExt + Unpin)) -> Heard {
    let mut bytes = Vec::new();
    let reading = async {
        let mut part = [0; 4096];
        loop {
            match stream.read(&mut part).await {
                // Whoever still sends to a closed connection is told so by a reset.
                Ok(0) | Err(_) => return,
                Ok(length) => bytes.extend(&part[..length]),
            }
        }
    };
    let closed = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    Heard { text: String::from_utf8_lossy(&bytes).into_owned(), closed }
}

/// Sends bytes to `authority` while it listens, and reads until it closes.
pub async fn exchange(authority: &str, bytes: &[u8]) -> Heard {
    exchange_parts(authority, &[bytes]).await
}

/// The same with bytes in several parts.
pub async fn exchange_parts(authority: &str, parts: &[&[u8]]) -> Heard {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let (mut from, mut to) = stream.split();
    let sending = async {
        for part in parts {
            // A server that has answered need not take the rest.
            if to.write_all(part).await.is_err() {
                return;
            }
        }
    };
    let (heard, ()) = tokio::join!(hear(&mut from), sending);
    heard
}
