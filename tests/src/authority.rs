//! A certificate authority of a test's own.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tailwater_edge::client::Trust;

/// An authority, and the files in which its certificates are. Its methods panic if the system has no random numbers or
/// takes no files.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    #[expect(clippy::new_without_default, reason = "two authorities are never the same")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The file with the authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The `tls` block of a nats-server on the loopback, with `more` in it.
    pub fn nats_block(&self, more: &str) -> String {
        let (certificate, key) = self.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
        let authority = self.certificate();
        format!(
            "tls: {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {authority:?}, timeout: 5\n{more} }}"
        )
    }

    /// The `[tls]` table of an edge on the loopback.
    pub fn edge_table(&self) -> String {
        let (certificate, key) = self.issue("edge", ExtendedKeyUsagePurpose::ServerAuth);
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }

    /// The files with a client's certificate and its key.
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        self.issue("client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What our own client takes.
    pub fn trust(&self) -> Trust {
        Trust::File(self.certificate())
    }

    /// A client that speaks these versions and trusts this authority alone.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from(self.issuer.der().to_vec());
        roots.add(certificate).expect("an authority");
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (
            self.write(&format!("{name}.pem"), &certificate.pem()),
            self.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a temporary file takes text");
        path
    }
}
