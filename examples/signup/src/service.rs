use axum::Router;
use defer_axum::{DeferLayer, Deferrable, Runner};
use tokio_util::sync::CancellationToken;

use crate::{Config, ConfigError, Feed, Mailer, SendWelcome, SignUps, outcomes, web};

/// The service: its routes and its runner.
#[derive(Debug)]
pub struct Service {
    /// The routes, with the layer that collects their jobs.
    pub app: Router,
    /// Runs the jobs.
    pub runner: Runner,
    /// Ends the open event streams, which would otherwise keep a graceful shutdown waiting.
    pub stop: CancellationToken,
}

impl Service {
    /// Opens the database and the mailer, and defers the mails that the last process left unsent.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable of a database or an outbox that cannot be used.
    pub async fn open(config: &Config) -> Result<Self, ConfigError> {
        let mailer = Mailer::new(config)?;
        if SendWelcome::POLICY.timeout().is_some_and(|timeout| timeout <= config.mail_delay) {
            tracing::warn!(
                "MAIL_DELAY_MS is as long as an attempt may take: every mail will time out and be given up"
            );
        }
        let database = || config.database.clone();
        let open = async {
            let signups = SignUps::open(database()).await?;
            let unsent = signups.unsent().await?;
            Ok((signups, unsent))
        };
        let (signups, unsent) = open.await.map_err(|error| ConfigError::database(&database(), &error))?;

        let feed = Feed::new();
        let stop = CancellationToken::new();
        let runner = Runner::builder()
            .state(mailer)
            .state(signups.clone())
            .state(feed.clone())
            .on_event(outcomes::record_failures(signups.clone(), feed.clone()))
            .build();

        if !unsent.is_empty() {
            tracing::info!(mails = unsent.len(), "deferring the mails that were not sent");
        }
        for signup in unsent {
            // One scope each: the jobs of one scope run one after another.
            defer_axum::scope(&runner, async move {
                SendWelcome::defer(signup.id, signup.name, signup.email);
            })
            .await;
        }

        Ok(Self {
            app: web::routes(signups, feed, stop.clone()).layer(DeferLayer::new(runner.clone())),
            runner,
            stop,
        })
    }
}
