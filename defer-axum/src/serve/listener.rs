//! The listener that gives out watched connections.

use std::io;

use axum::serve::{Listener, TapIo};

use super::io::ServedIo;

/// A listener whose connections are watched.
#[derive(Debug)]
pub struct Watched<L>(pub(super) L);

/// The listener that [`serve`](super::serve()) gives to axum.
///
/// The tap does nothing. It is there because axum implements `Connected` for the address type of any listener with
/// a tap, and for that of no other listener but `TcpListener`: this is what lets
/// `into_make_service_with_connect_info::<SocketAddr>()` work here.
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
