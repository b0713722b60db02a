use defer_axum::job;

#[job(within = "500ms")]
async fn visit(path: String) {
    drop(path);
}

fn main() {
    visit::defer("/");
}
