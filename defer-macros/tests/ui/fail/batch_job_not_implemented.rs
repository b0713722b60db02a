use defer_axum::Deferrable;

#[derive(Deferrable)]
#[defer(batch = 50, within = "500ms")]
struct Visit {
    path: String,
}

fn main() {
    Visit::defer("/");
}
