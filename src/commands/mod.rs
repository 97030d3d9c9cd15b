//! One file per subcommand: its arguments beside what it does.

pub mod sandbox;
