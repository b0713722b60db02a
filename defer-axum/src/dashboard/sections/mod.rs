//! The page, section by section: the figures of each, and their HTML.
//!
//! | file | hides |
//! |---|---|
//! | `page` | which sections there are |
//! | `snapshot` | where their figures come from |
//! | `health`, `now`, `failures`, `types`, `runs`, `running`, `coming`, `queue`, `processes`, `day`, `found` | a section each |
//! | `process` | how this process is distinguished from others |
//! | `button` | the question before an action, and the answer after it |
//! | `view`, `column` | how a query selects what is shown |
//! | `section` | which parts of a section can change |
//! | `plot`, `format`, `moment` | how plots, numbers and times are formatted |

pub(super) mod button;
mod column;
mod coming;
mod day;
pub(super) mod failures;
mod format;
mod found;
mod health;
mod moment;
mod now;
pub(super) mod page;
mod plot;
pub(super) mod process;
mod processes;
mod queue;
mod running;
mod runs;
pub(super) mod section;
pub(super) mod snapshot;
mod types;
pub(super) mod view;
