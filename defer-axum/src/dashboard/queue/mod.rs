//! The page's questions to the queue, and the actions that it passes on.
//!
//! | file | hides |
//! |---|---|
//! | `answer` | that a queue may fail, panic or hang |
//! | `inspected` | what is asked for at a look |
//! | `cache` | how often the queue is asked, and for how long it has not answered |
//! | `action` | which action asks for what |

pub(super) mod action;
mod answer;
pub(super) mod cache;
pub(super) mod inspected;
