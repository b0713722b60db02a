//! The promises of `DeferLayer` under any server.

mod bodies;
mod dropped;
mod endings;
mod extensions;
mod nesting;
mod order;
mod together;
mod told;

/// A handler whose job shows that the server and the runner were active meanwhile.
async fn other() {
    defer_tests::Note::defer("other");
}

/// A handler whose job logs how the response ended.
async fn hello() -> &'static str {
    defer_tests::NoteEnding::defer();
    "hello"
}
