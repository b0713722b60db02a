use defer_axum::Deferrable;

#[derive(Deferrable)]
struct Publish<T> {
    event: T,
}

fn main() {
    Publish::<u32>::defer(7_u32);
}
