//! `tailwater-load`: see [`tailwater_bench`].

use clap::Parser as _;
use std::process::ExitCode;
use tailwater_bench::cli;

/// Bodies of megabytes come and go; mimalloc keeps them instead of mapping them anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
