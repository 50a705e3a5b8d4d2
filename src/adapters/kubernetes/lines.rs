//! Cuts a stream of chunks into lines. What follows the last newline is kept for the next chunk; a line that is torn
//! by the end of the stream is never handed out.

/// Lines out of chunks.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Everything before this was handed out.
    taken: usize,
    /// Everything before this is known to hold no further newline.
    searched: usize,
}

impl Lines {
    /// Adds a chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line, if there is one.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(offset) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.taken..self.searched + offset;
        self.taken = line.end + 1;
        self.searched = self.taken;
        Some(&self.buffer[line])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_stream_is_cut() {
        let text = b"one\ntwo\n\nthree\ntorn";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.next() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["one", "two", "", "three"]);
        }
    }
}
