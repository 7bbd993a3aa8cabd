//! HTTP/2 and TLS, towards clients and towards endpoints.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use apimachinery::Object;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::support::{Balancer, Endpoint, PATIENCE, annotate, world};
use crate::model::annotations;

async fn client<S>(stream: S) -> http2::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn echo(response: Response<Incoming>) -> Object {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).expect("an echo")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_speak_http2_with_prior_knowledge() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let mut sender = client(balancer.connect_from("127.2.0.1").await).await;
    let mut responses = Vec::new();
    for n in 0..20 {
        let request = Request::post(format!("http://web.example/{n}")).body(Full::new(Bytes::from("hello")));
        responses.push(sender.send_request(request.expect("a request")));
    }
    for (n, response) in futures::future::join_all(responses).await.into_iter().enumerate() {
        let response = response.expect("a response");
        assert_eq!(response.headers()["x-lb-cluster"], "eu");
        let told = echo(response).await;
        assert_eq!(
            (told["uri"].as_str(), told["body"].as_str()),
            (Some(format!("/{n}").as_str()), Some("hello"))
        );
        assert_eq!(told["headers"]["host"], "web.example");
    }
    let line = balancer.logged(|line| line["path"] == "/19").await;
    for (field, value) in [
        ("protocol", json!("HTTP/2.0")),
        ("host", json!("web.example")),
        ("received", json!(5)),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
}

/// An endpoint that speaks HTTP/2 only and answers with trailers, as gRPC servers do.
async fn grpc() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let te = request
                    .headers()
                    .get("te")
                    .cloned()
                    .unwrap_or_else(|| HeaderValue::from_static(""));
                let host = request.uri().host().unwrap_or_default().to_owned();
                let data = request
                    .into_body()
                    .collect()
                    .await
                    .map(|body| body.to_bytes())
                    .unwrap_or_default();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let frames = vec![Ok::<_, Infallible>(Frame::data(data)), Ok(Frame::trailers(trailers))];
                let response = Response::builder().header("x-te", te).header("x-host", host);
                response.body(StreamBody::new(futures::stream::iter(frames)))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_with_its_trailers() {
    let mut all = world(&[("eu", &[grpc().await])]);
    annotate(&mut all, annotations::BACKEND_PROTOCOL, "GRPC");
    let balancer = Balancer::start(&all, &[]).await;
    let mut sender = client(balancer.connect_from("127.2.0.1").await).await;
    for _ in 0..3 {
        let request = Request::post("http://web.example/pkg.Service/Call").header("te", "trailers");
        let request = request.body(Full::new(Bytes::from("message"))).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.headers()["x-te"], "trailers");
        assert_eq!(response.headers()["x-host"], "web.example");
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "message");
    }
}

/// An endpoint that speaks HTTP/2 only and returns every message as soon as it arrives.
async fn conversation() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(request.into_body()))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_flow_both_ways_at_once() {
    let mut all = world(&[("eu", &[conversation().await])]);
    let service = all
        .iter_mut()
        .find(|object| object["kind"] == "Service")
        .expect("a service");
    service["spec"]["ports"][0]["appProtocol"] = "kubernetes.io/h2c".into();
    let balancer = Balancer::start(&all, &["--response-timeout=1s"]).await;
    let (say, said) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let handshake = http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(balancer.connect_from("127.2.0.1").await),
    );
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(said));
    let request = Request::post("http://web.example/pkg.Service/Chat").header("te", "trailers");
    let response = sender.send_request(request.body(body).expect("a request"));
    let mut answers = response.await.expect("a head before the first message").into_body();
    let mut heard = async || {
        tokio::time::timeout(PATIENCE, answers.frame())
            .await
            .expect("in time")
            .map(|frame| frame.expect("a frame"))
    };
    for message in ["one", "two", "three"] {
        say.send(Ok(Frame::data(message.into()))).await.expect("a listener");
        let frame = heard().await.expect("an answer before the next message");
        assert_eq!(frame.into_data().expect("data"), message);
    }
    // Silence longer than a response may take to begin is no reason to end a stream.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("3"))]);
    say.send(Ok(Frame::trailers(trailers))).await.expect("a listener");
    drop(say);
    let last = heard().await.expect("trailers").into_trailers().expect("trailers");
    assert_eq!(last["x-sum"], "3");
    assert!(heard().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_http2_clients_reach_http1_endpoints_as_one_field() {
    let eu = Endpoint::start("eu").await;
    let balancer = Balancer::start(&world(&[("eu", &[eu.address])]), &[]).await;
    let mut sender = client(balancer.connect_from("127.2.0.1").await).await;
    let request = Request::get("http://web.example/")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    let told = echo(sender.send_request(request).await.expect("a response")).await;
    assert_eq!(told["headers"]["cookie"], "a=1; b=2");
}

/// A certificate for `name`, as a Secret and as what clients trust.
fn certificate(secret: &str, name: &str) -> (Object, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
    let object = json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"namespace": "default", "name": secret},
        "data": {"tls.crt": encode(made.cert.pem()), "tls.key": encode(made.signing_key.serialize_pem())}});
    let der = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("DER");
    (object, der)
}

/// A session with the load balancer, if it shows a certificate that is trusted for the name.
async fn session(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    name: &str,
    protocols: &[&str],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_chosen_by_name_and_replaced_without_a_restart() {
    let eu = Endpoint::start("eu").await;
    let mut all = world(&[("eu", &[eu.address])]);
    let (exact, exact_der) = certificate("exact", "web.example");
    let (wildcard, wildcard_der) = certificate("wildcard", "*.web.example");
    all.last_mut().expect("the Ingress")["spec"]["tls"] = json!([{"hosts": ["web.example"], "secretName": "exact"}, {"hosts": ["*.web.example"], "secretName": "wildcard"}]);
    all.extend([exact, wildcard]);
    let balancer = Balancer::start(&all, &[]).await;
    let https = balancer.running.https[0];
    let agreed = session(https, &exact_der, "web.example", &["h2", "http/1.1"])
        .await
        .expect("a session");
    assert_eq!(agreed.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(session(https, &wildcard_der, "a.web.example", &[]).await.is_some());
    assert!(
        session(https, &exact_der, "other.example", &[]).await.is_none(),
        "other names see the self-signed one"
    );

    let (renewed, renewed_der) = certificate("exact", "web.example");
    *all.iter_mut()
        .find(|object| object["metadata"]["name"] == "exact")
        .expect("the secret") = renewed;
    balancer.publish(&all);
    assert!(session(https, &exact_der, "web.example", &[]).await.is_none());
    assert!(session(https, &renewed_der, "web.example", &[]).await.is_some());

    let secret = all
        .iter_mut()
        .find(|object| object["metadata"]["name"] == "exact")
        .expect("the secret");
    secret["data"]["tls.key"] = "bm9uc2Vuc2U=".into();
    balancer.publish(&all);
    assert!(
        session(https, &renewed_der, "web.example", &[]).await.is_none(),
        "a broken secret is not served"
    );
    assert!(
        session(https, &wildcard_der, "a.web.example", &[]).await.is_some(),
        "and harms no other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_and_endpoints_learn_it() {
    let eu = Endpoint::start("eu").await;
    let mut all = world(&[("eu", &[eu.address])]);
    let (secret, der) = certificate("cert", "web.example");
    all.last_mut().expect("the Ingress")["spec"]["tls"] = json!([{"secretName": "cert"}]);
    all.push(secret);
    let balancer = Balancer::start(&all, &[]).await;
    let stream = session(balancer.running.https[0], &der, "web.example", &["h2"])
        .await
        .expect("a session");
    let mut sender = client(stream).await;
    let request = Request::get("https://web.example/")
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let told = echo(sender.send_request(request).await.expect("a response")).await;
    assert_eq!(told["headers"]["x-forwarded-proto"], "https");
}
