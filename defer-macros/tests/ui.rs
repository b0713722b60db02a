//! What the derive accepts, and what it says of what it does not. The errors are rustc's stable ones of the
//! day; after an update of the toolchain, write them anew with `TRYBUILD=overwrite` and read them.

#[test]
fn accepted_structs_compile_and_say_what_they_were_told() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn each_mistake_is_pointed_at() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
