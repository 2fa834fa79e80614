//! highwater.
fn main() {}
