use defer_axum::Deferrable;

#[derive(Deferrable)]
struct SendWelcome {
    to: String,
}

fn main() {
    SendWelcome::defer("ada@example.com");
}
