//! The functions of the area `stream`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(stream::ROUTES, &[])
}
