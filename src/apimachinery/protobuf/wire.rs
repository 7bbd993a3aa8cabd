//! Protobuf's wire format: tags, varints, lengths.

use super::ProtobufError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    fn wire(self) -> u8 {
        match self {
            Self::Varint(_) => VARINT,
            Self::Fixed64(_) => FIXED64,
            Self::Bytes(_) => BYTES,
            Self::Fixed32 => FIXED32,
        }
    }

    pub(super) fn bytes(self, field: u32) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(ProtobufError::Wire {
                field,
                wire: other.wire(),
            }),
        }
    }

    pub(super) fn text(self, field: u32) -> Result<String, ProtobufError> {
        Ok(String::from_utf8_lossy(self.bytes(field)?).into_owned())
    }

    pub(super) fn int(self, field: u32) -> Result<i64, ProtobufError> {
        match self {
            Self::Varint(number) => Ok(number.cast_signed()),
            other => Err(ProtobufError::Wire {
                field,
                wire: other.wire(),
            }),
        }
    }

    pub(super) fn float(self, field: u32) -> Result<f64, ProtobufError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(ProtobufError::Wire {
                field,
                wire: other.wire(),
            }),
        }
    }
}

/// Reads the fields of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Value("proto: integer overflow".to_owned()))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next field, or `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = (tag & 7) as u8;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(ProtobufError::Value(format!(
                "proto: illegal tag {} (wire type {wire})",
                tag >> 3
            )));
        }
        let raw = match wire {
            VARINT => Raw::Varint(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Raw::Bytes(self.take(length)?)
            }
            FIXED64 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Raw::Fixed64(u64::from_le_bytes(bytes))
            }
            FIXED32 => {
                self.take(4)?;
                Raw::Fixed32
            }
            wire => return Err(ProtobufError::Wire { field: number, wire }),
        };
        Ok(Some((number, raw)))
    }
}

/// Writes the fields of a message.
#[derive(Debug, Default)]
pub struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    /// Writes an integer, as 32 or 64 bits or as a boolean.
    pub fn int(&mut self, field: u32, value: i64) {
        self.tag(field, VARINT);
        self.varint(value.cast_unsigned());
    }

    pub(super) fn float(&mut self, field: u32, value: f64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// Writes a text, bytes, or a message that is already encoded.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Writes a message into a field.
    pub fn nested(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// The message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The same where writing can fail.
    pub(super) fn message<E>(&mut self, field: u32, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let mut inner = Self::default();
        write(&mut inner)?;
        self.bytes(field, &inner.0);
        Ok(())
    }
}
