//! The cryptography that every TLS connection of the process uses.

/// Makes ring the process's provider; that it is already is fine.
pub(crate) fn ensure_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
