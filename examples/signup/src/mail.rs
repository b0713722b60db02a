use std::time::Duration;

use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult};
use lettre::{
    Address, AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use serde::{Deserialize, Serialize};

use crate::{Config, ConfigError, Feed, MailRoute, SignUps};

/// Sends the welcome mail of one sign-up.
///
/// The job is on disk before the client has its answer, so it survives a kill.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3, backoff = "500ms..30s", timeout = "10s")]
pub struct SendWelcome {
    /// The number of the sign-up.
    pub signup: i64,
    /// The name that the mail greets.
    pub name: String,
    /// The recipient's address.
    pub to: String,
}

impl Job for SendWelcome {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let signups = cx.state::<SignUps>()?;
        let feed = cx.state::<Feed>()?;

        let unsent = signups.attempt_begins(self.signup, &cx.id().to_string()).await?;
        feed.publish(self.signup);
        if !unsent {
            return Ok(()); // an earlier attempt has sent it
        }

        cx.state::<Mailer>()?.send(self).await?;

        // The mail is out, and a second one would be worse than a row that says "waiting". It can
        // still go out twice when this attempt is cut off right here, by its timeout or a crash;
        // the two then have the same Message-ID.
        let noted = signups.mail_sent(self.signup).await;
        feed.publish(self.signup);
        noted.map_err(|error| JobError::from(error).fatal())
    }
}

/// Stores how long the answer to a sign-up took, which is known once it has been sent.
#[derive(Debug, Deferrable)]
pub struct NoteAnswer {
    /// The number of the sign-up.
    pub signup: i64,
}

impl Job for NoteAnswer {
    async fn run(&self, cx: &JobContext) -> JobResult {
        if let Some(response) = cx.response() {
            cx.state::<SignUps>()?.answered(self.signup, response.elapsed()).await?;
            cx.state::<Feed>()?.publish(self.signup);
        }
        Ok(())
    }
}

/// Writes the mails and hands them to the outbox or the SMTP server.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: Transport,
    from: Mailbox,
    delay: Duration,
}

#[derive(Clone, Debug)]
enum Transport {
    Outbox(AsyncFileTransport<Tokio1Executor>),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

impl Mailer {
    /// Creates a mailer for the configured route. It does not connect to an SMTP server yet.
    ///
    /// # Errors
    ///
    /// If the outbox does not exist and cannot be created.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            transport: match &config.mail_route {
                MailRoute::Outbox(folder) => {
                    std::fs::create_dir_all(folder).map_err(|error| ConfigError::outbox(folder, &error))?;
                    Transport::Outbox(AsyncFileTransport::new(folder))
                }
                MailRoute::Smtp(url) => Transport::Smtp(
                    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
                        .map_err(|error| ConfigError::smtp(url, &error))?
                        .build(),
                ),
            },
            from: config.mail_from.clone(),
            delay: config.mail_delay,
        })
    }

    async fn send(&self, welcome: &SendWelcome) -> JobResult {
        // A mail that cannot be composed now cannot be composed in the next attempt either.
        let mail = self.write(welcome).map_err(JobError::fatal)?;
        tokio::time::sleep(self.delay).await;
        match &self.transport {
            Transport::Outbox(folder) => {
                folder.send(mail).await?;
            }
            Transport::Smtp(server) => {
                server.send(mail).await.map_err(|error| {
                    // 5xx: no such mailbox, or not from us. Client: the server does not support this address. Everything else
                    // (no route, 4xx) may succeed next time.
                    let for_good = error.is_permanent() || error.is_client();
                    let error = JobError::from(error);
                    if for_good { error.fatal() } else { error }
                })?;
            }
        }
        Ok(())
    }

    fn write(&self, welcome: &SendWelcome) -> Result<Message, JobError> {
        let SendWelcome { signup, name, to } = welcome;
        let domain = self.from.email.domain();
        Ok(Message::builder()
            .message_id(Some(format!("<signup-{signup}@{domain}>")))
            .from(self.from.clone())
            .to(Mailbox::new(Some(name.clone()), to.parse::<Address>()?))
            .subject("Welcome")
            .header(ContentType::TEXT_PLAIN)
            .body(format!(
                "Hello {name},\n\n\
                 you have signed up, and had your answer before this mail was written.\n"
            ))?)
    }
}
