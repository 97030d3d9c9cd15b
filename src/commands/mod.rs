//! One file per subcommand: its arguments beside what it does.

pub mod calling;
pub mod check_window;
pub mod init;
pub mod migrate;
pub mod sandbox;
