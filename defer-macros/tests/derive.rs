//! Each shape of struct carries its arguments to `run`.

use std::{future::Future, marker::PhantomData, sync::Arc, sync::Mutex};

use defer_axum::{DeferError, Deferrable, Job, JobContext, JobResult, Runner};

/// What the jobs say when they run.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

fn say(cx: &JobContext, words: impl Into<String>) -> JobResult {
    let Said(said) = cx.state()?;
    said.lock().expect("no job panics").push(words.into());
    Ok(())
}

/// What the jobs said that the future deferred, in the order in which they ran.
async fn said_by(future: impl Future<Output = ()>) -> Vec<String> {
    let said = Said::default();
    let runner = Runner::builder().state(said.clone()).build();
    defer_core::scope(&runner, future).await;
    runner.idle().await;
    let said = said.0.lock().expect("no job panics");
    said.clone()
}

#[derive(Deferrable)]
struct Unit;

impl Job for Unit {
    async fn run(&self, cx: &JobContext) -> JobResult {
        say(cx, "unit")
    }
}

#[tokio::test]
async fn a_unit_struct_takes_no_argument() {
    let said = said_by(async {
        Unit::defer();
        Unit::try_defer().unwrap();
    });
    assert_eq!(said.await, ["unit", "unit"]);
}

#[derive(Deferrable)]
struct Tuple(String, u64);

impl Job for Tuple {
    async fn run(&self, cx: &JobContext) -> JobResult {
        say(cx, format!("{} {}", self.0, self.1))
    }
}

#[tokio::test]
async fn a_tuple_struct_takes_its_fields_in_order() {
    let said = said_by(async {
        Tuple::defer("first", 1_u32);
        Tuple::try_defer(String::from("second"), 2_u64).unwrap();
    });
    assert_eq!(said.await, ["first 1", "second 2"]);
}

#[derive(Deferrable)]
struct Named {
    to: String,
    cc: Option<String>,
    r#type: &'static str,
}

impl Job for Named {
    async fn run(&self, cx: &JobContext) -> JobResult {
        say(cx, format!("{} {:?} {}", self.to, self.cc, self.r#type))
    }
}

#[tokio::test]
async fn a_named_struct_takes_its_fields_in_order() {
    let said = said_by(async {
        Named::defer("ada", String::from("bob"), "plain");
        Named::try_defer('a', None, "html").unwrap();
    });
    assert_eq!(said.await, [r#"ada Some("bob") plain"#, "a None html"]);
}

#[derive(Deferrable)]
struct Generic<T, const N: usize> {
    items: [T; N],
    #[defer(default)]
    marker: PhantomData<fn() -> T>,
}

impl<T, const N: usize> Job for Generic<T, N>
where
    T: ToString + Send + Sync + 'static,
{
    async fn run(&self, cx: &JobContext) -> JobResult {
        let Self { items, marker: PhantomData } = self;
        say(cx, items.each_ref().map(ToString::to_string).concat())
    }
}

#[tokio::test]
async fn a_generic_struct_carries_its_types() {
    let said = said_by(async {
        Generic::<_, 3>::defer([1, 2, 3]);
        Generic::<&str, 2>::try_defer(["a", "b"]).unwrap();
    });
    assert_eq!(said.await, ["123", "ab"]);
}

#[derive(Deferrable)]
struct WithDefault {
    #[defer(default)]
    count: u8,
    to: String,
    #[defer(default)]
    tags: Vec<String>,
}

impl Job for WithDefault {
    async fn run(&self, cx: &JobContext) -> JobResult {
        say(cx, format!("{} {} {:?}", self.count, self.to, self.tags))
    }
}

#[tokio::test]
async fn a_default_field_is_filled_and_not_asked_for() {
    let said = said_by(async {
        WithDefault::defer("ada");
        defer_axum::defer(WithDefault { count: 7, to: "bob".into(), tags: vec!["x".into()] });
    });
    assert_eq!(said.await, ["0 ada []", r#"7 bob ["x"]"#]);
}

#[derive(Deferrable)]
#[defer(blocking, tries = 2, backoff = "1ms")]
struct SecondTime(String);

impl Job for SecondTime {
    async fn run(&self, cx: &JobContext) -> JobResult {
        if cx.attempt() == 1 {
            return Err(defer_axum::JobError::msg("not yet"));
        }
        say(cx, self.0.as_str())
    }
}

#[tokio::test]
async fn the_policy_of_the_attributes_is_the_one_the_runner_follows() {
    let said = said_by(async {
        SecondTime::defer("again");
    });
    assert_eq!(said.await, ["again"]);
}

#[test]
fn without_a_runtime_try_defer_is_an_error() {
    assert!(matches!(Unit::try_defer(), Err(DeferError::NoRuntime)));
}

#[test]
fn without_a_runtime_defer_panics_where_it_was_called() {
    use std::panic::{catch_unwind, set_hook, take_hook};

    let place: Arc<Mutex<Option<String>>> = Arc::default();
    let hook = take_hook();
    set_hook(Box::new({
        let place = place.clone();
        move |info| *place.lock().unwrap() = info.location().map(ToString::to_string)
    }));
    let line = line!() + 1;
    let outcome = catch_unwind(|| Tuple::defer("nowhere", 1_u64));
    set_hook(hook);

    assert!(outcome.is_err());
    let place = place.lock().unwrap().take().unwrap();
    assert!(place.contains(&format!("derive.rs:{line}:")), "{place}");
}
