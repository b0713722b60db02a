//! The listener, which watches its connections.

use std::{fmt, io, marker::PhantomData, sync::Arc};

use axum::serve::{Listener, TapIo};

use super::{io::ServedIo, state::ServerState};

/// Creates the value that handlers extract with `ConnectInfo<C>` from each connection's I/O object and peer address.
///
/// The returned listener has this type as its address type, so both a plain [`Router`](axum::Router) and
/// `into_make_service_with_connect_info::<C>()` work.
///
/// ```no_run
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use defer_axum::{DeferLayer, serve::with_connect_info};
/// use tokio::net::{UnixListener, unix::UCred};
///
/// #[derive(Clone, Debug)]
/// struct Peer {
///     process: Option<UCred>,
/// }
///
/// async fn hello(ConnectInfo(peer): ConnectInfo<Peer>) -> String {
///     format!("hello, user {:?}", peer.process.map(|process| process.uid()))
/// }
///
/// # async fn run() -> std::io::Result<()> {
/// let listener = UnixListener::bind("/run/app.sock")?;
/// let listener = with_connect_info(listener, |io, _| Peer { process: io.peer_cred().ok() });
/// let app = Router::new().route("/", get(hello)).layer(DeferLayer::default());
/// defer_axum::serve(listener, app).await
/// # }
/// ```
///
/// # Panics
///
/// The server panics if `make` panics.
pub fn with_connect_info<L, F, C>(listener: L, make: F) -> WithConnectInfo<L, F, C>
where
    L: Listener,
    F: FnMut(&L::Io, L::Addr) -> C + Send + 'static,
    C: Clone + fmt::Debug + Send + Sync + 'static,
{
    WithConnectInfo { listener, make, info: PhantomData }
}

/// A listener with your own connect info type. Returned by [`with_connect_info`].
pub struct WithConnectInfo<L, F, C> {
    listener: L,
    make: F,
    info: PhantomData<fn() -> C>,
}

impl<L, F, C> WithConnectInfo<L, F, C> {
    /// Returns a reference to the inner listener, which knows its address.
    pub fn get_ref(&self) -> &L {
        &self.listener
    }
}

impl<L, F, C> Listener for WithConnectInfo<L, F, C>
where
    L: Listener,
    F: FnMut(&L::Io, L::Addr) -> C + Send + 'static,
    C: Clone + Send + Sync + 'static,
{
    type Io = L::Io;
    type Addr = C;

    async fn accept(&mut self) -> (L::Io, C) {
        let (io, addr) = self.listener.accept().await;
        let info = (self.make)(&io, addr);
        (io, info)
    }

    /// Always fails, because the listener's own address is not the address of a connection. Ask the inner listener, through
    /// [`get_ref`](WithConnectInfo::get_ref).
    fn local_addr(&self) -> io::Result<C> {
        let error = "a listener with a connect info has no address: ask the listener within";
        Err(io::Error::new(io::ErrorKind::Unsupported, error))
    }
}

impl<L: fmt::Debug, F, C> fmt::Debug for WithConnectInfo<L, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithConnectInfo").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A listener whose connections are watched.
#[derive(Debug)]
pub struct Watched<L> {
    listener: L,
    server: Arc<ServerState>,
}

impl<L> Watched<L> {
    pub(super) fn new(listener: L, server: Arc<ServerState>) -> Self {
        Self { listener, server }
    }
}

/// The listener that [`serve`](super::serve()) gives to axum.
///
/// Its tap does nothing. axum implements `Connected` only for the address types of `TcpListener` and of listeners with a tap,
/// so the tap makes `into_make_service_with_connect_info::<SocketAddr>()` work.
pub type ServedListener<L> = TapIo<Watched<L>, fn(&mut ServedIo<<L as Listener>::Io>)>;

impl<L: Listener> Listener for Watched<L> {
    type Io = ServedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, addr) = self.listener.accept().await;
        (ServedIo::new(io, Some(self.server.clone())), addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
