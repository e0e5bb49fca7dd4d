//! How `Data.db` is cut into chunks: what each checksum covers, and what is decompressed at once.

use crate::compression_info::CompressionInfo;
use crate::crc::CrcFile;

/// The file that knows the chunks, parsed, and where its numbers are read from.
#[derive(Debug)]
pub enum Chunks<S> {
    /// By the offsets in `CompressionInfo.db`; the checksums are in `Data.db`.
    Compressed(CompressionInfo, S),
    /// In equal parts, with the checksums in `CRC.db`.
    Plain(CrcFile, S),
    /// The file that says it is missing, damaged or of an old version: only the digest can be checked.
    Unknown,
}
