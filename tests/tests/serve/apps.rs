//! The inputs of `serve`: listeners, make-services, bodies.

use std::future::IntoFuture;

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Request},
    routing::get,
    serve::Listener,
};
use defer_axum::{DeferLayer, serve::with_connect_info};
use defer_tests::{Log, NoteEnding, Tcp, runner};
use http::Response;
use http_body_util::Full;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tower::service_fn;

#[derive(Clone, Debug)]
struct Peer {
    port: u16,
    user: Option<u32>,
}

async fn tell(ConnectInfo(peer): ConnectInfo<Peer>) -> String {
    NoteEnding::defer();
    format!("{} {:?}", peer.port, peer.user)
}

#[tokio::test]
async fn your_own_connect_info_comes_from_the_connection() {
    for makes_service in [false, true] {
        let log = Log::new();
        let app = Router::new().route("/", get(tell)).layer(DeferLayer::new(runner(&log)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let info = |io: &TcpStream, addr: std::net::SocketAddr| {
            assert_eq!(io.peer_addr().unwrap(), addr);
            Peer { port: addr.port(), user: None }
        };
        let listener = with_connect_info(listener, info);
        assert_eq!(listener.local_addr().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
        assert_eq!(listener.get_ref().local_addr().unwrap(), addr);
        let serving = if makes_service {
            defer_axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).into_future()
        } else {
            defer_axum::serve(listener, app).into_future()
        };
        tokio::spawn(serving);
        let mut client = Tcp::connect(addr).await;
        let port = client.stream.local_addr().unwrap().port();
        assert_eq!(client.get("/").await.text(), format!("{port} None"));
        assert_eq!(log.wait_for(1).await[0].split(' ').next(), Some("Sent"));
    }
}

#[tokio::test]
async fn your_own_connect_info_works_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let user = |io: &UnixStream, _| Peer { port: 0, user: io.peer_cred().ok().map(|peer| peer.uid()) };
    let log = Log::new();
    let app = Router::new().route("/", get(tell)).layer(DeferLayer::new(runner(&log)));
    tokio::spawn(defer_axum::serve(with_connect_info(listener, user), app).into_future());
    let client = UnixStream::connect(&path).await.unwrap();
    let own = client.peer_cred().unwrap().uid();
    assert_eq!(Tcp::over(client).get("/").await.text(), format!("0 {:?}", Some(own)));
    assert_eq!(log.wait_for(1).await[0].split(' ').next(), Some("Sent"));
}

#[tokio::test]
async fn a_service_may_have_a_body_of_its_own() {
    let service = service_fn(async |_: Request| Ok(Response::new(Full::new(Bytes::from_static(b"whole")))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(defer_axum::serve(listener, tower::make::Shared::new(service)).into_future());
    assert_eq!(Tcp::connect(addr).await.get("/").await.text(), "whole");
}
