//! Servers and clients over TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use axum::Router;
use axum_server::{
    Handle,
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use defer_axum::{
    Runner, ShutdownReport,
    serve::{DeferAcceptor, watch_connection},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tls_listener::{AsyncAccept, AsyncListener, TlsListener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};

use crate::{Wire, WireIo, WireListener};

/// Servers that run an app over TLS, with rustls, over HTTP/1 and HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Https {
    /// `defer_axum::serve`, with a TLS listener.
    Serve,
    /// `axum-server`, with a `DeferAcceptor`.
    AxumServer,
    /// A hand-written loop over hyper-util, with `watch_connection`.
    HyperUtil,
}

/// The limit for closing a server and for its jobs. It is longer than any of them needs.
const GRACE: Duration = Duration::from_secs(60);

impl Https {
    /// All servers.
    pub const ALL: [Self; 3] = [Self::Serve, Self::AxumServer, Self::HyperUtil];

    /// Serves an app that has its own layers, on a free port. Records the bytes that the operating system accepts.
    pub async fn serve(self, app: Router, runner: &Runner, wire: &Wire) -> HttpsServer {
        self.serve_with(app, runner, wire, GRACE, |_| ()).await
    }

    /// Like [`serve`](Self::serve), with this time for open connections at a shutdown, and a setup of hyper-util's builder.
    pub async fn serve_with(
        self,
        app: Router,
        runner: &Runner,
        wire: &Wire,
        close_timeout: Duration,
        set_up: impl FnOnce(&mut auto::Builder<TokioExecutor>),
    ) -> HttpsServer {
        let (signal, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let runner = runner.clone();
        let listener = WireListener::bind(wire).await;
        let addr = listener.addr();
        let task: JoinHandle<io::Result<ShutdownReport>> = match self {
            Self::Serve => {
                let listener = TlsListener::new(acceptor(), listener);
                let serve = defer_axum::serve(listener, app).with_graceful_shutdown(stopped);
                tokio::spawn(serve.close_timeout(close_timeout).into_future())
            }
            Self::AxumServer => {
                let handle = Handle::new();
                let tls = RustlsAcceptor::new(RustlsConfig::from_config(CONFIGS.server.clone()));
                let mut server = axum_server::from_tcp(listener.into_std())
                    .expect("a listener of the system")
                    .acceptor(tls.acceptor(WireAcceptor(wire.clone())))
                    .map(DeferAcceptor::new)
                    .handle(handle.clone());
                set_up(server.http_builder());
                let serving = server.serve(app.into_make_service());
                let (runner, runner_of_signal) = (runner.clone(), runner.clone());
                tokio::spawn(async move {
                    tokio::spawn(async move {
                        stopped.await;
                        runner_of_signal.announce_shutdown();
                        handle.graceful_shutdown(Some(close_timeout));
                    });
                    serving.await?;
                    Ok(runner.shutdown(GRACE).await)
                })
            }
            Self::HyperUtil => {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                set_up(&mut builder);
                tokio::spawn(own_loop(listener, app, runner.clone(), builder, close_timeout, stopped))
            }
        };
        HttpsServer { addr, signal: Some(signal), task }
    }
}

/// The loop that a user of hyper-util writes.
async fn own_loop(
    mut listener: WireListener,
    app: Router,
    runner: Runner,
    builder: auto::Builder<TokioExecutor>,
    close_timeout: Duration,
    stopped: impl Future<Output = ()>,
) -> io::Result<ShutdownReport> {
    let graceful = Arc::new(Mutex::new(Some(GracefulShutdown::new())));
    let mut connections = JoinSet::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = axum::serve::Listener::accept(&mut listener);
        let (stream, _) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stopped => break,
        };
        let (app, builder, graceful) = (app.clone(), builder.clone(), graceful.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor().accept(stream).await else { return };
            let (io, app) = watch_connection(stream, app);
            let connection = builder
                .serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(app))
                .into_owned();
            let watched = match &*graceful.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(graceful) => graceful.watch(connection),
                None => return,
            };
            drop(watched.await);
        });
    }
    let graceful = graceful.lock().unwrap_or_else(PoisonError::into_inner).take();
    runner.announce_shutdown();
    drop(timeout(close_timeout, graceful.expect("it is taken once").shutdown()).await);
    connections.shutdown().await;
    Ok(runner.shutdown(GRACE).await)
}

/// A running server.
#[derive(Debug)]
pub struct HttpsServer {
    /// The address that it listens on.
    pub addr: SocketAddr,
    signal: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<ShutdownReport>>,
}

impl HttpsServer {
    /// Asks it to shut down gracefully.
    pub fn begin_to_stop(&mut self) {
        drop(self.signal.take());
    }

    /// Shuts down gracefully, and waits until that is done.
    pub async fn stop(mut self) -> ShutdownReport {
        self.begin_to_stop();
        self.task.await.expect("the server does not panic").expect("the server does not fail")
    }
}

/// The settings of both sides: a self-signed certificate, and both protocols.
struct Configs {
    server: Arc<ServerConfig>,
    roots: RootCertStore,
}

static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = CertificateDer::from(certified.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("the key is the certificate's");
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    Configs { server: Arc::new(server), roots }
});

/// Listens with TLS, on a free port.
pub async fn listen() -> (TlsListener<WireListener, TlsAcceptor>, SocketAddr) {
    let listener = WireListener::bind(&Wire::new()).await;
    let addr = listener.addr();
    (TlsListener::new(acceptor(), listener), addr)
}

fn acceptor() -> TlsAcceptor {
    TlsAcceptor::from(CONFIGS.server.clone())
}

/// Records the bytes below TLS under `axum-server`.
#[derive(Clone)]
struct WireAcceptor(Wire);

impl<S> Accept<TcpStream, S> for WireAcceptor {
    type Stream = WireIo<TcpStream>;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(Ok((WireIo::new(stream, &self.0), service)))
    }
}

impl AsyncAccept for WireListener {
    type Connection = WireIo<TcpStream>;
    type Address = SocketAddr;
    type Error = io::Error;

    fn poll_accept(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, SocketAddr)>> {
        let this = self.get_mut();
        let (stream, addr) = ready!(this.tcp().poll_accept(cx))?;
        Poll::Ready(Ok((WireIo::new(stream, this.wire()), addr)))
    }
}

impl AsyncListener for WireListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr())
    }
}

/// Connects, and offers only this protocol: `h2` or `http/1.1`.
pub async fn connect(addr: SocketAddr, protocol: &str) -> (TappedIo, Tap) {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for them")
        .with_root_certificates(CONFIGS.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let tcp = TcpStream::connect(addr).await.expect("the server listens");
    let tap = Tap::default();
    let name = ServerName::try_from("localhost").expect("a name");
    let records = Records { tcp, tap: tap.clone(), left: 0, head: Vec::new() };
    let tls = TlsConnector::from(Arc::new(config)).connect(name, records).await.expect("a handshake");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()), "the server has chosen another");
    (TappedIo { tls, tap: tap.clone() }, tap)
}

/// The bytes that a client has read from a connection. Clones share the record.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<Tapped>>);

#[derive(Debug, Default)]
struct Tapped {
    /// The decrypted bytes.
    plain: Vec<u8>,
    /// The number of bytes of TLS records that were read.
    read: usize,
    /// The numbers of decrypted and of encrypted bytes at the ends of records.
    ends: Vec<(usize, usize)>,
    held: bool,
    waker: Option<Waker>,
}

impl Tap {
    /// Stops reading until [`go_on`](Self::go_on).
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Resumes reading.
    pub fn go_on(&self) {
        let mut tapped = self.lock();
        tapped.held = false;
        let waker = tapped.waker.take();
        drop(tapped);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Returns the decrypted bytes.
    pub fn plain(&self) -> Vec<u8> {
        self.lock().plain.clone()
    }

    /// Returns the least that the server had written, in TLS records, once this many plain bytes were out: up to a record's end.
    pub fn end_of_record(&self, plain: usize) -> usize {
        let tapped = self.lock();
        let end = tapped.ends.iter().find(|(until, _)| *until >= plain);
        end.expect("it was read").1
    }

    fn lock(&self) -> MutexGuard<'_, Tapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's side below TLS. It reads one record at a time.
#[derive(Debug)]
struct Records {
    tcp: TcpStream,
    tap: Tap,
    /// The rest of the current record, once its head has been read.
    left: usize,
    head: Vec<u8>,
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut tapped = this.tap.lock();
        if tapped.held {
            tapped.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A record's head has five bytes. The last two are its length (RFC 8446, section 5.1).
        let most = if this.left == 0 { 5 - this.head.len() } else { this.left }.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        if this.left == 0 {
            this.head.extend_from_slice(part.filled());
            if let &[_, _, _, high, low] = &this.head[..] {
                this.left = usize::from(u16::from_be_bytes([high, low]));
                this.head.clear();
            }
        } else {
            this.left -= read;
        }
        buf.advance(read);
        tapped.read += read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The client's side of a connection, above TLS.
#[derive(Debug)]
pub struct TappedIo {
    tls: TlsStream<Records>,
    tap: Tap,
}

impl AsyncRead for TappedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tls).poll_read(cx, buf))?;
        let mut tapped = self.tap.lock();
        tapped.plain.extend_from_slice(&buf.filled()[before..]);
        let end = (tapped.plain.len(), tapped.read);
        tapped.ends.push(end);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TappedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
