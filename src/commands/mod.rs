//! One file per subcommand: its arguments, and what it does.

pub mod check_phone;
pub mod import_contacts;
