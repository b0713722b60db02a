//! At every limit, with any nesting of deferring, calling and waiting: every request is answered, the runner becomes idle, and
//! every job is counted once.

mod cases;
mod plan;
mod world;
