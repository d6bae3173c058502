//! The only file that names bincode: values to bytes and back.
//!
//! bincode 2 is no longer maintained; a successor replaces it here and nowhere else.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::{Serialize, de::DeserializeOwned};

use crate::frame::MAX_PAYLOAD;

/// Fixed-width little-endian integers; the limit bounds what a length field can make us allocate.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_PAYLOAD>> = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding()
    .with_limit::<MAX_PAYLOAD>();

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value has no encoding of at most [`MAX_PAYLOAD`] bytes.
    #[error("encode a message: {0}")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are no value of the wanted type.
    #[error("decode a message: {0}")]
    Decode(#[source] bincode::error::DecodeError),
    /// The value ended before the bytes did.
    #[error("decode a message: {0} bytes are left over")]
    Trailing(usize),
}

/// Encodes a value.
///
/// # Errors
/// [`CodecError::Encode`] where serialisation fails. The size is the frame's to check.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, CONFIG).map_err(CodecError::Encode)
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// [`CodecError::Decode`] for anything that is no such value, [`CodecError::Trailing`] where
/// bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(CodecError::Decode)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}
