//! The dashboard in the states that an operator meets. `scripts/page.py` takes pictures of them.

use std::time::Duration;

use axum::Router;
use defer_axum::{
    BoxError, BoxFuture, Dashboard, Deferrable, Job, JobContext, JobError, JobId, JobResult, JobStatus,
    Runner,
    queue::{
        Envelope, FailedJob, FailureGroup, Holder, InspectQueue, JobFilter, NameCounts, Process, Queue,
        QueueCounts, QueuedJob, QueuedState,
    },
    scope,
};
use defer_soak_types::defer_each;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::Failure;

/// Takes a given time, and fails with a given error.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(tries = 3, backoff = "40s", concurrent)]
struct SendWelcome {
    millis: u64,
    error: Option<String>,
}

impl Job for SendWelcome {
    async fn run(&self, _: &JobContext) -> JobResult {
        // The page shows how long jobs take.
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        self.error.as_ref().map_or(Ok(()), |error| Err(JobError::msg(error.clone())))
    }
}

/// Takes a given time.
#[derive(Deferrable)]
#[defer(concurrent)]
struct ResizeImage {
    millis: u64,
}

impl Job for ResizeImage {
    async fn run(&self, _: &JobContext) -> JobResult {
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        Ok(())
    }
}

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, concurrent)]
struct ChargeCard {
    error: Option<String>,
}

impl Job for ChargeCard {
    async fn run(&self, _: &JobContext) -> JobResult {
        self.error.as_ref().map_or(Ok(()), |error| Err(JobError::msg(error.clone()).fatal()))
    }
}

#[derive(Deferrable)]
#[defer(name = "</script><script>alert(document.domain)</script><img src=x onerror=alert(1)>")]
struct Markup;

impl Job for Markup {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg(
            "\"><svg onload=alert(1)>\u{202e}desrever\u{202c} <!--rows--><!--part--> {{ 7 * 7 }}",
        ))
    }
}

#[derive(Deferrable)]
#[defer(
    name = "an_extraordinarily_long_name_that_somebody_made_of_the_path_of_a_module_and_of_three_generic_parameters_and_that_has_no_space_at_which_it_could_be_broken_into_lines"
)]
struct LongName;

impl Job for LongName {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("a_word_of_five_hundred_letters_".repeat(16)))
    }
}

/// A queue in one of the states that an operator meets.
struct Shown {
    is_down: bool,
    fails: bool,
}

/// Serves the page of a scene until the end of the input.
pub(crate) async fn run(name: &str) -> Result<(), Failure> {
    let builder = Runner::builder().max_running(64);
    let builder = match name {
        "failing" | "down" | "hostile" => {
            builder.queue(Shown { is_down: name == "down", fails: name != "hostile" })
        }
        "busy" => builder.queue(Shown { is_down: false, fails: false }),
        _ => builder,
    };
    let runner = builder.build();
    let dashboard = Dashboard::new(&runner).enable_actions().version("2.14.0");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let app = Router::new().nest_service("/jobs", dashboard.into_router::<()>());
    tokio::spawn(defer_axum::serve(listener, app).into_future());
    let scene = tokio::spawn(play(name.to_owned(), runner));
    println!("listening on http://{addr}/jobs");
    tokio::io::stdin().read_to_string(&mut String::new()).await?;
    scene.abort();
    Ok(())
}

async fn play(name: String, runner: Runner) {
    let error = |text: &str| Some(text.to_owned());
    for round in 0_u64.. {
        scope(&runner, async {
            match &*name {
                "busy" => {
                    for n in 0..4 {
                        SendWelcome::defer(20 + n * 30, None);
                    }
                    ResizeImage::defer(80_u64);
                    if round == 0 {
                        ResizeImage::defer(3_600_000_u64);
                        SendWelcome::defer(1_u64, None).delay(Duration::from_secs(600));
                    }
                }
                "failing" => {
                    SendWelcome::defer(5_u64, None);
                    match round % 10 {
                        0 => drop(SendWelcome::defer(5_u64, error("451 greylisted, try again later"))),
                        3 => drop(ChargeCard::defer(error("card declined: insufficient funds"))),
                        7 => drop(ChargeCard::defer(error("the bank does not answer"))),
                        _ => {}
                    }
                }
                "down" => drop(ChargeCard::defer(None)),
                "types" => defer_each(&|n| (n % 90 == 17 && round % 7 == 0).then(|| "refused".to_owned())),
                "hostile" => {
                    Markup::defer();
                    LongName::defer();
                }
                _ => {}
            }
        })
        .await;
        // Sets the pace of the scene for its viewer.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Shown {
    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'_, Result<T, BoxError>> {
        let is_down = self.is_down;
        Box::pin(async move { if is_down { Err("connection refused".into()) } else { Ok(answer) } })
    }
}

impl Queue for Shown {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err("connection refused".into()) })
    }

    fn inspect(&self) -> Option<&dyn InspectQueue> {
        Some(self)
    }
}

fn id(last: char) -> JobId {
    format!("01M8AK9CQWBNEDV6SC000000Y{last}").parse().expect("an id")
}

impl InspectQueue for Shown {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        let mut counts = QueueCounts::default();
        (counts.pending, counts.running, counts.done) = (4, 13, 10_000);
        if self.fails {
            (counts.pending, counts.failed) = (1_033, 14);
            counts.oldest_due = Some(Duration::from_secs(754));
        }
        self.answer(counts)
    }

    fn failed(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        let failed = |last| FailedJob::new(id(last), "ChargeCard", 3, "card declined: insufficient funds");
        self.answer(if self.fails { ['A', 'B', 'C'].map(failed).into() } else { Vec::new() })
    }

    fn status(&self, _: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        self.answer(None)
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        let mut job = QueuedJob::new(id, "ChargeCard", QueuedState::Failed);
        (job.attempts, job.error) = (3, Some("card declined: insufficient funds".to_owned()));
        (job.route, job.request_id) = (Some("POST /orders".to_owned()), Some("r-4711".to_owned()));
        job.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        (job.age, job.ended) = (Some(Duration::from_secs(3_600)), Some(Duration::from_secs(3_400)));
        self.answer(Some(job).filter(|_| self.fails))
    }

    fn retry(&self, _: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        self.answer(true)
    }

    fn unclaimed(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        self.answer(if self.fails { vec!["SendInvoice".to_owned()] } else { Vec::new() })
    }

    fn jobs(&self, filter: JobFilter, _: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        let mut coming = QueuedJob::new(id('D'), "SendInvoice", QueuedState::Retrying);
        (coming.attempts, coming.due_in) = (1, Some(Duration::from_secs(40)));
        coming.route = Some("POST /orders".to_owned());
        let mut running = QueuedJob::new(id('E'), "ChargeCard", QueuedState::Running);
        running.process = Some(Process::new("orders-7f4c", 23));
        self.answer(match filter {
            JobFilter::Delayed => vec![coming],
            JobFilter::Running => vec![running],
            _ => Vec::new(),
        })
    }

    fn failures(&self, _: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        let mut declined = FailureGroup::new("ChargeCard", "card declined: insufficient funds", id('A'));
        (declined.count, declined.first) = (12, Duration::from_secs(3_600));
        let mut invoice =
            FailureGroup::new("SendInvoice", "template invoice.html: no such field `vat`", id('F'));
        (invoice.count, invoice.first, invoice.last) =
            (2, Duration::from_secs(90_000), Duration::from_secs(80_000));
        self.answer(if self.fails { vec![declined, invoice] } else { Vec::new() })
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        let mut charge = NameCounts::new("ChargeCard");
        (charge.running, charge.ready, charge.failed) = (13, 3, 12);
        let mut invoice = NameCounts::new("SendInvoice");
        (invoice.ready, invoice.failed) = (1_029, 2);
        invoice.oldest_due = Some(Duration::from_secs(754));
        self.answer(if self.fails { vec![charge, invoice] } else { vec![charge] })
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        let of = |id: &str, host: &str, pid, jobs| {
            let mut holder = Holder::new(id, Process::new(host, pid), "0.1.0");
            (holder.names, holder.jobs) = (vec!["ChargeCard".to_owned()], jobs);
            holder.age = Duration::from_secs(86_000);
            holder
        };
        let mut silent = of("c", "orders-91aa", 23, 4);
        silent.last_seen = Duration::from_secs(75);
        let mut holders = vec![of("a", "orders-7f4c", 23, 8), of("b", "orders-c0de", 23, 5)];
        holders.extend(Some(silent).filter(|_| self.fails));
        self.answer(holders)
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        self.answer(if self.fails { vec!["SyncCart".to_owned()] } else { Vec::new() })
    }
}
