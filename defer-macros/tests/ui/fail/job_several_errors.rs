use defer_axum::{JobContext, job};

#[job(tries = 0)]
async fn send_welcome<T>(_to: &T, (_a, _b): (u8, u8), _cx: &JobContext) {
}

fn main() {
    send_welcome::defer("ada@example.com", (1, 2));
}
