use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[allow(non_camel_case_types, reason = "a keyword is its name")]
struct r#type {
    r#match: String,
    r#fn: u32,
}

impl Job for r#type {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn raw_identifiers_may_name_the_struct_and_its_fields() {
    assert_eq!(r#type::NAME, "type");
    let _ = || r#type::defer("x", 7);
}
