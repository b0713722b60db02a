//! The listener, whose connections are watched.

use std::io;

use axum::serve::{Listener, TapIo};

use super::io::ServedIo;

/// A listener whose connections are watched.
#[derive(Debug)]
pub struct Watched<L>(pub(super) L);

/// The listener that [`serve`](super::serve()) gives to axum.
///
/// Its tap does nothing. axum implements `Connected` only for the address types of `TcpListener` and of listeners with a tap,
/// so this is what makes `into_make_service_with_connect_info::<SocketAddr>()` work.
pub type ServedListener<L> = TapIo<Watched<L>, fn(&mut ServedIo<<L as Listener>::Io>)>;

impl<L: Listener> Listener for Watched<L> {
    type Io = ServedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, addr) = self.0.accept().await;
        (ServedIo::new(io), addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
