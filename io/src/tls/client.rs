//! Whom we trust upstream: the system's roots, `SSL_CERT_FILE`, what the configuration adds, or everybody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::session::TlsSession;
use super::{ALPN, certificates, private_key};

/// Sessions that are remembered for resumption, per [`ClientTls`]; the oldest is forgotten.
const SESSIONS_MAX: usize = 256;

/// Where distributions keep the bundle of the system's roots.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How upstreams are checked.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Check the upstream's certificate (`ssl_verify`). Without it anybody can pose as the upstream.
    pub verify: bool,
    /// PEM files with further roots (`ssl_verify` given as a path).
    pub extra_roots: Vec<PathBuf>,
    /// Our own certificate and its key, PEM, for upstreams that ask for one (`ssl_certificate`). Both may be
    /// the same file.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            verify: true,
            extra_roots: Vec::new(),
            certificate: None,
        }
    }
}

/// Makes TLS connections to upstreams. Cheap to clone; reading the roots is not, so make one and share it.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the system's roots and those of `SSL_CERT_FILE`, or, with `verify` false, everybody.
    ///
    /// # Errors
    /// Names the file or variable and what is wrong with it.
    pub fn new(verify: bool) -> Result<ClientTls, String> {
        ClientTls::with(&ClientOptions {
            verify,
            ..ClientOptions::default()
        })
    }

    /// As [`ClientTls::new`], with all options.
    ///
    /// # Errors
    /// Names the file or variable and what is wrong with it.
    pub fn with(options: &ClientOptions) -> Result<ClientTls, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = if options.verify {
            builder.with_root_certificates(roots(&options.extra_roots)?)
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody::new(&provider)))
        };
        let mut config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    certificates(chain, "ssl_certificate")?,
                    private_key(key, "ssl_certificate")?,
                )
                .map_err(|error| format!("ssl_certificate: {}: {error}", chain.display()))?,
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(ClientTls {
            config: Arc::new(config),
        })
    }

    /// The configuration itself, for connections that another runtime drives.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The same trust with resumption memory of its own, so that shards share no lock.
    pub fn per_shard(&self) -> ClientTls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        ClientTls {
            config: Arc::new(config),
        }
    }

    /// The client's end of one new connection to `host`, a name or an address, in brackets or without.
    ///
    /// # Errors
    /// When `host` is neither.
    pub fn session(&self, host: &str) -> io::Result<TlsSession> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{host:?} is no host name or address"),
            )
        })?;
        rustls::ClientConnection::new(Arc::clone(&self.config), name)
            .map(|connection| TlsSession::new(connection.into()))
            .map_err(io::Error::other)
    }
}

/// Roots that webpki cannot read are skipped, as every client does: bundles hold a few odd ones.
fn roots(extra: &[PathBuf]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let faults: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    store.add_parsable_certificates(found.certs);
    if std::env::var_os("SSL_CERT_FILE").is_some() {
        if !faults.is_empty() {
            return Err(format!(
                "SSL_CERT_FILE or SSL_CERT_DIR: {}",
                faults.join("; ")
            ));
        }
        // The crate reads the variable's file instead of the system's; we want both.
        if let Some(bundle) = SYSTEM_BUNDLES
            .map(Path::new)
            .into_iter()
            .find(|path| path.is_file())
        {
            store.add_parsable_certificates(certificates(bundle, "system roots")?);
        }
    }
    for path in extra {
        let (added, _) = store.add_parsable_certificates(certificates(path, "ssl_verify")?);
        if added == 0 {
            return Err(format!(
                "ssl_verify: {}: holds no usable root",
                path.display()
            ));
        }
    }
    if store.is_empty() {
        return Err(format!(
            "no root certificates found to check upstreams with: install ca-certificates, or set \
             SSL_CERT_FILE or ssl_verify {}",
            faults.join("; ")
        ));
    }
    Ok(store)
}

/// Takes any certificate, for settings that ask for encryption alone; signatures are still checked.
pub fn any_certificate(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anybody::new(provider))
}

/// Takes any certificate; signatures are still checked, so that the peer at least holds the key it shows.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anybody {
    fn new(provider: &CryptoProvider) -> Anybody {
        Anybody {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
