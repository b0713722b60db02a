//! Plays a few seconds of fuzzing, with the same seeds each time.

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
    // The seeds give the same cases on every machine. These are the first steps of one, as of when this was written.
    let steps = Case::of_seed(1).steps;
    assert_eq!(format!("{:?}", &steps[..4]), "[Allow(27934), Allow(38477), BreakWrites, Allow(37)]");
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

/// h2 answers a PING before it reads on. If the answer has to wait for the socket, h2 handles everything else it has read,
/// including a reset, once it has written.
#[test]
fn a_response_that_is_reset_behind_a_ping_is_not_sent() {
    use defer_fuzz::{Exchange, Step, play};
    let request = |size| Step::Request(Box::new(Exchange::of(size)));
    for allowed in 0..450 {
        let case = Case::new(
            Protocol::Http2,
            [
                request(303),
                Step::Send(usize::MAX),
                Step::Allow(allowed),
                // The rest comes in one piece.
                request(0),
                Step::Ping,
                Step::Reset(0),
                Step::Send(usize::MAX),
            ],
        );
        play(&case).unwrap_or_else(|failure| panic!("{allowed} allowed: {failure}\n{case}"));
    }
}

/// hyper 1.12 flushes after 16 pieces of a body, and does not ask for more once it has the announced length.
#[test]
fn a_body_that_is_cut_off_at_a_flush_is_sent_with_that() {
    use defer_fuzz::{
        Exchange, Step,
        case::{Shape, Transport},
        play,
    };
    for stutters in [false, true] {
        let mut exchange = Exchange::of(53);
        exchange.request.close = Some(true);
        exchange.answer.shape = Shape::Announced;
        (exchange.answer.announced, exchange.answer.chunk) = (Some(32), 2);
        let steps = [Step::Request(Box::new(exchange)), Step::Send(usize::MAX), Step::Allow(1 << 20)];
        let mut case = Case::new(Protocol::Http1, steps);
        case.transport = Transport { stutters, ..case.transport };
        play(&case).unwrap_or_else(|failure| panic!("{failure}\n{case}"));
    }
}
