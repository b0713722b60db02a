use std::time::{Duration, SystemTime, UNIX_EPOCH};

use defer_sqlx::SqlxQueue;
use sqlx::{
    AssertSqlSafe, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow},
};

use crate::SendWelcome;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS signups (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    email       TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    created_ms  INTEGER NOT NULL,           -- times are milliseconds of the Unix epoch
    answer_us   INTEGER,                    -- request received to answer sent, in microseconds
    released_ms INTEGER,                    -- when the answer was sent, or else when the mail's first attempt began
    job         TEXT,                       -- the mail's job
    problem     TEXT,                       -- what the last attempt ended with
    given_up    INTEGER NOT NULL DEFAULT 0,
    sent_ms     INTEGER
)";

const COLUMNS: &str = "
    SELECT id, name, email, answer_us, released_ms, problem, given_up, sent_ms,
           strftime('%Y-%m-%dT%H:%M:%SZ', created_ms / 1000, 'unixepoch') AS created_at
    FROM signups";

/// The stored sign-ups. A clone is another handle to the same database.
#[derive(Clone, Debug)]
pub struct SignUps {
    pool: SqlitePool,
}

/// One stored sign-up.
#[derive(Clone, Debug, PartialEq)]
pub struct SignUp {
    /// The number it is stored under; later ones are higher.
    pub id: i64,
    /// The name, as typed.
    pub name: String,
    /// The address, as typed.
    pub email: String,
    /// When it was stored, as `2026-01-31T12:00:00Z`.
    pub created_at: String,
    /// The state of the response.
    pub answer: Answer,
    /// Where the welcome mail is.
    pub mail: Mail,
}

/// The state of the response to a sign-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it is on its way, or the process ended before it was stored.
    Unknown,
    /// Sent this long after the request was received.
    SentAfter(Duration),
}

/// Where a welcome mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// Deferred: its first attempt has not ended.
    Waiting {
        /// Since the answer.
        since: Duration,
    },
    /// An attempt failed; another comes, or is running.
    Retrying {
        /// Since the answer.
        since: Duration,
        /// The error of the last attempt.
        problem: String,
    },
    /// Handed to the outbox or the SMTP server.
    Sent {
        /// From the answer to the hand-over.
        after: Duration,
    },
    /// Out of attempts, or rejected permanently.
    GivenUp {
        /// The error of the last attempt.
        problem: String,
    },
}

/// A sign-up could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is stored already, in this spelling or with other capitals.
    #[error("this address has signed up already")]
    Duplicate,
    /// The database returned an error.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The queue returned an error.
    #[error("the queue failed")]
    Queue(#[from] defer_sqlx::Error),
}

impl SignUps {
    /// Opens the database, and creates its table if it does not exist.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or written.
    pub async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = SqlitePoolOptions::new()
            // Opened by a single connection: two that switch to the write-ahead log at the same time can block each other. An
            // in-memory database lives as long as its last connection.
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.journal_mode(SqliteJournalMode::Wal))
            .await?;
        sqlx::query(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Stores a sign-up and returns its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Duplicate`] when the address is there already.
    pub async fn add(&self, name: &str, email: &str) -> Result<i64, StoreError> {
        insert(&mut *self.pool.acquire().await?, name, email).await
    }

    /// Stores a sign-up together with its mail's job in one transaction, in a queue in this database. Returns its number.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`StoreError::Queue`].
    pub async fn add_with_mail(&self, queue: &SqlxQueue, name: &str, email: &str) -> Result<i64, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let id = insert(&mut tx, name, email).await?;
        let mail = SendWelcome { signup: id, name: name.to_owned(), to: email.to_owned() };
        queue.push_in(&mut tx, mail).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Returns the database, for a queue in it.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Returns the sign-up with this number.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, as with every method below.
    pub async fn get(&self, id: i64) -> Result<Option<SignUp>, sqlx::Error> {
        sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE id = ?")))
            .bind(id)
            .try_map(sign_up)
            .fetch_optional(&self.pool)
            .await
    }

    /// Returns the latest sign-ups, newest first.
    pub async fn recent(&self, limit: u32) -> Result<Vec<SignUp>, sqlx::Error> {
        sqlx::query(AssertSqlSafe(format!("{COLUMNS} ORDER BY id DESC LIMIT ?")))
            .bind(limit)
            .try_map(sign_up)
            .fetch_all(&self.pool)
            .await
    }

    /// Stores that the answer has been sent, this long after its request was received.
    pub async fn answered(&self, id: i64, after: Duration) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE signups SET answer_us = ?, released_ms = ? WHERE id = ?")
            .bind(i64::try_from(after.as_micros()).unwrap_or(i64::MAX))
            .bind(now_ms())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores that an attempt to send the mail starts. Returns whether the mail still has to be sent.
    pub async fn attempt_begins(&self, id: i64, job: &str) -> Result<bool, sqlx::Error> {
        let noted = sqlx::query(
            "UPDATE signups SET job = ?, released_ms = COALESCE(released_ms, ?)
             WHERE id = ? AND sent_ms IS NULL",
        )
        .bind(job)
        .bind(now_ms())
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(noted.rows_affected() == 1)
    }

    /// Stores that the mail was sent now.
    pub async fn mail_sent(&self, id: i64) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE signups SET sent_ms = ?, problem = NULL WHERE id = ?")
            .bind(now_ms())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores how an attempt of this job failed. Returns the sign-up, if the job has one.
    pub async fn attempt_failed(
        &self,
        job: &str,
        problem: &str,
        given_up: bool,
    ) -> Result<Option<i64>, sqlx::Error> {
        let row = sqlx::query(
            "UPDATE signups SET problem = ?, given_up = ?
             WHERE job = ? AND sent_ms IS NULL RETURNING id",
        )
        .bind(problem)
        .bind(given_up)
        .bind(job)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| row.try_get("id")).transpose()
    }
}

impl SignUp {
    /// Returns the time from the response to the mail, or to now while it has not been sent.
    pub fn mail_took(&self) -> Option<Duration> {
        match self.mail {
            Mail::Waiting { since } | Mail::Retrying { since, .. } => Some(since),
            Mail::Sent { after } => Some(after),
            Mail::GivenUp { .. } => None,
        }
    }
}

async fn insert(connection: &mut SqliteConnection, name: &str, email: &str) -> Result<i64, StoreError> {
    let stored = sqlx::query("INSERT INTO signups (name, email, created_ms) VALUES (?, ?, ?)")
        .bind(name)
        .bind(email)
        .bind(now_ms())
        .execute(connection)
        .await;
    match stored {
        Ok(done) => Ok(done.last_insert_rowid()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Duplicate),
        Err(error) => Err(error.into()),
    }
}

fn sign_up(row: SqliteRow) -> Result<SignUp, sqlx::Error> {
    let released_ms: Option<i64> = row.try_get("released_ms")?;
    let since_release = |ms: i64| {
        // The wall clock may be set back in between.
        let ms = ms - released_ms.unwrap_or(ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    };
    let sent_ms: Option<i64> = row.try_get("sent_ms")?;
    let problem: Option<String> = row.try_get("problem")?;
    Ok(SignUp {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        created_at: row.try_get("created_at")?,
        answer: match row.try_get::<Option<i64>, _>("answer_us")? {
            Some(us) => Answer::SentAfter(Duration::from_micros(us.unsigned_abs())),
            None => Answer::Unknown,
        },
        mail: match (sent_ms, problem) {
            (Some(sent_ms), _) => Mail::Sent { after: since_release(sent_ms) },
            (None, Some(problem)) if row.try_get("given_up")? => Mail::GivenUp { problem },
            (None, Some(problem)) => Mail::Retrying { since: since_release(now_ms()), problem },
            (None, None) => Mail::Waiting { since: since_release(now_ms()) },
        },
    })
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn empty() -> SignUps {
        SignUps::open("sqlite::memory:".parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_signs_up_once_whatever_its_capitals() {
        let signups = empty().await;
        signups.add("Ada", "ada@example.com").await.unwrap();
        let again = signups.add("Ada", "ADA@example.com").await;
        assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
        assert_eq!(signups.recent(50).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_mail_goes_from_waiting_over_retrying_to_sent() {
        let signups = empty().await;
        let id = signups.add("Ada", "ada@example.com").await.unwrap();
        let stored = || async { signups.get(id).await.unwrap().unwrap() };
        assert_eq!(stored().await.answer, Answer::Unknown);
        assert!(matches!(stored().await.mail, Mail::Waiting { .. }));

        let after = Duration::from_micros(1234);
        signups.answered(id, after).await.unwrap();
        assert!(signups.attempt_begins(id, "7").await.unwrap());
        assert_eq!(stored().await.answer, Answer::SentAfter(after));

        let failed = signups.attempt_failed("7", "no route", false).await;
        assert_eq!(failed.unwrap(), Some(id));
        assert!(signups.attempt_begins(id, "7").await.unwrap());
        let mail = stored().await.mail;
        assert!(matches!(mail, Mail::Retrying { .. }), "{mail:?}");
        signups.mail_sent(id).await.unwrap();
        assert!(matches!(stored().await.mail, Mail::Sent { .. }));
        assert!(!signups.attempt_begins(id, "7").await.unwrap());
    }

    #[tokio::test]
    async fn a_mail_that_is_given_up_says_why() {
        let signups = empty().await;
        let id = signups.add("Ada", "ada@example.com").await.unwrap();
        signups.attempt_begins(id, "7").await.unwrap();
        signups.attempt_failed("7", "refused", true).await.unwrap();
        let problem = "refused".to_owned();
        let stored = signups.get(id).await.unwrap().unwrap();
        assert_eq!(stored.mail, Mail::GivenUp { problem });
    }

    #[tokio::test]
    async fn a_sign_up_and_its_mail_are_stored_together_or_not_at_all() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = SqliteConnectOptions::new().filename(folder.path().join("db")).create_if_missing(true);
        let signups = SignUps::open(file).await.unwrap();
        let queue = SqlxQueue::sqlite(signups.pool()).await.unwrap();
        signups.add_with_mail(&queue, "Ada", "ada@example.com").await.unwrap();
        let again = signups.add_with_mail(&queue, "Ada", "ada@example.com").await;
        assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
        assert_eq!(queue.counts().await.unwrap().pending, 1);
    }

    #[tokio::test]
    async fn the_newest_come_first() {
        let signups = empty().await;
        for name in ["a", "b", "c"] {
            signups.add(name, &format!("{name}@example.com")).await.unwrap();
        }
        let names: Vec<_> = signups.recent(2).await.unwrap();
        let names: Vec<_> = names.iter().map(|signup| signup.name.as_str()).collect();
        assert_eq!(names, ["c", "b"]);
    }
}
