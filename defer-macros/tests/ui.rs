//! What the derive says of what it does not accept. The errors are rustc's stable ones of the day; after an update of the toolchain,
//! write them anew with `TRYBUILD=overwrite` and read them.
//!
//! What it accepts is in `accepted`: with a `pass` here, `trybuild` would build one program after another, and all dependencies too,
//! instead of checking all programs at once.

#[test]
fn each_mistake_is_pointed_at() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
