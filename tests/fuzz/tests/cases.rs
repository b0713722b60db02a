//! A few seconds of the fuzzer, the same each time.

use defer_fuzz::{Breadth, ByProtocol, Case, Protocol, check, play_seed};
use defer_tests::By;

#[test]
fn jobs_are_told_the_truth_whatever_client_handlers_and_transport_do_over_http1() {
    let counts = check(By::Defer, Protocol::Http1, Breadth::Everything, 1_500);
    assert!(counts.sent > 0 && counts.disconnected > 0 && counts.cancelled > 0, "{counts:?}");
}

#[test]
fn jobs_are_told_the_truth_whatever_client_handlers_and_transport_do_over_http2() {
    let counts = check(By::Defer, Protocol::Http2, Breadth::Everything, 1_500);
    assert!(counts.sent > 0 && counts.disconnected > 0 && counts.resets > 0, "{counts:?}");
}

#[test]
fn a_seed_is_the_same_case_each_time() {
    for seed in 0..100 {
        assert_eq!(format!("{}", Case::of_seed(seed)), format!("{}", Case::of_seed(seed)));
    }
    // And on every machine: this is what the first steps of one were when this was written.
    let steps = Case::of_seed(1).steps;
    assert_eq!(format!("{:?}", &steps[..4]), "[Allow(26483), Allow(31101), Reset(0), Allow(37)]");
}

#[test]
fn the_seeds_of_the_program_are_of_both_protocols() {
    let mut all = ByProtocol::default();
    for seed in 0..20 {
        play_seed(seed, &mut all).unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(all.http1.cases + all.http2.cases, 20);
    assert!(all.http1.cases > 0 && all.http2.cases > 0, "{all}");
}
