//! `cargo run -p search_index`: documents, and a search index that follows their edits. An editor saves on every keystroke. The
//! index is updated once the typing pauses, and every now and then while it does not.
//!
//! It listens on `PORT` (3000). `QUEUE_URL` (`sqlite:queue.db`) stores the jobs until they are done, so they survive a killed
//! process. `PAUSE_MS` (1000) and `LONGEST_MS` (5000) set when the index is updated.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Query, State},
    routing::{get, put},
};
use defer_axum::{BoxError, DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
use defer_sqlx::SqlxQueue;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, signal};

/// The documents, and the documents that contain each word. A real service has a database and a search engine instead.
#[derive(Clone, Default)]
struct Documents(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    texts: BTreeMap<String, String>,
    index: BTreeMap<String, BTreeSet<String>>,
}

impl Documents {
    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does not contain the text: the job indexes the document as it is when it runs.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 5)]
struct IndexDocument {
    name: String,
    edit: u64,
}

impl Job for IndexDocument {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let (name, edit) = (&self.name, self.edit);
        cx.state::<Documents>()?.with(|tables| {
            let text = tables.texts.get(name).cloned().unwrap_or_default();
            for names in tables.index.values_mut() {
                names.remove(name);
            }
            for word in text.split_whitespace() {
                tables.index.entry(word.to_lowercase()).or_default().insert(name.clone());
            }
        });
        println!("indexed {name} as of edit {edit}");
        Ok(())
    }
}

/// The pause that triggers an update, and the longest that the index may lag behind without one.
#[derive(Clone, Copy)]
struct Waits {
    pause: Duration,
    longest: Duration,
}

/// Saves a document. However often that happens, only the last edit is indexed.
async fn save(
    State((documents, waits)): State<(Documents, Waits)>,
    Path((name, edit)): Path<(String, u64)>,
    text: String,
) -> String {
    documents.with(|tables| tables.texts.insert(name.clone(), text));
    IndexDocument::defer(&*name, edit)
        .unique(format!("index:{name}"))
        .replace_within(waits.longest)
        .delay(waits.pause);
    format!("saved {name}\n")
}

#[derive(Deserialize)]
struct Search {
    word: String,
}

async fn search(State((documents, _)): State<(Documents, Waits)>, Query(search): Query<Search>) -> String {
    let found = documents.with(|tables| tables.index.get(&search.word.to_lowercase()).cloned());
    found.unwrap_or_default().into_iter().map(|name| name + "\n").collect()
}

fn millis(variable: &str, default: u64) -> Result<Duration, BoxError> {
    let millis = env::var(variable).map_or(Ok(default), |value| value.parse());
    Ok(Duration::from_millis(millis.map_err(|error| format!("{variable} is no number: {error}"))?))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(io::stderr).init(); // prints what fails
    let documents = Documents::default();
    let url = env::var("QUEUE_URL").unwrap_or_else(|_| "sqlite:queue.db".into());
    let queue = SqlxQueue::connect(&url).await?;
    let runner = Runner::builder().state(documents.clone()).queue(queue.clone()).build();
    let waits = Waits { pause: millis("PAUSE_MS", 1_000)?, longest: millis("LONGEST_MS", 5_000)? };

    let app = Router::new()
        .route("/documents/{name}/{edit}", put(save))
        .route("/search", get(search))
        .with_state((documents, waits))
        .layer(DeferLayer::new(runner.clone()));
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("edit:   curl -X PUT localhost:{port}/documents/plan/1 -d 'Tea at four'");
    println!("search: curl localhost:{port}/search?word=tea");

    let ctrl_c = async { signal::ctrl_c().await.expect("Ctrl-C can be waited for") };
    let worker = queue.worker(runner).job::<IndexDocument>();
    defer_axum::serve(listener, app).with_graceful_shutdown(ctrl_c).with_worker(worker).await?;
    Ok(())
}
