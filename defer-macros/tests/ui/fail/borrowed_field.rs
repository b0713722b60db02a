use defer_axum::Deferrable;

#[derive(Deferrable)]
struct SendWelcome<'a> {
    to: &'a str,
}

fn main() {}
