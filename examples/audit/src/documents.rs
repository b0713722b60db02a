//! The documents, and the routes that change them. They do not know about the audit log.

use axum::{
    Extension, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use sqlx::SqlitePool;

use crate::record::Actor;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS documents (
    name    TEXT    PRIMARY KEY,
    owner   TEXT    NOT NULL,
    text    TEXT    NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
)";

pub(crate) async fn routes(pool: SqlitePool) -> Result<Router, sqlx::Error> {
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    Ok(Router::new().route("/documents/{name}", get(read).put(write).delete(delete)).with_state(pool))
}

async fn read(State(pool): State<SqlitePool>, Path(name): Path<String>) -> Result<String, Refusal> {
    let text = sqlx::query_scalar("SELECT text FROM documents WHERE name = ?");
    text.bind(name).fetch_optional(&pool).await?.ok_or(Refusal::NotFound)
}

/// Creates a document, or edits it if it is the user's own.
async fn write(
    State(pool): State<SqlitePool>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    text: String,
) -> Result<(StatusCode, &'static str), Refusal> {
    let version: Option<i64> = sqlx::query_scalar(
        "INSERT INTO documents (name, owner, text) VALUES (?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET text = excluded.text, version = version + 1
         WHERE owner = excluded.owner RETURNING version",
    )
    .bind(name)
    .bind(user(&actor)?)
    .bind(text)
    .fetch_optional(&pool)
    .await?;
    match version {
        Some(1) => Ok((StatusCode::CREATED, "created\n")),
        Some(_) => Ok((StatusCode::OK, "edited\n")),
        None => Err(Refusal::NotYours),
    }
}

async fn delete(
    State(pool): State<SqlitePool>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<&'static str, Refusal> {
    let user = user(&actor)?;
    let delete = sqlx::query("DELETE FROM documents WHERE name = ? AND owner = ?");
    let deleted = delete.bind(&name).bind(user).execute(&pool).await?;
    if deleted.rows_affected() == 0 {
        read(State(pool), Path(name)).await?;
        return Err(Refusal::NotYours);
    }
    Ok("deleted\n")
}

fn user(actor: &Actor) -> Result<&str, Refusal> {
    match actor {
        Actor::User(name) => Ok(name),
        Actor::Nobody => Err(Refusal::WhoAreYou),
    }
}

/// The reason why nothing was changed.
enum Refusal {
    WhoAreYou,
    NotYours,
    NotFound,
    Broken(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::WhoAreYou => (StatusCode::UNAUTHORIZED, "say who you are, with the header x-user\n"),
            Self::NotYours => (StatusCode::FORBIDDEN, "this document is somebody else's\n"),
            Self::NotFound => (StatusCode::NOT_FOUND, "there is no such document\n"),
            Self::Broken(error) => {
                tracing::error!(%error, "could not answer a request");
                (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong on our side\n")
            }
        };
        (status, text).into_response()
    }
}
