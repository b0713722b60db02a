//! What the derive and `#[job]` accept, and `serve`.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(dead_code, reason = "many jobs are only compiled")]

mod alias;
mod batch;
mod const_generic;
mod core_path;
mod default_field;
mod empty_braces_and_parentheses;
mod errors;
mod field_names_of_the_expansion;
mod generic;
mod generic_queue;
mod in_a_function;
mod in_a_macro;
mod more_than_seven_fields;
mod named;
mod names_in_scope;
mod no_constructor;
mod policy;
mod raw_identifier;
mod serve_apps;
mod shadowed_prelude;
mod tuple;
mod unit;
mod visibility;
mod where_clause;

// Public, because some of their lints look only at what a crate exports.
pub mod forbidden_lints;
pub mod job_derive;
pub mod job_function;
pub mod job_output;
pub mod no_warnings;
