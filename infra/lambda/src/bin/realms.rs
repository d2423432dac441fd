//! The functions of the area `realms`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(realms::ROUTES, &[])
}
