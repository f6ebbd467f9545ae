//! How a connection is secured: plaintext, or TLS by rustls with the feature `tls`.
//!
//! The properties have librdkafka's names, because its connections are secured by the same ones.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::known::KnownBrokers;
use crate::client::{ClusterConfig, Properties};
use crate::error::ConfigError;

/// A connection's bytes, secured or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) type BoxStream = Box<dyn Stream>;

/// Where a cluster is, and how its connections are secured.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// How.
    pub security: Security,
    /// Shared by all clients of this endpoint and of its clones.
    pub(super) known: KnownBrokers,
}

impl Endpoint {
    /// The endpoint of a cluster.
    ///
    /// # Errors
    /// If its security can't be had: an unknown protocol, a file that can't be read.
    pub fn of(cluster: &ClusterConfig) -> Result<Self, ConfigError> {
        let bootstrap = cluster.bootstrap.clone();
        Ok(Self { bootstrap, security: Security::of(cluster)?, known: KnownBrokers::default() })
    }

    /// An endpoint without security.
    pub fn plaintext(bootstrap: &str) -> Self {
        let (security, known) = (Security::default(), KnownBrokers::default());
        Self { bootstrap: bootstrap.to_owned(), security, known }
    }
}

/// How a connection is secured.
#[derive(Clone, Default)]
pub struct Security {
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsConnector>,
}

fn invalid(name: &'static str, value: &str, hint: impl Into<String>) -> ConfigError {
    let value = Properties::shown(name, value).to_owned();
    ConfigError::Invalid { name, value, hint: hint.into() }
}

impl Security {
    fn of(cluster: &ClusterConfig) -> Result<Self, ConfigError> {
        let name = "security.protocol";
        let protocol = cluster.properties.get(name).unwrap_or("plaintext");
        match protocol.to_ascii_lowercase().as_str() {
            "plaintext" => Ok(Self::default()),
            #[cfg(feature = "tls")]
            "ssl" => Ok(Self { tls: Some(tls::connector(cluster)?) }),
            #[cfg(not(feature = "tls"))]
            "ssl" => Err(invalid(name, protocol, "build streams-core with the feature `tls`")),
            _ => Err(invalid(name, protocol, "it must be `plaintext` or `ssl`")),
        }
    }

    /// The connection, secured.
    #[cfg(feature = "tls")]
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> Result<BoxStream, String> {
        let Some(connector) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host);
        let name = name.map_err(|error| error.to_string())?;
        let secured = connector.connect(name, stream).await;
        Ok(Box::new(secured.map_err(|error| format!("TLS: {error}"))?))
    }

    /// The connection, as it is.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it waits")]
    pub(super) async fn secure(&self, stream: TcpStream, _: &str) -> Result<BoxStream, String> {
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "tls")]
        let protocol = if self.tls.is_some() { "ssl" } else { "plaintext" };
        #[cfg(not(feature = "tls"))]
        let protocol = "plaintext";
        f.debug_tuple("Security").field(&protocol).finish()
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    use super::invalid;
    use crate::client::ClusterConfig;
    use crate::error::ConfigError;

    const CA: &str = "ssl.ca.location";
    const CERTIFICATE: &str = "ssl.certificate.location";
    const KEY: &str = "ssl.key.location";

    fn certificates(
        name: &'static str,
        path: &str,
    ) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.map_err(|error| invalid(name, path, format!("no PEM certificates there: {error}")))
    }

    fn roots(cluster: &ClusterConfig) -> Result<RootCertStore, ConfigError> {
        let mut roots = RootCertStore::empty();
        let (path, found) = match cluster.properties.get(CA) {
            Some(path) => (path, certificates(CA, path)?),
            None => ("the system's", rustls_native_certs::load_native_certs().certs),
        };
        let (added, _) = roots.add_parsable_certificates(found);
        if added == 0 {
            return Err(invalid(CA, path, "there is no certificate authority to trust"));
        }
        Ok(roots)
    }

    pub(super) fn connector(cluster: &ClusterConfig) -> Result<TlsConnector, ConfigError> {
        // Without an explicit provider rustls asks for the process's, and panics if the application
        // links a second one and has installed none.
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("security.protocol", "ssl", error.to_string()))?
            .with_root_certificates(roots(cluster)?);
        let (certificate, key) = (cluster.properties.get(CERTIFICATE), cluster.properties.get(KEY));
        let config = match (certificate, key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(CERTIFICATE, certificate)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| invalid(KEY, key, format!("no PEM key there: {error}")))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| invalid(CERTIFICATE, certificate, error.to_string()))?
            }
            (Some(one), None) => return Err(invalid(CERTIFICATE, one, "set ssl.key.location too")),
            (None, Some(one)) => {
                return Err(invalid(KEY, one, "set ssl.certificate.location too"));
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    /// Rustls panics when it has to choose the process's provider and an application links two.
    #[test]
    fn the_process_keeps_its_choice_of_a_cryptography_provider() {
        let mut cluster = ClusterConfig { bootstrap: "b:1".to_owned(), ..Default::default() };
        cluster.properties.insert("security.protocol", "ssl");
        Endpoint::of(&cluster).expect("the system has certificate authorities");
        assert!(tokio_rustls::rustls::crypto::CryptoProvider::get_default().is_none());
    }
}
