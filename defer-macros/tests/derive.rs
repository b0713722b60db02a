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
        Tuple::defer("first", 1);
        Tuple::try_defer(String::from("second"), 2).unwrap();
    });
    assert_eq!(said.await, ["first 1", "second 2"]);
}

#[derive(Deferrable)]
struct Resize {
    percent: u8,
    id: u64,
    turn: i16,
    scale: f32,
    copies: usize,
    crops: bool,
    side: char,
    path: String,
}

impl Job for Resize {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let Self { percent, id, turn, scale, copies, crops, side, path } = self;
        say(cx, format!("{percent} {id} {turn} {scale} {copies} {crops} {side} {path}"))
    }
}

#[tokio::test]
async fn a_literal_becomes_the_primitive_that_its_field_has() {
    let said = said_by(async {
        Resize::defer(42, 18_446_744_073_709_551_615, -300, 0.5, 3, true, 'r', "cat.png");
        Resize::try_defer(0, 42, 90, 2.0, 0, false, 'l', "dog.png").unwrap();
    });
    assert_eq!(
        said.await,
        ["42 18446744073709551615 -300 0.5 3 true r cat.png", "0 42 90 2 0 false l dog.png"]
    );
}

/// Each primitive, as a macro passes a type on, and in parentheses.
macro_rules! each_primitive {
    ($($job:ident($ty:ty), $value:literal;)*) => {
        $(
            #[derive(Deferrable)]
            #[allow(unused_parens)]
            struct $job(($ty), $ty);

            impl Job for $job {
                async fn run(&self, cx: &JobContext) -> JobResult {
                    say(cx, format!("{:?}", (self.0, self.1)))
                }
            }
        )*

        #[tokio::test]
        async fn a_primitive_is_one_in_parentheses_and_in_a_macro_too() {
            let said = said_by(async {
                $($job::defer($value, $value);)*
            });
            let expected = [$({
                let value: $ty = $value;
                format!("{:?}", (value, value))
            }),*];
            assert_eq!(said.await, expected);
        }
    };
}

each_primitive! {
    Bool(bool), true;
    Char(char), 'x';
    I8(i8), -128;
    I16(i16), -32_768;
    I32(i32), -1;
    I64(i64), -1;
    I128(i128), -1;
    Isize(isize), -1;
    U8(u8), 255;
    U16(u16), 65_535;
    U32(u32), 4_294_967_295;
    U64(u64), 18_446_744_073_709_551_615;
    U128(u128), 18_446_744_073_709_551_616;
    Usize(usize), 3;
    F32(f32), 0.5;
    F64(f64), 0.5;
}

type Cents = u64;

#[derive(Deferrable)]
struct Charge<T> {
    cents: Cents,
    rate: Option<u8>,
    per: T,
    tax: core::primitive::u32,
}

impl<T: ToString + Send + Sync + 'static> Job for Charge<T> {
    async fn run(&self, cx: &JobContext) -> JobResult {
        say(cx, format!("{} {:?} {} {}", self.cents, self.rate, self.per.to_string(), self.tax))
    }
}

#[tokio::test]
async fn a_number_under_another_name_is_converted() {
    let said = said_by(async {
        Charge::<u64>::defer(1_u8, 2, 3_u8, 4_u8);
    });
    assert_eq!(said.await, ["1 Some(2) 3 4"]);
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
    let outcome = catch_unwind(|| Tuple::defer("nowhere", 1));
    set_hook(hook);

    assert!(outcome.is_err());
    let place = place.lock().unwrap().take().unwrap();
    assert!(place.contains(&format!("derive.rs:{line}:")), "{place}");
}
