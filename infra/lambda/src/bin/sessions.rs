//! The functions of the area `sessions`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(sessions::ROUTES, sessions::FUNCTIONS)
}
