//! One file per subcommand: its arguments beside what it does.

pub mod apply;
pub mod calling;
pub mod cancel;
pub mod check_phone;
pub mod check_window;
pub mod collect_outcomes;
pub mod completions;
pub mod draining;
pub mod enroll;
pub mod import_contacts;
pub mod init;
pub mod list;
pub mod lookup;
pub mod migrate;
pub mod pause;
pub mod process_calls;
pub mod resolve;
pub mod resume;
pub mod retry;
pub mod sandbox;
pub mod show;
pub mod start_campaign;
pub mod stop_campaign;
pub mod sweep_timeouts;
pub mod telling;
pub mod withdraw;
