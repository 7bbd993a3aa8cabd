//! `kubectl port-forward`: connections to a pod's ports, each a pair of streams of one upgraded connection.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use super::spdy::{Answer, Frame, Reader, Writer};

/// What the protocol calls itself.
pub(super) const PROTOCOL: &str = "portforward.k8s.io";
/// Chunks that may wait in each direction.
const WAITING: usize = 16;
const BUFFER: usize = 16 << 10;

/// Serves a connection until the client ends it.
///
/// # Errors
/// The connection fails, or does not speak the protocol.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(connection: S, pod: &str, ip: IpAddr) -> io::Result<()> {
    let (input, output) = tokio::io::split(connection);
    let (answers, mut waiting) = mpsc::channel(WAITING);
    let write = async move {
        let mut writer = Writer::new(output);
        while let Some(answer) = waiting.recv().await {
            writer.send(answer).await?;
        }
        Ok(())
    };
    tokio::select! {
        read = read(Reader::new(input)?, pod, ip, answers) => read,
        written = write => written,
    }
}

async fn read<R: AsyncRead + Unpin>(
    mut reader: Reader<R>,
    pod: &str,
    ip: IpAddr,
    answers: mpsc::Sender<Answer>,
) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    // Of pairs that are not complete yet, by request: the stream for errors.
    let mut errors: HashMap<String, u32> = HashMap::new();
    let mut inputs: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let mut connections = JoinSet::new();
    while let Some(frame) = reader.next().await? {
        match frame {
            Frame::Open { stream, headers } => {
                answers.send(Answer::Accept(stream)).await.map_err(gone)?;
                let text = |key: &str| headers.get(key).map(String::as_str).unwrap_or_default();
                let request = text("requestid").to_owned();
                if text("streamtype") == "error" {
                    errors.insert(request, stream);
                    continue;
                }
                let (input, received) = mpsc::channel(WAITING);
                inputs.insert(stream, input);
                let pair = Pair {
                    data: stream,
                    error: errors.remove(&request),
                    answers: answers.clone(),
                };
                let address = text("port").parse().map(|port| SocketAddr::new(ip, port));
                let place = format!("port {} of pod {pod}", text("port"));
                connections.spawn(async move {
                    match address {
                        Ok(address) => pair.connect(address, &place, received).await,
                        Err(_) => pair.refuse(format!("{place}: not a port")).await,
                    }
                });
            }
            Frame::Data { stream, bytes, fin } => {
                if let Some(input) = inputs.get(&stream).filter(|_| !bytes.is_empty()) {
                    // Who does not listen any more has ended; the client learns of it by the stream.
                    let _ = input.send(bytes).await;
                }
                if fin {
                    inputs.remove(&stream);
                }
            }
            Frame::Reset { stream } => drop(inputs.remove(&stream)),
            Frame::Ping { id } => answers.send(Answer::Ping(id)).await.map_err(gone)?,
            Frame::GoAway | Frame::Other => {}
        }
        while connections.try_join_next().is_some() {}
    }
    Ok(())
}

/// The two streams of a forwarded connection.
struct Pair {
    data: u32,
    error: Option<u32>,
    answers: mpsc::Sender<Answer>,
}

impl Pair {
    async fn connect(self, address: SocketAddr, place: &str, received: mpsc::Receiver<Bytes>) {
        match TcpStream::connect(address).await {
            Ok(stream) => self.copy(stream, received).await,
            Err(error) => self.refuse(format!("error forwarding {place}: {error}")).await,
        }
    }

    async fn copy(&self, mut stream: TcpStream, mut received: mpsc::Receiver<Bytes>) {
        let (mut input, mut output) = stream.split();
        let to_pod = async {
            while let Some(bytes) = received.recv().await {
                if output.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = output.shutdown().await;
        };
        let from_pod = async {
            let mut buffer = vec![0; BUFFER];
            while let Ok(count @ 1..) = input.read(&mut buffer).await {
                let chunk = Bytes::copy_from_slice(&buffer[..count]);
                if self.answers.send(Answer::Data(self.data, chunk, false)).await.is_err() {
                    return;
                }
            }
            self.end(None).await;
        };
        tokio::join!(to_pod, from_pod);
    }

    async fn refuse(&self, why: String) {
        self.end(Some(why.into())).await;
    }

    /// Ends both streams, perhaps with an error. Nobody listens if the connection is gone.
    async fn end(&self, error: Option<Bytes>) {
        if let Some(stream) = self.error {
            let _ = self
                .answers
                .send(Answer::Data(stream, error.unwrap_or_default(), true))
                .await;
        }
        let _ = self.answers.send(Answer::Data(self.data, Bytes::new(), true)).await;
    }
}
