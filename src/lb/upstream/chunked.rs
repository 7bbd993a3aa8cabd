//! Decoding chunked bodies of responses, strictly: hexadecimal sizes, CRLF, extensions and trailers skipped.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line of a chunk's size or of trailers.
const LONGEST_LINE: usize = 16 * 1024;

/// The body is not chunked as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunked response body")]
pub struct Malformed;

/// Where the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder(State);

impl Default for Decoder {
    fn default() -> Self {
        Self(State::Size)
    }
}

/// One step's result.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Data.
    Data(Bytes),
    /// More input is needed.
    More,
    /// The body is complete.
    Done,
}

impl Decoder {
    /// Decodes what `buffer` has.
    ///
    /// # Errors
    /// When the input is malformed.
    pub fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            match self.0 {
                State::Size => match line(buffer)? {
                    None => return Ok(Step::More),
                    Some(line) => {
                        self.0 = parse_size(&line)
                            .map(|size| if size == 0 { State::Trailers } else { State::Data(size) })
                            .ok_or(Malformed)?
                    }
                },
                State::Data(_) if buffer.is_empty() => return Ok(Step::More),
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let left = left - take as u64;
                    self.0 = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Step::Data(buffer.split_to(take).freeze()));
                }
                State::DataEnd if buffer.len() < 2 => return Ok(Step::More),
                State::DataEnd => {
                    if &buffer[..2] != b"\r\n" {
                        return Err(Malformed);
                    }
                    buffer.advance(2);
                    self.0 = State::Size;
                }
                State::Trailers => match line(buffer)? {
                    None => return Ok(Step::More),
                    Some(line) if line.is_empty() => self.0 = State::Done,
                    Some(_) => {}
                },
                State::Done => return Ok(Step::Done),
            }
        }
    }
}

/// Takes a line that ends with CRLF.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Malformed> {
    match buffer.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && buffer[end - 1] == b'\r' => {
            let mut line = buffer.split_to(end + 1);
            line.truncate(end - 1);
            Ok(Some(line))
        }
        Some(_) => Err(Malformed),
        None if buffer.len() > LONGEST_LINE => Err(Malformed),
        None => Ok(None),
    }
}

fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (size, rest) = line.split_at(digits);
    let extension = rest
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .map(|at| rest[at]);
    if extension.is_some_and(|byte| byte != b';') || size.len() > 15 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, Malformed> {
        let (mut decoder, mut buffer, mut body) = (Decoder::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.step(&mut buffer)? {
                    Step::Data(data) => body.extend(data),
                    Step::More => break,
                    Step::Done => return Ok(Some(body)),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_understood() {
        let body = b"5\r\nhello\r\n1;a=b\r\n,\r\n6 \r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(decode(&[body]), Ok(Some(b"hello, world".to_vec())));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in [
            &b"0x5\r\nhello\r\n"[..],
            b"5\nhello\r\n",
            b"\r\n",
            b"+5\r\n",
            b"5 x\r\n",
            b"FFFFFFFFFFFFFFFFF\r\n",
            b"5\r\nhelloXX",
            b"1_0\r\n",
        ] {
            assert_eq!(decode(&[body]), Err(Malformed), "{:?}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_input_decodes_alike(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), cuts in prop::collection::vec(1usize..30, 0..40)) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(decode(&pieces), Ok(Some(chunks.concat())));
        }
    }
}
