use defer_axum::{Deferrable, Job, JobContext, JobResult};

struct NotAnArgument;

impl Default for NotAnArgument {
    fn default() -> Self {
        Self
    }
}

#[derive(Deferrable)]
struct Named {
    #[defer(default)]
    first: NotAnArgument,
    to: String,
    #[defer(default)]
    last: Option<u8>,
}

impl Job for Named {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
struct Tuple(#[defer(default)] NotAnArgument, String);

impl Job for Tuple {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
struct Marker<T> {
    #[defer(default)]
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<T: 'static> Job for Marker<T> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_field_with_a_default_is_no_argument() {
    let _ = || {
        Named::defer("ada@example.com");
        Tuple::defer("ada@example.com");
        Marker::<String>::defer();
    };
}
