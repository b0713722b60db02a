use defer_axum::Deferrable;

#[derive(Deferrable)]
struct SendWelcome<'a> {
    to: &'a str,
}

fn main() {
    SendWelcome::defer("ada@example.com");
    SendWelcome::try_defer("ada@example.com").unwrap();
}
