//! data-gen.
fn main() {}
