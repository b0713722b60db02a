//! What the struct of a function derives.
#![deny(warnings, missing_docs, unused)]

use defer_axum::{JobResult, job};
use serde::{Deserialize, Serialize};

/// Derives traits of two lists, durable as it is.
#[job(queue, derive(Debug, PartialEq), tries = 3, derive(std::clone::Clone, Default,))]
async fn resize(
    path: String,
    #[serde(default)]
    #[defer(default)]
    width: u32,
) -> JobResult {
    println!("{path} to {width}");
    Ok(())
}

/// Derives what `queue` would, with helpers of its own.
#[job(derive(Serialize, Deserialize))]
async fn remember(#[serde(rename = "which")] what: String) -> JobResult {
    println!("{what}");
    Ok(())
}

#[tokio::test]
async fn a_function_derives_the_traits_of_several_lists() {
    let job = resize { path: "cat.png".into(), ..Default::default() };
    assert_eq!(format!("{:?}", job.clone()), r#"resize { path: "cat.png", width: 0 }"#);
    assert_eq!(job, resize { path: "cat.png".into(), width: 0 });
    resize::defer("cat.png");

    let json =
        serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new([("which", "it")].into_iter());
    assert_eq!(remember::deserialize(json).unwrap().what, "it");
}
