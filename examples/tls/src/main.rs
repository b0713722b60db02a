//! `cargo run -p tls`: HTTPS with rustls, over HTTP/1 and HTTP/2. A job starts when the last TLS record of its response has
//! been sent.
//!
//! It listens on `PORT` (3443). `CERT` and `KEY` are PEM files. Without them, it creates a self-signed certificate for
//! `localhost`, and writes it to `cert.pem`.

use std::{env, error::Error, fs, net::Ipv4Addr, sync::Arc};

use axum::{Router, routing::get};
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult};
use tls_listener::{SpawningHandshakes, TlsListener};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

#[derive(Deferrable)]
struct Audit {
    what: &'static str,
}

impl Job for Audit {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let (request, response) = (cx.request(), cx.response());
        let version = request.map(|request| request.version());
        let ended = response.map(|response| (response.delivery(), response.bytes_sent()));
        println!("{}: {version:?}, {ended:?}", self.what);
        Ok(())
    }
}

async fn hello() -> &'static str {
    Audit::defer("somebody was greeted");
    "hello, in private\n"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let port = env::var("PORT").map_or(Ok(3443), |port| port.parse())?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = tcp.local_addr()?.port();

    // Handshakes run in their own tasks, so a slow one does not delay other clients.
    let listener = TlsListener::new(SpawningHandshakes(tls()?), tcp);
    println!("try it: curl --cacert cert.pem https://localhost:{port}");

    let app = Router::new().route("/", get(hello)).layer(DeferLayer::default());
    let signal = async { drop(tokio::signal::ctrl_c().await) };
    defer_axum::serve(listener, app).with_graceful_shutdown(signal).await?;
    Ok(())
}

fn tls() -> Result<TlsAcceptor, Box<dyn Error>> {
    let (chain, key) = match (env::var("CERT"), env::var("KEY")) {
        (Ok(cert), Ok(key)) => {
            let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
            (chain, PrivateKeyDer::from_pem_file(key)?)
        }
        _ => {
            let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            fs::write("cert.pem", own.cert.pem())?;
            (vec![own.cert.der().clone()], PrivateKeyDer::try_from(own.signing_key.serialize_der())?)
        }
    };
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    // Without this, clients speak HTTP/1 only.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
