//! `reeve`: the whole system in one process on one machine.
//!
//! What holds here: this crate only wires. It starts the ports on one machine, the use cases over
//! them, the gateway and the scheduler; what they do is decided elsewhere.

mod api_gateway;
mod cli;
mod compute;
mod config;
mod console;
mod demo;
mod downloads;
mod egress_socket;
mod installation;
mod scheduler;
mod stream_socket;
mod up;
mod uploads;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The sandbox starts this program again as its supervisor: before anything else is set up.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "sandbox")
        && let Some(document) = arguments.next()
    {
        let code = embedded::sandbox::supervise(Path::new(&document));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    embedded::faults::init();
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is a command")]
            {
                eprintln!("reeve: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
