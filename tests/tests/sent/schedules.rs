//! In any order of partial writes, pending flushes, errors and drops, each response's jobs are released exactly once, and as
//! sent exactly when its last byte was accepted and flushed. That holds even if responses share memory.
//!
//! The player and its checks are in `tests/fuzz`, which plays many more cases. The cases here led to the first promises.

use defer_fuzz::{
    Breadth, Case, Exchange, Protocol, Step,
    case::{Memory, Transport},
    check, play,
};
use defer_tests::By;

#[test]
fn http1_jobs_are_released_once_and_never_before_the_last_byte() {
    let counts = check(By::Defer, Protocol::Http1, Breadth::Own, 300);
    assert!(counts.sent > 0 && counts.disconnected > 0, "{counts:?}");
}

#[test]
fn http2_jobs_are_released_once_and_never_before_the_last_byte() {
    let counts = check(By::Defer, Protocol::Http2, Breadth::Own, 300);
    assert!(counts.sent > 0 && counts.disconnected > 0 && counts.resets > 0, "{counts:?}");
}

#[test]
fn http1_jobs_of_responses_that_share_memory_are_released_once_and_never_early() {
    let counts = check(By::Defer, Protocol::Http1, Breadth::Shared, 2_000);
    assert!(counts.sent > 0 && counts.disconnected > 0, "{counts:?}");
}

#[test]
fn http2_jobs_of_responses_that_share_memory_are_released_once_and_never_early() {
    let counts = check(By::Defer, Protocol::Http2, Breadth::Shared, 2_000);
    assert!(counts.sent > 0 && counts.disconnected > 0 && counts.resets > 0, "{counts:?}");
}

#[test]
fn under_axum_s_server_no_http1_response_is_cut_off_that_was_accepted_in_full() {
    let counts = check(By::Axum, Protocol::Http1, Breadth::Shared, 2_000);
    assert!(counts.finished > 0 && counts.breaks > 0, "{counts:?}");
}

#[test]
fn under_axum_s_server_no_http2_response_is_cut_off_that_was_accepted_in_full() {
    let counts = check(By::Axum, Protocol::Http2, Breadth::Shared, 2_000);
    assert!(counts.finished > 0 && counts.disconnected > 0, "{counts:?}");
}

/// Plays steps over HTTP/2 in single bytes, with and without vectored writes.
fn play_by_the_byte(steps: &[Step]) {
    for vectored in [false, true] {
        let mut case = Case::new(Protocol::Http2, steps.to_vec());
        case.settings.window = 30_000;
        case.transport = Transport { per_write: 1, vectored, ..case.transport };
        play(&case).unwrap_or_else(|failure| panic!("{failure}\n{case}"));
    }
}

fn request(size: usize, memory: Memory) -> Step {
    let mut exchange = Exchange::of(size);
    exchange.answer.memory = memory;
    Step::Request(Box::new(exchange))
}

/// A frame that is being written at the reset is written to its end, and does not contain the last byte.
#[test]
fn data_of_which_a_reset_leaves_a_byte_unwritten_are_not_sent() {
    use Step::{Allow, Reset, Send};
    let own = |size| request(size, Memory::Own);
    // With some of these, part of the head is written.
    for allowed in 0..100 {
        let more = [own(0), own(0), Send(usize::MAX)];
        let steps = [vec![own(16_385), Send(usize::MAX), Allow(allowed), Reset(0)], more.to_vec()];
        play_by_the_byte(&steps.concat());
    }
}

#[test]
fn a_reset_of_one_response_says_nothing_of_another_of_the_same_bytes() {
    use Step::{Allow, Reset, Send};
    let shared = |size| request(size, Memory::Static(0));
    // With some of these, the reset comes between the two, or within the second one.
    for allowed in (16_400..16_700).step_by(7) {
        let requests = [Allow(1), shared(16_385), Send(usize::MAX), shared(16_386), Send(usize::MAX)];
        let steps = [requests.to_vec(), vec![Allow(allowed), Reset(1), Allow(40_000)]];
        play_by_the_byte(&steps.concat());
    }
}
