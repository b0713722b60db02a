fn main() {
    defer_axum::defer_fn(|_cx| async move { 42 });
}
