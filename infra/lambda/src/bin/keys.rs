//! The functions of the area `keys`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(keys::ROUTES, &[])
}
