//! A sentinel through every hop of the pipe, and where it stops; and captured output explained.

pub mod explain;
