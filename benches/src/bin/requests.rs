//! `requests CASE N`: sends N requests. callgrind counts the instructions.

fn main() {
    let mut args = std::env::args().skip(1);
    let case = args.next().expect("the first argument is a case");
    let requests = args.next().and_then(|n| n.parse().ok()).expect("the second argument is a number");
    defer_benches::driver(&case).expect("the first argument is a case").run(requests);
}
