//! The dashboard's responses.
//!
//! | file | hides |
//! |---|---|
//! | `router` | which paths there are, and the headers of all answers |
//! | `act`, `operator` | which actions are allowed, and who performs them |
//! | `origin` | how requests of another site are recognized |
//! | `stream` | what an open page already has |
//! | `site` | what all requests share |
//! | `root`, `broken` | how the page links to its files, and the response if it fails |

mod act;
mod broken;
pub(super) mod operator;
mod origin;
mod root;
pub(super) mod router;
mod site;
mod stream;
