//! The functions of the area `templates`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(templates::ROUTES, &[])
}
