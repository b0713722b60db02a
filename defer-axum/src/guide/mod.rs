//! A guide, by what you want to do.
//!
//! | chapter | about |
//! |---|---|
//! | [`production`] | what production asks of a job: middleware, tenants, limits, order, duplicates, giving up, status |

pub mod production;
