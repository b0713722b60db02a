//! A queue may return jobs of another version of the program, or of another program.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::{Arc, Mutex};

use defer_core::{
    JobId, Runner,
    queue::{Metadata, Ran, Resume, decode},
};
use proptest::{collection::btree_map, prelude::*};
use serde::{Deserialize, Serialize};
use support::{Kind, Plain, assert_all_accounted_for};

/// Metadata, texts that nearly are metadata, and any other texts.
fn metadata() -> impl Strategy<Value = Metadata> {
    let key = prop_oneof![
        ".*",
        "(route|request_id|serial|unique|traceparent|tracestate|job|extension u64|carried .{0,9})",
    ];
    let value = prop_oneof![".*", "(GET|POST|get|) ?/?[a-z{}]{0,9}", "[0-9]{1,25}"];
    btree_map(key, value, 0..6)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SyncCart {
    cart: u64,
    items: Vec<String>,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_runs_with_whatever_metadata_it_was_stored(metadata in metadata(), attempts: u32, id: u128) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let runner = Runner::default();
            let seen = Arc::new(Mutex::new(None));
            let job = {
                let seen = seen.clone();
                Plain::job(move |cx| {
                    *seen.lock().unwrap() = Some((cx.id(), cx.attempt(), cx.extension::<u64>().ok()));
                    async { Ok(()) }
                })
            };
            let carried = metadata.get("extension u64").and_then(|value| serde_json::from_str(value).ok());
            let resume = Resume::new(JobId::from(id), attempts, metadata);
            let ran = runner.resume(job, resume).unwrap().ran().await;
            prop_assert!(matches!(ran, Ran::Succeeded), "{:?}", ran);
            let seen = seen.lock().unwrap().unwrap();
            prop_assert_eq!(seen, (JobId::from(id), attempts.saturating_add(1), carried));
            assert_all_accounted_for(&runner);
            Ok(())
        })?;
    }

    #[test]
    fn a_payload_is_decoded_as_it_was_encoded(cart: u64, items in proptest::collection::vec(".*", 0..4)) {
        let job = SyncCart { cart, items };
        prop_assert_eq!(decode::<SyncCart>(&serde_json::to_vec(&job).unwrap()).unwrap(), job);
    }

    #[test]
    fn any_payload_is_decoded_or_an_error_says_where(
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[{}\\[\\]:,\"a-z0-9]{0,40}".prop_map(String::into_bytes),
            "\\{\"cart\":[0-9]{1,25},\"items\":\\[\\]\\}".prop_map(String::into_bytes),
        ],
    ) {
        if let Err(error) = decode::<SyncCart>(&payload) {
            prop_assert!(error.to_string().contains(" at line "), "{}", error);
        }
    }
}
