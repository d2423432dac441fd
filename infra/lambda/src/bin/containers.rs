//! The functions of the area `containers`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(containers::ROUTES, &[])
}
