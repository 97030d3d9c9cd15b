//! One file per subcommand: its arguments beside what it does.

pub mod calling;
pub mod check_phone;
pub mod check_window;
pub mod collect_outcomes;
pub mod import_contacts;
pub mod init;
pub mod migrate;
pub mod process_calls;
pub mod sandbox;
pub mod sweep_timeouts;
