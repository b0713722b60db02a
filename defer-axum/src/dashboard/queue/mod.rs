//! The page's questions to the queue, and the actions that it passes on.
//!
//! | file | hides |
//! |---|---|
//! | `answer` | that a queue may fail, panic or hang |
//! | `inspected` | what an inspection asks for |
//! | `cache` | how often the queue is asked, and since when it has not answered |
//! | `action` | which request an action makes |

pub(super) mod action;
mod answer;
pub(super) mod cache;
pub(super) mod inspected;
