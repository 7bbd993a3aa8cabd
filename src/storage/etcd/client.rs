//! Calls to etcd, with deadlines; and what its errors mean.

use std::{path::PathBuf, time::Duration};

use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use super::wire::{self, WatchRequest, WatchResponse};
use crate::{Error, MAX_VALUE_BYTES, Revision};

/// Longest time for one call. etcd itself gives up on a lost quorum after about seven seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to reach one endpoint before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that answers no ping for this time is replaced.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A read is tried this often, for etcd may just be electing a leader.
const READ_TRIES: u32 = 5;
/// First wait before a read is tried again; it doubles.
const READ_BACKOFF: Duration = Duration::from_millis(50);

/// Where etcd is and how to reach it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// URLs of its members, `http://` or `https://`.
    pub servers: Vec<String>,
    /// CA bundle (PEM) that verifies them; the system's roots are not used.
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// Private key of the client certificate (PEM).
    pub key_file: Option<PathBuf>,
    /// How often old revisions are compacted, which is also how long they are kept at least; zero is never.
    pub compaction_interval: Duration,
}

/// Why a connection cannot be set up. That etcd does not answer is no reason: calls say so later.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server is given.
    #[error("no etcd server is given")]
    NoServer,
    /// A server's URL is malformed.
    #[error("cannot use the etcd server {server:?}")]
    Server {
        /// As given.
        server: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    channel: Channel,
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, ConnectError> {
        let tls = tls(options)?;
        let endpoint = |server: &String| {
            let failed = |source| ConnectError::Server {
                server: server.clone(),
                source,
            };
            let mut endpoint = Endpoint::from_shared(server.clone())
                .map_err(failed)?
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            if server.starts_with("https:") {
                endpoint = endpoint.tls_config(tls.clone()).map_err(failed)?;
            }
            Ok(endpoint)
        };
        let endpoints = options.servers.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let channel = match endpoints.as_slice() {
            [] => return Err(ConnectError::NoServer),
            [only] => only.connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        };
        Ok(Self { channel })
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    async fn once<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let call = async {
            let mut grpc = self.grpc();
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec)
                .await
        };
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("etcd did not answer in time")),
        }
    }

    /// A call that changes something: made once, for whether a failed one took effect is unknown.
    pub(super) async fn write<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.once(path, request).await
    }

    /// A read: tried again while etcd is unavailable.
    pub(super) async fn range(&self, request: wire::RangeRequest) -> Result<wire::RangeResponse, Status> {
        let mut backoff = READ_BACKOFF;
        for _ in 1..READ_TRIES {
            match self.once("/etcdserverpb.KV/Range", request.clone()).await {
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(backoff).await,
                done => return done,
            }
            backoff *= 2;
        }
        self.once("/etcdserverpb.KV/Range", request).await
    }

    pub(super) async fn watch(
        &self,
        requests: impl Stream<Item = WatchRequest> + Send + 'static,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let open = async {
            let mut grpc = self.grpc();
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(Request::new(requests), path, codec).await
        };
        match tokio::time::timeout(CALL_TIMEOUT, open).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("etcd did not answer in time")),
        }
    }
}

fn tls(options: &Options) -> Result<ClientTlsConfig, ConnectError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| ConnectError::Read {
            path: path.clone(),
            source,
        })
    };
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = &options.ca_file {
        tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
    }
    if let (Some(cert), Some(key)) = (&options.cert_file, &options.key_file) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(tls)
}

/// What an error of etcd means. `wanted` is the revision that was asked for.
pub(super) fn error(operation: &str, wanted: Revision, status: Status) -> Error {
    match (status.code(), status.message()) {
        (Code::OutOfRange, message) if message.contains("compacted") => Error::Compacted {
            wanted,
            oldest: Revision(wanted.0 + 1),
        },
        (Code::OutOfRange, message) if message.contains("future") => Error::Future {
            wanted,
            current: Revision(wanted.0.saturating_sub(1)),
        },
        (Code::InvalidArgument, message) if message.contains("too large") => Error::TooLarge {
            key: operation.to_owned(),
            size: 0,
            limit: MAX_VALUE_BYTES,
        },
        _ => Error::backend(format!("{operation} in etcd"), status),
    }
}
