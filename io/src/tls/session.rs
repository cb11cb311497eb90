//! One TLS connection as a machine of bytes. It never reads a socket and never waits; what it holds is bounded
//! both ways, and it says so by taking less than it was given.

use std::io::{self, BufRead, Write};

use rustls::Connection;

/// Bytes of ciphertext that wait for [`TlsSession::take_output`], and of plaintext that wait for the handshake.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What [`TlsSession::read_plain`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadState {
    /// So many bytes were appended, at least one.
    Bytes(usize),
    /// Nothing there; feed more ciphertext.
    WouldBlock,
    /// The peer ended its side in due form (close_notify); all it sent has been read.
    Closed,
    /// The peer's socket ended without close_notify: what was read may have been cut off by somebody else.
    Truncated,
}

/// The client's or the server's end of a connection.
///
/// Whenever a call may have left something to send, [`TlsSession::wants_write`] is true: take it and send it
/// before waiting for the peer. After an error, send what [`TlsSession::take_output`] gives (an alert) and close.
#[derive(Debug)]
pub struct TlsSession {
    connection: Box<Connection>,
}

impl TlsSession {
    pub(super) fn new(mut connection: Connection) -> TlsSession {
        connection.set_buffer_limit(Some(OUTPUT_BYTES_MAX));
        TlsSession {
            connection: Box::new(connection),
        }
    }

    /// Takes ciphertext and says how much; less than all means that plaintext waits to be read first. What comes
    /// behind a close_notify is taken and dropped.
    ///
    /// # Errors
    /// `InvalidData` when the peer breaks the protocol or cannot be trusted.
    pub fn feed(&mut self, ciphertext: &[u8]) -> io::Result<usize> {
        let mut rest = ciphertext;
        while !rest.is_empty() {
            match self.connection.read_tls(&mut rest) {
                Ok(0) => return Ok(ciphertext.len()),
                Ok(_) => {}
                // rustls says so when its plaintext is to be read first.
                Err(error) if error.kind() == io::ErrorKind::Other => break,
                Err(error) => return Err(error),
            }
            self.connection.process_new_packets().map_err(explain)?;
        }
        Ok(ciphertext.len() - rest.len())
    }

    /// The peer's socket has ended.
    ///
    /// # Errors
    /// `UnexpectedEof` when the handshake was not over.
    pub fn feed_end(&mut self) -> io::Result<()> {
        if self.handshaking() {
            let what = "the peer closed the connection during the TLS handshake";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        match self.connection.read_tls(&mut io::empty()) {
            // With its plaintext full it does not look; the end is then fed again after a read.
            Err(error) if error.kind() == io::ErrorKind::Other => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Appends up to `max` bytes of plaintext to `out`.
    pub fn read_plain(&mut self, out: &mut Vec<u8>, max: usize) -> ReadState {
        let mut taken = 0;
        let mut reader = self.connection.reader();
        while taken < max {
            let chunk = match reader.fill_buf() {
                Ok([]) if taken == 0 => return ReadState::Closed,
                Ok([]) => break,
                Ok(chunk) => &chunk[..chunk.len().min(max - taken)],
                Err(_) if taken > 0 => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return ReadState::Truncated;
                }
                Err(_) => return ReadState::WouldBlock,
            };
            out.extend_from_slice(chunk);
            let count = chunk.len();
            taken += count;
            reader.consume(count);
        }
        if taken > 0 {
            ReadState::Bytes(taken)
        } else {
            ReadState::WouldBlock
        }
    }

    /// Encrypts plaintext and says how much of it; less than all means that output waits to be taken first.
    /// Before the end of the handshake plaintext is kept, within the same bound.
    ///
    /// # Errors
    /// As rustls says.
    pub fn write_plain(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(plain)
    }

    /// Appends all ciphertext that is to be sent to `out` and says how much.
    ///
    /// # Errors
    /// None that a `Vec` makes; as rustls says.
    pub fn take_output(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let before = out.len();
        while self.connection.wants_write() {
            self.connection.write_tls(out)?;
        }
        Ok(out.len() - before)
    }

    /// Ends our side in due form (close_notify), behind all that was written. Nothing may be written after it.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// True until both sides have agreed; no plaintext is sent or received before.
    pub fn handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// True when only the peer can bring things forward.
    pub fn wants_read(&self) -> bool {
        self.connection.wants_read()
    }

    /// True when [`TlsSession::take_output`] has something.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// True when the handshake resumed an earlier session.
    pub fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

/// Says what to do where the peer's certificate is the trouble.
fn explain(error: rustls::Error) -> io::Error {
    match error {
        rustls::Error::InvalidCertificate(fault) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the peer's certificate is not accepted ({fault}); add its authority to SSL_CERT_FILE, or \
                 set ssl_verify: false"
            ),
        ),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
