//! Sockets: ports that can be closed and opened again, connections over TLS or without, and what is read of the journal.

use super::region::Counted;
use deployctl::sim::World;
use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::BoxError;

/// The certificate of every API server here, for 127.0.0.1; it vouches for itself.
pub const CERTIFICATE: &str = include_str!("tls/cert.pem");
/// Its key, which protects nothing.
const KEY: &str = include_str!("tls/key.pem");
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// A port of 127.0.0.1 that is ours whether we listen or not: bound without listening, it refuses connections and
/// nobody else gets it meanwhile.
pub struct Port {
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl Port {
    /// One that is free.
    pub fn any() -> Self {
        Self::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn bind(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }
}

/// Serves HTTP/1.1 over TLS while `open` says so.
pub async fn serve_tls<B, F>(
    port: Port,
    open: watch::Receiver<bool>,
    counted: Arc<Counted>,
    handle: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(tls()));
    serve(port, open, move |stream| {
        counted.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, handle) = (acceptor.clone(), handle.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                connection(stream, handle).await;
            }
        }
    })
    .await;
}

/// Serves HTTP/1.1 while `open` says so.
pub async fn serve_plain<B, F>(
    port: Port,
    open: watch::Receiver<bool>,
    handle: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
{
    serve(port, open, move |stream| connection(stream, handle.clone())).await;
}

/// Accepts connections while the door is open; when it closes, all of them end.
async fn serve<F>(mut port: Port, mut open: watch::Receiver<bool>, connect: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let address = port.address;
        let listener = port.socket.listen(BACKLOG).unwrap();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = open.wait_for(|open| !*open) => break,
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let _ = stream.set_nodelay(true);
                        connections.spawn(connect(stream));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        connections.shutdown().await;
        port = Port::bind(address);
    }
}

/// One connection with its requests, one after the other; a client that goes away ends its request.
async fn connection<B, F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    handle: impl Fn(Request<Incoming>) -> F + Send,
) where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    F: Future<Output = Result<Response<B>, BoxError>> + Send + 'static,
{
    // A fault that loses the answer is an error here, and ends the connection, as it would.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(handle)).await;
}

fn tls() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// How many records the run of a revision (`r000002`) has in its journal in a region.
pub fn records(world: &World, region: &str, revision: &str) -> usize {
    let is_one = |object: &serde_json::Value| {
        let metadata = &object["metadata"];
        let name = metadata["annotations"]["deployctl.dev/record-name"].as_str().unwrap_or_default();
        metadata["labels"]["deployctl.dev/record-kind"] == "journal" && name.starts_with(revision)
    };
    world.snapshot(region).iter().filter(|object| is_one(object.value())).count()
}
