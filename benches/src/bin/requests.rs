//! `requests CASE N`: sends N requests. For callgrind, which counts the instructions.

use defer_benches::{Case, Driver};

fn main() {
    let mut args = std::env::args().skip(1);
    let case: Case = args.next().and_then(|case| case.parse().ok()).expect("the first argument is a case");
    let requests = args.next().and_then(|n| n.parse().ok()).expect("the second argument is a number");
    Driver::new(case).run(requests);
}
