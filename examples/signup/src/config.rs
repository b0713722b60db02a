use std::{
    env,
    ffi::OsString,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use lettre::{AsyncSmtpTransport, Tokio1Executor, message::Mailbox};
use sqlx::sqlite::SqliteConnectOptions;

/// The largest value that `MAIL_DELAY_MS` and `DRAIN_TIMEOUT_SECS` accept.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The service's configuration, from the environment. Reading it opens and creates nothing.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on: `HOST` (127.0.0.1) and `PORT` (3000; 0 takes a free one).
    pub listen: SocketAddr,
    /// The SQLite database, `DATABASE_URL` (`sqlite:signup.db`); created if it is missing.
    pub database: SqliteConnectOptions,
    /// The queue of the mails, `QUEUE_URL`. Unset, it is in the database, and a sign-up and its mail are stored in one
    /// transaction.
    pub queue: Option<String>,
    /// The destination of mails: `SMTP_URL` if it is set, otherwise the folder `OUTBOX` (`outbox`).
    pub mail_route: MailRoute,
    /// The sender of the mails, `MAIL_FROM`.
    pub mail_from: Mailbox,
    /// The delay of each mail before it is sent, `MAIL_DELAY_MS` (0).
    pub mail_delay: Duration,
    /// The time that deferred jobs have after a stop signal, `DRAIN_TIMEOUT_SECS` (10).
    pub drain_timeout: Duration,
}

/// The destination of mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailRoute {
    /// One `.eml` file per mail in this folder.
    Outbox(PathBuf),
    /// Sends mail to the SMTP server at this address, `smtp://` or `smtps://`.
    Smtp(String),
}

/// An environment variable has a value that the service cannot start with.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?} is not usable: {reason}; {expected}")]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    reason: String,
    expected: &'static str,
}

impl Config {
    /// Reads the variables of this process.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first variable with an unusable value, the value, and what was expected.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(|name| env::var_os(name))
    }

    /// Reads the variables that `var` knows.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let vars = Vars(var);
        let host = vars.parsed(HOST)?.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let port = vars.parsed(PORT)?.unwrap_or(3000);
        let smtp_url = vars.get(SMTP_URL, |url| {
            AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
                .map(|_| url.to_owned())
                .map_err(|error| causes(&error))
        })?;
        let outbox = vars.get(OUTBOX, |path| match path {
            "" => Err("it is empty".to_owned()),
            path => Ok(PathBuf::from(path)),
        })?;
        Ok(Self {
            listen: SocketAddr::new(host, port),
            database: vars
                .get(DATABASE_URL, database)?
                .unwrap_or_else(|| SqliteConnectOptions::new().filename("signup.db"))
                .create_if_missing(true),
            queue: vars.get(QUEUE_URL, queue)?,
            mail_route: match smtp_url {
                Some(url) => MailRoute::Smtp(url),
                None => MailRoute::Outbox(outbox.unwrap_or_else(|| PathBuf::from("outbox"))),
            },
            mail_from: match vars.parsed(MAIL_FROM)? {
                Some(mailbox) => mailbox,
                None => Mailbox::new(
                    Some("Sign-up".to_owned()),
                    lettre::Address::new("welcome", "signup.example")
                        .expect("a valid address, see the test below"),
                ),
            },
            mail_delay: vars
                .get(MAIL_DELAY_MS, |value| span(value, Duration::from_millis))?
                .unwrap_or(Duration::ZERO),
            drain_timeout: vars
                .get(DRAIN_TIMEOUT_SECS, |value| span(value, Duration::from_secs))?
                .unwrap_or(Duration::from_secs(10)),
        })
    }
}

impl ConfigError {
    /// The folder for outgoing mail cannot be created.
    pub(crate) fn outbox(path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(OUTBOX, &path.to_string_lossy(), error.to_string())
    }

    /// The URL is not one of an SMTP server.
    pub(crate) fn smtp(url: &str, error: &lettre::transport::smtp::Error) -> Self {
        Self::new(SMTP_URL, url, causes(error))
    }

    /// The database cannot be opened.
    pub(crate) fn database(options: &SqliteConnectOptions, error: &dyn std::error::Error) -> Self {
        let file = options.get_filename().to_string_lossy();
        Self::new(DATABASE_URL, &format!("sqlite:{file}"), causes(error))
    }

    /// The queue cannot be used.
    pub(crate) fn queue(url: &str, error: &defer_sqlx::Error) -> Self {
        Self::new(QUEUE_URL, url, causes(error))
    }

    fn new((variable, expected): Variable, value: &str, reason: String) -> Self {
        Self { variable, value: without_password(value), reason, expected }
    }
}

/// A variable's name, and what is expected of its value.
type Variable = (&'static str, &'static str);

const HOST: Variable = ("HOST", "expected the IP address to listen on, such as 127.0.0.1 or ::");
const PORT: Variable = ("PORT", "expected a number from 0 to 65535, where 0 takes a free port");
const DATABASE_URL: Variable =
    ("DATABASE_URL", "expected a SQLite database that can be opened or created, such as sqlite:signup.db");
const QUEUE_URL: Variable = (
    "QUEUE_URL",
    "expected sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE; \
     or leave it unset for a queue in DATABASE_URL",
);
const OUTBOX: Variable = ("OUTBOX", "expected the path of a folder that exists or can be created");
const SMTP_URL: Variable = (
    "SMTP_URL",
    "expected smtp://HOST:PORT or smtps://USER:PASSWORD@HOST; \
     or leave it unset for mail as files in OUTBOX",
);
const MAIL_FROM: Variable = ("MAIL_FROM", "expected an address, such as Welcome <hello@example.com>");
const MAIL_DELAY_MS: Variable =
    ("MAIL_DELAY_MS", "expected a whole number of milliseconds from 0 to 86400000");
const DRAIN_TIMEOUT_SECS: Variable =
    ("DRAIN_TIMEOUT_SECS", "expected a whole number of seconds from 0 to 86400");

struct Vars<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Vars<F> {
    fn get<T>(
        &self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = (self.0)(variable.0) else {
            return Ok(None);
        };
        let text = value.to_str().ok_or("it is not UTF-8".to_owned());
        text.and_then(parse)
            .map(Some)
            .map_err(|reason| ConfigError::new(variable, &value.to_string_lossy(), reason))
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&self, variable: Variable) -> Result<Option<T>, ConfigError> {
        self.get(variable, |value| value.parse().map_err(|error: T::Err| error.to_string()))
    }
}

fn database(url: &str) -> Result<SqliteConnectOptions, String> {
    // sqlx takes any text as a file name, even `postgres://..`.
    match url.strip_prefix("sqlite:") {
        None => Err("it does not begin with sqlite:".to_owned()),
        Some("" | "//") => Err("it names no file".to_owned()),
        Some(_) => url.parse().map_err(|error: sqlx::Error| causes(&error)),
    }
}

fn queue(url: &str) -> Result<String, String> {
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if known.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(url.to_owned());
    }
    Err("it begins neither with sqlite: nor with postgres:".to_owned())
}

fn span(value: &str, unit: fn(u64) -> Duration) -> Result<Duration, String> {
    let span = unit(value.parse().map_err(|error| format!("{error}"))?);
    if span > LONGEST {
        return Err("it is longer than a day".to_owned());
    }
    Ok(span)
}

/// An error with its sources on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Returns the value without its secrets, for a log: `smtp://…@host` for `smtp://user:secret@host`.
fn without_password(value: &str) -> String {
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(|name| {
            let (_, value) = vars.iter().find(|(known, _)| *known == name)?;
            Some((*value).into())
        })
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = config(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.mail_route, MailRoute::Outbox("outbox".into()));
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.mail_from.to_string(), "Sign-up <welcome@signup.example>");
    }

    #[test]
    fn every_variable_is_read() {
        let config = config(&[
            ("HOST", "::1"),
            ("PORT", "0"),
            ("DATABASE_URL", "sqlite:/tmp/other.db?mode=rwc"),
            ("QUEUE_URL", "postgres://127.0.0.1/jobs"),
            ("OUTBOX", "mails"),
            ("MAIL_FROM", "Ada <ada@example.com>"),
            ("MAIL_DELAY_MS", "1500"),
            ("DRAIN_TIMEOUT_SECS", "1"),
        ])
        .unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:0");
        assert!(config.database.get_filename().ends_with("other.db"));
        assert_eq!(config.queue.as_deref(), Some("postgres://127.0.0.1/jobs"));
        assert_eq!(config.mail_route, MailRoute::Outbox("mails".into()));
        assert_eq!(config.mail_from.to_string(), "Ada <ada@example.com>");
        assert_eq!(config.mail_delay, Duration::from_millis(1500));
        assert_eq!(config.drain_timeout, Duration::from_secs(1));
    }

    #[test]
    fn an_smtp_server_takes_the_place_of_the_outbox() {
        for url in ["smtp://127.0.0.1:2525", "smtps://me:secret@mail.example"] {
            let config = config(&[("SMTP_URL", url)]).unwrap();
            assert_eq!(config.mail_route, MailRoute::Smtp(url.to_owned()));
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_expected() {
        for (variable, value) in [
            ("HOST", "localhost:80"),
            ("PORT", "http"),
            ("PORT", "65536"),
            ("PORT", ""),
            ("DATABASE_URL", "postgres://localhost/app"),
            ("DATABASE_URL", "sqlite:"),
            ("DATABASE_URL", "sqlite:a.db?mode=sometimes"),
            ("QUEUE_URL", "redis://127.0.0.1"),
            ("QUEUE_URL", ""),
            ("OUTBOX", ""),
            ("SMTP_URL", ""),
            ("SMTP_URL", "127.0.0.1:2525"),
            ("SMTP_URL", "http://127.0.0.1:2525"),
            ("MAIL_FROM", "nobody"),
            ("MAIL_DELAY_MS", "-1"),
            ("MAIL_DELAY_MS", "1.5s"),
            ("MAIL_DELAY_MS", "86400001"),
            ("DRAIN_TIMEOUT_SECS", "soon"),
            ("DRAIN_TIMEOUT_SECS", "18446744073709551616"),
        ] {
            let error = config(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{variable}={value:?} is not usable: ")), "{error}");
            assert!(error.contains("; expected "), "{error}");
        }
    }

    #[test]
    fn a_password_does_not_reach_the_message() {
        let error = config(&[("SMTP_URL", "ftp://me:secret@mail.example")]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().contains("ftp://…@mail.example"), "{error}");
    }
}
