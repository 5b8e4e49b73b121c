//! TLS as a client.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Way, tcp};
use crate::{
    config::model::Tls,
    health::{Outcome, outcome::TlsFault},
};

/// What is spoken inside (RFC 7301).
pub(crate) type Alpn = &'static [u8];

/// How long what was read of the host's and of named authorities counts.
const FRESH: Duration = Duration::from_mins(1);

/// Clients by what they are to verify, each made once in a while: reading a host's authorities takes milliseconds.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Made>);

/// When each was made.
type Made = HashMap<(Tls, Alpn), (Instant, Arc<ClientConfig>)>;

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// Connects, and shakes hands.
    pub(crate) async fn connect(
        &self,
        way: &Way,
        tls: &Tls,
        host: Option<&str>,
        alpn: Alpn,
    ) -> Result<TlsStream<TcpStream>, Outcome> {
        let config = self.config(tls, alpn).await?;
        let stream = tcp::connect(way).await?;
        let name = tls.sni.as_deref().or(host);
        let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = name.unwrap_or_else(|| ServerName::from(way.to.ip()));
        let session = TlsConnector::from(config).connect(name, stream).await;
        session.map_err(|error| outcome(&error))
    }

    async fn config(&self, tls: &Tls, alpn: Alpn) -> Result<Arc<ClientConfig>, Outcome> {
        let key = (tls.clone(), alpn);
        let now = Instant::now();
        if let Some((made, config)) = self.lock().get(&key)
            && now.duration_since(*made) < FRESH
        {
            return Ok(Arc::clone(config));
        }
        let wanted = tls.clone();
        // Files: not in a task that others wait for.
        let made = tokio::task::spawn_blocking(move || config(&wanted, alpn)).await;
        let made = made.map_err(|_gone| Outcome::NotMade(libc::ECANCELED))?;
        let config = Arc::new(made.map_err(|error| not_made(&error))?);
        self.lock().insert(key, (now, Arc::clone(&config)));
        Ok(config)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_made(error: &io::Error) -> Outcome {
    Outcome::NotMade(error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn config(tls: &Tls, alpn: Alpn) -> io::Result<ClientConfig> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let mut config = if tls.verify {
        let roots = authorities(tls.ca.as_deref())?;
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let verifier = Arc::new(Anyone::new(&provider));
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    // Each probe shakes hands in full: what is tested is what a new client meets.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn authorities(file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let pem = fs::read(file)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// What a failed handshake says.
fn outcome(error: &io::Error) -> Outcome {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(error) = inner else {
        return Outcome::from_stream_error(error);
    };
    Outcome::Tls(match error {
        rustls::Error::InvalidCertificate(error) => fault(error),
        _ => TlsFault::Handshake,
    })
}

const fn fault(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYet
        }
        CertificateError::UnknownIssuer => TlsFault::Untrusted,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::Name
        }
        _ => TlsFault::Certificate,
    }
}

/// Trusts any certificate (`verify: false`), as long as the server has its key.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl Anyone {
    const fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anyone {
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
        crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
