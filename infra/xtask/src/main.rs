//! `cargo xtask`: what is done to the source rather than by it.

mod bench;
mod events;
mod synth;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done to the source.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Writes what is generated from the route table.
    Synth {
        /// Writes nothing; fails where a file is not as it would be written.
        #[arg(long)]
        check: bool,
    },
    /// Measures a release build of reeve, and says where it is too slow.
    Bench(bench::Bench),
    #[command(flatten)]
    Helper(bench::Helper),
}

fn main() -> ExitCode {
    let Cli { task } = Cli::parse();
    let done = match task {
        Task::Synth { check } => synth::synth(check).map_err(Into::into),
        Task::Bench(options) => bench::bench(&options),
        Task::Helper(helper) => bench::help(&helper),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is a command")]
            {
                eprintln!("xtask: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
