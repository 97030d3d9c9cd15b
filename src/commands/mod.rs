//! One file per subcommand: its arguments beside what it does.

pub mod apply;
pub mod calling;
pub mod check_phone;
pub mod check_window;
pub mod collect_outcomes;
pub mod demo;
pub mod doctor;
pub mod draining;
pub mod enroll;
pub mod explain;
pub mod import_contacts;
pub mod init;
pub mod lookup;
pub mod migrate;
pub mod process_calls;
pub mod sandbox;
pub mod start_campaign;
pub mod status;
pub mod stop_campaign;
pub mod sweep_timeouts;
pub mod telling;
