//! A real browser: headless Chromium, driven by chromedriver.
//!
//! `chromedriver` must be in `PATH`, or `CHROMEDRIVER` must name it.

use std::{env, process::Stdio};

use fantoccini::{Client, ClientBuilder, Locator, wd::Capabilities};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::eventually::eventually;

/// chromedriver may end without listening: among many servers, the port that it picks can be taken meanwhile.
const TRIES: usize = 5;

/// A browser with an empty profile. Dropping it ends the driver and the browser.
pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: Child,
    _profile: TempDir,
}

/// Starts chromedriver. Returns the port on which it listens.
async fn driver() -> (Child, String) {
    let program = env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
    let mut said = Vec::new();
    for _ in 0..TRIES {
        let mut driver = Command::new(&program)
            .arg("--port=0")
            .process_group(0) // the browser joins the driver's group, see `drop`
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program:?}: {error}; install chromium-driver, or name it by CHROMEDRIVER")
            });
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                // chromedriver keeps writing, and would block if nothing read its output.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (driver, port.trim_end_matches('.').to_owned());
            }
            said.push(line);
        }
    }
    panic!("chromedriver does not say on which port it listens: {said:?}");
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let (driver, port) = driver().await;
        let profile = TempDir::new().unwrap();
        let mut capabilities = Capabilities::new();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        capabilities.insert(
            "goog:chromeOptions".to_owned(),
            json!({ "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", user_data,
            ] }),
        );
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("chromium did not start: {error}"));
        Self { client, driver, _profile: profile }
    }

    pub(crate) async fn click(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Returns the text of the first matching element, once it contains this text.
    pub(crate) async fn text(&self, css: &str, part: &str) -> String {
        eventually(&format!("{part:?} in {css}"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            // The row may be replaced between the two calls.
            element.text().await.ok().filter(|text| text.contains(part))
        })
        .await
    }
}

impl Drop for Browser {
    /// Killing the driver leaves its browser running, so this kills the whole process group.
    fn drop(&mut self) {
        if let Some(group) = self.driver.id() {
            let kill = format!("kill -KILL -{group}");
            let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
        }
    }
}
