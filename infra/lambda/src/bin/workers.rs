//! The functions of the area `workers`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::workers()
}
