use std::time::Duration;

use axum::Router;
use defer_axum::{Dashboard, DeferLayer, Deferrable, Runner};
use defer_sqlx::{SqlxQueue, Worker};
use tokio_util::sync::CancellationToken;

use crate::{Config, ConfigError, Feed, Mailer, NoteAnswer, SendWelcome, SignUps, outcomes, web};

/// The service: its routes, its runner and its queue.
#[derive(Debug)]
pub struct Service {
    /// The routes, with the layer that collects their jobs, and the dashboard.
    pub app: Router,
    /// Runs the jobs.
    pub runner: Runner,
    /// The queue for the mails.
    pub queue: SqlxQueue,
    /// Ends the open event streams, which would otherwise keep a graceful shutdown waiting.
    pub stop: CancellationToken,
    drain_timeout: Duration,
}

impl Service {
    /// Opens the database, the queue and the mailer.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable of a database, a queue or an outbox that cannot be used.
    pub async fn open(config: &Config) -> Result<Self, ConfigError> {
        let mailer = Mailer::new(config)?;
        if SendWelcome::POLICY.timeout().is_some_and(|timeout| timeout <= config.mail_delay) {
            tracing::warn!(
                "MAIL_DELAY_MS is as long as an attempt may take: every mail will time out and be given up"
            );
        }
        let signups = SignUps::open(config.database.clone())
            .await
            .map_err(|error| ConfigError::database(&config.database, &error))?;
        let (queue, is_in_database) = match &config.queue {
            Some(url) => {
                let queue = SqlxQueue::connect(url).await;
                (queue.map_err(|error| ConfigError::queue(url, &error))?, false)
            }
            None => {
                let queue = SqlxQueue::sqlite(signups.pool()).await;
                (queue.map_err(|error| ConfigError::database(&config.database, &error))?, true)
            }
        };

        let feed = Feed::new();
        let stop = CancellationToken::new();
        let runner = Runner::builder()
            .state(mailer)
            .state(signups.clone())
            .state(feed.clone())
            .queue(queue.clone())
            // So that its metrics exist before its first failure, as those of the worker's types do.
            .job::<NoteAnswer>()
            .on_event(outcomes::record_failures(signups.clone(), feed.clone()))
            .build();
        // Open to everyone, like the rest of this demonstration. Put authentication in front of yours.
        let jobs = Dashboard::new(&runner).enable_actions();
        let routes = web::routes(signups, feed, is_in_database.then(|| queue.clone()), stop.clone());
        Ok(Self {
            app: routes.layer(DeferLayer::new(runner.clone())).nest_service("/jobs", jobs.into_router()),
            runner,
            queue,
            stop,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Returns the worker that sends the mails.
    pub fn worker(&self) -> Worker {
        self.queue.worker(self.runner.clone()).job::<SendWelcome>().drain_timeout(self.drain_timeout)
    }
}
