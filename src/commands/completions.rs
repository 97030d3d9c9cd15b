//! `completions`: what a shell needs to complete commands and options.

use std::io::{self, Write as _};

use clap_complete::Shell;

use crate::error::Exit;

/// Arguments of `completions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  callops completions bash > ~/.local/share/bash-completion/completions/callops
  callops completions zsh > ~/.zfunc/_callops
  callops completions fish > ~/.config/fish/completions/callops.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes the script for `command`, the whole command line, to stdout.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "callops", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Success)
}
