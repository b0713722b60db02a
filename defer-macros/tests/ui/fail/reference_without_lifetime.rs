use defer_axum::Deferrable;

#[derive(Deferrable)]
struct SendWelcome {
    to: &str,
}

fn main() {}
