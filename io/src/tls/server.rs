//! Our certificate: read once at start and at a reload, shared by all shards.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

use super::session::TlsSession;
use super::{ALPN, certificates, private_key};

const CERTIFICATE_SETTING: &str = "--ssl_certfile_path";
const KEY_SETTING: &str = "--ssl_keyfile_path";

/// Takes TLS connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads the certificate, with its chain behind it, and its key, both PEM. TLS 1.2 and 1.3; sessions are
    /// resumed by tickets, so that no shard keeps state for another.
    ///
    /// # Errors
    /// Names the setting, the file and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path) -> Result<ServerTls, String> {
        let chain = certificates(certificate, CERTIFICATE_SETTING)?;
        let secret = private_key(key, KEY_SETTING)?;
        let provider = aws_lc_rs::default_provider();
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| mismatch(certificate, key, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| format!("TLS tickets cannot be set up: {error}"))?;
        config.send_tls13_tickets = 1;
        Ok(ServerTls {
            config: Arc::new(config),
        })
    }

    /// The server's end of one new connection.
    ///
    /// # Errors
    /// When rustls cannot make it.
    pub fn session(&self) -> std::io::Result<TlsSession> {
        rustls::ServerConnection::new(Arc::clone(&self.config))
            .map(|connection| TlsSession::new(connection.into()))
            .map_err(std::io::Error::other)
    }
}

fn mismatch(certificate: &Path, key: &Path, error: &rustls::Error) -> String {
    format!(
        "{CERTIFICATE_SETTING} ({}) and {KEY_SETTING} ({}) do not go together: {error}",
        certificate.display(),
        key.display()
    )
}
