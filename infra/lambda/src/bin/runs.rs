//! The functions of the area `runs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(runs::ROUTES, &[])
}
