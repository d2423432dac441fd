//! The functions of the area `system`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::system()
}
