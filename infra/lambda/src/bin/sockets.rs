//! The functions of the area `sockets`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lambda::sockets()
}
