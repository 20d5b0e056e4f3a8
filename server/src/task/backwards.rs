//! The lines of a file, the last one first, read in pieces from its end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes that are read at once.
const PIECE: u64 = 64 * 1024;
/// Bytes of a line at most. What is longer is no line of an index: it is left out, and not kept in
/// memory either.
const LONGEST: usize = 64 * 1024;

/// The iterator. A file that cannot be read any further ends there.
#[derive(Debug)]
pub struct LinesBackwards {
    file: File,
    /// What lies before this has not been read.
    unread: u64,
    /// What was read and not given out: the end of a line whose beginning is unread, or lines.
    held: Vec<u8>,
    /// What is held, and more that is not, is the end of a line that is too long.
    too_long: bool,
}

impl LinesBackwards {
    /// Begins at the end that the file has now.
    pub fn new(mut file: File) -> io::Result<Self> {
        let unread = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            unread,
            held: Vec::new(),
            too_long: false,
        })
    }

    /// Reads the piece before what is held.
    fn read_piece(&mut self) -> io::Result<()> {
        let start = self.unread.saturating_sub(PIECE);
        let length = usize::try_from(self.unread - start).map_err(io::Error::other)?;
        let mut piece = vec![0; length];
        self.file.read_exact_at(&mut piece, start)?;
        piece.append(&mut self.held);
        self.held = piece;
        self.unread = start;
        Ok(())
    }

    /// The last line of what is held, if its beginning is there too.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let line = match self.held.iter().rposition(|byte| *byte == b'\n') {
            Some(end_of_previous) => {
                let line = self.held.split_off(end_of_previous + 1);
                self.held.pop();
                line
            }
            None if self.unread == 0 && !self.held.is_empty() => std::mem::take(&mut self.held),
            None => return None,
        };
        Some(line)
    }
}

impl Iterator for LinesBackwards {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.take_line() {
                let is_whole = !std::mem::take(&mut self.too_long);
                // The one behind the last line feed is none.
                if is_whole && !line.is_empty() && line.len() <= LONGEST {
                    return Some(String::from_utf8_lossy(&line).into_owned());
                }
                continue;
            }
            if self.unread == 0 {
                return None;
            }
            if self.held.len() > LONGEST {
                self.held.clear();
                self.too_long = true;
            }
            if self.read_piece().is_err() {
                self.unread = 0;
                self.held.clear();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(content: &[u8]) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        LinesBackwards::new(file).unwrap().collect()
    }

    fn forwards(text: &str) -> Vec<String> {
        let lines = text.lines().rev().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn short_files() {
        for text in ["", "\n", "a", "a\n", "a\nb", "a\n\nb\n", "\na\n"] {
            assert_eq!(lines(text.as_bytes()), forwards(text), "{text:?}");
        }
        assert_eq!(lines(b"a\n\xff\n"), ["\u{fffd}", "a"]);
    }

    #[test]
    fn lines_lie_across_pieces() {
        let piece = usize::try_from(PIECE).unwrap();
        // A line feed right before, at and behind each border.
        for shift in 0..4 {
            let mut text = "x".repeat(shift);
            for number in 0..30_000 {
                text += &format!("{number:06}\n");
            }
            assert!(text.len() > 3 * piece);
            assert_eq!(lines(text.as_bytes()), forwards(&text), "{shift}");
        }
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let text = format!("first\n{}\nlast\n", "y".repeat(5 * LONGEST));
        assert_eq!(lines(text.as_bytes()), ["last", "first"]);
        let text = format!("{}\nlast", "y".repeat(3 * LONGEST));
        assert_eq!(lines(text.as_bytes()), ["last"]);
        let text = format!("first\n{}", "y".repeat(LONGEST + 1));
        assert_eq!(lines(text.as_bytes()), ["first"]);
        let longest = "y".repeat(LONGEST);
        assert_eq!(lines(format!("a\n{longest}\n").as_bytes()), [&longest, "a"]);
    }

    /// The newest of a huge file are there at once: its beginning is a hole that is never read.
    #[test]
    fn the_end_of_a_huge_file_is_cheap() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"\none\ntwo\n").unwrap();
        let mut lines = LinesBackwards::new(file).unwrap();
        assert_eq!(lines.next().as_deref(), Some("two"));
        assert_eq!(lines.next().as_deref(), Some("one"));
        assert!(lines.held.capacity() <= 2 * usize::try_from(PIECE).unwrap());
    }
}
