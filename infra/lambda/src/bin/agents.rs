//! The functions of the area `agents`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(agents::ROUTES, &[])
}
