use defer_axum::{JobContext, JobResult, job};

use JobContext as Cx;

#[job]
async fn send_welcome(_to: String, _cx: &Cx) -> JobResult {
    Ok(())
}

fn main() {

}
