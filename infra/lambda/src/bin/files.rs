//! The functions of the area `files`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::area(files::ROUTES, &[])
}
