//! The service as `curl` sees it, over both versions of HTTP.

use std::process::Stdio;

use reqwest::{Certificate, Client, Version};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

#[tokio::test]
async fn a_job_runs_when_its_response_was_sent_over_either_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Command::new(env!("CARGO_BIN_EXE_tls"))
        .env("PORT", "0")
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the example starts");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut line = async || lines.next_line().await.expect("text").expect("the server goes on");

    let said = line().await;
    let url = &said[said.find("https://").expect("an address")..];
    let certificate = std::fs::read(folder.path().join("cert.pem")).expect("its certificate");
    let certificate = Certificate::from_pem(&certificate).expect("a certificate");
    for (version, client) in
        [(Version::HTTP_11, Client::builder().http1_only()), (Version::HTTP_2, Client::builder())]
    {
        let client = client.tls_built_in_root_certs(false).add_root_certificate(certificate.clone());
        let client = client.no_proxy().build().expect("a client");
        let response = client.get(url).send().await.expect("the server answers");
        assert_eq!(response.version(), version);
        let body = response.text().await.expect("a body");
        let expected = format!("somebody was greeted: Some({version:?}), Some((Sent, {}))", body.len());
        assert_eq!(line().await, expected);
    }
}
