//! A certificate authority of a test's own.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tailwater_edge::client::Trust;

/// From when until when most certificates are valid: in days from now.
pub const ALWAYS: Range<i64> = -365..3650;

/// A certificate and its key, in PEM.
pub type Files = (PathBuf, PathBuf);

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
        let name = format!("authority {:016x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
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
        let (certificate, key) = self.issue("server", ExtendedKeyUsagePurpose::ServerAuth, ALWAYS);
        let authority = self.certificate();
        format!(
            "tls: {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {authority:?}, timeout: 5\n{more} }}"
        )
    }

    /// The `[tls]` table of an edge on the loopback.
    pub fn edge_table(&self) -> String {
        let (certificate, key) = self.edge_files(ALWAYS);
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }

    /// The files with an edge's certificate and its key, valid for these days from now: new ones each time, in the
    /// place of those before.
    pub fn edge_files(&self, days: Range<i64>) -> Files {
        self.issue("edge", ExtendedKeyUsagePurpose::ServerAuth, days)
    }

    /// The files with a client's certificate and its key.
    pub fn client_files(&self) -> Files {
        self.client_files_for(ALWAYS)
    }

    /// As [`Authority::client_files`], valid for these days from now.
    pub fn client_files_for(&self, days: Range<i64>) -> Files {
        self.issue("client", ExtendedKeyUsagePurpose::ClientAuth, days)
    }

    /// What our own client takes.
    pub fn trust(&self) -> Trust {
        Trust::File(self.certificate())
    }

    /// A client that speaks these versions and trusts this authority alone.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        self.client_config(versions, None)
    }

    /// As [`Authority::client`], with a certificate of its own.
    pub fn client_as(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        files: &Files,
    ) -> Arc<ClientConfig> {
        self.client_config(versions, Some(files))
    }

    fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        files: Option<&Files>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from(self.issuer.der().to_vec());
        roots.add(certificate).expect("an authority");
        let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let mut config = match files {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                let config = builder.with_client_auth_cert(vec![certificate], key);
                config.expect("the key of the certificate")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, days: Range<i64>) -> Files {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![usage];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("it is later than 1970").as_secs();
        let at = |days: i64| {
            let seconds = now.saturating_add_signed(days * 24 * 60 * 60);
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (at(days.start), at(days.end));
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
