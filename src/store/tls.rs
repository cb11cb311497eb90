//! TLS to Postgres, as the URL's parameters ask for it. `sslmode=prefer` and `require` encrypt and
//! believe any certificate, as libpq and Prisma do; `verify-ca`, `verify-full`, Prisma's
//! `sslaccept=strict` and a file of roots (`sslrootcert`, Prisma's `sslcert`) check it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use shardgate_io::tls::any_certificate;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How to encrypt connections to the database whose URL has these parameters.
///
/// # Errors
/// A file of roots that cannot be read, in words that name it.
pub(super) fn connector(
    parameter: impl Fn(&str) -> Option<String>,
) -> Result<MakeRustlsConnect, String> {
    let roots_file = parameter("sslrootcert").or_else(|| parameter("sslcert"));
    let strict = parameter("sslaccept").as_deref() == Some("strict");
    let verifies = parameter("sslmode").is_some_and(|mode| mode.starts_with("verify-"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = if strict || verifies || roots_file.is_some() {
        config.with_root_certificates(roots(roots_file.as_deref())?)
    } else {
        let anybody = any_certificate(&provider);
        config.dangerous().with_custom_certificate_verifier(anybody)
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// Those of a file, else the system's.
fn roots(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        // A certificate of the system that is not understood is none to rely on.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unread = |why: String| format!("the database_url's file of roots, {path}: {why}");
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unread(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| unread(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unread(error.to_string()))?;
    }
    Ok(roots)
}
