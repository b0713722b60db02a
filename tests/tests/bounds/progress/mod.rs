//! At every bound, whatever defers, asks and waits within whatever: every request is answered, the runner becomes
//! idle, and every job is counted once.

mod cases;
mod plan;
mod world;
