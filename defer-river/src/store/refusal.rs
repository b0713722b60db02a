//! Why a database does not do something.

use std::io;

/// Why a database does not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// For what it is.
    Data,
    /// Another transaction has what it needs. It may be long open.
    Locked,
    /// Another transaction was faster. What it did is to be seen now.
    Contended,
    /// The database is away.
    Away,
}

impl Refusal {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Self::Data,
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Contended,
            sqlx::Error::Database(error) => error.code().map_or(Self::Away, |code| Self::of_code(&code)),
            _ => Self::Away,
        }
    }

    fn of_code(code: &str) -> Self {
        match code.parse::<i32>() {
            // SQLite: ERROR (malformed JSON, among others), TOOBIG, CONSTRAINT, MISMATCH, RANGE. It has one writer at a time: if
            // its lock is not to be had, the whole database is away.
            Ok(number) if code.len() < 5 => match number & 0xff {
                1 | 18 | 19 | 20 | 25 => Self::Data,
                _ => Self::Away,
            },
            _ => match code {
                // A lock that was not to be had in time.
                "55P03" => Self::Locked,
                // A deadlock, of which Postgres lets one go on; a transaction that cannot be serialized; a unique key that another
                // has claimed meanwhile.
                "40P01" | "40001" | "23505" => Self::Contended,
                // Data exceptions, violated constraints, and limits of the program.
                _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Self::Data,
                _ => Self::Away,
            },
        }
    }
}

/// Returns the error of what another transaction has kept from being done, and that may be done now.
pub(crate) fn contended(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::WouldBlock, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_another_is_neither_an_outage_nor_the_fault_of_the_data() {
        let of = Refusal::of_code;
        assert_eq!(
            ["55P03", "40P01", "23505"].map(of),
            [Refusal::Locked, Refusal::Contended, Refusal::Contended]
        );
        assert_eq!(["22P02", "23514", "54000", "2067", "1"].map(of), [Refusal::Data; 5]);
        assert_eq!(["57P01", "08006", "53300", "5", "261"].map(of), [Refusal::Away; 5]);
        assert_eq!(Refusal::of(&contended("the key")), Refusal::Contended);
    }
}
