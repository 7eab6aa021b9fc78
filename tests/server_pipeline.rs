//! What every hop has seen.
