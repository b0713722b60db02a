//! The dashboard's responses.
//!
//! | file | hides |
//! |---|---|
//! | `router` | which paths there are, and the headers of all answers |
//! | `act`, `operator` | what may be done, and by whom |
//! | `origin` | how another site is told from the page itself |
//! | `stream` | what an open page has already |
//! | `site` | what all requests share |
//! | `root`, `broken` | how the page links to its files; what is answered if it fails |

mod act;
mod broken;
pub(super) mod operator;
mod origin;
mod root;
pub(super) mod router;
mod site;
mod stream;
