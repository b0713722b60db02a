//! The listener, whose connections are watched.

use std::{io, sync::Arc};

use axum::serve::{Listener, TapIo};

use super::{io::ServedIo, state::ServerState};

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
/// so this is what makes `into_make_service_with_connect_info::<SocketAddr>()` work.
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
