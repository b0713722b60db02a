use defer_axum::Deferrable;

#[derive(Deferrable)]
enum Mail {
    Welcome,
    Receipt,
}

fn main() {}
