//! Reads a kernel tree's Kconfig files as far as it takes to say why Kconfig did not honour a request.
//!
//! Kconfig itself resolves configurations; this only explains its answers, from the same files and the resolved
//! `.config`. [`parse`] reads the files, [`expression`] evaluates conditions, [`mod@explain`] words the reasons.

mod explain;
mod expression;
mod parse;

pub(crate) use explain::{explain, misspelt};
pub(crate) use parse::Kconfig;
