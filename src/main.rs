//! `callops`: reads the command line and hands over to one command.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(callops::run(std::env::args_os()).await.code())
}
