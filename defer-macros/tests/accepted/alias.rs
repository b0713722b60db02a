use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable, serde::Serialize, serde::Deserialize)]
#[defer(queue, alias = "SendMail", alias = "SendGreeting")]
struct SendWelcome {
    to: String,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = &self.to;
        Ok(())
    }
}

#[test]
fn aliases_are_the_earlier_names_of_the_type() {
    assert_eq!(SendWelcome::NAME, "SendWelcome");
    assert_eq!(SendWelcome::ALIASES, ["SendMail", "SendGreeting"]);
    assert!(SendWelcome::DECODE.is_some());
}
