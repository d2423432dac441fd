//! What runs across crates. Here is what several tests share: one suite per port, which every
//! implementation of that port passes; the tests themselves are in `it`.

pub mod compute;
pub mod table;
