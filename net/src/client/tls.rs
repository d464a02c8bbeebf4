//! Trust and identity for `https` targets. Verification cannot be switched off; a private authority's certificate can be
//! given instead of the machine's trust store.

use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Why TLS could not be set up. Nothing was connected; the configuration must change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// the file of authorities holds no usable certificate
    #[error("no usable certificate among the authorities: {0}")]
    Authorities(String),
    /// the machine has no trust store
    #[error("the machine's trust store holds no certificate: install ca-certificates or name a CA file")]
    NoTrustStore,
    /// the client's certificate or key cannot be used
    #[error("the client certificate or its key cannot be used: {0}")]
    Identity(String),
}

/// TLS settings, shared by all connections that use them.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
}

impl TlsConfig {
    /// Reads PEM texts: the authorities to trust (`None`: the machine's trust store), and the client's certificate chain
    /// with its key where the server asks for one.
    ///
    /// # Errors
    /// [`TlsError`] says which text cannot be used.
    pub fn new(authorities: Option<&[u8]>, identity: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let roots = match authorities {
            Some(pem) => given_roots(pem)?,
            None => machine_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Identity(error.to_string()))?
            .with_root_certificates(roots);
        let base = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let bad = |error: &dyn std::fmt::Display| TlsError::Identity(error.to_string());
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let chain = chain.map_err(|error| bad(&error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| bad(&error))?
            }
        };
        let with_protocol = |name: &[u8]| {
            let mut config = base.clone();
            config.alpn_protocols = vec![name.to_vec()];
            Arc::new(config)
        };
        Ok(Self { http1: with_protocol(b"http/1.1"), http2: with_protocol(b"h2") })
    }
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Authorities(error.to_string()))?;
        roots.add(certificate).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    if roots.is_empty() { Err(TlsError::Authorities("the text holds none".to_owned())) } else { Ok(roots) }
}

fn machine_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Trust stores often hold a few certificates too old to be parsed: those are passed over.
    let (_added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoTrustStore) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_texts_are_named() {
        assert!(matches!(TlsConfig::new(Some(b""), None), Err(TlsError::Authorities(_))));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(TlsConfig::new(Some(broken), None), Err(TlsError::Authorities(_))));
    }
}
