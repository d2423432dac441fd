//! The functions of the area `registry`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(registry::ROUTES, &[])
}
