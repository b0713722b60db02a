//! What happens between the queue and the database, on threads of its own: the user's runtimes may be busy or gone.
//!
//! | file | hides |
//! |---|---|
//! | `engine` | how the threads are started and ended |
//! | `ops` | which writes share a transaction, and which wait for others |
//! | `writer` | how they are written, and wait for a database that is away |
//! | `beats` | how the jobs of a dead process are found |
//! | `held` | what a runner may do with a job that is held for it |

mod beats;
// A folder and the file of its main type have one name, as in the other crates.
#[allow(clippy::module_inception, reason = "the file of the type")]
mod engine;
mod held;
mod ops;
mod writer;

pub(crate) use self::{
    engine::{Engine, Settings, start},
    held::Held,
};
