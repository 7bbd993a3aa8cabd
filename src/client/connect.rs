//! Connections to API servers: from a kubeconfig, from a ServiceAccount's directory, or from parts.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Config,
    client::{Body, ConfigExt},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

use crate::Rest;

/// How soon a connection must be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent HTTP/2 connection is pinged this often, and given up when a ping stays unanswered as long:
/// a half-open member is noticed within twice this.
const PING: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or names a context it does not have.
    #[error("cannot use kubeconfig {path}")]
    Kubeconfig {
        /// The file; `-` if it did not come from a file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// A credentials file cannot be read.
    #[error("cannot read {path}")]
    ReadCredentials {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The environment does not say where the cluster's API server is.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")]
    NoServiceEnvironment,
    /// The address is not a URL.
    #[error("{url} is not the address of an API server")]
    Address {
        /// What was given.
        url: String,
    },
    /// The CA bundle is not PEM.
    #[error("the certificate authority is not PEM")]
    CertificateAuthority {
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// TLS or authentication data are wrong.
    #[error("cannot set up TLS or credentials")]
    Setup {
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client from a kubeconfig file. `context` overrides its current context.
///
/// # Errors
/// If the file or the context cannot be used.
pub async fn kubeconfig(name: &str, path: &Path, context: Option<&str>) -> Result<Rest, Error> {
    let wrap = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(path).map_err(wrap)?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(file, &options).await.map_err(wrap)?;
    rest(name, config)
}

/// A client from the text of a kubeconfig, its current context. `server` overrides the address in it.
///
/// # Errors
/// If it cannot be used.
pub async fn kubeconfig_text(name: &str, text: &str, server: Option<&str>) -> Result<Rest, Error> {
    let wrap = |source| Error::Kubeconfig {
        path: "-".into(),
        source: Box::new(source),
    };
    let file = Kubeconfig::from_yaml(text).map_err(wrap)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(wrap)?;
    if let Some(server) = server {
        config.cluster_url = address(server)?;
    }
    rest(name, config)
}

/// A client from a mounted ServiceAccount: `token` and `ca.crt` in `dir`, the address from the environment.
/// The token is read again as it is renewed.
///
/// # Errors
/// If a file or the environment is missing.
pub fn service_account(name: &str, dir: &Path) -> Result<Rest, Error> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").map_err(|_| Error::NoServiceEnvironment)?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").map_err(|_| Error::NoServiceEnvironment)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let ca_file = dir.join("ca.crt");
    let ca = std::fs::read_to_string(&ca_file).map_err(|source| Error::ReadCredentials { path: ca_file, source })?;
    let token_file = dir.join("token");
    if let Err(source) = std::fs::metadata(&token_file) {
        return Err(Error::ReadCredentials {
            path: token_file,
            source,
        });
    }
    let auth = AuthInfo {
        token_file: Some(token_file.to_string_lossy().into_owned()),
        ..AuthInfo::default()
    };
    parts(name, &format!("https://{host}:{port}"), Some(&ca), auth)
}

/// A client from a bearer token and a CA bundle.
///
/// # Errors
/// If the address or the CA cannot be used.
pub fn token(name: &str, server: &str, ca_pem: &str, token: &str) -> Result<Rest, Error> {
    let auth = AuthInfo {
        token: Some(token.trim().to_owned().into()),
        ..AuthInfo::default()
    };
    parts(name, server, Some(ca_pem), auth)
}

/// A client without credentials.
///
/// # Errors
/// If the address cannot be used.
pub fn anonymous(name: &str, server: &str) -> Result<Rest, Error> {
    parts(name, server, None, AuthInfo::default())
}

fn address(server: &str) -> Result<http::Uri, Error> {
    let url = if server.contains("://") {
        server.to_owned()
    } else {
        format!("https://{server}")
    };
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.host().is_some() => Ok(uri),
        Ok(_) | Err(_) => Err(Error::Address { url }),
    }
}

fn parts(name: &str, server: &str, ca_pem: Option<&str>, auth: AuthInfo) -> Result<Rest, Error> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut config = Config::new(address(server)?);
    config.auth_info = auth;
    if let Some(pem) = ca_pem {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| der.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| Error::CertificateAuthority { source })?;
        config.root_cert = Some(certificates);
    }
    rest(name, config)
}

/// A client from kube's configuration.
///
/// # Errors
/// If TLS or credentials cannot be set up.
pub fn rest(name: &str, config: Config) -> Result<Rest, Error> {
    let setup = |source| Error::Setup {
        source: Box::new(source),
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(PING * 2));
    tcp.set_keepalive_interval(Some(PING));
    tcp.set_keepalive_retries(Some(2));
    let tls = config.rustls_client_config().map_err(setup)?;
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let https = match config
        .tls_server_name
        .as_deref()
        .and_then(|n| n.to_owned().try_into().ok())
    {
        Some(server_name) => https
            .with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(server_name))
            .enable_all_versions()
            .wrap_connector(tcp),
        None => https.enable_all_versions().wrap_connector(tcp),
    };
    let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(1 << 22)
        .build::<_, Body>(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer().map_err(setup)?)
        .option_layer(config.auth_layer().map_err(setup)?)
        .map_err(BoxError::from)
        .service(transport);
    Ok(Rest::new(name, kube::Client::new(service, config.default_namespace)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_scheme_are_https() {
        assert_eq!(
            address("10.0.0.1:6443").expect("valid").to_string(),
            "https://10.0.0.1:6443/"
        );
        assert!(matches!(address("http://"), Err(Error::Address { .. })));
    }

    #[tokio::test]
    async fn a_certificate_authority_that_is_not_pem_is_refused_or_empty() {
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            token("us", "https://x", broken, "t"),
            Err(Error::CertificateAuthority { .. })
        ));
    }
}
