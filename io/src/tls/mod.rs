//! TLS both ways: rustls driven by bytes. Ciphertext goes in and comes out, plaintext goes in and comes out; who
//! moves the ciphertext is not known here, nor what the plaintext says. HTTP/1.1 is all that is negotiated.

mod client;
mod server;
mod session;

pub use client::{ClientOptions, ClientTls, any_certificate};
pub use server::ServerTls;
pub use session::{ReadState, TlsSession};

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The one protocol that is offered and taken by ALPN.
const ALPN: &[u8] = b"http/1.1";

/// The certificates of a PEM file, at least one. `setting` is named in the error.
fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |what: String| format!("{setting}: {}: {what}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| fault(pem_fault(&error)))?
        .collect();
    let found = found.map_err(|error| fault(pem_fault(&error)))?;
    if found.is_empty() {
        return Err(fault(
            "holds no PEM certificate (BEGIN CERTIFICATE)".to_owned(),
        ));
    }
    Ok(found)
}

/// The first private key of a PEM file. `setting` is named in the error.
fn private_key(path: &Path, setting: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound => {
                "holds no PEM private key (BEGIN PRIVATE KEY; one with a passphrase must be decrypted first)".to_owned()
            }
            error => pem_fault(&error),
        };
        format!("{setting}: {}: {what}", path.display())
    })
}

fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        error => format!("is not valid PEM: {error}"),
    }
}

#[cfg(test)]
mod tests;
