//! One file per subcommand: its arguments beside what it does.

pub mod calling;
pub mod check_phone;
pub mod check_window;
pub mod doctor;
pub mod explain;
pub mod import_contacts;
pub mod init;
pub mod migrate;
pub mod sandbox;
pub mod status;
