//! A full-screen view of a run in the terminal: its journal, the state of its event stream, its log.
