//! Bodies that a test holds open.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Chunk = Result<Bytes, io::Error>;

/// The test's end of a body. The body yields what is sent here, and ends when this is dropped.
#[derive(Debug)]
pub struct Feed {
    chunks: mpsc::UnboundedSender<Chunk>,
}

/// The handler's end of a body that a test holds open.
#[derive(Clone, Debug)]
pub struct FedBody {
    chunks: Arc<Mutex<Option<mpsc::UnboundedReceiver<Chunk>>>>,
}

impl Feed {
    /// Creates both ends of a body.
    pub fn new() -> (Self, FedBody) {
        let (chunks, fed) = mpsc::unbounded_channel();
        (Self { chunks }, FedBody { chunks: Arc::new(Mutex::new(Some(fed))) })
    }

    /// Makes the body yield this.
    pub fn send(&self, chunk: &'static str) {
        self.chunks.send(Ok(chunk.into())).expect("the body is there");
    }

    /// Makes the body yield an error.
    pub fn fail(&self) {
        self.chunks.send(Err(io::Error::other("the disk is gone"))).expect("the body is there");
    }

    /// Waits until the server has dropped the body.
    pub async fn dropped(&self) {
        self.chunks.closed().await;
    }
}

impl FedBody {
    /// Returns the body. Only one request can take it.
    pub fn take(&self) -> Body {
        let chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner).take();
        Body::from_stream(UnboundedReceiverStream::new(chunks.expect("one request asks for the body")))
    }
}
