//! Events out of any text: every form they come in, however the text is cut into pieces.

mod ansible;
pub(crate) mod callbacks;
mod forms;
mod json;
mod limits;
mod properties;
mod support;
mod traces;
