//! TLS to a node: whom to trust, and under which name.
//!
//! The driver knows a node by its IP address, so a certificate without that address would be refused. A name that the
//! configuration gives is looked for instead, in a certificate of the same authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How a node is known, and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authority, as PEM.
    pub ca_file: PathBuf,
    /// Our own certificate and its key, as PEM, where the node wants them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name in the node's certificate, instead of its address.
    pub server_name: Option<String>,
}

impl Tls {
    pub(super) fn client_config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_file, "cql.ca_file")? {
            roots.add(certificate).with_context(|| format!("cql.ca_file {}", self.ca_file.display()))?;
        }
        let trusted = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let trusted = trusted.build().context("cql.ca_file")?;
        let verifier: Arc<dyn ServerCertVerifier> = match &self.server_name {
            None => trusted,
            Some(name) => {
                let name = ServerName::try_from(name.clone()).with_context(|| format!("cql.server_name `{name}`"))?;
                Arc::new(Named { trusted, name })
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(Arc::new(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate_file, key_file)) => {
                let chain = certificates(certificate_file, "cql.certificate_file")?;
                let key = PrivateKeyDer::from_pem_file(key_file);
                let key = key.with_context(|| format!("cql.key_file {}", key_file.display()))?;
                builder.with_client_auth_cert(chain, key).context("cql.certificate_file and cql.key_file")?
            }
        }))
    }
}

fn certificates(path: &Path, key: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("{key} {}", path.display());
    let pem = std::fs::read(path).with_context(place)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().with_context(place)?;
    ensure!(!found.is_empty(), "{}: expected certificates as PEM, found none", place());
    Ok(found)
}

/// Asks for one name, whatever address was dialled. Everything else is checked as ever.
#[derive(Debug)]
struct Named {
    trusted: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trusted.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.supported_verify_schemes()
    }
}
